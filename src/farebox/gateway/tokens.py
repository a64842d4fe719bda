"""What access tokens say, remembered: one question per token and minute, whoever answers it.

A token is remembered by its SHA-256, never as it is: an active one until it expires, at most `cache_seconds`; an
inactive one for 10 s. One question per token and at most 8 in all are under way; a failure is a 503, never a pass.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from farebox.gateway.refuse import Refusal
from farebox.gateway.upstream import Connections

ASKING_MAX: Final = 8
WAITING_MAX: Final = 1_000
"""Tokens that wait to be asked about; the next one is refused with 503."""
INACTIVE_SECONDS: Final = 10.0
ID_CHARS_MAX: Final = 100
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
    """Nobody vouches for the token."""

    __slots__ = ()


INACTIVE: Final = Inactive()
Told = Claims | Inactive | Refusal
Tell = Callable[[Told, float], None]
"""Takes what a token says and for how many seconds that is believed; a refusal too may be, so as not to ask at once."""


class Asker(Protocol):
    """Finds out what a token says."""

    @property
    def pool(self) -> Connections:
        """Where it asks."""
        ...

    def ask(self, token: bytes, tell: Tell) -> None:
        """Ask; `tell` is called once, whatever happens."""
        ...


class TokenBook:
    """What is known about tokens, and the questions under way."""

    def __init__(self, asker: Asker, *, entries_max: int, wait_seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self._wait_seconds = wait_seconds
        self._asker = asker
        self._entries_max = entries_max
        self._loop = loop
        self._known: OrderedDict[bytes, tuple[float, Told]] = OrderedDict()
        self._asked: dict[bytes, list[asyncio.Future[Told]]] = {}
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._asking = 0
        self.hits = 0
        """Tokens found in memory."""
        self.questions = 0
        """Tokens asked about."""
        self.failures = 0
        """Questions without an answer that could be used."""

    @property
    def pool(self) -> Connections:
        """The connections to where tokens are asked about."""
        return self._asker.pool

    def __len__(self) -> int:
        """Tokens remembered."""
        return len(self._known)

    def known(self, digest: bytes) -> Told | None:
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

    def now(self) -> float:
        """The clock that tokens expire by, in seconds."""
        return self._loop.time()

    def believed_until(self, digest: bytes) -> float:
        """When the token with that SHA-256 is to be asked about again; 0 when it is not known."""
        entry = self._known.get(digest)
        return 0.0 if entry is None else entry[0]

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
        if not future.done():
            giving_up = self._loop.call_later(self._wait_seconds, self._give_up, future)
            future.add_done_callback(lambda _: giving_up.cancel())
        return future

    def _give_up(self, future: asyncio.Future[Told]) -> None:
        """Nobody waits for ever; a question under way goes on, for others and for the next time."""
        if not future.done():
            future.set_result(unavailable(f"it took longer than {self._wait_seconds:g} s"))

    def _told(self, digest: bytes, answer: Told, seconds: float) -> None:
        self._asking -= 1
        self.failures += isinstance(answer, Refusal)
        if seconds > 0:
            self._known[digest] = (self._loop.time() + seconds, answer)
            if len(self._known) > self._entries_max:
                self._known.popitem(last=False)
        for future in self._asked.pop(digest, ()):
            if not future.done():
                future.set_result(answer)
        self._next()

    def _next(self) -> None:
        while self._waiting and self._asking < ASKING_MAX:
            token, digest = self._waiting.popleft()
            if all(future.done() for future in self._asked[digest]):
                del self._asked[digest]  # whoever waited has given up: made-up tokens hold up honest ones no longer
                continue
            self._asking += 1
            self.questions += 1
            self._asker.ask(token, partial(self._told, digest))


def claim_text(claim: object) -> str:
    """An id out of an answer as text; empty for what is none."""
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
