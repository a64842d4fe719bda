"""What of an answer is believed: as strictly framed as a request's, else 502 and the connection is not used again."""

from __future__ import annotations

import pytest

from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Gateway, GatewayMaker, until

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def gateway(make_gateway: GatewayMaker) -> Gateway:
    return make_gateway(header_bytes_max=8192, header_fields_max=20)


DISBELIEVED = {
    "both lengths": OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "both lengths, the other way round": OK
    + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "repeated length": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "list of lengths": OK + b"Content-Length: 1, 1\r\n\r\na",
    "signed length": OK + b"Content-Length: +1\r\n\r\na",
    "coding that is not chunked": OK + b"Transfer-Encoding: gzip\r\n\r\na",
    "coding with more than chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "chunked on HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na",
    "folded field": OK + b"X-A: 1\r\n  2\r\nContent-Length: 1\r\n\r\na",
    "bare CR": OK + b"X-A: 1\r2\r\nContent-Length: 1\r\n\r\na",
    "bare LF line ends": b"HTTP/1.1 200 OK\nContent-Length: 1\n\na",
    "space before the colon": OK + b"X-A : 1\r\nContent-Length: 1\r\n\r\na",
    "NUL": OK + b"X-A: a\x00\r\nContent-Length: 1\r\n\r\na",
    "unasked switch of protocols": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "not HTTP": b"220 smtp.example ESMTP\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status beyond all": b"HTTP/1.1 600 What\r\nContent-Length: 0\r\n\r\n",
    "an endless head": OK + b"X-A: " + b"a" * 100_000,
    "too many fields": OK + b"X-A: 1\r\n" * 30 + b"Content-Length: 1\r\n\r\na",
    "interim answers without end": b"HTTP/1.1 103 Early\r\n\r\n" * 50,
    "connection nominates content-type": OK + b"Connection: Content-Type\r\nContent-Length: 1\r\n\r\na",
    "bad chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a body shorter than said": OK + b"Content-Length: 10\r\n\r\nabc",
    "a chunked body without its end": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("case", DISBELIEVED)
def test_is_502_and_the_connection_is_not_used_again(gateway: Gateway, upstream: StubUpstream, case: str) -> None:
    upstream.answer("/bad", Behaviour(raw=DISBELIEVED[case]))
    caller = gateway.caller()
    answer = caller.ask("GET", "/bad")
    assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_FAILED"), answer.body
    assert caller.ask("GET", "/good").status == 200
    assert upstream.requests[-1].connection != upstream.requests[0].connection
    assert gateway.entry().reason == "upstream_failed"


@pytest.mark.parametrize("extra", [OK + b"Content-Length: 6\r\n\r\nforged", b"HTT", b"x"])
def test_bytes_after_a_whole_answer_are_not_the_next_answer(
    gateway: Gateway, upstream: StubUpstream, extra: bytes
) -> None:
    smuggled = OK + b"Content-Length: 1\r\n\r\na" + extra
    upstream.answer("/bad", Behaviour(interim=smuggled, never_answer=True))
    caller = gateway.caller()
    assert caller.ask("GET", "/bad").body == b"a"
    answer = caller.ask("POST", "/good", body=b"x")  # what is tried only once
    assert (answer.status, answer.body) == (200, b"{}")
    assert upstream.requests[0].connection != upstream.requests[1].connection


def test_an_answer_framed_by_the_end_of_the_connection_is_whole_there(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/", Behaviour(raw=b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it"))
    answer = gateway.caller().ask()
    assert (answer.status, answer.body) == (200, b"all of it")
    assert answer.fields["content-length"] == "9"


def test_a_chunked_answer_gets_our_framing_and_loses_its_trailers(gateway: Gateway, upstream: StubUpstream) -> None:
    raw = OK + b"Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nX-T: 1\r\n\r\n"
    upstream.answer("/", Behaviour(raw=raw))
    answer = gateway.caller().ask()
    assert (answer.body, answer.fields["content-length"]) == (b"abcd", "4")
    assert not {"x-t", "trailer", "transfer-encoding"} & set(answer.fields)


