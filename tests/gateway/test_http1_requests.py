"""What of a request is accepted: a transcript per framing rule. Nothing that is refused reaches the upstream."""

from __future__ import annotations

import socket
import threading

import pytest

from farebox.gateway.forward import Exchange
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Gateway, GatewayMaker, until

HOST = "Host: gateway\r\n"


@pytest.fixture
def gateway(make_gateway: GatewayMaker) -> Gateway:
    return make_gateway(target_bytes_max=512, header_bytes_max=4096, header_fields_max=20)


REFUSED = {
    "both lengths": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "both lengths, the other way round": (
        f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        400,
    ),
    "repeated length": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    "list of lengths": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: 1, 1\r\n\r\nx", 400),
    "signed length": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: +1\r\n\r\nx", 400),
    "negative length": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n", 400),
    "hexadecimal length": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: 0x1\r\n\r\nx", 400),
    "endless length": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: {'9' * 40}\r\n\r\n", 400),
    "empty length": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: \r\n\r\n", 400),
    "coding that is not chunked": (f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n\r\n", 400),
    "coding with more than chunked": (
        f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked twice": (
        f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked with a parameter": (f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked;x\r\n\r\n0\r\n\r\n", 400),
    "chunked spelled oddly": (f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked on HTTP/1.0": (f"POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "folded field": (f"GET / HTTP/1.1\r\n{HOST}X-A: 1\r\n  2\r\n\r\n", 400),
    "bare CR in a field": (f"GET / HTTP/1.1\r\n{HOST}X-A: 1\r2\r\n\r\n", 400),
    "bare LF line ends": ("GET / HTTP/1.1\nHost: gateway\n\n", 400),
    "NUL in a field": (f"GET / HTTP/1.1\r\n{HOST}X-A: a\x00b\r\n\r\n", 400),
    "space before the colon": (f"GET / HTTP/1.1\r\n{HOST}X-A : 1\r\n\r\n", 400),
    "space in a name": (f"GET / HTTP/1.1\r\n{HOST}X A: 1\r\n\r\n", 400),
    "no host": ("GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (f"GET / HTTP/1.1\r\n{HOST}Host: other\r\n\r\n", 400),
    "two equal hosts": (f"GET / HTTP/1.1\r\n{HOST}{HOST}\r\n", 400),
    "empty host": ("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
    "host with a path": ("GET / HTTP/1.1\r\nHost: gateway/x\r\n\r\n", 400),
    "host with user": ("GET / HTTP/1.1\r\nHost: a@gateway\r\n\r\n", 400),
    "HTTP/2.0": (f"GET / HTTP/2.0\r\n{HOST}\r\n", 400),
    "HTTP/0.9": (f"GET / HTTP/0.9\r\n{HOST}\r\n", 400),
    "HTTP/1.2": (f"GET / HTTP/1.2\r\n{HOST}\r\n", 400),
    "underscore in a name": (f"GET / HTTP/1.1\r\n{HOST}X_Api_Key: 1\r\n\r\n", 400),
    "upgrade with a body": (
        f"POST / HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
        400,
    ),
    "connection nominates host": (f"GET / HTTP/1.1\r\n{HOST}Connection: Host\r\n\r\n", 400),
    "connection nominates authorization": (f"GET / HTTP/1.1\r\n{HOST}Connection: close, Authorization\r\n\r\n", 400),
    "connection nominates our fields": (f"GET / HTTP/1.1\r\n{HOST}Connection: X-Farebox-Key\r\n\r\n", 400),
    "connection nominates forwarding fields": (f"GET / HTTP/1.1\r\n{HOST}Connection: X-Forwarded-For\r\n\r\n", 400),
    "two authorizations": (f"GET / HTTP/1.1\r\n{HOST}Authorization: a\r\nAuthorization: b\r\n\r\n", 400),
    "dot segment": (f"GET /a/../b HTTP/1.1\r\n{HOST}\r\n", 400),
    "single dot segment": (f"GET /a/./b HTTP/1.1\r\n{HOST}\r\n", 400),
    "dot segment at the end": (f"GET /a/.. HTTP/1.1\r\n{HOST}\r\n", 400),
    "dot segment with parameters": (f"GET /a/..;x=1/b HTTP/1.1\r\n{HOST}\r\n", 400),
    "empty segment with parameters": (f"GET /a/;y/b HTTP/1.1\r\n{HOST}\r\n", 400),
    "encoded dot segment": (f"GET /a/%2e%2E/b HTTP/1.1\r\n{HOST}\r\n", 400),
    "empty segment": (f"GET /a//b HTTP/1.1\r\n{HOST}\r\n", 400),
    "encoded slash": (f"GET /a%2fb HTTP/1.1\r\n{HOST}\r\n", 400),
    "encoded backslash": (f"GET /a%5Cb HTTP/1.1\r\n{HOST}\r\n", 400),
    "backslash": (f"GET /a\\b HTTP/1.1\r\n{HOST}\r\n", 400),
    "encoded NUL": (f"GET /a%00 HTTP/1.1\r\n{HOST}\r\n", 400),
    "broken escape": (f"GET /a%zz HTTP/1.1\r\n{HOST}\r\n", 400),
    "fragment": (f"GET /a#b HTTP/1.1\r\n{HOST}\r\n", 400),
    "absolute form for another host": (f"GET http://other/a HTTP/1.1\r\n{HOST}\r\n", 400),
    "absolute form with another port": (f"GET http://gateway:81/a HTTP/1.1\r\n{HOST}\r\n", 400),
    "asterisk": (f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n", 400),
    "CONNECT": (f"CONNECT gateway:443 HTTP/1.1\r\n{HOST}\r\n", 501),
    "TRACE": (f"TRACE / HTTP/1.1\r\n{HOST}\r\n", 501),
    "unknown expectation": (f"POST / HTTP/1.1\r\n{HOST}Expect: cake\r\nContent-Length: 1\r\n\r\n", 417),
    "long target": (f"GET /{'a' * 600} HTTP/1.1\r\n{HOST}\r\n", 414),
    "endless target": (f"GET /{'a' * 600}", 414),
    "too many fields": ("GET / HTTP/1.1\r\n" + HOST + "X-A: 1\r\n" * 30 + "\r\n", 431),
    "one huge field": ("GET / HTTP/1.1\r\n" + HOST + "X-A: " + "a" * 5000 + "\r\n\r\n", 431),
    "an endless field": ("GET / HTTP/1.1\r\n" + HOST + "X-A: " + "a" * 100_000, 431),
    "garbage": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS hello", 400),
    "another protocol": ("SSH-2.0-OpenSSH_9.2\r\n", 400),
    "bad chunk size": (f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "chunk longer than said": (f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_and_the_connection_closed(gateway: Gateway, upstream: StubUpstream, case: str) -> None:
    said, status = REFUSED[case]
    caller = gateway.caller().say(said)
    answer = caller.hear()
    assert answer.status == status, answer.body
    assert answer.fields["connection"] == "close"
    assert answer.json()["code"]
    assert caller.is_closed()
    assert not [request for request in upstream.requests if request.complete]
    assert gateway.held() == 0


ACCEPTED = {
    "absolute form for this host": (f"GET http://gateway/a?b=1 HTTP/1.1\r\n{HOST}\r\n", "/a?b=1"),
    "absolute form without a path": (f"GET http://gateway HTTP/1.1\r\n{HOST}\r\n", "/"),
    "encoded unreserved characters are decoded": (f"GET /%61%2Db?c=%41 HTTP/1.1\r\n{HOST}\r\n", "/a-b?c=%41"),
    "other escapes stay": (f"GET /a%20b%c3%a4 HTTP/1.1\r\n{HOST}\r\n", "/a%20b%C3%A4"),
    "hidden names are no dot segments": (f"GET /.well-known/x HTTP/1.1\r\n{HOST}\r\n", "/.well-known/x"),
    "slash at the end": (f"GET /a/ HTTP/1.1\r\n{HOST}\r\n", "/a/"),
    "dots in the query": (f"GET /a?b=../c//d HTTP/1.1\r\n{HOST}\r\n", "/a?b=../c//d"),
    "empty lines before the request": (f"\r\n\r\nGET /a HTTP/1.1\r\n{HOST}\r\n", "/a"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_was_matched_is_what_is_forwarded(gateway: Gateway, upstream: StubUpstream, case: str) -> None:
    said, target = ACCEPTED[case]
    assert gateway.caller().say(said).hear().status == 200
    assert upstream.requests[0].target == target


def test_our_framing_replaces_the_callers(gateway: Gateway, upstream: StubUpstream) -> None:
    body = "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    answer = (
        gateway.caller()
        .say(f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: Chunked\r\nTrailer: X-Trailer\r\n\r\n{body}")
        .hear()
    )
    assert answer.status == 200
    request = upstream.requests[0]
    assert request.body == b"abcde"
    assert request.fields["content-length"] == "5"
    assert "x-trailer" not in request.fields
    assert "transfer-encoding" not in request.fields
    assert "trailer" not in request.fields


def test_hop_by_hop_fields_end_here(gateway: Gateway, upstream: StubUpstream) -> None:
    gateway.caller().say(
        f"GET / HTTP/1.1\r\n{HOST}Connection: keep-alive, X-Mine, TE\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
        "Proxy-Connection: x\r\nProxy-Authorization: x\r\nUpgrade: h2c\r\nX-HTTP-Method-Override: DELETE\r\n"
        "X-Kept: yes\r\n\r\n"
    ).hear()
    fields = upstream.requests[0].fields
    assert fields["x-kept"] == "yes"
    assert fields["via"] == "1.1 farebox"
    gone = {"connection", "x-mine", "keep-alive", "te", "proxy-connection", "proxy-authorization", "upgrade"}
    assert not gone & set(fields)
    assert "x-http-method-override" not in fields


def test_an_upgrade_is_answered_as_if_it_had_not_been_asked_for(gateway: Gateway, upstream: StubUpstream) -> None:
    caller = gateway.caller().say(
        f"GET /a HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /b HTTP/1.1\r\n{HOST}\r\n"
    )
    assert [caller.hear().status, caller.hear().status] == [200, 200]
    assert [request.target for request in upstream.requests] == ["/a", "/b"]
    assert "upgrade" not in upstream.requests[0].fields


def test_via_is_extended(gateway: Gateway, upstream: StubUpstream) -> None:
    gateway.caller().ask(fields={"Via": "1.0 edge"})
    assert upstream.requests[0].fields["via"] == "1.0 edge, 1.1 farebox"


def test_pipelined_requests_are_answered_in_order_and_one_is_upstream_at_a_time(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    upstream.answer("/0", Behaviour(body=b"0", delay_seconds=0.1))
    caller = gateway.caller().say(
        "".join(f"POST /{n} HTTP/1.1\r\n{HOST}Content-Length: 1\r\n\r\n{n}" for n in range(10))
    )
    upstream.wait_for(1)
    assert len(upstream.requests) == 1
    for number in range(10):
        answer = caller.hear()
        assert answer.status == 200
        assert upstream.requests[number].body == str(number).encode()
    assert upstream.connections == 1


def test_many_pipelined_requests_are_bounded_and_all_answered(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(pipelined_bytes_max=16 * 1024)
    number = 3_000
    caller = gateway.caller()
    # The whole burst does not fit: it is read on as answers are taken.
    burst = threading.Thread(target=caller.say, args=(f"GET / HTTP/1.1\r\n{HOST}X-Fill: {'a' * 80}\r\n\r\n" * number,))
    burst.start()
    said = b""
    while said.count(b"HTTP/1.1 ") < number:
        data = caller.socket.recv(65536)
        assert data
        said += data
    burst.join()
    assert len(upstream.requests) == number


def test_a_request_after_connection_close_is_not_read_and_the_first_is_answered(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    caller = gateway.caller().say(
        f"POST /a HTTP/1.1\r\n{HOST}Connection: close\r\nContent-Length: 2\r\n\r\nhi", f"GET /b HTTP/1.1\r\n{HOST}\r\n"
    )
    answer = caller.hear()
    assert (answer.status, answer.fields["connection"]) == (200, "close")
    assert caller.is_closed()
    assert [request.target for request in upstream.requests] == ["/a"]


def test_a_whole_request_before_garbage_is_still_answered(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/a", Behaviour(delay_seconds=0.05))
    caller = gateway.caller().say(f"GET /a HTTP/1.1\r\n{HOST}\r\nGARBAGE\x00\r\n\r\n")
    assert caller.hear().status == 200
    assert caller.hear().status == 400
    assert caller.is_closed()


def test_http_1_0_callers_get_a_closed_connection_unless_they_ask_for_more(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    caller = gateway.caller().say(f"GET / HTTP/1.0\r\n{HOST}\r\n")
    assert caller.hear().fields["connection"] == "close"
    assert caller.is_closed()
    caller = gateway.caller()
    for _ in range(2):
        answer = caller.say(f"GET / HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n\r\n").hear()
        assert answer.fields["connection"] == "keep-alive"
    assert upstream.requests[0].version == "HTTP/1.1"


def test_http_1_0_callers_get_a_streamed_answer_until_the_connection_closes(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    upstream.answer("/big", Behaviour(stream_bytes=300_000, chunked=True))
    said = gateway.caller().say(f"GET /big HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n\r\n").raw()
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert len(body) == 300_000


def test_head_is_answered_without_a_body_and_the_connections_go_on(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/a", Behaviour(body=b"12345"))
    caller = gateway.caller()
    for _ in range(3):
        answer = caller.ask("HEAD", "/a")
        assert (answer.status, answer.fields["content-length"], answer.body) == (200, "5", b"")
    assert upstream.connections == 1


def test_a_chunked_answer_to_head_is_whole_after_its_head(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/a", Behaviour(chunked=True))
    caller = gateway.caller()
    assert caller.ask("HEAD", "/a").status == 200
    assert caller.ask("GET", "/a").body == b"{}"


def test_expect_is_passed_on_and_the_upstreams_100_comes_back(gateway: Gateway, upstream: StubUpstream) -> None:
    caller = gateway.caller().say(f"POST / HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert caller.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert caller.say("abc").hear().status == 200
    assert upstream.requests[0].fields["expect"] == "100-continue"
    assert upstream.requests[0].body == b"abc"


def test_expect_answered_with_a_refusal_closes_before_the_body(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/", Behaviour(status=413, continue_first=False, read_body=False, close_after=True))
    caller = gateway.caller().say(f"POST / HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    answer = caller.hear()
    assert (answer.status, answer.interim) == (413, [])
    assert caller.is_closed()


def test_a_slow_head_is_given_up(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(header_seconds=0.2)
    caller = gateway.caller().say("GET / HTTP/1.1\r\n")

    def drip() -> bool:
        try:
            caller.say("X-A: 1\r\n")
        except OSError:
            return True
        caller.socket.settimeout(0.02)
        try:
            return b" 408 " in caller.socket.recv(1000)
        except TimeoutError:
            return False

    until(drip)


def test_a_slow_body_is_given_up(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(body_idle_seconds=0.2)
    caller = gateway.caller().say(f"POST / HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\nabc")
    assert caller.hear().status == 408
    assert caller.is_closed()
    until(lambda: gateway.held() == 0)


def test_an_idle_connection_is_closed(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(idle_connection_seconds=75.0)
    used, fresh = gateway.caller(), gateway.caller()
    assert used.ask().status == 200
    until(lambda: gateway.waiting("client_idle") == 2)
    gateway.age("client_idle", 74.0)
    assert used.ask().status == 200, "not before its time, which a call starts anew"
    gateway.age("client_idle", 1.0)
    assert fresh.is_closed()
    gateway.age("client_idle", 75.0)
    assert used.is_closed()


def test_one_connection_too_many_is_told_so(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(client_connections_max=2)
    first, second = gateway.caller(), gateway.caller()
    assert first.ask().status == second.ask().status == 200
    answer = gateway.caller().hear()
    assert (answer.status, answer.json()["code"]) == (503, "TOO_MANY_CONNECTIONS")
    assert first.ask().status == 200


def test_a_caller_that_sends_no_more_is_still_answered(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/", Behaviour(delay_seconds=0.05))
    caller = gateway.caller().say(f"GET / HTTP/1.1\r\n{HOST}\r\n")
    caller.socket.shutdown(socket.SHUT_WR)
    assert caller.hear().status == 200
    assert caller.is_closed()


def test_a_refusal_is_read_even_when_the_body_is_still_being_sent(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(header_fields_max=8)
    caller = gateway.caller().say("POST / HTTP/1.1\r\n" + HOST + "X-A: 1\r\n" * 20 + "Content-Length: 500000\r\n\r\n")
    caller.say(b"a" * 500_000)
    assert caller.hear().status == 431


def test_a_request_byte_by_byte_is_a_request(gateway: Gateway, upstream: StubUpstream) -> None:
    caller = gateway.caller()
    for byte in f"POST /a?b HTTP/1.1\r\n{HOST}Content-Length: 3\r\n\r\nabc".encode():
        caller.say(bytes((byte,)))
    assert caller.hear().status == 200
    assert upstream.requests[0].body == b"abc"


def body_bytes(gateway: Gateway) -> list[int]:
    """What is kept of the bodies of calls that are being read."""
    calls = [client._calls[0] for client in gateway.worker.plane.clients if client._calls]
    return [call.body_bytes for call in calls if isinstance(call, Exchange)]


@pytest.mark.parametrize("line", ["GET / RTSP/1.1", "SOURCE / ICE/1.1", "OPTIONS /a RTSP/1.0"])
@pytest.mark.parametrize("before", ["", "\r\n", "GET /first HTTP/1.1\r\nHost: g\r\n\r\n"])
def test_another_protocol_is_refused_however_its_line_comes_in_pieces(
    gateway: Gateway, upstream: StubUpstream, line: str, before: str
) -> None:
    said = f"{before}{line}\r\nHost: g\r\n\r\n"
    for cut in {len(before) + 2, len(said) - 20, len(said) - 14, len(said) - 2}:
        caller = gateway.caller().say(said[:cut])
        gateway.on_loop(lambda: None)  # read by itself, the loop having gone round
        caller.say(said[cut:])
        if "first" in before:
            assert caller.hear().status == 200
        refused = caller.hear()
        assert (refused.status, refused.json()["code"]) == (400, "VERSION_UNKNOWN")
        assert caller.is_closed()
    caller = gateway.caller()
    for byte in said:
        caller.say(byte)
    assert b"VERSION_UNKNOWN" in caller.raw()
    assert {request.target for request in upstream.requests} <= {"/first"}


def test_what_follows_a_request_refused_within_its_body_is_not_read(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm", price_body_bytes_max=2_000, credits=1)
    assert [gateway.caller().ask("GET", "/crm/v8/Leads").status for _ in range(2)] == [200, 429]  # refused at once now
    caller = gateway.caller().say("POST /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
    caller.say(b"7d0\r\n" + b"x" * 2_000 + b"\r\n")
    until(lambda: gateway.on_loop(lambda: body_bytes(gateway)) == [2_000])
    caller.say("1\r\ny\r\n0\r\n\r\nDELETE /oauth/second HTTP/1.1\r\nHost: g\r\n\r\n")
    said = caller.raw()
    assert said.startswith(b"HTTP/1.1 429 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert len(upstream.requests) == 1


def test_a_connection_that_ended_within_a_body_is_not_kept_for_a_caller_that_stays(
    make_gateway: GatewayMaker,
) -> None:
    gateway = make_gateway(card="zoho-crm", price_body_bytes_max=2_000, credits=1)
    assert [gateway.caller().ask("GET", "/crm/v8/Leads").status for _ in range(2)] == [200, 429]  # refused at once now
    caller = gateway.caller().say("POST /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
    caller.say(b"7d0\r\n" + b"x" * 2_000 + b"\r\n")
    until(lambda: gateway.on_loop(lambda: body_bytes(gateway)) == [2_000])
    caller.say("1\r\ny\r\n")
    assert caller.hear().status == 429
    until(lambda: gateway.on_loop(lambda: len(gateway.worker.plane.clients)) == 2)
