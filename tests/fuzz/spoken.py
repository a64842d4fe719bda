"""Bytes that are nearly HTTP: requests put together from good and odd parts, then damaged, then cut into pieces."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

# Good parts are there many times over: a request with one odd part says more than one with five.
METHODS = ("GET", "POST") * 12 + ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "TRACE", "BREW", "")
TARGETS = ("/", "/a?b=c", "/a/b") * 9 + (
    "http://g/a", "/%41%2d", "//x", "/a/../b", "*", "g:80", "/a#b", "/a b", "/\xff", "",
)  # fmt: skip
VERSIONS = ("HTTP/1.1",) * 40 + ("HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "")
ENDS = ("\r\n",) * 100 + ("\n", "\r", "\r\r\n", "\n\r")
CHUNKED = "Transfer-Encoding: chunked\r\n"
CHUNKS = "3\r\nabc\r\n0\r\n\r\n"
FRAMINGS = (
    *(("", ""), ("Content-Length: 3\r\n", "abc"), (CHUNKED, CHUNKS)) * 8,
    *((f"Transfer-Encoding: {coding}\r\n", CHUNKS) for coding in ("gzip, chunked", "xchunked", "chunked, chunked")),
    *((f"Transfer-Encoding:{coding}\r\n", CHUNKS) for coding in ("\tchunked", " Chunked", " chunked\x0b", "")),
    *((f"Content-Length: {length}\r\n", "abc") for length in ("03", "+3", "0x3", "3, 3", "2", "4", "3 3", "", "-3")),
    ("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
    ("Content-Length: 3\r\n" + CHUNKED, CHUNKS),
    (CHUNKED + "Content-Length: 17\r\n", CHUNKS),
    *(
        (CHUNKED, text)
        for text in ("3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n", "3\nabc\n0\n\n", "-1\r\n", "3\r\nabcd\r\n0\r\n\r\n")
    ),
    *(
        (CHUNKED, text)
        for text in ("03\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n", "0\r\nContent-Length: 3\r\n\r\n")
    ),
)
LINES = ("X-A: 1\r\n",) * 20 + (
    "Host: g\r\n", "Connection: close\r\n", "Connection: Host\r\n", "Connection: keep-alive, X-A\r\n", "X_A: 1\r\n",
    "Expect: 100-continue\r\n", "Expect: x\r\n", "Upgrade: h2c\r\nConnection: Upgrade\r\n", "X A: 1\r\n", ": 1\r\n",
    "X-A : 1\r\n", "X-A: a\x00b\r\n", "X-A: 1\r\n 2\r\n", "X-A: \xe4\r\n", "X-A\r\n", "X-A: 1\rX-B: 2\r\n", "X-A: 1\n",
)  # fmt: skip
DAMAGE = (
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b";", b",", b"\x0b", b"\xff", b"0\r\n\r\n", b"3\r\nabc\r\n",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"GET /s HTTP/1.1\r\n",
)  # fmt: skip


@dataclass(frozen=True)
class Spoken:
    """What a caller says, and how it is cut up on its way."""

    pieces: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, good or with an odd part or two."""
    line = " ".join((draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS)), draw(st.sampled_from(VERSIONS))))
    host = "Host: g\r\n" if draw(st.integers(0, 29)) else ""
    more = "".join(draw(st.lists(st.sampled_from(LINES), max_size=2)))
    framing, body = draw(st.sampled_from(FRAMINGS))
    said = line + draw(st.sampled_from(ENDS)) + host + more + framing + draw(st.sampled_from(ENDS)) + body
    return bytes(said, "latin-1")


@st.composite
def spoken(draw: st.DrawFn) -> Spoken:
    """One to three requests on a connection, damaged in up to two places, in one to four pieces."""
    said: list[bytes] = draw(st.lists(requests(), min_size=1, max_size=3))
    data = b"".join(said)
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.sampled_from((0, 0, 1, 2, 7)))
        data = data[:at] + draw(st.sampled_from((b"", *DAMAGE))) + data[at + gone :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return Spoken(tuple(data[a:b] for a, b in zip((0, *cuts), (*cuts, len(data)), strict=True)))