def test_a_large_chunked_answer_stays_chunked(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/", Behaviour(stream_bytes=300_000, chunked=True))
    caller = gateway.caller()
    answer = caller.ask()
    assert (len(answer.body), answer.fields["transfer-encoding"]) == (300_000, "chunked")
    assert caller.ask("GET", "/next").status == 200


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_have_none(gateway: Gateway, upstream: StubUpstream, status: int) -> None:
    upstream.answer("/none", Behaviour(status=status, body=b"", fields=(("ETag", '"x"'),)))
    caller = gateway.caller()
    answer = caller.ask("GET", "/none", fields={"If-None-Match": '"x"'})
    assert (answer.status, answer.body, answer.fields["etag"]) == (status, b"", '"x"')
    assert "content-length" not in answer.fields
    assert caller.ask("GET", "/next").body == b"{}"
    assert upstream.connections == 1
    assert gateway.entry().conditional == (3 if status == 304 else 2)


def test_interim_answers_are_passed_on_and_are_not_the_answer(gateway: Gateway, upstream: StubUpstream) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x\r\n\r\n"
    upstream.answer("/", Behaviour(interim=early))
    said = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").raw()
    assert said.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_interim_answers_are_not_for_http_1_0_callers(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/", Behaviour(interim=b"HTTP/1.1 103 Early Hints\r\n\r\n"))
    said = gateway.caller().say("GET / HTTP/1.0\r\nHost: g\r\n\r\n").raw()
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_upstreams_own_words_about_credits_do_not_contradict_ours(gateway: Gateway, upstream: StubUpstream) -> None:
    own = (("RateLimit", '"x";r=1;t=1'), ("X-Farebox-Credits-Left", "7"), ("Keep-Alive", "5"), ("Via", "1.1 a"))
    upstream.answer("/", Behaviour(fields=own))
    answer = gateway.caller().ask()
    assert answer.names.count("RateLimit") == 1
    assert answer.fields["ratelimit"].startswith('"api";')
    assert answer.fields["x-farebox-credits-left"] == "999999"
    assert answer.fields["via"] == "1.1 a, 1.1 farebox"
    assert "keep-alive" not in answer.fields


def test_a_stale_connection_is_tried_again_for_what_may_be_repeated(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/stale", Behaviour(raw=b""), Behaviour())
    caller = gateway.caller()
    assert caller.ask("GET", "/first").status == 200
    assert caller.ask("GET", "/stale").status == 200
    assert [request.target for request in upstream.requests] == ["/first", "/stale", "/stale"]
    assert len(gateway.entries()) == 2


def test_a_stale_connection_is_not_tried_again_for_a_post(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/stale", Behaviour(raw=b""), Behaviour())
    caller = gateway.caller()
    assert caller.ask("GET", "/first").status == 200
    assert caller.ask("POST", "/stale", body=b"x").status == 502
    assert len(upstream.requests) == 2


def test_a_fresh_connection_that_fails_is_not_tried_again(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer("/stale", Behaviour(raw=b""), Behaviour())
    assert gateway.caller().ask("GET", "/stale").status == 502
    assert len(upstream.requests) == 1


@pytest.mark.sources
def test_a_post_does_not_go_out_on_a_connection_that_idled_for_long(
    make_gateway: GatewayMaker, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farebox.gateway.http1_pool.REUSE_SECONDS", -1.0)
    caller = make_gateway(upstream_connections_max=1).caller()
    assert [caller.ask(method).status for method in ("GET", "GET", "POST", "GET")] == [200] * 4
    assert [request.connection for request in upstream.requests] == [1, 1, 2, 2]


def test_an_upstream_that_restarts_is_found_again(gateway: Gateway, upstream: StubUpstream) -> None:
    caller = gateway.caller()
    for _ in range(3):
        assert caller.ask().status == 200
        upstream.close_connections()
    assert caller.ask().status == 200


def test_an_upstream_has_at_most_so_many_connections_and_the_rest_wait(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(upstream_connections_max=2)
    upstream.default = Behaviour(delay_seconds=0.02)
    callers = [gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n") for _ in range(20)]
    assert [caller.hear().status for caller in callers] == [200] * 20
    assert upstream.connections == 2


def test_one_call_too_many_waiting_for_a_connection_is_refused_for_free(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(upstream_connections_max=1, upstream_waiting_max=1)
    upstream.answer("/slow", Behaviour(never_answer=True))
    first = gateway.caller().say("GET /slow HTTP/1.1\r\nHost: g\r\n\r\n")
    upstream.wait_for(1)
    second = gateway.caller().say("GET /waits HTTP/1.1\r\nHost: g\r\n\r\n")
    gateway_waits = gateway.worker._pools[0]
    until(lambda: gateway.on_loop(lambda: gateway_waits.waiting) == 1)
    third = gateway.caller().ask("GET", "/too-many")
    assert (third.status, third.json()["code"]) == (503, "UPSTREAM_BUSY")
    gateway.age("upstream_connection", 2 * gateway.config.gateway.connect_seconds)
    assert second.hear().json()["code"] == "UPSTREAM_BUSY"
    assert len(upstream.requests) == 1
    first.close()
