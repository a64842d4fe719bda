"""Answers that lie about their length, or could: by class, with what the caller is told. Data.

A row is (bytes the upstream sends, the status the gateway's caller sees, nginx's). 502 means not believed. Where both
forward, the caller must read the same body from either. Long: one line per answer.
"""

from __future__ import annotations

from .cases import CHUNKED, END, Answered, Kind

OK = "HTTP/1.1 200 OK\r\n"
ONE = OK + "Content-Length: 1\r\n\r\na"
FORGED = OK + "Content-Length: 6\r\n\r\nforged"


def ok(*fields: str, body: str = "", line: str = OK) -> str:
    """An answer as it stands."""
    return line + "\r\n".join((*fields, "")) + "\r\n" + body


def chunked(text: str) -> str:
    """An answer in chunks, the chunks as they stand."""
    return ok(CHUNKED, body=text)


KINDS: tuple[Kind[Answered], ...] = (
    Kind(
        "lengths",
        "RFC 9112 6.1, 6.3",
        "nginx 1.22 believes chunked where both are given; an upstream that says both cannot be trusted with the next.",
        {
            "both": Answered(ok("Content-Length: 1", CHUNKED, body="1\r\na\r\n" + END), 502, 200),
            "both, the other way round": Answered(ok(CHUNKED, "Content-Length: 1", body="1\r\na\r\n" + END), 502, 200),
            "both, length 0": Answered(ok("Content-Length: 0", CHUNKED, body="1\r\na\r\n" + END), 502, 200),
            "twice the same": Answered(ok("Content-Length: 1", "Content-Length: 1", body="a"), 502, 200),
            "twice, different": Answered(ok("Content-Length: 1", "Content-Length: 2", body="ab"), 502, 200),
            "list": Answered(ok("Content-Length: 1, 1", body="a"), 502, 200),
            "plus": Answered(ok("Content-Length: +1", body="a"), 502, 200),
            "minus": Answered(ok("Content-Length: -1"), 502, 200),
            "hexadecimal": Answered(ok("Content-Length: 0x1", body="a"), 502, 200),
            "letters": Answered(ok("Content-Length: a"), 502, 200),
            "empty": Answered(ok("Content-Length:", body="a"), 502, 200),
            "beyond 64 bits": Answered(ok("Content-Length: 18446744073709551617", body="a"), 502, 200),
            "NUL in it": Answered(ok("Content-Length: 1\x00", body="a"), 502, 502),
            "more than comes": Answered(ok("Content-Length: 10", body="abc"), 502, 200, ends=True),
            "more than comes, nothing": Answered(ok("Content-Length: 10"), 502, 200, ends=True),
            "leading zeros": Answered(ok("Content-Length: 001", body="a"), 200, 200, reused=True),
        },
    ),
    Kind(
        "codings",
        "RFC 9112 6.1",
        "nginx 1.22 takes an unknown coding for none and reads to the end of the connection.",
        {
            "gzip": Answered(ok("Transfer-Encoding: gzip", body="a"), 502, 200),
            "gzip, chunked": Answered(ok("Transfer-Encoding: gzip, chunked", body="1\r\na\r\n" + END), 502, 200),
            "chunked, gzip": Answered(ok("Transfer-Encoding: chunked, gzip", body="1\r\na\r\n" + END), 502, 200),
            "identity": Answered(ok("Transfer-Encoding: identity", "Content-Length: 1", body="a"), 502, 200),
            "xchunked": Answered(ok("Transfer-Encoding: xchunked", body="1\r\na\r\n" + END), 502, 200),
            "chunked twice": Answered(ok(CHUNKED, CHUNKED, body="1\r\na\r\n" + END), 502, 200),
            "parameter": Answered(ok("Transfer-Encoding: chunked;a=b", body="1\r\na\r\n" + END), 502, 200),
            "vertical tab": Answered(ok("Transfer-Encoding: \x0bchunked", body="1\r\na\r\n" + END), 502, 200),
            "space before the colon": Answered(ok("Transfer-Encoding : chunked", body="1\r\na\r\n" + END), 502, 502),
            "on HTTP/1.0": Answered(ok(CHUNKED, body="1\r\na\r\n" + END, line="HTTP/1.0 200 OK\r\n"), 502, 200),
            "capitals": Answered(ok("TRANSFER-ENCODING: CHUNKED", body="1\r\na\r\n" + END), 200, 200, reused=True),
        },
    ),
    Kind(
        "chunks",
        "RFC 9112 7.1",
        "nginx has sent the head before it reads the chunks, so its caller sees 200 and a broken body.",
        {
            "no size": Answered(chunked("\r\na\r\n" + END), 502, 0),
            "letters": Answered(chunked("zz\r\na\r\n" + END), 502, 0),
            "0x": Answered(chunked("0x1\r\na\r\n" + END), 502, 0),
            "minus": Answered(chunked("-1\r\na\r\n" + END), 502, 0),
            "beyond 64 bits": Answered(chunked("10000000000000001\r\na\r\n" + END), 502, 0),
            "longer than said": Answered(chunked("1\r\nab\r\n" + END), 502, 0),
            "bare LF": Answered(chunked("1\na\n0\n\n"), 502, 200),
            "bare CR": Answered(chunked("1\ra\r0\r\r"), 502, 0),
            "garbage after a chunk": Answered(chunked("1\r\na\r\ngarbage"), 502, 0),
            "no last chunk": Answered(chunked("1\r\na\r\n"), 502, 200, ends=True),
            "no end of the trailers": Answered(chunked("1\r\na\r\n0\r\n"), 502, 200, ends=True),
            "nothing": Answered(chunked(""), 502, 200, ends=True),
            "bad trailer": Answered(chunked("1\r\na\r\n0\r\nX-A : 1\r\n\r\n"), 502, 200),
            "length in the trailers": Answered(chunked("1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n"), 502, 200),
            "extension": Answered(chunked("1;a=b\r\na\r\n" + END), 200, 200, reused=True),
            "trailers": Answered(chunked("1\r\na\r\n0\r\nX-A: 1\r\n\r\n"), 200, 200, reused=True),
        },
    ),
    Kind(
        "heads",
        "RFC 9112 2.2, 5; response splitting",
        "",
        {
            "bare LF everywhere": Answered("HTTP/1.1 200 OK\nContent-Length: 1\n\na", 502, 200),
            "bare CR in a value": Answered(ok("X-A: a\rb", "Content-Length: 1", body="a"), 502, 502),
            "header split by a bare CR": Answered(
                ok("X-A: a\r\rHTTP/1.1 200 OK", "Content-Length: 1", body="a"), 502, 502
            ),
            "folded": Answered(ok("X-A: a\r\n b", "Content-Length: 1", body="a"), 502, 502),
            "folded length": Answered(ok("Content-Length:\r\n 1", body="a"), 502, 502),
            "NUL in a value": Answered(ok("X-A: a\x00", "Content-Length: 1", body="a"), 502, 502),
            "NUL in a name": Answered(ok("X-\x00A: a", "Content-Length: 1", body="a"), 502, 502),
            "space before the colon": Answered(ok("X-A : a", "Content-Length: 1", body="a"), 502, 502),
            "no colon": Answered(ok("X-A", "Content-Length: 1", body="a"), 502, 200),
            "empty name": Answered(ok(": a", "Content-Length: 1", body="a"), 502, 502),
            "control byte": Answered(ok("X-A: a\x01b", "Content-Length: 1", body="a"), 502, 200),
            "nominates Content-Type": Answered(ok("Connection: Content-Type", "Content-Length: 1", body="a"), 502, 200),
            "nominates Content-Length": Answered(
                ok("Connection: Content-Length", "Content-Length: 1", body="a"), 502, 200
            ),
            "endless": Answered(OK + "X-A: " + "a" * 100_000, 502, 502),
            "endless fields": Answered(OK + "X-A: 1\r\n" * 5_000, 502, 502),
            "too many fields": Answered(ok(*["X-A: 1"] * 300, "Content-Length: 1", body="a"), 502, 200),
            "cut in a field": Answered(OK + "X-A: 1", 502, 502, ends=True),
            "cut in the status line": Answered("HTTP/1.1 2", 502, 502, ends=True),
            "nothing": Answered("", 502, 502, ends=True, method="POST"),
        },
    ),
    Kind(
        "status lines",
        "RFC 9112 4",
        "nginx passes what has no status line on as it is, an HTTP/0.9 answer (0). The phrase is never forwarded.",
        {
            "HTTP/2.0": Answered(ok("Content-Length: 1", body="a", line="HTTP/2.0 200 OK\r\n"), 502, 200),
            "HTTP/1.2": Answered(ok("Content-Length: 1", body="a", line="HTTP/1.2 200 OK\r\n"), 502, 200),
            "HTTP/0.9": Answered("just a body", 502, 0, ends=True),
            "another protocol": Answered("220 smtp.example ESMTP\r\n", 502, 0, ends=True),
            "RTSP": Answered(ok("Content-Length: 1", body="a", line="RTSP/1.0 200 OK\r\n"), 502, 0),
            "small letters": Answered(ok("Content-Length: 1", body="a", line="http/1.1 200 OK\r\n"), 502, 0),
            "four digits": Answered(ok("Content-Length: 1", body="a", line="HTTP/1.1 2000 OK\r\n"), 502, 0),
            "two digits": Answered(ok("Content-Length: 1", body="a", line="HTTP/1.1 20 OK\r\n"), 502, 0),
            "letters": Answered(ok("Content-Length: 1", body="a", line="HTTP/1.1 abc OK\r\n"), 502, 0),
            "600": Answered(ok("Content-Length: 1", body="a", line="HTTP/1.1 600 What\r\n"), 502, 600),
            "000": Answered(ok("Content-Length: 1", body="a", line="HTTP/1.1 000 OK\r\n"), 502, 0),
            "bare CR in the phrase": Answered(ok("Content-Length: 1", body="a", line="HTTP/1.1 200 O\rK\r\n"), 502, 0),
            "NUL in the phrase": Answered(
                ok("Content-Length: 1", body="a", line="HTTP/1.1 200 O\x00K\r\n"), 200, 0, reused=True
            ),
            "no phrase": Answered(ok("Content-Length: 1", body="a", line="HTTP/1.1 200 \r\n"), 200, 200, reused=True),
            "no phrase, no space": Answered(
                ok("Content-Length: 1", body="a", line="HTTP/1.1 200\r\n"), 200, 200, reused=True
            ),
            "unknown status": Answered(
                ok("Content-Length: 1", body="a", line="HTTP/1.1 299 Odd\r\n"), 299, 299, reused=True
            ),
        },
    ),
    Kind(
        "interim answers",
        "RFC 9110 15.2",
        "",
        {
            "103 without end": Answered("HTTP/1.1 103 Early Hints\r\n\r\n" * 50, 502, 0),
            "102 without end": Answered("HTTP/1.1 102 Processing\r\n\r\n" * 50, 502, 0),
            "101 unasked": Answered(
                "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502, 0
            ),
            "101 with a body behind it": Answered("HTTP/1.1 101 Switching\r\n\r\n" + FORGED, 502, 0),
            "103 with a length": Answered("HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\nhello" + ONE, 502, 0),
            "103 in chunks": Answered(f"HTTP/1.1 103 Early\r\n{CHUNKED}\r\n\r\n" + ONE, 502, 0),
            "only 100": Answered("HTTP/1.1 100 Continue\r\n\r\n", 502, 0, ends=True),
            "100 unasked": Answered("HTTP/1.1 100 Continue\r\n\r\n" + ONE, 200, 200, reused=True),
            "103 and the answer": Answered("HTTP/1.1 103 Early Hints\r\n\r\n" + ONE, 200, 200, reused=True),
        },
    ),
    Kind(
        "more than one",
        "RFC 9112 6.3; response queue poisoning",
        "The first is the answer to what was asked; whatever follows it is nobody's, and the connection ends.",
        {
            "two answers": Answered(ONE + FORGED, 200, 200),
            "three answers": Answered(ONE + FORGED + FORGED, 200, 200),
            "half an answer": Answered(ONE + "HTTP/1.1 200", 200, 200),
            "a byte": Answered(ONE + "x", 200, 200),
            "a line end": Answered(ONE + "\r\n", 200, 200, reused=True),
            "an answer after chunks": Answered(chunked("1\r\na\r\n" + END + FORGED), 200, 200),
            "a chunk after the last": Answered(chunked(END + "1\r\na\r\n" + END), 200, 200),
            "an answer after 204": Answered("HTTP/1.1 204 No Content\r\n\r\n" + FORGED, 204, 204),
            "an answer after 304": Answered("HTTP/1.1 304 Not Modified\r\n\r\n" + FORGED, 304, 304),
            "204 with a body": Answered("HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nforged", 204, 204),
            "304 with a body": Answered("HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nforged", 304, 304),
            "204 in chunks": Answered(f"HTTP/1.1 204 No Content\r\n{CHUNKED}\r\n\r\n1\r\na\r\n" + END, 204, 204),
            "HEAD with a body": Answered(ONE, 200, 200, method="HEAD"),
            "HEAD with chunks": Answered(chunked("1\r\na\r\n" + END), 200, 200, method="HEAD"),
            "HEAD and an answer": Answered(OK + "Content-Length: 1\r\n\r\n" + FORGED, 200, 200, method="HEAD"),
            "POST with two answers": Answered(ONE + FORGED, 200, 200, method="POST"),
        },
    ),
    Kind(
        "ends",
        "RFC 9112 6.3, 9.6",
        "",
        {
            "until the end, HTTP/1.0": Answered(ok(body="all", line="HTTP/1.0 200 OK\r\n"), 200, 200, ends=True),
            "until the end, HTTP/1.1": Answered(ok("X-A: 1", body="all"), 200, 200, ends=True),
            "close, and more": Answered(ok("Connection: close", "Content-Length: 1", body="a") + FORGED, 200, 200),
            "keep-alive on HTTP/1.0, and more": Answered(
                ok("Connection: keep-alive", "Content-Length: 1", body="a", line="HTTP/1.0 200 OK\r\n") + FORGED,
                200,
                200,
            ),
        },
    ),
)
