"""Forwarding one request and its answer, streamed. Long because both directions share every end they can come to.

An `Exchange` knows HTTP and nothing of credits: what is to happen before a request goes out, and before an answer does,
is for whoever derives from it (`meter.Call`, `local.LocalAnswer`).
"""

from __future__ import annotations

from typing import Final

from farebox.gateway.http1_answer import AnswerHead, status_line
from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.http1_fields import answer_fields
from farebox.gateway.http1_request import CHUNKED, Fields, RequestHead
from farebox.gateway.http1_upstream import LOST, TIMED_OUT, UpstreamConnection
from farebox.gateway.refuse import Refusal
from farebox.gateway.timeouts import TimeoutClass
from farebox.gateway.upstream import Connections

VIA: Final = b"1.1 farebox"

# RFC 9110 9.2.2; TRACE is not forwarded at all.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"})

# Where an exchange stands. Only ever forward.
WAITING: Final = 0  # nothing went to the upstream yet
FORWARDED: Final = 1  # the request is on its way, no answer yet
HELD: Final = 2  # the answer comes in and is held back
STREAMING: Final = 3  # the answer's head went to the caller
ENDED: Final = 4

NO_CONNECTION_SECONDS_FACTOR: Final = 2
"""A call waits for a free connection twice as long as one may take to open."""


