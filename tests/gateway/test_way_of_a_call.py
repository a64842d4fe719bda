"""One call, all the way: forwarded, charged, recorded before it is answered."""

from __future__ import annotations

from farebox.testing.upstream import StubUpstream

from .conftest import GatewayMaker, until


def test_a_get_is_forwarded_charged_and_answered(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway()
    answer = gateway.caller().ask("GET", "/things?page=2")
    assert (answer.status, answer.body) == (200, b"{}")
    assert upstream.requests[0].target == "/things?page=2"
    entry = gateway.entry()
    assert (entry.org, entry.credits, entry.status, entry.method) == ("acme", 1000, 200, "GET")
    assert gateway.held() == 0


def test_a_kept_alive_connection_serves_one_call_after_the_other(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway()
    caller = gateway.caller()
    for number in range(5):
        assert caller.ask("POST", f"/things/{number}", body=b'{"n":1}').status == 200
    assert upstream.connections == 1
    assert [r.body for r in upstream.requests] == [b'{"n":1}'] * 5
    until(lambda: len(gateway.entries()) == 5)
