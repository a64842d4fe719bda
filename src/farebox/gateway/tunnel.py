"""Tunnels: a call whose answer is 101 goes on as bytes both ways, until one side ends or nothing moves for too long.

The call is priced, admitted and forwarded like any other. It is charged and recorded before its 101 leaves; the bytes
it moved and how it ended stand in its `close` entry. An answer other than 101 is an answer like any other.
"""

from __future__ import annotations

import asyncio
from typing import Final

from farebox.gateway.forward import ENDED, STREAMING, VIA
from farebox.gateway.http1_answer import AnswerHead, status_line
from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.http1_switch import SWITCHING, asked_protocol
from farebox.gateway.http1_upstream import UpstreamConnection
from farebox.gateway.meter import Call
from farebox.gateway.plane import Plane, Route
from farebox.gateway.refuse import Refusal
from farebox.gateway.timeouts import TimeoutClass
from farebox.journal.records import CHARGED, CUT_OFF

IDLE: Final = "tunnel_idle"
CALLER_LOST: Final = "caller_gone"
UPSTREAM_LOST: Final = "upstream_lost"


class Tunnels:
    """All tunnels of a worker, at most `tunnels_max`; makes the calls that may become one."""

    def __init__(self, *, tunnels_max: int, idle: TimeoutClass) -> None:
        self.tunnels_max = tunnels_max
        self.idle = idle
        self.open: set[Tunnel] = set()
        self.asked: set[TunnelCall] = set()
        """Calls under way that may become a tunnel, from their turn until they end or it is open."""

    def has_room(self) -> bool:
        """Whether another call may become a tunnel, should all that asked become one."""
        return len(self.open) + len(self.asked) < self.tunnels_max

    def new_call(self, plane: Plane, client: ClientConnection, head: RequestHead, route: Route) -> Call:
        """The call of a request with an Upgrade field, which is forwarded only to what the card lists."""
        protocol = asked_protocol(head, route.card.card.upgrades)
        if not protocol:
            return Call(plane, client, head, route)
        return TunnelCall(plane, client, head, route, tunnels=self, protocol=protocol)

    def close(self) -> None:
        """End every tunnel at once."""
        for tunnel in list(self.open):
            tunnel.abort()


class TunnelCall(Call):
    """A call that asks to switch protocols."""

    __slots__ = ("_tunnel", "_tunnels", "upgrade")

    def __init__(
        self,
        plane: Plane,
        client: ClientConnection,
        head: RequestHead,
        route: Route,
        *,
        tunnels: Tunnels,
        protocol: bytes,
    ) -> None:
        super().__init__(plane, client, head, route)
        self.upgrade = protocol
        self._tunnels = tunnels
        self._tunnel: Tunnel | None = None

    def begin(self) -> None:
        """The call's turn has come, if there is room for another tunnel."""
        if self._tunnels.has_room():
            self._tunnels.asked.add(self)
            super().begin()
        else:
            self._refuse(_too_many_tunnels())

    def deliver(self) -> None:
        """Send the whole answer, which is none that switches."""
        self._leave()
        super().deliver()

    def _leave(self) -> None:
        """The call is over, or its tunnel is; that has its own place among those that are open."""
        self._tunnels.asked.discard(self)
        super()._leave()

    def own_request_fields(self) -> list[bytes]:
        """And the wish to switch."""
        return [*super().own_request_fields(), b"Connection: Upgrade\r\nUpgrade: ", self.upgrade, b"\r\n"]

    def answer_began(self, answer: AnswerHead) -> None:
        """The head of the answer: a 101 is charged and recorded before it leaves."""
        super().answer_began(answer)
        if answer.status == SWITCHING and self.upstream is not None:
            self.upstream.pause()
            self.answer_too_large()

    def answer_data(self, chunks: list[bytes]) -> None:
        """Bytes of the answer's body, or the first ones of the other protocol."""
        if self._tunnel is not None:
            self._tunnel.first_from_upstream(chunks)
        else:
            super().answer_data(chunks)

    def start_stream(self) -> None:
        """Send the answer's head; after a 101 the connection belongs to the other protocol."""
        answer, upstream = self.answer, self.upstream
        if answer is None or answer.status != SWITCHING:
            super().start_stream()
            return
        if upstream is None or self.client.transport is None:
            return  # either is gone and has said so
        pieces = [status_line(SWITCHING), b"Connection: Upgrade\r\nUpgrade: ", self.upgrade, b"\r\n", *answer.lines]
        pieces += self.own_answer_fields(answer)
        pieces += (b"Via: ", answer.via, b", " + VIA + b"\r\n\r\n") if answer.via else (b"Via: " + VIA + b"\r\n\r\n",)
        self.phase = STREAMING
        self.upstream = None
        self.client.send(b"".join(pieces))
        held, self.held = self.held, []
        self._tunnel = Tunnel(self, self.client, upstream, tunnels=self._tunnels)
        self._tunnel.first_from_upstream(held)

    def moved(self, *, to_caller: int, to_upstream: int) -> None:
        """So many bytes more went through the tunnel."""
        self.bytes_out += to_caller
        self.body_total += to_upstream

    def tunnel_ended(self, reason: str) -> None:
        """The tunnel is over, without a `reason` because one side ended it: the close says what it moved."""
        self.phase = ENDED
        self.ended(outcome=CUT_OFF if reason else CHARGED, reason=reason)


