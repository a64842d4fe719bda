"""The connections to one upstream: at most so many, the last used first, and a bounded queue for those who wait."""

from __future__ import annotations

import asyncio
import errno
from typing import Final, Protocol

import structlog

from farebox.config import Address, host_port
from farebox.gateway.health import Health
from farebox.gateway.http1_known import KnownAnswers
from farebox.gateway.http1_upstream import PooledCall, UpstreamConnection, UpstreamWaits
from farebox.gateway.timeouts import TimeoutClass
from farebox.gateway.tls import UpstreamVerification, connect_problem

REUSE_SECONDS: Final = 2.0
"""A request that must not be sent twice does not go out on a connection idle for longer: common servers close idle
connections after 5 s, and losing that race costs the caller a 502."""

PROBE_AGAIN_SECONDS: Final = 0.1
"""After a try that failed for want of a socket of our own."""

OWN_ERRORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
"""What the gateway's own machine has run out of (files, buffers, ports): it says nothing of the upstream."""

_log = structlog.get_logger("farebox.gateway")


class PoolWaits(UpstreamWaits, Protocol):
    """The patience with an upstream, waiting for a connection included."""

    upstream_connection: TimeoutClass


class Siblings(Protocol):
    """The addresses of one upstream."""

    def next_up(self) -> UpstreamPool | None:
        """An address that is up; None when none is."""
        ...

    def all_down(self) -> str:
        """Why none is."""
        ...