class Exchange:
    """One request and its answer. The hooks at the end are what makes an exchange a call that is charged."""

    __slots__ = (
        "answer",
        "answer_done",
        "body_bytes",
        "body_done",
        "body_limit",
        "body_parts",
        "body_total",
        "bytes_out",
        "chunked_out",
        "client",
        "continued",
        "fresh_tried",
        "head",
        "held",
        "held_bytes",
        "is_head",
        "is_idempotent",
        "phase",
        "pool",
        "reached",
        "replayable",
        "streaming_chunked",
        "upstream",
    )

    def __init__(self, client: ClientConnection, head: RequestHead, *, body_limit: int) -> None:
        self.client = client
        self.head = head
        self.is_head = head.method == b"HEAD"
        self.is_idempotent = head.method in IDEMPOTENT
        self.phase = WAITING
        self.body_parts: list[bytes] = []
        self.body_bytes = 0
        self.body_total = 0
        self.body_limit = body_limit
        self.body_done = False
        self.continued = False
        self.pool: Connections | None = None
        self.upstream: UpstreamConnection | None = None
        self.reached = False
        self.fresh_tried = False
        self.replayable = False
        self.chunked_out = False
        self.answer: AnswerHead | None = None
        self.answer_done = False
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.streaming_chunked = False
        self.bytes_out = 0

    # -- the request, from the caller -------------------------------------------------------------------------------

    def begin(self) -> None:
        """The exchange's turn on its connection has come."""
        raise NotImplementedError

    def is_answering(self) -> bool:
        """Whether a part of the answer was sent."""
        return self.phase == STREAMING

    def body(self, data: bytes) -> None:
        """Bytes of the request's body: on to the upstream, or kept until they can go."""
        self.body_total += len(data)
        if self.phase == ENDED:
            return
        upstream = self.upstream
        if upstream is not None and not upstream.write_paused:
            upstream.send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked_out else data)
            return
        self.body_parts.append(data)
        self.body_bytes += len(data)
        if self.body_bytes > self.body_limit:
            self.body_too_large()

    def body_complete(self) -> None:
        """The request is whole."""
        self.body_done = True
        if self.upstream is not None:
            if not self.body_parts:
                self._end_body(self.upstream)
        elif self.phase == WAITING:
            self.body_whole()

    def client_gone(self) -> None:
        """Nobody waits for the answer any more."""
        if self.phase == ENDED:
            return
        self._drop_upstream()
        self.phase = ENDED
        self.cut_off()

    def client_ended(self) -> bool:
        """The caller sends no more, which is no reason not to answer; an answer without an end is one."""
        return not (self.phase == STREAMING and self.answer is not None and self.answer.length < 0)

    def client_paused(self) -> None:
        """The caller reads slower than the upstream writes."""
        if self.upstream is not None and self.phase == STREAMING:
            self.upstream.pause()

    def client_resumed(self) -> None:
        """The caller caught up."""
        if self.upstream is not None and self.phase == STREAMING:
            self.upstream.resume()

    # -- to the upstream --------------------------------------------------------------------------------------------

    def forward(self, pool: Connections) -> None:
        """Send the request to the upstream as soon as there is a connection."""
        self.pool = pool
        pool.acquire(self)

    def connected(self, connection: UpstreamConnection) -> None:
        """Here is a connection: the head goes out, and what there is of the body."""
        self.phase = FORWARDED
        self.upstream = connection
        connection.carry(self)
        self.reached = True
        pieces = self._known_head_pieces() or self._head_pieces()
        self.replayable = self.body_done
        parts = self.body_parts
        if self.chunked_out:
            for part in parts:
                pieces += (b"%x\r\n" % len(part), part, b"\r\n")
        else:
            pieces += parts
        if not self.replayable:
            self.body_parts = []
            self.body_bytes = 0
        connection.send(b"".join(pieces))
        if self.body_done:
            connection.await_answer()
        elif not connection.write_paused:
            self.client.resume_body()

    def _known_head_pieces(self) -> list[bytes] | None:
        """The same as `_head_pieces`, made once for all calls with this head that go the same way (2.5 us less)."""
        head, sent_as = self.head, self.sent_as()
        known = head.known
        if known is None or sent_as is None or not self.body_done:
            return None
        if known.forwarded_as != sent_as:
            known.forwarded = b"".join(self._head_pieces()[3:])
            known.forwarded_as = sent_as
        return [head.method, b" ", head.target, known.forwarded]

    def _head_pieces(self) -> list[bytes]:
        """Method, space, target, and then what is the same for every target."""
        head = self.head
        pool = self.pool
        assert pool is not None
        pieces = [head.method, b" ", head.target, b" HTTP/1.1\r\nHost: ", pool.host_field, b"\r\n"]
        pieces += head.lines
        pieces += self.own_request_fields()
        if head.via:
            pieces += (b"Via: ", head.via, b", " + VIA + b"\r\n")
        else:
            pieces.append(b"Via: " + VIA + b"\r\n")
        self.chunked_out = False
        if self.body_done:
            if self.body_bytes or head.length or head.has_length or head.method in (b"POST", b"PUT", b"PATCH"):
                pieces.append(b"Content-Length: %d\r\n\r\n" % self.body_bytes)
            else:
                pieces.append(b"\r\n")
            return pieces
        if head.expects_continue and not self.continued:
            pieces.append(b"Expect: 100-continue\r\n")
        if head.length == CHUNKED:
            self.chunked_out = True
            pieces.append(b"Transfer-Encoding: chunked\r\n\r\n")
        else:
            pieces.append(b"Content-Length: %d\r\n\r\n" % head.length)
        return pieces

    def _end_body(self, upstream: UpstreamConnection) -> None:
        if self.chunked_out:
            upstream.send(b"0\r\n\r\n")
        upstream.await_answer()

    def request_sent(self) -> bool:
        """Whether all of the request was written."""
        return self.body_done and (self.replayable or not self.body_parts)

    def upstream_paused(self) -> None:
        """The upstream reads slower than the caller writes."""
        if not self.body_done:
            self.client.pause_body()

    def upstream_resumed(self) -> None:
        """The upstream caught up: what was kept goes out, then the caller goes on."""
        upstream = self.upstream
        if upstream is None or self.replayable:
            return
        parts, self.body_parts = self.body_parts, []
        self.body_bytes = 0
        for part in parts:
            upstream.send(b"%x\r\n%b\r\n" % (len(part), part) if self.chunked_out else part)
        if self.body_done:
            self._end_body(upstream)
        else:
            self.client.resume_body()

    def unreachable(self, reason: str, *, busy: bool) -> None:
        """There is no connection to the upstream."""
        if busy:
            refusal = Refusal(
                status=503,
                code="UPSTREAM_BUSY",
                text=f"{reason}; try again shortly. {self.charge_words()}",
                retry_after=1,
            )
        else:
            refusal = Refusal(
                status=502,
                code="UPSTREAM_UNREACHABLE",
                text=f"The upstream cannot be reached: {reason}. {self.charge_words()}",
            )
        self.failed(refusal)

    def no_socket(self, reason: str) -> None:
        """The gateway's own system gives it no socket."""
        text = (
            f"The gateway cannot open a connection to the upstream: {reason}; try again shortly. {self.charge_words()}"
        )
        self.failed(Refusal(status=503, code="GATEWAY_BUSY", text=text, retry_after=1))

    def timed_out(self, wait: TimeoutClass) -> None:
        """No connection came free in time."""
        assert self.pool is not None
        self.pool.forget(self)
        self.unreachable(f"no connection to the upstream came free in {wait.seconds:g} s", busy=True)

    # -- the answer, from the upstream ------------------------------------------------------------------------------

    def interim(self, status: int, fields: Fields) -> None:
        """A 1xx answer is passed on and is not the answer."""
        if status == 100:  # noqa: PLR2004 - RFC 9110 15.2.1
            if self.head.expects_continue and not self.continued:
                self.send_continue()
            return
        if self.head.version_11 and self.phase == FORWARDED:
            kinds = answer_fields.of
            lines = [b"%b: %b\r\n" % (name, value) for name, value in fields if not kinds(name)]
            self.client.send(status_line(status) + b"".join(lines) + b"\r\n")

    def send_continue(self) -> None:
        """Tell the caller to send the body."""
        self.continued = True
        self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer_began(self, answer: AnswerHead) -> None:
        """The head of the answer."""
        self.answer = answer
        self.phase = HELD

    def answer_data(self, chunks: list[bytes]) -> None:
        """Bytes of the answer's body: on to the caller, or held."""
        if self.phase == STREAMING:
            self._stream(chunks)
            return
        self.held += chunks
        for chunk in chunks:
            self.held_bytes += len(chunk)
        if self.held_bytes > self.hold_bytes_max():
            self.answer_too_large()

    def answer_waits(self) -> None:
        """The head was read and the body is not whole yet."""

    def answer_complete(self) -> None:
        """The answer is whole."""
        self.upstream = None
        self.answer_done = True
        if self.phase == STREAMING:
            self._end_stream()
        elif self.phase == HELD:
            self.answer_whole()

    def answer_failed(self, why: str, reason: str) -> None:
        """No (whole) answer comes."""
        upstream, self.upstream = self.upstream, None
        assert upstream is not None
        if why == LOST and self._may_repeat(upstream):
            self.fresh_tried = True
            self.phase = WAITING
            upstream.repeat(self)
            return
        if why == TIMED_OUT:
            status, code, text = 504, "UPSTREAM_TIMEOUT", f"No answer in time: {reason}."
        else:
            status, code, text = 502, "UPSTREAM_FAILED", f"No usable answer: {reason}."
        self.failed(Refusal(status=status, code=code, text=f"{text} {self.charge_words()}"))

    def _may_repeat(self, upstream: UpstreamConnection) -> bool:
        """Only a kept-alive connection that had gone stale, before any byte of an answer, and harmless to repeat."""
        return (
            upstream.reused
            and not upstream.answer_seen
            and not self.fresh_tried
            and self.is_idempotent
            and self.replayable
        )

    # -- to the caller ----------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Send the whole answer in one piece."""
        answer = self.answer
        assert answer is not None
        keep_alive = self._keeps_alive()
        pieces = self._answer_pieces(answer)
        if not answer.has_body:
            if answer.length >= 0 and answer.status != 204:  # noqa: PLR2004 - RFC 9110 8.6: no length in a 204
                pieces.append(b"Content-Length: %d\r\n" % answer.length)
        else:
            pieces.append(b"Content-Length: %d\r\n" % self.held_bytes)
        pieces.append(self._connection(keep_alive=keep_alive))
        pieces += self.held
        self.bytes_out = self.held_bytes
        self.held = []
        self.phase = ENDED
        self.client.send(b"".join(pieces))
        self.client.finished(self, keep_alive=keep_alive)

    def start_stream(self) -> None:
        """Send the head and what is held of the body; the rest follows as it comes."""
        answer = self.answer
        assert answer is not None
        keep_alive = self._keeps_alive()
        pieces = self._answer_pieces(answer)
        if answer.length >= 0:
            pieces.append(b"Content-Length: %d\r\n" % answer.length)
        elif self.head.version_11:
            self.streaming_chunked = True
            pieces.append(b"Transfer-Encoding: chunked\r\n")
        else:
            keep_alive = False
        pieces.append(self._connection(keep_alive=keep_alive))
        self.head.keep_alive = keep_alive
        self.phase = STREAMING
        self.client.send(b"".join(pieces))
        held, self.held = self.held, []
        self._stream(held)
        if self.answer_done:
            self._end_stream()

    def _stream(self, chunks: list[bytes]) -> None:
        size = 0
        for chunk in chunks:
            size += len(chunk)
        if not size:
            return
        self.bytes_out += size
        if self.streaming_chunked:
            chunks = [b"%x\r\n" % size, *chunks, b"\r\n"]
        self.client.send(b"".join(chunks) if len(chunks) > 1 else chunks[0])

    def _end_stream(self) -> None:
        if self.streaming_chunked:
            self.client.send(b"0\r\n\r\n")
        self.phase = ENDED
        self.streamed()
        self.client.finished(self, keep_alive=self._keeps_alive())

    def refuse(self, status: int, fields: bytes, body: bytes) -> None:
        """Answer with something of the gateway's own."""
        keep_alive = self._keeps_alive()
        pieces = [
            status_line(status),
            fields,
            b"Content-Length: %d\r\n" % len(body),
            self._connection(keep_alive=keep_alive),
        ]
        if not self.is_head:
            pieces.append(body)
        self.phase = ENDED
        self.client.send(b"".join(pieces))
        self.client.finished(self, keep_alive=keep_alive)

    def _answer_pieces(self, answer: AnswerHead) -> list[bytes]:
        pieces = [status_line(answer.status), *answer.lines, *self.own_answer_fields(answer)]
        pieces += (b"Via: ", answer.via, b", " + VIA + b"\r\n") if answer.via else (b"Via: " + VIA + b"\r\n",)
        return pieces

    def _keeps_alive(self) -> bool:
        return self.head.keep_alive and self.body_done and not self.client.draining

    def _connection(self, *, keep_alive: bool) -> bytes:
        if keep_alive:
            return b"\r\n" if self.head.version_11 else b"Connection: keep-alive\r\n\r\n"
        return b"Connection: close\r\n\r\n"

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        elif self.pool is not None:
            self.pool.forget(self)

    def abort(self) -> None:
        """End what cannot be ended well: the caller sees a broken answer, which it is."""
        self._drop_upstream()
        self.phase = ENDED
        self.client.abort()

    # -- hooks ------------------------------------------------------------------------------------------------------

    def sent_as(self) -> tuple[object, ...] | None:
        """All that `own_request_fields` depends on beside the head; None: it may differ from call to call."""
        return None

    def own_request_fields(self) -> list[bytes]:
        """The fields the gateway adds to the request, credentials included."""
        return []

    def own_answer_fields(self, answer: AnswerHead) -> list[bytes]:
        """The fields the gateway adds to the answer."""
        return answer.remaining

    def hold_bytes_max(self) -> int:
        """Bytes of an answer that are held back until it is whole."""
        return 0

    def body_too_large(self) -> None:
        """More of the body came than may be kept."""
        self.client.pause_body()

    def body_whole(self) -> None:
        """The request is whole and nothing went out yet."""

    def answer_whole(self) -> None:
        """The answer is whole and held."""
        self.deliver()

    def answer_too_large(self) -> None:
        """More of the answer came than is held."""
        self.start_stream()

    def streamed(self) -> None:
        """A streamed answer was passed on to its end."""

    def failed(self, refusal: Refusal) -> None:
        """No usable answer will come; part of one may have been passed on (phase STREAMING)."""
        raise NotImplementedError

    def cut_off(self) -> None:
        """The caller is gone."""

    def charge_words(self) -> str:
        """A sentence about what a call costs that has failed now."""
        return "Nothing was charged."
