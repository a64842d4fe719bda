"""What all calls of one gateway worker share: settings, patience, journal, leases, and the way to each upstream."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Final, Protocol

from farebox.config import GatewayConfig
from farebox.domain.cards import CompiledCard, Match
from farebox.domain.routing import Place, Router
from farebox.errors import JournalError
from farebox.gateway.date import DateLine
from farebox.gateway.http1_client import ClientCall, ClientConnection
from farebox.gateway.http1_known import KnownHeads
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.identify import Caller, Identifier
from farebox.gateway.local import HEALTH_PATH, LocalAnswer, unreadable
from farebox.gateway.proxies import TrustedProxies
from farebox.gateway.refusal_log import RefusalLog
from farebox.gateway.refusals import RefusalCounts
from farebox.gateway.refuse import Refusal
from farebox.gateway.standing import Standing
from farebox.gateway.tally import Tally
from farebox.gateway.upstream import Connections
from farebox.gateway.waits import Waits
from farebox.journal.records import Entry
from farebox.quota.leases import LeaseBook

SALT_BYTES: Final = 16
COUNTERS: Final = 1 << 32
MATCHES_MAX: Final = 2_048
MATCH_CHARS_MAX: Final = 512
"""Targets remembered per upstream, and the longest of them: 1 MiB and their matches."""


class Journal(Protocol):
    """What the data plane needs of a journal writer."""

    def reserve(self) -> None:
        """Room for one call; raises JournalError."""
        ...

    def unreserve(self) -> None:
        """The call appends nothing more."""
        ...

    def append(self, entry: Entry, released: Callable[[bool], None] | None) -> None:
        """Hand in an entry."""
        ...

    @property
    def trouble(self) -> str | None:
        """What is wrong now; None when nothing is."""
        ...

    @property
    def warning(self) -> bool:
        """It fills up: half of what it may take is taken."""
        ...


class Matches:
    """A card's matching, remembering what it said: most calls repeat a path, and walking the tree costs 3 us of 60."""

    __slots__ = ("_card", "_known")

    def __init__(self, card: CompiledCard) -> None:
        self._card = card
        self._known: dict[tuple[str, str, str], Match] = {}

    def of(self, method: str, path: str, query: str) -> Match:
        """`CompiledCard.match`, the same in every respect."""
        call = (method, path, query)
        match = self._known.get(call)
        if match is None:
            match = self._card.match(method, path, query)
            if len(path) + len(query) > MATCH_CHARS_MAX:
                return match
            if len(self._known) >= MATCHES_MAX:  # paths with ids in them: begin again, rather than keep what is old
                self._known.clear()
            self._known[call] = match
        return match


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An upstream as calls meet it."""

    name: str
    places: tuple[Place, ...]
    card: CompiledCard
    matches: Matches
    pool: Connections
    identifier: Identifier
    standing: Standing
    api_domain: str = ""
    """What is written over `api_domain` in JSON answers to open calls; empty: nothing is."""


class Plane:
    """One worker's data plane. Opens a call for every request head a connection reads."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        loop: asyncio.AbstractEventLoop,
        waits: Waits,
        routes: tuple[Route, ...],
        book: LeaseBook,
        journal: Journal,
        target_salt: bytes,
        new_call: Callable[[Plane, ClientConnection, RequestHead, Route], ClientCall],
        new_upgrade: Callable[[Plane, ClientConnection, RequestHead, Route], ClientCall],
    ) -> None:
        self.config = config
        self.loop = loop
        self.waits = waits
        self.book = book
        self.journal = journal
        self.header_bytes_max = config.header_bytes_max
        self.header_fields_max = config.header_fields_max
        self.target_bytes_max = config.target_bytes_max
        self.pipelined_bytes_max = config.pipelined_bytes_max
        self.stream_buffer_bytes = config.stream_buffer_bytes
        self.draining = False
        self.directory_trouble = ""
        """Why what was changed in the directory is not in force; empty while all of it is."""
        self.known = KnownHeads(loop.time)
        waits.timeouts.every_tick(self.known.forget_old)
        self.date = DateLine()
        self.proxies = TrustedProxies(config.trusted_proxies)
        self.counters: dict[str, int] = {}
        """Metrics by name; unauthenticated refusals are counted only here."""
        self.tally = Tally()
        self.refusal_log = RefusalLog(loop.time)
        self.clients: set[ClientConnection] = set()
        self._body_bytes = 0
        self._new_call = new_call
        self._new_upgrade = new_upgrade
        self.routes = routes
        self._router = Router((place, route) for route in routes for place in route.places)
        self._hash = blake2b(digest_size=8, key=target_salt)
        self._call_salt = int.from_bytes(os.urandom(4), "big")
        self._call_numbers = count()
        self.refusals = RefusalCounts(append=self._append_refusals, now=self.stamp, call_id=self.call_id)

    # -- for connections --------------------------------------------------------------------------------------------

    def open(self, client: ClientConnection, head: RequestHead) -> ClientCall:
        """The call a request head asks for."""
        path = head.path
        if path == HEALTH_PATH:
            return self._health(client, head)
        route = self._router.find(head.host, path)
        if route is not None:
            return (self._new_upgrade if head.upgrade else self._new_call)(self, client, head, route)
        return self.refuse_head(
            client,
            head,
            Refusal(
                status=404,
                code="NO_SUCH_UPSTREAM",
                text="No API behind this gateway has that host and path; check the address.",
            ),
        )

    def refuse(self, client: ClientConnection, refusal: Refusal) -> ClientCall:
        """The answer to bytes that are no acceptable request."""
        self.refused(refusal)
        return unreadable(client, refusal, date=self.date.line())

    def refuse_head(self, client: ClientConnection, head: RequestHead, refusal: Refusal) -> ClientCall:
        """The answer to a request that goes nowhere."""
        self.refused(refusal)
        return LocalAnswer.refusing(client, head, refusal, date=self.date.line())

    def connected(self, client: ClientConnection) -> bool:
        """A connection came; False: there are as many as there may be."""
        self.clients.add(client)
        return len(self.clients) <= self.config.client_connections_max

    def disconnected(self, client: ClientConnection) -> None:
        """A connection ended."""
        self.clients.discard(client)

    # -- for calls --------------------------------------------------------------------------------------------------

    def stamp(self) -> int:
        """The store's time as far as it is known, in microseconds; the wall clock before the first reply."""
        return self.book.stamp() or self.date.microseconds()

    def call_id(self, stamp: int) -> bytes:
        """16 bytes that sort by time and never repeat."""
        return _CALL_ID.pack(stamp, self._call_salt, next(self._call_numbers) % COUNTERS)

    def target_hash(self, target: bytes) -> bytes:
        """8 bytes: keyed, so that repeats can be seen without keeping what was asked."""
        hashed = self._hash.copy()
        hashed.update(target)
        return hashed.digest()

    def reserve_body(self, size: int) -> bool:
        """Room for a body that is read before it is priced; False: there is none."""
        if self._body_bytes + size > self.config.price_bodies_bytes_max:
            return False
        self._body_bytes += size
        return True

    def unreserve_body(self, size: int) -> None:
        """The body went out, or never will."""
        self._body_bytes -= size

    def count(self, name: str) -> None:
        """One more of what `name` counts."""
        self.counters[name] = self.counters.get(name, 0) + 1

    def refused(self, refusal: Refusal, caller: Caller | None = None, operation: str = "") -> None:
        """A call is answered with a refusal: counted, and in the log once a second."""
        self.count(f"refused.{refusal.code}")
        self.refusal_log.note(refusal, caller, operation)

    def is_ready(self) -> tuple[bool, str]:
        """Whether calls are taken, and why not."""
        if self.draining:
            return False, "stopping"
        trouble = self.journal.trouble
        if trouble is not None:
            return False, f"journal: {trouble}"
        reasons = (
            "" if self.book.reachable() else "quota store unreachable: calls go on within their leases",
            self.directory_trouble,
            JOURNAL_FILLING if self.journal.warning else "",
        )
        return True, "; ".join(filter(None, reasons))

    def _health(self, client: ClientConnection, head: RequestHead) -> LocalAnswer:
        ready, reason = self.is_ready()
        return LocalAnswer.health(client, head, ready=ready, reason=reason, date=self.date.line())

    def _append_refusals(self, entry: Entry) -> None:
        try:
            self.journal.append(entry, None)
        except JournalError:  # no room for records that nobody pays for: they are counted, not kept
            self.counters["refusals.not_journalled"] = self.counters.get("refusals.not_journalled", 0) + entry.refusals


JOURNAL_FILLING: Final = (
    "the journal uses more than half of gateway.journal_bytes_max: see that the console runs, it removes what is loaded"
)
_CALL_ID: Final = struct.Struct(">QII")