class TunnelEnd(asyncio.Protocol):
    """One side of a tunnel: what comes here goes to the peer, at the peer's pace."""

    __slots__ = ("_tunnel", "is_at_end", "is_lost", "of_caller", "peer", "transport")

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport, *, of_caller: bool) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.of_caller = of_caller
        self.is_at_end = False
        self.is_lost = False
        self.peer: TunnelEnd = self

    def data_received(self, data: bytes) -> None:
        """On to the peer."""
        self._tunnel.moved(self, len(data))
        if not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    def pause_writing(self) -> None:
        """This side reads slower than its peer writes."""
        if not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """It caught up."""
        if not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def eof_received(self) -> bool:
        """This side sends no more; what the other still sends goes on, where one way can end without the other."""
        mine, other = self.transport, self.peer.transport
        self.is_at_end = True
        if other.is_closing() or not (mine.can_write_eof() and other.can_write_eof()):
            return False
        other.write_eof()
        return not self.peer.is_at_end  # both have said everything: closed, the peer with it

    def connection_lost(self, exc: Exception | None) -> None:
        """This side is gone."""
        self.is_lost = True
        self._tunnel.lost(self, exc)


class Tunnel:
    """Both sides, the wait that ends them when nothing moves, and the call that pays."""

    __slots__ = ("_call", "_caller", "_client", "_is_over", "_tunnels", "_upstream", "_upstream_connection")

    def __init__(
        self, call: TunnelCall, client: ClientConnection, upstream: UpstreamConnection, *, tunnels: Tunnels
    ) -> None:
        self._call = call
        self._client = client
        self._upstream_connection = upstream
        self._tunnels = tunnels
        self._is_over = False
        from_caller, first, at_end = client.hand_over()
        self._caller = TunnelEnd(self, from_caller, of_caller=True)
        self._upstream = TunnelEnd(self, upstream.hand_over(), of_caller=False)
        self._caller.peer, self._upstream.peer = self._upstream, self._caller
        tunnels.open.add(self)
        tunnels.asked.discard(call)
        tunnels.idle.start(self)
        for end in (self._caller, self._upstream):
            end.transport.set_protocol(end)
        if client.write_paused:
            self._caller.pause_writing()
        if upstream.write_paused:
            self._upstream.pause_writing()
        if first:
            self._caller.data_received(first)
        if at_end and not self._caller.eof_received():
            self._caller.transport.close()

    def first_from_upstream(self, chunks: list[bytes]) -> None:
        """What came in the same read as the 101."""
        if chunks:
            self._upstream.data_received(b"".join(chunks))

    def moved(self, end: TunnelEnd, size: int) -> None:
        """Bytes came from that side."""
        self._tunnels.idle.start(self)
        if end.of_caller:
            self._call.moved(to_caller=0, to_upstream=size)
        else:
            self._call.moved(to_caller=size, to_upstream=0)

    def lost(self, end: TunnelEnd, exc: Exception | None) -> None:
        """A side is gone: the tunnel is over; the other side still gets what was written to it, in the idle time."""
        reason = "" if exc is None else CALLER_LOST if end.of_caller else UPSTREAM_LOST
        self._over(reason)
        if end.of_caller:
            self._client.connection_lost(exc)
        else:
            self._upstream_connection.connection_lost(exc)
        if end.peer.is_lost:
            self._tunnels.idle.stop(self)
            self._tunnels.open.discard(self)
        else:
            end.peer.transport.close()

    def timed_out(self, wait: TimeoutClass) -> None:  # noqa: ARG002 - its only wait
        """Nothing moved for too long, or the last bytes were not taken."""
        self._over(IDLE)
        self.abort()

    def abort(self) -> None:
        """End both sides at once."""
        for end in (self._caller, self._upstream):
            end.transport.abort()

    def _over(self, reason: str) -> None:
        if not self._is_over:
            self._is_over = True
            self._call.tunnel_ended(reason)


def _too_many_tunnels() -> Refusal:
    return Refusal(
        status=503,
        code="TOO_MANY_TUNNELS",
        text="This gateway has as many open tunnels as it may (gateway.tunnels_max); try again shortly.",
        retry_after=1,
    )
