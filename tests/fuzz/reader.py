"""The gateway's own connection to a caller, with nothing behind it: what it accepts is written down."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from farebox.config import GatewayConfig
from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.http1_known import KnownHeads
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.refuse import Refusal
from farebox.gateway.waits import Waits

Seen = tuple[str, str, bytes]


class Transport(asyncio.Transport):
    """Takes what is written and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None:
        """Nobody reads it."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Nobody waits for it."""

    def pause_reading(self) -> None:
        """Pieces come all the same, as they do when the kernel has them."""

    def resume_reading(self) -> None:
        """They never stopped."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Accepted:
    """A request that was accepted: in `site.seen` once it is whole, and answered when its turn has come."""

    def __init__(self, site: Site, client: ClientConnection, head: RequestHead | None) -> None:
        self._site, self._client, self._head = site, client, head
        self._body: list[bytes] = []
        self._begun = False
        self._whole = head is None

    def begin(self) -> None:
        self._begun = True
        self._answer()

    def is_answering(self) -> bool:
        return False

    def body(self, data: bytes) -> None:
        self._body.append(data)

    def body_complete(self) -> None:
        self._whole = True
        head = self._head
        if head is not None:
            self._site.seen.append((head.method.decode(), head.target.decode(), b"".join(self._body)))
        self._answer()

    def client_gone(self) -> None:
        """Nothing depends on it."""

    def client_ended(self) -> bool:
        return True

    def client_paused(self) -> None:
        """Nothing is written."""

    def client_resumed(self) -> None:
        """Nothing is written."""

    def _answer(self) -> None:
        if self._begun and self._whole:
            self._client.finished(self, keep_alive=self._head is not None and self._head.keep_alive)


class Site:
    """Stands where the worker's plane stands; remembers heads as it does, over all connections."""

    def __init__(self) -> None:
        config = GatewayConfig()
        loop = asyncio.new_event_loop()
        self.waits = Waits(config, loop)
        loop.close()
        self.header_bytes_max = config.header_bytes_max
        self.header_fields_max = config.header_fields_max
        self.target_bytes_max = config.target_bytes_max
        self.pipelined_bytes_max = config.pipelined_bytes_max
        self.stream_buffer_bytes = config.stream_buffer_bytes
        self.draining = False
        self.known = KnownHeads(time.monotonic)
        self.seen: list[Seen] = []

    def open(self, client: ClientConnection, head: RequestHead) -> Accepted:
        return Accepted(self, client, head)

    def refuse(self, client: ClientConnection, refusal: Refusal) -> Accepted:
        assert 400 <= refusal.status < 600
        return Accepted(self, client, None)

    def connected(self, client: ClientConnection) -> bool:  # noqa: ARG002 - all may connect
        return True

    def disconnected(self, client: ClientConnection) -> None:
        """Nobody counts."""

    def reads(self, *pieces: bytes) -> list[Seen]:
        """The requests accepted and whole, of a connection that says these pieces and ends."""
        self.seen = []
        client, transport = ClientConnection(self), Transport()
        client.connection_made(transport)
        for piece in pieces:
            if piece and not transport.closed:
                client.data_received(piece)
        client.connection_lost(None)
        return self.seen
