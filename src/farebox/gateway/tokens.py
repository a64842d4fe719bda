"""What access tokens say, remembered: one question per token and minute, whoever answers it.

A token is remembered by its SHA-256, never as it is: an active one until it expires, at most `cache_seconds`; an
inactive one for 10 s. One question per token and at most 8 in all are under way; a failure is a 503, never a pass.

Who makes up tokens delays nobody much: tokens that were vouched for before are asked about first, the others address by
address in turn, and of the memory made-up ones take no more than an eighth from vouched ones.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from farebox.gateway.fair_queue import FairQueue
from farebox.gateway.refuse import Refusal
from farebox.gateway.upstream import Connections

ASKING_MAX: Final = 8
WAITING_MAX: Final = 1_000
"""Tokens that wait to be asked about; beyond, the newest of the address that has most waiting is refused with 503."""
INACTIVE_SECONDS: Final = 10.0
DENIED_SHARE: Final = 8
"""Of the memory, an eighth is left to tokens nobody vouches for, which would be asked about each time."""
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
Question = tuple[bytes, bytes]
"""A token and its SHA-256."""
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
        self._vouched: OrderedDict[bytes, tuple[float, Told]] = OrderedDict()
        """Tokens that were active when they were last asked about; they stay when that is to be asked anew."""
        self._denied: OrderedDict[bytes, tuple[float, Told]] = OrderedDict()
        """Tokens that were not, or could not be asked about."""
        self._asked: dict[bytes, list[asyncio.Future[Told]]] = {}
        self._again: deque[Question] = deque()
        """Questions about tokens that were vouched for before."""
        self._waiting = FairQueue[Question](size_max=WAITING_MAX)
        """All others, by the caller's address."""
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
        return len(self._vouched) + len(self._denied)

    def known(self, digest: bytes) -> Told | None:
        """What is remembered of the token with that SHA-256; None: ask."""
        now = self._loop.time()
        for kept in (self._vouched, self._denied):
            entry = kept.get(digest)
            if entry is not None and entry[0] > now:
                kept.move_to_end(digest)
                self.hits += 1
                return entry[1]
        self._denied.pop(digest, None)
        return None

    def now(self) -> float:
        """The clock that tokens expire by, in seconds."""
        return self._loop.time()

    def believed_until(self, digest: bytes) -> float:
        """When the token with that SHA-256 is to be asked about again; 0 when it is not known."""
        entry = self._vouched.get(digest) or self._denied.get(digest)
        return 0.0 if entry is None else entry[0]

    def ask(self, token: bytes, digest: bytes, *, address: str = "") -> asyncio.Future[Told]:
        """Ask about a token; everybody who asks meanwhile gets the same answer. `address`: the caller's."""
        future: asyncio.Future[Told] = self._loop.create_future()
        if len(token) > TOKEN_BYTES_MAX:
            future.set_result(INACTIVE)
        elif digest in self._asked:
            self._asked[digest].append(future)
        else:
            self._asked[digest] = [future]
            if digest in self._vouched and len(self._again) < WAITING_MAX:
                self._again.append((token, digest))
            elif (given_up := self._waiting.put(address, (token, digest))) is not None:
                self._refuse(given_up[1])
            self._next()
        if not future.done():
            giving_up = self._loop.call_later(self._wait_seconds, self._give_up, future)
            future.add_done_callback(lambda _: giving_up.cancel())
        return future

    def _refuse(self, digest: bytes) -> None:
        """It does not come to be asked about."""
        for future in self._asked.pop(digest):
            if not future.done():
                future.set_result(unavailable("too many tokens wait to be checked"))

    def _give_up(self, future: asyncio.Future[Told]) -> None:
        """Nobody waits for ever; a question under way goes on, for others and for the next time."""
        if not future.done():
            future.set_result(unavailable(f"it took longer than {self._wait_seconds:g} s"))

    def _told(self, digest: bytes, answer: Told, seconds: float) -> None:
        self._asking -= 1
        self.failures += isinstance(answer, Refusal)
        if isinstance(answer, Inactive):
            self._vouched.pop(digest, None)
        if seconds > 0:
            kept = self._vouched if isinstance(answer, Claims) else self._denied
            kept[digest] = (self._loop.time() + seconds, answer)
            kept.move_to_end(digest)
            if len(self) > self._entries_max:
                most = self._denied if len(self._denied) > self._entries_max // DENIED_SHARE else self._vouched
                (most or self._denied).popitem(last=False)
        for future in self._asked.pop(digest, ()):
            if not future.done():
                future.set_result(answer)
        self._next()

    def _next(self) -> None:
        while self._asking < ASKING_MAX:
            waiting = self._again.popleft() if self._again else self._waiting.take()
            if waiting is None:
                return
            token, digest = waiting
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
