"""A caller's connection: bytes in, calls in order, answers out in order. Long because its state is one thing.

One call of a connection is under way at a time; what a caller sends meanwhile waits, bounded, as it came. Which calls
are made of what was read is the affair of `Calls.open`; this file knows bytes, order and patience.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol, cast

import httptools

from farebox.gateway.http1_known import KnownHeads
from farebox.gateway.http1_request import Fields, RequestHead, foreign_targets, request_head
from farebox.gateway.refuse import HeadError, Refusal, bad_request
from farebox.gateway.timeouts import TimeoutClass

PIECE_BYTES: Final = 64 * 1024
"""Read at most so much before looking whether a bound is reached: parsed heads cost ten times their bytes."""

LINGER_BYTES_MAX: Final = 1024 * 1024
"""So much more is read and forgotten after the last answer, so that it is not lost to a reset (RFC 9112 9.6)."""


class ClientCall(Protocol):
    """One request of a connection, as the connection sees it."""

    def begin(self) -> None:
        """The call's turn has come."""
        ...

    def is_answering(self) -> bool:
        """Whether a part of its answer was sent."""
        ...

    def body(self, data: bytes) -> None:
        """Bytes of the request's body."""
        ...

    def body_complete(self) -> None:
        """The request is whole."""
        ...

    def client_gone(self) -> None:
        """Nobody waits for the answer any more."""
        ...

    def client_ended(self) -> bool:
        """The caller sends no more; whether the answer is still to be sent."""
        ...

    def client_paused(self) -> None:
        """The caller reads slower than we write."""
        ...

    def client_resumed(self) -> None:
        """The caller caught up."""
        ...


class ClientWaits(Protocol):
    """The patience with callers, by class."""

    client_idle: TimeoutClass
    client_head: TimeoutClass
    client_body: TimeoutClass
    client_write: TimeoutClass
    client_linger: TimeoutClass


class Calls(Protocol):
    """What a connection needs of its worker."""

    @property
    def waits(self) -> ClientWaits:
        """The patience with callers."""
        ...

    header_bytes_max: int
    header_fields_max: int
    target_bytes_max: int
    pipelined_bytes_max: int
    stream_buffer_bytes: int
    draining: bool
    known: KnownHeads

    def open(self, client: ClientConnection, head: RequestHead) -> ClientCall:
        """The call a request head asks for."""
        ...

    def refuse(self, client: ClientConnection, refusal: Refusal) -> ClientCall:
        """A call that is answered with a refusal, whatever it was."""
        ...

    def connected(self, client: ClientConnection) -> bool:
        """A connection came; False: there are too many."""
        ...

    def disconnected(self, client: ClientConnection) -> None:
        """A connection ended."""
        ...


