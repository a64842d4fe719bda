"""One question of the gateway's own, to an authorization server or an API: bounded, and never without an end.

A `Question` knows HTTP and nothing of tokens: it sends one small request and says the whole answer, or why there is
none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from farebox.gateway.http1_answer import AnswerHead
from farebox.gateway.http1_request import Fields
from farebox.gateway.http1_upstream import UpstreamConnection
from farebox.gateway.timeouts import TimeoutClass
from farebox.gateway.upstream import Connections

ANSWER_BYTES_MAX: Final = 64 * 1024
"""Of an answer's body; one that is longer is no answer to what the gateway asks."""

Answered = Callable[[int, bytes], None]
Failed = Callable[[str], None]

_log = structlog.get_logger("farebox.gateway")


class Question:
    """A request of the gateway's own. Exactly one of `answered(status, body)` and `failed(reason)` is called, once."""

    __slots__ = (
        "_answered",
        "_content",
        "_failed",
        "_pool",
        "_repeated",
        "_request",
        "_size",
        "_upstream",
        "is_head",
        "is_idempotent",
        "reached",
        "status",
    )

    def __init__(self, pool: Connections, request: bytes, *, answered: Answered, failed: Failed) -> None:
        self.is_head = False
        self.is_idempotent = True  # asking twice harms nobody
        self.reached = False
        """Whether any of it was sent."""
        self.status = 0
        """Of the answer, as soon as its head came."""
        self._pool = pool
        self._request = request
        self._answered = answered
        self._failed = failed
        self._size = 0
        self._repeated = False
        self._content: list[bytes] = []
        self._upstream: UpstreamConnection | None = None

    def ask(self) -> None:
        """Send it as soon as there is a connection."""
        self._pool.acquire(self)

    def connected(self, connection: UpstreamConnection) -> None:
        """Ask."""
        self._upstream = connection
        connection.carry(self)
        self.reached = True
        connection.send(self._request)
        connection.await_answer()

    def request_sent(self) -> bool:
        """Always: it goes out in one piece."""
        return True

    def unreachable(self, reason: str, *, busy: bool) -> None:  # noqa: ARG002 - both are no answer
        """There is no connection."""
        self._end(reason)

    def no_socket(self, reason: str) -> None:
        """The gateway has none to ask by."""
        self._end(f"the gateway cannot open a connection: {reason}")

    def timed_out(self, wait: TimeoutClass) -> None:  # noqa: ARG002 - the pool's only wait
        """No connection came free."""
        self._pool.forget(self)
        self._end(f"no connection to {self._pool.authority} came free")

    def interim(self, status: int, fields: Fields) -> None:
        """Not the answer."""

    def answer_began(self, answer: AnswerHead) -> None:
        """The head of the answer."""
        self.status = answer.status
        if answer.encoded:
            self._give_up("it is compressed although that was not asked for")

    def answer_data(self, chunks: list[bytes]) -> None:
        """Its body, up to a bound."""
        self._size += sum(map(len, chunks))
        self._content += chunks
        if self._size > ANSWER_BYTES_MAX:
            self._give_up("it is too long")

    def answer_waits(self) -> None:
        """The rest is on its way."""

    def answer_complete(self) -> None:
        """Say it; whatever it holds, those who wait get an answer, and the log the cause."""
        if self._upstream is None:
            return
        self._upstream = None
        try:
            self._answered(self.status, b"".join(self._content))
        except Exception as error:  # noqa: BLE001 - what an answer holds must not leave its askers waiting
            _log.warning("question.unreadable", authority=self._pool.authority, error=repr(error)[:200])
            self._failed("its answer cannot be read")

    def answer_failed(self, why: str, reason: str) -> None:  # noqa: ARG002 - all are no answer
        """No answer; a kept-alive connection that had gone stale is worth a second try."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None and upstream.reused and not upstream.answer_seen and not self._repeated:
            self._repeated = True
            upstream.repeat(self)
        else:
            self._end(reason)

    def upstream_paused(self) -> None:
        """The request is small enough to be buffered."""

    def upstream_resumed(self) -> None:
        """Nothing waits."""

    def give_up(self) -> None:
        """Nobody wants the answer any more; nothing is called."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        else:
            self._pool.forget(self)

    def _give_up(self, why: str) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._end(f"the answer of {self._pool.authority} cannot be used: {why}")

    def _end(self, reason: str) -> None:
        self._upstream = None
        self._failed(reason)
