"""Access tokens asked about at their authorization server (RFC 7662), once per token and minute.

A token is remembered by its SHA-256, never as it is: an active one until it expires, at most `cache_seconds`; an
inactive one for 10 s. One question per token and at most 8 in all are under way; a failure is a 503, never a pass.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import OrderedDict, deque
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
import structlog

from farebox.config import Introspection
from farebox.gateway.http1_answer import AnswerHead
from farebox.gateway.http1_pool import PoolWaits
from farebox.gateway.http1_request import Fields
from farebox.gateway.http1_upstream import UpstreamConnection
from farebox.gateway.refuse import Refusal
from farebox.gateway.timeouts import TimeoutClass
from farebox.gateway.upstream import Connections

ASKING_MAX: Final = 8
WAITING_MAX: Final = 1_000
"""Tokens that wait to be asked about; the next one is refused with 503."""
INACTIVE_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024
ID_CHARS_MAX: Final = 100
EXPIRY_MAX: Final = 1e12
"""Unix seconds; an `exp` may be any number, and one that no float holds is as good as never."""
TOKEN_BYTES_MAX: Final = 8 * 1024
"""A longer token is none and is not asked about."""


class Claims:
    """What an active token says; one object per set of claims, so that callers can be remembered by `key`."""

    __slots__ = ("app", "key", "org", "user")

    def __init__(self, org: str, user: str, app: str) -> None:
        self.org = org
        self.user = user
        self.app = app
        self.key = (org, user, app)


class Inactive:
    """The authorization server does not vouch for the token."""

    __slots__ = ()


INACTIVE: Final = Inactive()
_log = structlog.get_logger("farebox.gateway")
Told = Claims | Inactive | Refusal


class TokenBook:
    """What is known about tokens, and the questions under way."""

    def __init__(
        self,
        config: Introspection,
        pool: Connections,
        *,
        entries_max: int,
        cache_seconds: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._config = config
        self._pool = self.pool = pool
        self._entries_max = entries_max
        self._cache_seconds = cache_seconds
        self._loop = loop
        self._known: OrderedDict[bytes, tuple[float, Claims | Inactive]] = OrderedDict()
        self._asked: dict[bytes, list[asyncio.Future[Told]]] = {}
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._asking = 0
        self.hits = 0
        """Tokens found in memory."""
        self.questions = 0
        """Tokens asked about."""
        self.failures = 0
        """Questions without an answer that could be used."""
        self._head = _request_head(config, pool)

    def __len__(self) -> int:
        """Tokens remembered."""
        return len(self._known)

    def known(self, digest: bytes) -> Claims | Inactive | None:
        """What is remembered of the token with that SHA-256; None: ask."""
        entry = self._known.get(digest)
        if entry is None:
            return None
        if entry[0] <= self._loop.time():
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        self.hits += 1
        return entry[1]

    def ask(self, token: bytes, digest: bytes) -> asyncio.Future[Told]:
        """Ask about a token; everybody who asks meanwhile gets the same answer."""
        future: asyncio.Future[Told] = self._loop.create_future()
        if len(token) > TOKEN_BYTES_MAX:
            future.set_result(INACTIVE)
        elif digest in self._asked:
            self._asked[digest].append(future)
        elif len(self._waiting) >= WAITING_MAX:
            future.set_result(unavailable("too many tokens wait to be checked"))
        else:
            self._asked[digest] = [future]
            self._waiting.append((token, digest))
            self._next()
        return future

    def told(self, question: Question, answer: Told, seconds: float) -> None:
        """The answer to a question; believed for `seconds`."""
        self._asking -= 1
        self.failures += isinstance(answer, Refusal)
        if not isinstance(answer, Refusal) and seconds > 0:
            self._known[question.digest] = (self._loop.time() + seconds, answer)
            if len(self._known) > self._entries_max:
                self._known.popitem(last=False)
        for future in self._asked.pop(question.digest, ()):
            if not future.done():
                future.set_result(answer)
        self._next()

    def read(self, status: int, content: bytes, now: float) -> tuple[Told, float]:
        """(what an introspection answer says, for how many seconds it is believed). `now`: Unix time."""
        if status != 200:  # noqa: PLR2004 - RFC 7662 2.2
            return unavailable(f"the authorization server answered {status}"), 0
        try:
            said = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError:
            return unavailable("the authorization server's answer is not JSON"), 0
        if said.get("active") is not True:
            return INACTIVE, INACTIVE_SECONDS
        expires = said.get("exp")
        seconds = self._cache_seconds
        if isinstance(expires, int | float) and not isinstance(expires, bool):
            seconds = min(seconds, min(max(expires, 0), EXPIRY_MAX) - now)
            if seconds <= 0:
                return INACTIVE, INACTIVE_SECONDS
        org = _text(said.get(self._config.org_claim))
        if not org:
            return unavailable(f"the authorization server did not say {self._config.org_claim!r}"), 0
        claims = Claims(org, _text(said.get(self._config.user_claim)), _text(said.get(self._config.app_claim)))
        return claims, seconds

    def _next(self) -> None:
        while self._waiting and self._asking < ASKING_MAX:
            token, digest = self._waiting.popleft()
            self._asking += 1
            self.questions += 1
            self._pool.acquire(Question(self, self._pool, self._head, token, digest))


class Question:
    """One introspection request on its way."""

    __slots__ = (
        "_book",
        "_content",
        "_head",
        "_pool",
        "_repeated",
        "_size",
        "_status",
        "_token",
        "_upstream",
        "digest",
        "is_head",
        "is_idempotent",
    )

    def __init__(
        self,
        book: TokenBook,
        pool: Connections,
        head: bytes,
        token: bytes,
        digest: bytes,
    ) -> None:
        self.is_head = False
        self.is_idempotent = True  # asking twice harms nobody
        self.digest = digest
        self._book = book
        self._pool = pool
        self._head = head
        self._token = token
        self._status = 0
        self._size = 0
        self._repeated = False
        self._content: list[bytes] = []
        self._upstream: UpstreamConnection | None = None

    def connected(self, connection: UpstreamConnection) -> None:
        """Ask."""
        self._upstream = connection
        connection.carry(self)
        body = b"token=" + quote(self._token, safe="").encode("ascii") + b"&token_type_hint=access_token"
        connection.send(self._head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        connection.await_answer()

    def request_sent(self) -> bool:
        """Always: it goes out in one piece."""
        return True

    def unreachable(self, reason: str, *, busy: bool) -> None:  # noqa: ARG002 - both are a 503
        """There is no connection."""
        self._end(unavailable(reason), 0)

    def timed_out(self, wait: TimeoutClass) -> None:  # noqa: ARG002 - the pool's only wait
        """No connection came free."""
        self._pool.forget(self)
        self._end(unavailable("no connection to the authorization server came free"), 0)

    def interim(self, status: int, fields: Fields) -> None:
        """Not the answer."""

    def answer_began(self, answer: AnswerHead) -> None:
        """The head of the answer."""
        self._status = answer.status

    def answer_data(self, chunks: list[bytes]) -> None:
        """Its body, up to a bound."""
        self._size += sum(map(len, chunks))
        self._content += chunks
        if self._size > ANSWER_BYTES_MAX and self._upstream is not None:
            self._upstream.close()
            self._end(unavailable("the authorization server's answer is too long"), 0)

    def answer_waits(self) -> None:
        """The rest is on its way."""

    def answer_complete(self) -> None:
        """Read what it says."""
        told: Told
        try:
            told, seconds = self._book.read(self._status, b"".join(self._content), time.time())
        except Exception as error:  # noqa: BLE001 - whatever it says: those who wait get an answer, and the log the cause
            _log.warning("introspection.unreadable", error=repr(error)[:200])
            told, seconds = unavailable("the authorization server's answer cannot be read"), 0
        self._end(told, seconds)

    def answer_failed(self, why: str, reason: str) -> None:  # noqa: ARG002 - all are a 503
        """No answer; a kept-alive connection that had gone stale is worth a second try."""
        upstream = self._upstream
        if upstream is not None and upstream.reused and not upstream.answer_seen and not self._repeated:
            self._repeated = True
            self._pool.acquire(self, fresh=True)
        else:
            self._end(unavailable(reason), 0)

    def upstream_paused(self) -> None:
        """The request is small enough to be buffered."""

    def upstream_resumed(self) -> None:
        """Nothing waits."""

    def _end(self, told: Told, seconds: float) -> None:
        self._upstream = None
        self._book.told(self, told, seconds)


def introspection_authority(url: str) -> str:
    """host:port of the endpoint."""
    return urlsplit(url).netloc


def _request_head(config: Introspection, pool: Connections) -> bytes:
    path = urlsplit(config.url).path or "/"
    head = f"POST {path} HTTP/1.1\r\nHost: {pool.authority}\r\nAccept: application/json\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nUser-Agent: farebox\r\n"
    if config.client_id:
        pair = f"{quote(config.client_id, safe='')}:{quote(config.client_secret, safe='')}"  # RFC 6749 2.3.1
        head += f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
    return head.encode("ascii")


def _text(claim: object) -> str:
    if isinstance(claim, str):
        return claim[:ID_CHARS_MAX]
    if isinstance(claim, int) and not isinstance(claim, bool):
        return str(claim)[:ID_CHARS_MAX]
    return ""


def unavailable(reason: str) -> Refusal:
    """503: who a token belongs to cannot be found out now."""
    return Refusal(
        status=503,
        code="IDENTITY_UNAVAILABLE",
        text=f"The access token cannot be checked now: {reason}. Nothing was charged; try again shortly.",
        retry_after=1,
    )


__all__ = [
    "INACTIVE",
    "Claims",
    "Inactive",
    "PoolWaits",
    "Question",
    "TokenBook",
    "introspection_authority",
    "unavailable",
]
