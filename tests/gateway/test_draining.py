"""A worker that ends: no new connections, Connection: close, idle connections kept a while, streams cut at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from farebox.journal.records import CHARGE, CLOSE
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Caller, Gateway, GatewayMaker, until

REQUEST = "GET / HTTP/1.1\r\nHost: g\r\n\r\n"


@contextmanager
def draining(gateway: Gateway) -> Iterator[None]:
    """The worker was asked to end; it has ended when the block has."""
    gateway._loop.call_soon_threadsafe(gateway._stop.set)
    until(lambda: gateway.worker.plane.draining)
    yield
    gateway.thread.join(60)
    assert not gateway.thread.is_alive()


def test_what_comes_on_an_idle_connection_while_draining_is_answered_and_told_to_come_again_elsewhere(
    make_gateway: GatewayMaker,
) -> None:
    gateway = make_gateway(drain_idle_seconds=60.0, stop_grace_seconds=60.0)
    known, new = gateway.caller(), gateway.caller()
    assert known.ask().fields.get("connection") is None
    until(lambda: len(gateway.worker.plane.clients) == 2)
    with draining(gateway):
        for caller in (known, new):  # one that has called before and one that has only connected
            answer = caller.ask()
            assert (answer.status, answer.fields["connection"]) == (200, "close")
            assert caller.is_closed()
    assert len(gateway.entries()) == 3


def test_idle_connections_close_after_their_time_and_calls_under_way_end_first(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    answering = threading.Event()
    upstream.answer("/", Behaviour(after=answering))
    gateway = make_gateway(drain_idle_seconds=0.3, stop_grace_seconds=60.0)
    idle, busy = gateway.caller(), gateway.caller().say(REQUEST)
    upstream.wait_for(1)
    with draining(gateway):
        assert idle.is_closed()
        assert gateway.worker.plane.clients, "the call under way has its connection still"
        answering.set()
        answer = busy.hear()
        assert (answer.status, answer.fields["connection"]) == (200, "close")


def test_a_stream_is_cut_when_the_grace_is_over_charged_and_closed(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    upstream.answer("/", Behaviour(stream_bytes=1 << 30))
    gateway = make_gateway(drain_idle_seconds=30.0, stop_grace_seconds=0.5)
    caller = gateway.caller().say(REQUEST)
    until(lambda: any(entry.kind == CHARGE for entry in gateway.entries()))
    cut = threading.Thread(target=caller.raw)
    cut.start()
    with draining(gateway):
        cut.join(60)
        assert not cut.is_alive(), "the stream goes on"
    charge, close = gateway.entries()
    assert (charge.kind, close.kind, close.reason) == (CHARGE, CLOSE, "caller_gone")
    assert charge.credits + close.credits == 1_000
    assert gateway.worker.book.held() == 0


def test_a_worker_without_callers_ends_at_once(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(drain_idle_seconds=60.0, stop_grace_seconds=60.0)
    caller = gateway.caller()
    assert caller.ask().status == 200
    Caller.close(caller)
    until(lambda: not gateway.worker.plane.clients)
    with draining(gateway):
        pass
