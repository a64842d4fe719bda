"""Many callers at once, each on a connection that is kept: for races that must have exactly one outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

WITHIN_SECONDS: Final = 60.0
LENGTH: Final = b"content-length:"


class Caller(asyncio.Protocol):
    """One connection: a request goes out whole, the status of its answer (with a Content-Length) comes back."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def call(self, request: bytes) -> asyncio.Future[int]:
        """Send it; one call at a time."""
        assert self._transport is not None, "not connected yet"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Another part of the answer."""
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or self._answer is None:
            return
        (size,) = (int(line[len(LENGTH) :]) for line in head.lower().split(b"\r\n") if line.startswith(LENGTH))
        if len(body) >= size:
            self._buffer = b""
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that is still waited for will not come."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed before its answer"))

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


class Crowd:
    """So many callers, connected."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        self._callers = callers

    async def call(self, request: bytes) -> Counter[int]:
        """Everybody sends `request` before anybody reads an answer; how often each status came.

        Raises TimeoutError when somebody has no answer within a minute.
        """
        async with asyncio.timeout(WITHIN_SECONDS):
            return Counter(await asyncio.gather(*[caller.call(request) for caller in self._callers]))


@asynccontextmanager
async def crowd(count: int, *addresses: str) -> AsyncIterator[Crowd]:
    """`count` callers, evenly spread over `addresses` (host:port)."""
    loop = asyncio.get_running_loop()
    places = [address.rsplit(":", 1) for address in addresses]
    callers: list[Caller] = []
    try:
        for number in range(count):
            host, port = places[number % len(places)]
            callers.append((await loop.create_connection(Caller, host, int(port)))[1])
        yield Crowd(callers)
    finally:
        for caller in callers:
            caller.close()
