"""The last answer of a connection arrives whole, however late its caller reads it, and a body however slow it comes."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from farebox.testing.upstream import Behaviour, StubUpstream

from .certificates import Authority
from .conftest import Gateway, GatewayMaker, until

SIZE = 150 * 1024
NAME = "gateway.example.com"


def pass_time(gateway: Gateway, seconds: float) -> None:
    """Return when the gateway has swept its waits for so long."""
    ticks: list[float] = []
    gateway.on_loop(lambda: gateway.worker.waits.timeouts.every_tick(lambda: ticks.append(gateway._loop.time())))
    until(lambda: ticks and ticks[-1] - ticks[0] > seconds)


@pytest.mark.parametrize("tls", [False, True])
def test_a_caller_that_reads_late_gets_the_end_of_the_last_answer(
    make_gateway: GatewayMaker, upstream: StubUpstream, tmp_path: Path, *, tls: bool
) -> None:
    upstream.answer("/", Behaviour(stream_bytes=SIZE))
    authority = Authority(tmp_path)
    pair = authority.pair(NAME)
    files: dict[str, Any] = {"tls_certificate": pair.certificate, "tls_key": pair.key} if tls else {}
    gateway = make_gateway(**files)
    gateway.worker._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 1024)  # accepted sockets inherit it
    caller = gateway.caller(tls=authority.client() if tls else None, name=NAME)
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    caller.say("GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    client = until(lambda: next(iter(gateway.worker.plane.clients), None))
    until(lambda: client._lingered == 0)  # all is written, most of it not taken yet
    linger = gateway.worker.waits.client_linger
    pass_time(gateway, linger.seconds + 0.5)
    assert len(caller.raw().partition(b"\r\n\r\n")[2]) == SIZE


@pytest.mark.parametrize("patience", ["idle_connection_seconds", "answer_seconds"])
def test_a_body_may_come_slowly_on_a_connection_that_was_used_before(
    make_gateway: GatewayMaker, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch, patience: str
) -> None:
    monkeypatch.setattr("farebox.gateway.http1_pool.REUSE_SECONDS", 3_600.0)  # however slow this machine is
    answering = threading.Event()
    upstream.answer("/first", Behaviour(after=answering))
    settings: dict[str, Any] = {patience: 300.0}
    gateway = make_gateway(upstream_connections_max=1, **settings)
    caller, slow = gateway.caller(), gateway.caller()
    caller.say("GET /first HTTP/1.1\r\nHost: g\r\n\r\n")
    upstream.wait_for(1)
    if patience == "idle_connection_seconds":  # else it waits for the connection, and has it in the moment it is free
        answering.set()
        assert caller.hear().status == 200
    slow.say("POST /slow HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\na")
    if patience == "answer_seconds":
        until(lambda: gateway.waiting("upstream_connection") == 1)
        answering.set()
    upstream.wait_for(2)
    for wait in ("client_idle", "upstream_idle", "upstream_answer"):
        gateway.age(wait, 300.0)
    answer = slow.say("b").hear()
    assert (answer.status, upstream.requests[1].body) == (200, b"ab")
    assert upstream.requests[1].connection == 1