class UpstreamPool:
    """All connections to one address. `authority` is what the Host field of its requests says."""

    def __init__(
        self,
        *,
        name: str,
        authority: str,
        address: Address,
        tls: UpstreamVerification | None,
        waits: PoolWaits,
        connections_max: int,
        waiting_max: int,
        connect_seconds: float,
        header_bytes_max: int,
        header_fields_max: int,
        stream_buffer_bytes: int,
        down_seconds_max: float,
    ) -> None:
        self.authority = authority
        self.host_field = authority.encode("ascii")
        self.label = f"{name} ({address})"
        """What people are told it is."""
        self.host, self.port = host_port(address)
        self.health = Health(down_seconds_max=down_seconds_max)
        self.siblings: Siblings | None = None
        """Where a call goes that cannot be connected here; None: it ends here."""
        self._tls = tls
        self._probe: asyncio.TimerHandle | None = None
        self.waits = waits
        self.answers = KnownAnswers()
        self.header_bytes_max = header_bytes_max
        self.header_fields_max = header_fields_max
        self.stream_buffer_bytes = stream_buffer_bytes
        self._connections_max = connections_max
        self._waiting_max = waiting_max
        self._connect_seconds = connect_seconds
        self._loop = asyncio.get_running_loop()
        self._open: set[UpstreamConnection] = set()
        self._idle: list[UpstreamConnection] = []
        self._waiting: dict[PooledCall, bool] = {}
        """Who waits, in turn, and whether it is bound to this address: a part of it was sent there."""
        self._connecting: set[asyncio.Task[None]] = set()
        self._exhausted = False
        self.connects = 0
        """Connections opened since the start."""
        self.connects_failed = 0
        """Connections that could not be opened, or not in time."""

    @property
    def pools(self) -> tuple[UpstreamPool, ...]:
        """This one: an upstream with one address is its pool."""
        return (self,)

    @property
    def open_connections(self) -> int:
        """Connections open or being opened."""
        return len(self._open) + len(self._connecting)

    @property
    def idle_connections(self) -> int:
        """Connections kept for the next call."""
        return len(self._idle)

    @property
    def is_busy(self) -> bool:
        """Whether a connection is in use, and will come free or be lost."""
        return len(self._open) > len(self._idle)

    @property
    def waiting(self) -> int:
        """Calls that wait for a connection."""
        return len(self._waiting)

    def acquire(self, call: PooledCall) -> None:
        """Give `call`, which was sent nowhere yet, a connection, now or later."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport is None or connection.transport.is_closing():
                continue
            if not call.is_idempotent and self._loop.time() - connection.idle_since > REUSE_SECONDS:
                idle.append(connection)
                break
            call.connected(connection)
            return
        self._queue(call, bound=False)

    def acquire_again(self, call: PooledCall) -> None:
        """Give `call`, which was sent to this address, another connection to it that does not idle, or none."""
        self._queue(call, bound=True)

    def _queue(self, call: PooledCall, *, bound: bool) -> None:
        """Let `call` wait; `bound`: it was sent to this address and must go to no other."""
        if self.health.is_down and not self.is_busy:
            self._give_up(call, bound=bound)
            return
        if len(self._waiting) - (self._connections_max - len(self._open)) >= self._waiting_max:
            call.unreachable("too many calls wait for the upstream", busy=True)
            return
        self._waiting[call] = bound
        self.waits.upstream_connection.start(call)
        self._connect()

    def forget(self, call: PooledCall) -> None:
        """The call waits no longer."""
        if self._waiting.pop(call, None) is not None:
            self.waits.upstream_connection.stop(call)

    def release(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """A connection's answer is whole: the next call in line has it, or it waits for one."""
        if not reusable:
            connection.close()
            self._connect()
            return
        connection.reused = True
        if self._waiting:
            self._give(connection)
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        connection.await_use()

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is closed; safe to repeat."""
        if connection in self._open:
            self._open.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            if self._waiting and self.health.is_down:
                self._give_up_waiting()
            elif self._waiting:
                self._connect()

    def close(self) -> None:
        """Close every connection; calls under way are told."""
        if self._probe is not None:
            self._probe.cancel()
        for task in self._connecting:
            task.cancel()
        for connection in list(self._open):
            connection.close()

    def _give(self, connection: UpstreamConnection) -> None:
        call = next(iter(self._waiting))
        self.forget(call)
        call.connected(connection)

    def _connect(self) -> None:
        """Open as many connections as wait and may be."""
        if self.health.is_down:
            return
        wanted = len(self._waiting) - len(self._connecting)
        room = self._connections_max - self.open_connections
        if room <= 0 < wanted and self._idle:
            # Every connection is open, and those that idle are too old for this call: one makes room.
            self._idle[0].close()
            return
        for _ in range(min(wanted, room)):
            task = self._loop.create_task(self._open_one())
            self._connecting.add(task)

    async def _open_one(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(self._connect_seconds):
                connection = await self._opened()
        except TimeoutError:
            self._connecting.discard(task)
            self._failed(f"did not accept a connection within {self._connect_seconds:g} s")
        except OSError as error:
            self._connecting.discard(task)
            if error.errno in OWN_ERRORS:
                self._out_of(error)
            else:
                self._failed(connect_problem(error))
        else:
            self._connecting.discard(task)
            self.connects += 1
            self._open.add(connection)
            self._exhausted = False
            self._worked()
            if self._waiting:
                self._give(connection)
                self._connect()
            else:
                self.release(connection, reusable=True)
                connection.reused = False

    async def _opened(self) -> UpstreamConnection:
        tls = self._tls
        _, connection = await self._loop.create_connection(
            lambda: UpstreamConnection(self),
            self.host,
            self.port,
            ssl=None if tls is None else tls.context,
            server_hostname=None if tls is None else tls.server_name,
            # The handshake is within `connect_seconds`, which ends it first.
            ssl_handshake_timeout=None if tls is None else 2 * self._connect_seconds,
        )
        return connection

    def _failed(self, reason: str) -> None:
        """The address is down: who waits for it goes elsewhere, and it is tried again after a while."""
        self.connects_failed += 1
        if self.health.failed(reason, at=self._loop.time()):
            _log.warning("upstream.down", upstream=self.label, message=reason)
        if self._probe is not None:
            self._probe.cancel()
        self._probe = self._loop.call_at(self.health.try_at, self._try_again)
        self._give_up_waiting()

    def _out_of(self, error: OSError) -> None:
        """No connection can be made here, wherever to: who waits goes on waiting only for one that is in use."""
        reason = error.strerror or str(error)
        if not self._exhausted:
            self._exhausted = True
            _log.error("gateway.no_socket", upstream=self.label, message=reason)
        if self.health.is_down and self._probe is None:  # it was the try that would bring it back
            self._probe = self._loop.call_later(PROBE_AGAIN_SECONDS, self._try_again)
        while self._waiting and not self.is_busy:
            call = next(iter(self._waiting))
            self.forget(call)
            call.no_socket(reason)

    def _give_up_waiting(self) -> None:
        """Who may go to another address goes; the others wait on as long as a connection here is in use."""
        for call, bound in list(self._waiting.items()):
            if call in self._waiting and (not self.is_busy or (not bound and self._sibling() is not None)):
                self.forget(call)
                self._give_up(call, bound=bound)

    def _sibling(self) -> UpstreamPool | None:
        return None if self.siblings is None else self.siblings.next_up()

    def _worked(self) -> None:
        if self.health.worked():
            _log.info("upstream.up", upstream=self.label)
            if self._probe is not None:
                self._probe.cancel()
                self._probe = None

    def _give_up(self, call: PooledCall, *, bound: bool) -> None:
        sibling = None if bound else self._sibling()
        if sibling is not None:
            sibling.acquire(call)
        elif bound or self.siblings is None:
            call.unreachable(f"{self.label} {self.health.reason}", busy=False)
        else:
            call.unreachable(self.siblings.all_down(), busy=False)

    def _try_again(self) -> None:
        """Open a connection in the place of the calls that were refused."""
        self._probe = None
        if self.open_connections < self._connections_max:
            self._connecting.add(self._loop.create_task(self._open_one()))
        else:  # every connection there may be is open: it lives
            self._worked()
