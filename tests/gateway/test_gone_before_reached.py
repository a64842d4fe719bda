"""A caller that leaves with credits set aside, before its call found a connection to the upstream."""

from __future__ import annotations

import socket
import struct

from farebox.journal.records import UNANSWERED
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import GatewayMaker, until

CREDIT = 1_000


def test_a_caller_that_leaves_the_queue_for_a_connection_is_not_charged(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(upstream_connections_max=1)
    upstream.answer("/", Behaviour(never_answer=True))
    first = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    upstream.wait_for(1)
    waiting = gateway.caller().say("GET /second HTTP/1.1\r\nHost: g\r\n\r\n")
    until(lambda: gateway.held() == 2 * CREDIT)
    waiting.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    waiting.socket.close()
    until(lambda: gateway.held() == CREDIT)
    upstream.close_connections()  # the first call ends, so its entry is behind any of the second
    assert first.hear().status == 502
    until(lambda: gateway.held() == 0)
    assert [entry.outcome for entry in gateway.entries()] == [UNANSWERED]
    assert len(upstream.requests) == 1
