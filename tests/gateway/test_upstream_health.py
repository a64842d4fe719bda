"""An address that cannot be connected to is left out until it can; with all of them down a call is refused at once."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest

from farebox.config import Address
from farebox.gateway.health import Health
from farebox.gateway.http1_upstream import UpstreamConnection
from farebox.gateway.upstream import Servers
from farebox.testing.system import free_port
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Gateway, GatewayMaker, until


@pytest.fixture
def second() -> Iterator[StubUpstream]:
    with StubUpstream() as stub:
        yield stub


def addresses(*ports: int) -> tuple[Address, ...]:
    return tuple(Address(f"127.0.0.1:{port}") for port in ports)


def pools(gateway: Gateway) -> Servers:
    found = gateway.worker._pools[0]
    assert isinstance(found, Servers)
    return found


def test_concurrent_failures_are_one_and_the_wait_doubles_up_to_its_bound() -> None:
    health = Health(down_seconds_max=0.5)
    assert health.failed("refused", at=0.0)
    assert not health.failed("refused", at=0.05)
    tries = [health.try_at]
    for _ in range(4):
        health.failed("refused", at=health.try_at)
        tries.append(health.try_at)
    assert [round(b - a, 3) for a, b in pairwise(tries)] == [0.2, 0.4, 0.5, 0.5]
    assert health.worked()
    assert not health.worked()


def test_in_order_the_first_address_that_is_up_has_every_call(
    make_gateway: GatewayMaker, upstream: StubUpstream, second: StubUpstream
) -> None:
    port = free_port()
    gateway = make_gateway(more={"addresses": addresses(port, upstream.port, second.port)}, upstream_down_seconds=0.1)
    caller = gateway.caller()
    assert [caller.ask("POST", f"/{n}", body=b"x").status for n in range(5)] == [200] * 5
    assert (len(upstream.requests), len(second.requests)) == (5, 0)
    assert pools(gateway).pools[0].health.is_down
    with StubUpstream(port=port) as first:
        until(lambda: not pools(gateway).pools[0].health.is_down)
        assert caller.ask("GET", "/back").status == 200
        assert [request.target for request in first.requests] == ["/back"]


def test_in_turn_every_address_that_is_up_has_its_share(
    make_gateway: GatewayMaker, upstream: StubUpstream, second: StubUpstream
) -> None:
    more = {"addresses": addresses(upstream.port, free_port(), second.port), "balance": "round-robin"}
    caller = make_gateway(more=more, upstream_down_seconds=30.0).caller()
    assert {caller.ask("GET", "/").status for _ in range(12)} == {200}
    assert abs(len(upstream.requests) - len(second.requests)) <= 1


def test_with_every_address_down_a_call_is_refused_at_once_free_and_told_all(make_gateway: GatewayMaker) -> None:
    one, other = free_port(), free_port()
    gateway = make_gateway(more={"addresses": addresses(one, other)}, connect_seconds=30, upstream_down_seconds=30)
    caller = gateway.caller()
    for _ in range(50):
        answer = caller.ask("GET", "/")
        assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_UNREACHABLE")
        assert answer.fields["x-farebox-credits-charged"] == "0"
    said = answer.json()["detail"]
    assert f"api (127.0.0.1:{one}) refused the connection" in said
    assert f"api (127.0.0.1:{other}) refused the connection" in said
    assert gateway.held() == 0
    connects = gateway.on_loop(lambda: [pool.connects_failed for pool in pools(gateway).pools])
    assert all(count <= 15 for count in connects)  # the probes', each after twice as long, not one per call


def test_calls_that_wait_for_an_address_that_times_out_go_to_the_next(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    with socket.socket() as full:  # a backlog that is full: further connects get no answer
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        gateway = make_gateway(
            more={"addresses": addresses(port, upstream.port)}, connect_seconds=4.0, upstream_down_seconds=30.0
        )
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(gateway.caller().ask("GET", "/").status)) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200] * 5
        assert pools(gateway).pools[0].health.reason == "did not accept a connection within 4 s"
        for filler in fillers:
            filler.close()


def test_an_upstream_that_dies_is_left_out_and_what_was_sent_to_it_is_charged(
    make_gateway: GatewayMaker, upstream: StubUpstream, second: StubUpstream
) -> None:
    upstream.default = Behaviour(never_answer=True)
    gateway = make_gateway(more={"addresses": addresses(upstream.port, second.port)}, upstream_down_seconds=30.0)
    caller = gateway.caller().say("POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx")
    upstream.wait_for(1)
    upstream.close()
    assert caller.hear().json()["code"] == "UPSTREAM_FAILED"
    assert gateway.entry().credits == 1000
    assert caller.ask("POST", "/", body=b"x").status == 200
    assert len(second.requests) == 1


@pytest.mark.parametrize("balance", ["in-order", "round-robin"])
def test_a_call_lost_with_a_kept_connection_is_never_sent_to_another_address(
    make_gateway: GatewayMaker, upstream: StubUpstream, second: StubUpstream, balance: str
) -> None:
    more = {"addresses": addresses(upstream.port, second.port), "balance": balance}
    gateway = make_gateway(more=more, upstream_down_seconds=30.0)
    caller = gateway.caller()
    while len(upstream.requests) < 1 or (balance == "round-robin" and len(second.requests) < 1):
        assert caller.ask("GET", "/warm").status == 200  # both have a connection that is kept
    before = [len(upstream.requests), len(second.requests)]
    upstream.default = Behaviour(never_answer=True)
    caller.say("PUT / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx")
    upstream.wait_for(before[0] + 1)
    assert upstream.requests[-1].connection == 1
    upstream.close()
    answer = caller.hear()
    assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_UNREACHABLE")
    assert "The request had been sent, so it is charged." in answer.json()["detail"]
    assert [len(upstream.requests), len(second.requests)] == [before[0] + 1, before[1]]
    assert gateway.entry(-1, count=sum(before) + 1).credits == 1000
    assert caller.ask("PUT", "/", body=b"x").status == 200  # one that was sent nowhere yet goes to the next
    assert len(second.requests) == before[1] + 1


def test_a_call_lost_with_a_kept_connection_is_repeated_at_the_same_address(
    make_gateway: GatewayMaker, upstream: StubUpstream, second: StubUpstream
) -> None:
    more = {"addresses": addresses(upstream.port, second.port), "balance": "round-robin"}
    caller = make_gateway(more=more).caller()
    for _ in range(2):
        assert caller.ask("GET", "/warm").status == 200
    upstream.answer("/put", Behaviour(reset_after=0), Behaviour())
    assert caller.ask("PUT", "/put", body=b"x").status == 200
    assert [(r.method, r.connection) for r in upstream.requests] == [("GET", 1), ("PUT", 1), ("PUT", 2)]
    assert [r.method for r in second.requests] == ["GET"]


def test_a_failed_connect_does_not_refuse_calls_that_a_live_connection_can_take(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    answering = threading.Event()
    upstream.default = Behaviour(after=answering)
    gateway = make_gateway(upstream_connections_max=2, upstream_down_seconds=30.0)
    pool = gateway.worker._pools[0].pools[0]
    callers = [gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")]
    upstream.wait_for(1)
    upstream.stop_listening()
    callers += [gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n") for _ in range(4)]
    until(lambda: gateway.on_loop(lambda: pool.health.is_down))
    answering.set()
    assert [caller.hear().status for caller in callers] == [200] * 5
    assert {request.connection for request in upstream.requests} == {1}
    answering.clear()
    callers[0].say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    upstream.wait_for(6)
    callers[1].say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    until(lambda: pool.waiting == 1)  # for the connection in use, also while it is down ...
    upstream.close_connections()
    assert callers[1].hear().json()["code"] == "UPSTREAM_UNREACHABLE"  # ... and no longer than that one lives
    answering.set()


@pytest.mark.sources
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL])
def test_a_gateway_without_a_socket_left_says_so_and_does_not_call_the_upstream_down(
    make_gateway: GatewayMaker, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    gateway = make_gateway()
    pool = gateway.worker._pools[0].pools[0]
    caller = gateway.caller()

    async def without_a_socket() -> UpstreamConnection:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as context:
        context.setattr(pool, "_opened", without_a_socket)
        answer = caller.ask("GET", "/")
    assert (answer.status, answer.json()["code"]) == (503, "GATEWAY_BUSY")
    assert os.strerror(number) in answer.json()["detail"]
    assert answer.fields["x-farebox-credits-charged"] == "0"
    assert (pool.health.is_down, pool.connects_failed, gateway.held()) == (False, 0, 0)
    assert caller.ask("GET", "/").status == 200


def test_a_sole_address_is_tried_in_the_place_of_callers_until_it_is_back(make_gateway: GatewayMaker) -> None:
    port = free_port()
    gateway = make_gateway(url=f"http://127.0.0.1:{port}", upstream_down_seconds=0.1)
    caller = gateway.caller()
    assert caller.ask("GET", "/").status == 502
    with StubUpstream(port=port) as upstream:
        upstream_seen = until(lambda: upstream.connections)  # nobody called meanwhile
        assert upstream_seen == 1
        until(lambda: caller.ask("GET", "/").status == 200)
        assert upstream.connections == 1


def test_while_a_sole_address_is_down_no_call_waits_for_it(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(url=f"http://127.0.0.1:{free_port()}", connect_seconds=30, upstream_down_seconds=30)
    pool = gateway.worker._pools[0].pools[0]
    caller = gateway.caller()
    assert caller.ask("GET", "/").status == 502
    assert pool._probe is not None
    gateway.on_loop(pool._probe.cancel)  # from now on nothing but a call could find out
    assert caller.ask("GET", "/").json()["code"] == "UPSTREAM_UNREACHABLE"
    assert gateway.on_loop(lambda: (pool.waiting, pool.health.is_down)) == (0, True)
