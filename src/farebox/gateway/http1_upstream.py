"""A connection to an upstream: one request out, one answer back. Long because its state is one thing.

An answer is believed only if it is framed as strictly as we demand of requests; a connection whose last answer left
any doubt is closed, never used again.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

import httptools

from farebox.gateway.http1_answer import UNTIL_CLOSE, AnswerHead, AnswerInvalidError, answer_head
from farebox.gateway.http1_fields import CONTENT_LENGTH, TRANSFER_ENCODING, answer_fields
from farebox.gateway.http1_known import KnownAnswers
from farebox.gateway.http1_request import Fields
from farebox.gateway.http1_switch import SWITCHING, switch_head
from farebox.gateway.timeouts import TimeoutClass

INTERIM_ANSWERS_MAX: Final = 16
"""1xx answers to one request; an upstream that sends more is not answering."""

LOST: Final = "lost"
MALFORMED: Final = "malformed"
TIMED_OUT: Final = "timed_out"

_HTTP: Final = b"HTTP/"
_FRAMING: Final = (CONTENT_LENGTH, TRANSFER_ENCODING)


class UpstreamCall(Protocol):
    """One request on its way through an upstream connection."""

    is_head: bool

    def request_sent(self) -> bool:
        """Whether all of the request was written."""
        ...

    def interim(self, status: int, fields: Fields) -> None:
        """A 1xx answer."""
        ...

    def answer_began(self, answer: AnswerHead) -> None:
        """The head of the answer."""
        ...

    def answer_data(self, chunks: list[bytes]) -> None:
        """Bytes of its body."""
        ...

    def answer_waits(self) -> None:
        """The head was read and the body is not whole yet."""
        ...

    def answer_complete(self) -> None:
        """The answer is whole; the connection is no longer ours."""
        ...

    def answer_failed(self, why: str, reason: str) -> None:
        """No (whole) answer comes; the connection is closed."""
        ...

    def upstream_paused(self) -> None:
        """The upstream reads slower than we write."""
        ...

    def upstream_resumed(self) -> None:
        """The upstream caught up."""
        ...


class PooledCall(UpstreamCall, Protocol):
    """A call that asks for a connection."""

    is_idempotent: bool

    def connected(self, connection: UpstreamConnection) -> None:
        """Here is a connection: write."""
        ...

    def unreachable(self, reason: str, *, busy: bool) -> None:
        """There is no connection, and nothing was written. `busy`: all are taken, rather than none to be had."""
        ...

    def no_socket(self, reason: str) -> None:
        """The gateway cannot open a connection, to whatever address; nothing was written now."""
        ...

    def timed_out(self, wait: TimeoutClass) -> None:
        """No connection came free in time."""
        ...


class UpstreamWaits(Protocol):
    """The patience with upstreams, by class."""

    upstream_answer: TimeoutClass
    upstream_body: TimeoutClass
    upstream_idle: TimeoutClass


class Owner(Protocol):
    """Who keeps a connection between calls."""

    @property
    def waits(self) -> UpstreamWaits:
        """The patience with upstreams."""
        ...

    answers: KnownAnswers
    header_bytes_max: int
    header_fields_max: int
    stream_buffer_bytes: int

    def acquire_again(self, call: PooledCall) -> None:
        """Give `call`, which was sent to this address, another connection to it that does not idle, or none."""
        ...

    def release(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """The connection's answer is whole; it has no call any more."""
        ...

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is closed or about to be; said at least once."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One connection to an upstream."""

    __slots__ = (
        "_answer",
        "_bytes_seen",
        "_chunks",
        "_complete",
        "_doubt",
        "_fields",
        "_head",
        "_head_done",
        "_header_bytes_max",
        "_interims",
        "_parser",
        "_paused",
        "_pool",
        "_progress",
        "_quiet",
        "_switched",
        "_wait",
        "_waits",
        "call",
        "idle_since",
        "reused",
        "transport",
        "write_paused",
    )

    def __init__(self, pool: Owner) -> None:
        self._pool = pool
        self._waits = pool.waits
        self._wait: TimeoutClass | None = None
        self._header_bytes_max = pool.header_bytes_max
        self._parser = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.call: UpstreamCall | None = None
        self.reused = False
        self.idle_since = 0.0
        self.write_paused = False
        self._reset()

    def _reset(self) -> None:
        self._fields: Fields = []
        self._chunks: list[bytes] = []
        self._answer: AnswerHead | None = None
        self._head: AnswerHead | None = None
        self._head_done = False
        self._complete = False
        self._doubt = False
        self._bytes_seen = False
        self._interims = 0
        self._switched: AnswerHead | None = None
        self._quiet = 0
        self._paused = False

    # -- the socket -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The upstream accepted."""
        transport = self.transport = cast("asyncio.Transport", transport)  # uvloop's does not say that it is one
        transport.set_write_buffer_limits(high=self._pool.stream_buffer_bytes)

    def data_received(self, data: bytes) -> None:  # noqa: C901 - what a read can bring, in the order it must be told
        """Bytes of an answer, or of nothing we asked for."""
        call = self.call
        if call is None:
            self.close()
            return
        begins = not self._bytes_seen
        if begins and self._known_answer(call, data):
            return
        failure = "" if not begins or data.startswith(_HTTP) else _not_http(data)
        self._bytes_seen = True
        failure = failure or self._parse(data)
        if self.call is not call:
            return
        head = self._head
        if head is not None:
            self._head = None
            call.answer_began(head)
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            call.answer_data(chunks)
        if self.call is not call:  # given up over what came: this connection is closed
            return
        if self._complete:
            if begins and head is not None and not self._doubt and not self._interims:
                self._pool.answers.remember(data, head)
            self._finish()
        elif failure:
            self._fail(MALFORMED, failure)
        elif self._answer is not None:
            if not self._paused:
                self._wait_for(self._waits.upstream_body)
            if head is not None:
                call.answer_waits()

    def _known_answer(self, call: UpstreamCall, data: bytes) -> bool:
        """Pass on an answer that is whole in one read and whose head came before; False: it is to be parsed."""
        end = data.find(b"\r\n\r\n") + 4
        answer = self._pool.answers.find(data[:end])
        if answer is None or answer.length != len(data) - end or call.is_head or self.write_paused:
            return False
        self._bytes_seen = True
        self._answer = answer
        call.answer_began(answer)
        if self.call is call and answer.length:
            call.answer_data([data[end:]])
        if self.call is call:
            self._finish()
        return True

    def eof_received(self) -> bool:
        """The upstream sends no more: the end of an answer framed by it, or a loss."""
        answer = self._answer
        if self.call is not None and answer is not None and answer.length == UNTIL_CLOSE and answer.has_body:
            self._doubt = True
            self._finish()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self.transport = None
        self._wait_for(None)
        self._pool.lost(self)
        if self.call is not None:
            self._fail(LOST, "the upstream reset the connection" if exc else "the upstream closed the connection")

    def pause_writing(self) -> None:
        """The upstream reads slower than we write."""
        self.write_paused = True
        self._wait_for(self._waits.upstream_body)
        if self.call is not None:
            self.call.upstream_paused()

    def resume_writing(self) -> None:
        """The upstream caught up."""
        self.write_paused = False
        self._wait_for(None)
        call = self.call
        if call is None:
            return
        call.upstream_resumed()
        if self.call is not call or self.write_paused:
            return
        if self._answer is not None and not self._paused:
            self._wait_for(self._waits.upstream_body)
        elif call.request_sent():
            self.await_answer()

    def timed_out(self, wait: TimeoutClass) -> None:
        """A wait took too long."""
        self._wait = None
        if self.call is None:
            self.close()
        else:
            self._fail(TIMED_OUT, f"the upstream was silent for {wait.seconds:g} s")

    # -- the parser (httptools calls these) -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins; after a whole one it is one too many."""
        if self._complete:
            self._doubt = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailers, which are dropped."""
        if not self._head_done:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._progress = True
        if self._complete or self.call is None:
            self._doubt = True
            return
        self._head_done = True
        status = self._parser.get_status_code()
        if len(self._fields) > self._pool.header_fields_max:
            raise AnswerInvalidError("an answer with too many fields")
        if 100 <= status < 200 and status != SWITCHING:  # noqa: PLR2004 - RFC 9110 15.2
            self._interims += 1
            if self._interims > INTERIM_ANSWERS_MAX:
                raise AnswerInvalidError("interim answers without end")
            if any(answer_fields.of(name) in _FRAMING for name, _ in self._fields):  # RFC 9110 8.6, RFC 9112 6.1
                raise AnswerInvalidError("an interim answer that speaks of a body")
            self.call.interim(status, self._fields)
            return
        # Only a call that asked for another protocol (`upgrade`) can be told that it begins.
        asked = getattr(self.call, "upgrade", b"") if status == SWITCHING else b""
        if asked:
            self._head = self._switched = switch_head(self._parser.get_http_version(), self._fields, asked=asked)
            return
        self._answer = self._head = answer_head(
            status, self._parser.get_http_version(), self._fields, to_head=self.call.is_head
        )
        self._complete = self.call.is_head

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._progress = True

    def on_body(self, data: bytes) -> None:
        """Bytes of the body."""
        self._progress = True
        if self._complete:
            self._doubt = True
        else:
            self._chunks.append(data)

    def on_message_complete(self) -> None:
        """An answer is whole, or an interim one is."""
        self._progress = True
        if self._answer is None:
            self._head_done = False
            self._fields = []
        else:
            self._complete = True

    # -- within -----------------------------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> str:  # noqa: PLR0911 - one per way a read can go wrong
        """Feed the parser; what is wrong in words, or nothing."""
        self._progress = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._switched is None:
                return "the upstream switched protocols without being asked"
            rest = data[upgrade.args[0] :]
            if rest:
                self._chunks.append(rest)
            return ""
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, AnswerInvalidError):
                raise
            return f"the upstream sent {cause}"
        except httptools.HttpParserError as error:
            if self._complete:
                self._doubt = True
                return ""
            return f"the upstream's answer is not HTTP ({error})"
        if self._progress:
            self._quiet = 0
            return ""
        self._quiet += len(data)
        return "the upstream sent an endless head" if self._quiet > self._header_bytes_max else ""

    def _finish(self) -> None:
        """The answer is whole: free the connection first, so that the next call waits least."""
        call, answer = self.call, self._answer
        assert call is not None
        assert answer is not None
        reusable = answer.keep_alive and not self._doubt and not self.write_paused
        if call.is_head and reusable:  # the parser still waits for the body that a GET would have brought
            self._parser = httptools.HttpResponseParser(self)
        if self._paused and self.transport is not None:
            self.transport.resume_reading()
        self.call = None
        self._reset()
        self._pool.release(self, reusable=reusable and call.request_sent())
        call.answer_complete()

    def _fail(self, why: str, reason: str) -> None:
        call, self.call = self.call, None
        self.close()
        if call is not None:
            call.answer_failed(why, reason)

    def _wait_for(self, wait: TimeoutClass | None) -> None:
        """One wait at a time: it replaces the one that runs."""
        if self._wait is not None and self._wait is not wait:
            self._wait.stop(self)
        self._wait = wait
        if wait is not None:
            wait.start(self)

    # -- for calls and the pool -------------------------------------------------------------------------------------

    @property
    def answer_seen(self) -> bool:
        """Whether any byte of an answer to the current call came."""
        return self._bytes_seen

    def carry(self, call: UpstreamCall) -> None:
        """From now on this connection is the call's; until all of that is sent, its caller has its own time-out."""
        self.call = call
        self._wait_for(None)

    def repeat(self, call: PooledCall) -> None:
        """Carry a call that was sent here, and is lost, on a fresh connection to the same address: never to another."""
        self._pool.acquire_again(call)

    def send(self, data: bytes) -> None:
        """Write."""
        if self.transport is not None:
            self.transport.write(data)

    def await_answer(self) -> None:
        """The request is whole: the answer's time runs."""
        if self._answer is None:
            self._wait_for(self._waits.upstream_answer)

    def await_use(self) -> None:
        """Idle from now on."""
        self._wait_for(self._waits.upstream_idle)

    def pause(self) -> None:
        """Read no more for now."""
        if not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
            self._wait_for(None)

    def resume(self) -> None:
        """Read on."""
        if self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()
            self._wait_for(self._waits.upstream_body)

    def hand_over(self) -> asyncio.Transport:
        """The socket, for another protocol; the pool counts it no longer.

        Whoever takes it tells `connection_lost` when it ends.
        """
        assert self.transport is not None
        self.call = None
        self._wait_for(None)
        self._pool.lost(self)
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        return self.transport

    def close(self) -> None:
        """End the connection at once, with whatever was on its way."""
        self.call = None
        self._wait_for(None)
        self._pool.lost(self)
        if self.transport is not None:
            self.transport.abort()


def _not_http(data: bytes) -> str:
    """What is wrong with how an answer begins; the parser itself takes RTSP's status lines for HTTP's."""
    begins = data.lstrip(b"\r\n")[: len(_HTTP)]
    return "" if _HTTP.startswith(begins) else "the upstream's answer is not HTTP"