class ClientConnection(asyncio.Protocol):  # longer than 150 lines: one connection's state is one thing
    """One connection of a caller, from accept to close."""

    __slots__ = (
        "_advancing",
        "_begun",
        "_between",
        "_bytes",
        "_calls",
        "_earlier",
        "_eof",
        "_fields",
        "_foreign",
        "_fresh",
        "_head",
        "_head_done",
        "_input_over",
        "_last",
        "_lingered",
        "_parser",
        "_parsing",
        "_pending",
        "_pending_bytes",
        "_piece",
        "_progress",
        "_quiet",
        "_read_pauses",
        "_site",
        "_target",
        "_wait",
        "_waits",
        "forwarded_lines",
        "local",
        "peer",
        "transport",
        "write_paused",
    )

    def __init__(self, site: Calls) -> None:
        self._site = site
        self._waits = site.waits
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: Fields = []
        self._head: RequestHead | None = None
        self._head_done = False
        self._between = True
        """The parser stands before a request, and no byte of it came."""
        self._bytes = b""
        """What is being parsed."""
        self._earlier = bytearray()
        """What was parsed of a head that is not whole yet."""
        self._fresh = False
        """The next head begins where `_bytes` begins."""
        self._foreign: frozenset[bytes] | None = None
        self._progress = False
        self._quiet = 0
        self._piece = 0
        self._parsing: ClientCall | None = None
        self._calls: deque[ClientCall] = deque()
        self._begun: ClientCall | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._last = False
        self._input_over = False
        self._wait: TimeoutClass | None = None
        self._advancing = False
        self._eof = False
        self._lingered = -1
        self._read_pauses = 0
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.write_paused = False
        self.forwarded_lines: bytes | None = None
        """The fields that tell an upstream who called, made once per connection by who forwards."""

    # -- the socket -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller connected."""
        transport = self.transport = cast("asyncio.Transport", transport)  # uvloop's does not say that it is one
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        transport.set_write_buffer_limits(high=self._site.stream_buffer_bytes)
        self._wait_for(self._waits.client_idle)
        if not self._site.connected(self):
            self._refuse(_TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._input_over:
            self._linger(len(data))
            return
        if self._calls and self._parsing is None:  # a whole request is under way: the next one waits unread
            self._pending.append(data)
            self._pending_bytes += len(data)
            if self._pending_bytes > self._site.pipelined_bytes_max:
                self._pause_reading(1)
            return
        alone = self._between and not self._calls
        if alone and self._open_known(data):
            return
        self._feed(data)
        if alone and self._between and len(self._calls) == 1 and not self._input_over and self._head is not None:
            self._site.known.remember(data, self._head)  # the whole of one request, and nothing else
        self._await_more()
        if not self._advancing:
            self._advance()

    def _open_known(self, data: bytes) -> bool:
        """Open the call of one whole request whose head came before; False: it is to be parsed."""
        site = self._site
        end = data.find(b"\r\n\r\n") + 4
        head = site.known.find(data[:end], site.target_bytes_max)  # the whole of `data`, nearly always: no copy
        if head is None or len(data) - end != head.length:
            return False
        self._quiet = 0
        call = site.open(self, head)
        self._calls.append(call)
        if head.length:
            call.body(data[end:])
        call.body_complete()
        self._wait_for(None)
        if not self._advancing:
            self._advance()
        return True

    def eof_received(self) -> bool:
        """The caller sends no more; answers under way are still wanted (RFC 9112 9.6)."""
        self._eof = True
        self._input_over = True
        waits = bool(self._calls) and self._parsing is None and self._calls[0].client_ended()
        return waits and self._half_closes()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is over."""
        self._input_over = True
        self._pending.clear()
        self.transport = None
        try:
            self._wait_for(None)
            self._waits.client_write.stop(self)
            self._leave_calls()
        finally:
            self._site.disconnected(self)

    def _leave_calls(self) -> None:
        """Tell every call that nobody waits for it; a bug in one keeps nothing from the others."""
        calls, self._calls = self._calls, deque()
        for call in calls:
            try:
                call.client_gone()
            except Exception as error:  # noqa: BLE001 - reported to the loop, like any callback's
                asyncio.get_running_loop().call_exception_handler({"message": "call failed", "exception": error})

    def pause_writing(self) -> None:
        """The caller reads slower than we write."""
        self.write_paused = True
        self._waits.client_write.start(self)
        if self._calls:
            self._calls[0].client_paused()

    def resume_writing(self) -> None:
        """The caller caught up."""
        self.write_paused = False
        self._waits.client_write.stop(self)
        if self._calls:
            self._calls[0].client_resumed()

    def timed_out(self, wait: TimeoutClass) -> None:
        """A wait took too long."""
        if wait is self._wait:
            self._wait = None
        if wait is self._waits.client_head or (wait is self._waits.client_body and self._parsing is not None):
            self._refuse(Refusal(status=408, code="REQUEST_TIMEOUT", text="The request did not arrive in time."))
        elif (
            wait is self._waits.client_linger and self.transport is not None and self.transport.get_write_buffer_size()
        ):
            self._wait_for(self._waits.client_body)  # the last answer is not taken yet: it has the time any body has
        else:
            self.abort()

    # -- the parser (httptools calls these) -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._between = False

    def on_url(self, target: bytes) -> None:
        """A part of the request target."""
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailers, which are dropped."""
        if not self._head_done:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._head_done = self._progress = True
        if self._input_over:  # the connection ended within this very read: what follows is nobody's
            return
        site = self._site
        # The exact sum is made only when the bytes read so far could be above a bound (1 us per call).
        if (
            self._quiet + self._piece > site.header_bytes_max
            or len(self._fields) > site.header_fields_max
            or len(self._target) > site.target_bytes_max
        ):
            self._check_bounds()
        version_at = self._bytes.find(b"\n") - 9  # below 0: not on the first line, and no place to look at
        if not (self._fresh and version_at > 0 and self._bytes.startswith(b"HTTP/1.", version_at)):
            self._refuse_foreign()
        self._fresh = False
        parser = self._parser
        head = request_head(parser.get_method(), self._target, parser.get_http_version(), self._fields)
        self._head = head
        self._parsing = site.open(self, head)
        self._calls.append(self._parsing)
        self._last = not head.keep_alive

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._progress = True

    def on_body(self, data: bytes) -> None:
        """Bytes of a body."""
        self._progress = True
        if self._parsing is not None:
            self._parsing.body(data)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._progress = True
        self._between = True
        self._head_done = False
        self._target = b""
        self._fields = []
        if self._last:  # only ever set: a call that was answered before its end may have ended the input already
            self._input_over = True
        call, self._parsing = self._parsing, None
        if call is not None:
            call.body_complete()

    # -- reading ----------------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        """Parse, a piece at a time; what follows a whole request that must wait stays unparsed."""
        if len(data) <= PIECE_BYTES:
            self._feed_piece(data)
            return
        for start in range(0, len(data), PIECE_BYTES):
            if self._input_over:  # refused, or the last request was read: what follows is nobody's
                return
            if self._calls and self._parsing is None:
                rest = data[start:]
                self._pending.append(rest)
                self._pending_bytes += len(rest)
                return
            self._feed_piece(data[start : start + PIECE_BYTES])

    def _feed_piece(self, data: bytes) -> None:
        self._progress = False
        self._piece = len(data)
        self._bytes, self._fresh = data, self._between
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # What follows is another request, or another protocol's: the answer tells, and until then it waits.
            rest = data[upgrade.args[0] :]
            if rest and not self._input_over:
                self._pending.append(rest)
                self._pending_bytes += len(rest)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, HeadError):
                raise
            self._refuse(cause.refusal)
        except httptools.HttpParserError as error:
            # After `Connection: close` the parser rejects whatever follows; the request before it is complete.
            if not self._input_over:
                self._refuse(_not_http(error))
        self._bytes, self._foreign = b"", None
        if self._earlier or not (self._between or self._head_done):
            self._keep_unfinished_head(data)
        if self._progress:
            self._quiet = 0
        else:
            self._quiet += len(data)
            try:
                self._check_bounds()
            except HeadError as error:
                self._refuse(error.refusal)

    def _keep_unfinished_head(self, data: bytes) -> None:
        """For `_refuse_foreign`; bounded as heads are, and gone with the end of the head."""
        if self._between or self._head_done:
            self._earlier.clear()
        else:
            self._earlier += data

    def _refuse_foreign(self) -> None:
        """Refuse "GET / RTSP/1.0" and "SOURCE / ICE/1.0", which the parser takes for HTTP and tells by nothing."""
        if self._foreign is None:  # looked for once in what is parsed, however many heads are in it
            self._foreign = foreign_targets(bytes(self._earlier) + self._bytes)
        if self._target in self._foreign:
            raise bad_request("VERSION_UNKNOWN", "The request line names another protocol; use HTTP/1.1.")

    def _check_bounds(self) -> None:
        site = self._site
        if len(self._target) > site.target_bytes_max:
            raise HeadError(
                Refusal(
                    status=414,
                    code="TARGET_TOO_LONG",
                    text=f"The request target is longer than {site.target_bytes_max} bytes.",
                )
            )
        size = self._quiet
        if len(self._fields) > site.header_fields_max or size > site.header_bytes_max:
            raise HeadError(_head_too_large(site))
        if self._head_done and not self._quiet:
            size = sum(len(name) + len(value) for name, value in self._fields) + 4 * len(self._fields)
            if size > site.header_bytes_max:
                raise HeadError(_head_too_large(site))

    def _await_more(self) -> None:
        """Start the wait that fits what is missing now."""
        if self._lingered >= 0:  # ended within this very read: that wait goes on
            return
        if self._parsing is not None:
            if not self._read_pauses:
                self._wait_for(self._waits.client_body)
        elif self._calls or self._input_over:
            self._wait_for(None)
        elif self._wait is not self._waits.client_head:  # from the first byte of a head, not from each
            self._wait_for(self._waits.client_head)

    def _wait_for(self, wait: TimeoutClass | None) -> None:
        if self._wait is not None and self._wait is not wait:
            self._wait.stop(self)
        self._wait = wait
        if wait is not None:
            wait.start(self)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what cannot be read, after the answers before it, and then close."""
        self._input_over = True
        self._wait_for(None)
        if self._parsing is not None:
            # A request whose rest cannot be read: whoever waits for its body must not wait on.
            broken, self._parsing = self._parsing, None
            index = len(self._calls) - 1
            if index >= 0 and self._calls[index] is broken:
                if broken.is_answering():  # a second answer inside the first would be believed to be part of it
                    self.abort()
                    return
                del self._calls[index]
                broken.client_gone()
        self._calls.append(self._site.refuse(self, refusal))
        if not self._advancing:
            self._advance()

    def _pause_reading(self, reason: int) -> None:
        if not self._read_pauses and self.transport is not None and not self._eof:
            self.transport.pause_reading()
        self._read_pauses |= reason

    def _resume_reading(self, reason: int) -> None:
        if not self._read_pauses & reason:
            return
        self._read_pauses &= ~reason
        if not self._read_pauses and self.transport is not None and not self._eof:
            self.transport.resume_reading()

    # -- for calls --------------------------------------------------------------------------------------------------

    def hand_over(self) -> tuple[asyncio.Transport, bytes, bool]:
        """(the socket, what was read and not parsed, whether the caller sends no more), for another protocol.

        Whoever takes them tells `connection_lost` when it ends.
        """
        assert self.transport is not None
        first = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._input_over = True
        self._wait_for(None)
        self._waits.client_write.stop(self)
        if self._read_pauses and not self._eof:
            self.transport.resume_reading()
        self._read_pauses = 0
        return self.transport, first, self._eof

    def is_secure(self) -> bool:
        """Whether the caller speaks TLS."""
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is not None

    def pause_body(self) -> None:
        """Read no more of the body for now."""
        self._pause_reading(2)
        if self._wait is self._waits.client_body:
            self._wait_for(None)

    def resume_body(self) -> None:
        """Read on."""
        if self._read_pauses & 2:
            self._resume_reading(2)
            if self._parsing is not None:
                self._wait_for(self._waits.client_body)

    def send(self, data: bytes) -> None:
        """Write; nothing happens when the caller is gone."""
        if self.transport is not None:
            self.transport.write(data)

    def abort(self) -> None:
        """End the connection at once: the caller must see that the answer is not whole."""
        self._input_over = True
        if self.transport is not None:
            self.transport.abort()

    def finished(self, call: ClientCall, *, keep_alive: bool) -> None:
        """The call's answer is written; the next one's turn has come, or the end."""
        if not self._calls or self._calls[0] is not call:
            return  # the caller is gone
        self._calls.popleft()
        self._begun = None
        if self._parsing is call:  # answered before its body was read: what is still to come cannot be told apart
            self._parsing = None
            keep_alive = False
        if not keep_alive:
            self._input_over = True
            self._leave_calls()
            self._pending.clear()
            self._end()
            return
        if not self._advancing:
            self._advance()

    def _advance(self) -> None:
        """Begin calls whose turn has come until one is under way or nothing is left to do."""
        self._advancing = True
        try:
            while self.transport is not None:
                if self._calls:
                    if self._calls[0] is self._begun:
                        return
                    self._begun = self._calls[0]
                    self._begun.begin()
                elif self._pending and not self._input_over:
                    self._feed_pending()
                    if not self._calls:
                        return
                else:
                    break
        finally:
            self._advancing = False
        if self._input_over or self._site.draining:
            self._end()
        elif self._wait is not self._waits.client_head:
            self._wait_for(self._waits.client_idle)

    def _feed_pending(self) -> None:
        pending = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._resume_reading(1)
        self._feed(pending)
        self._await_more()

    @property
    def draining(self) -> bool:
        """Whether the gateway is stopping: answers then close the connection."""
        return self._site.draining

    def close_if_idle(self) -> None:
        """Close, unless a call is under way or has begun to arrive."""
        if not self._calls and self._wait is self._waits.client_idle:
            self._end()

    def _end(self) -> None:
        """Close, reading on for a moment so that the last answer is not lost to a reset."""
        if self.transport is None or self._lingered >= 0:
            return
        self._lingered = 0
        self._input_over = True
        if self._eof:
            self.transport.close()
            return
        self._read_pauses = 1 if self._read_pauses else 0
        self._resume_reading(1)
        if not self._half_closes():  # TLS ends both ways, and reads on for a moment by itself
            self.transport.close()
            return
        self.transport.write_eof()
        self._wait_for(self._waits.client_linger)

    def _half_closes(self) -> bool:
        """Whether one way can end without the other: over TLS it cannot."""
        return self.transport is not None and self.transport.can_write_eof()

    def _linger(self, size: int) -> None:
        if self._lingered >= 0:
            self._lingered += size
            if self._lingered > LINGER_BYTES_MAX:
                self.abort()


_TOO_MANY_CONNECTIONS: Final = Refusal(
    status=503,
    code="TOO_MANY_CONNECTIONS",
    text="This gateway has as many open connections as it may (gateway.client_connections_max); try again shortly.",
    retry_after=1,
)


def _head_too_large(site: Calls) -> Refusal:
    return Refusal(
        status=431,
        code="HEAD_TOO_LARGE",
        text=f"A request head may have {site.header_fields_max} fields and {site.header_bytes_max} bytes; send fewer.",
    )


def _not_http(error: httptools.HttpParserError) -> Refusal:
    return Refusal(
        status=400,
        code="FRAMING_INVALID",
        text=f"This is not an HTTP/1.1 request as RFC 9112 frames it ({error}); the connection is closed.",
    )
