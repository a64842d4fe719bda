"""Accepts callers that speak TLS: a handshake counts as a connection from its first byte, and has its time.

asyncio's own TLS server tells nobody of a connection before its handshake is done: ten thousand that never say hello
would be open and bounded by nothing but the process's descriptors.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final

from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.plane import Plane

FAILED: Final = "tls.handshakes_failed"
REFUSED: Final = "tls.handshakes_refused"
NOT_ACCEPTED: Final = "tls.accepts_failed"

PAUSE_SECONDS: Final = 0.1
"""Without a descriptor left nothing can be accepted: the next try is made when some may have come free."""


class Handshakes:
    """The listening socket and the handshakes under way.

    `seconds`: for one handshake; `shutdown_seconds`: from the last answer until the caller has ended its side, too.
    """

    def __init__(
        self,
        plane: Plane,
        listener: socket.socket,
        context: ssl.SSLContext,
        *,
        seconds: float,
        shutdown_seconds: float,
    ) -> None:
        self._plane = plane
        self._listener = listener
        self._context = context
        self._seconds = seconds
        self._shutdown_seconds = shutdown_seconds
        self._under_way: set[asyncio.Task[None]] = set()
        self._accepting = plane.loop.create_task(self._accept())

    def __len__(self) -> int:
        return len(self._under_way)

    def close(self) -> None:
        """Accept no more; handshakes under way go on, each in its time."""
        self._accepting.cancel()
        self._accepting.add_done_callback(lambda _: self._listener.close())

    def abort(self) -> None:
        """End what is under way."""
        for task in self._under_way:
            task.cancel()

    async def _accept(self) -> None:
        plane, loop = self._plane, self._plane.loop
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:
                plane.count(NOT_ACCEPTED)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if len(self._under_way) + len(plane.clients) >= plane.config.client_connections_max:
                plane.count(REFUSED)
                connection.close()
                continue
            task = loop.create_task(self._shake(connection))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _shake(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._plane.loop.connect_accepted_socket(
                lambda: ClientConnection(self._plane),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=self._shutdown_seconds,
            )
        except OSError:  # every way a handshake can fail, ssl.SSLError and its time-out included
            self._plane.count(FAILED)
            connection.close()
