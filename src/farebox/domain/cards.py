"""Rate cards as values: what an API charges for, and which operation a call is.

A `RateCard` is what a card file says. `CompiledCard` is the same made ready for the way of every call: one walk down a
tree of path segments, no expressions, no allocation that a hostile path could grow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from farebox.domain.cards_routes import Route, Routes, query_value
from farebox.domain.names import module_name
from farebox.domain.plans import AddonSlab, Plan, plan_named
from farebox.domain.pricing_rules import Price


class Kind(StrEnum):
    """What happens to calls of an operation."""

    METERED = "metered"
    """Identified, priced, charged, journalled."""
    FREE = "free"
    """Identified, forwarded; neither charged nor journalled."""
    OPEN = "open"
    """Not even identified (the way to a token, say)."""


class RefusalStyle(StrEnum):
    """How refusals are worded on the wire."""

    ZOHO = "zoho"
    """application/json {"code", "details", "message", "status": "error"}."""
    PROBLEM = "problem"
    """application/problem+json, RFC 9457."""


class HeaderStyle(StrEnum):
    """Which response headers tell about credits."""

    RATELIMIT_DRAFT = "ratelimit-draft"
    """RateLimit-Policy and RateLimit, IETF draft -10."""
    X_FAREBOX = "x-farebox"
    """X-Farebox-Credits-*."""
    X_API_CREDITS_REMAINING = "x-api-credits-remaining"
    """Zoho's header, from `remaining_from_percent` of the plan's own credits on."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a card's API speaks about credits."""

    refusals: RefusalStyle
    headers: frozenset[HeaderStyle]
    remaining_from_percent: int = 50


@dataclass(frozen=True, slots=True)
class Pool:
    """A total of its own within a product."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Hints:
    """How calls of an operation can be saved. Empty strings and zeros say nothing."""

    cacheable: bool = False
    """The answer changes rarely: ask once and keep it."""
    batch_to: int = 0
    """So many items fit into one call."""
    poll_of: str = ""
    """What is being waited for; a callback or notification would tell."""
    use_instead: str = ""
    """The operation that does the same for less."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One priced thing an API does. `path` empty: not an HTTP call, priced by name only."""

    name: str
    title: str
    methods: tuple[str, ...]
    path: str
    required_query: tuple[str, ...]
    price: Price
    pool: str
    source: str
    mark: str = "own"
    kind: Kind = Kind.METERED
    module: str = ""
    """Empty: the path's {module}, if any. "?name": that query parameter. Anything else is the name itself."""
    heavy: bool = False
    heavy_above: int = 0
    """More items than this make the call heavy; 0: the number does not matter."""
    heavy_from_function: bool = False
    concurrency: int = 1
    free_statuses: frozenset[int] = frozenset()
    hints: Hints = Hints()
    note: str = ""
    ceiling: int = field(init=False, default=0)
    needs_body: bool = field(init=False, default=False)
    """The request's body decides the price: read it (up to `price_body_bytes_max`) before admission."""
    needs_answer: bool = field(init=False, default=False)
    """Only the answer tells the charge; until then the ceiling stands."""
    rule: str = field(init=False, default="")
    """The price in words, with its mark and source."""

    def __post_init__(self) -> None:
        metered = self.kind is Kind.METERED
        set_once = object.__setattr__
        set_once(self, "ceiling", self.price.ceiling if metered else 0)
        set_once(self, "needs_body", metered and self.price.needs_body)
        set_once(self, "needs_answer", metered and self.price.needs_answer)
        words = self.price.text if metered else f"no credits ({self.kind})"
        set_once(self, "rule", f"{self.title}: {words} [{self.mark}] {self.source}")

    def is_heavy(self, quantities: dict[str, int], *, from_function: bool) -> bool:
        """Whether a call takes a unit of the smaller, second concurrency limit."""
        return (
            self.heavy
            or (self.heavy_from_function and from_function)
            or (self.heavy_above > 0 and any(value > self.heavy_above for value in quantities.values()))
        )


@dataclass(frozen=True, slots=True)
class RateCard:
    """Everything a card file says. The first pool is the one calls spend from unless their row names another."""

    name: str
    product: str
    title: str
    pools: tuple[Pool, ...]
    plans: tuple[Plan, ...]
    operations: tuple[Operation, ...]
    default_operation: Operation
    """What a call is that no row matches."""
    dialect: Dialect
    upgrades: tuple[str, ...] = ()
    """Protocols an Upgrade may name, e.g. "websocket"."""
    free_statuses: frozenset[int] = frozenset()
    """Upstream statuses that cost nothing."""
    addon_slabs: tuple[AddonSlab, ...] = ()

    def plan(self, name: str) -> Plan:
        """The plan of that name or alias; `UnknownNameError` otherwise."""
        return plan_named(self.plans, name)


class Match(NamedTuple):
    """Which operation a call is; a NamedTuple because it is made in 0.2 us where a frozen dataclass takes 0.8."""

    operation: Operation
    module: str
    api_version: str
    path_template: str


class CompiledCard:
    """A rate card made ready for matching. Immutable; safe to share between threads."""

    __slots__ = ("_by_name", "_routes", "_unlisted", "card")

    def __init__(self, card: RateCard) -> None:
        self.card: Final = card
        self._routes: Routes[Operation] = Routes()
        self._by_name = {operation.name: operation for operation in card.operations}
        self._unlisted = Match(card.default_operation, "", "", "")
        for operation in sorted(card.operations, key=lambda each: -each.ceiling):  # between equals the dearer wins
            if operation.path:
                self._routes.add(operation.methods, operation.path, operation.required_query, operation)

    def match(self, method: str, path: str, query: str) -> Match:
        """The operation of a call; never None and never raises.

        `path` is the normalised path without the query, `query` the raw query string without "?". A call that no row
        lists is the card's default operation. One slash at the end and path parameters (";...", RFC 3986 3.3) change
        nothing: to many servers /x, /x/ and /x;a=1 are one resource, so they must cost the same.
        """
        segments = path.split("/")
        del segments[0]
        if segments and not segments[-1]:
            del segments[-1]
        if ";" in path:
            segments = [segment.partition(";")[0] for segment in segments]
        route = self._routes.find(method, segments, query)
        if route is None:
            return self._unlisted
        operation = route.value
        return Match(
            operation,
            _module(operation, route, segments, query),
            segments[route.version_index] if route.version_index >= 0 else "",
            route.template,
        )

    def operation(self, name: str) -> Operation | None:
        """The operation of that name."""
        return self._by_name.get(name)


def _module(operation: Operation, route: Route[Operation], segments: list[str], query: str) -> str:
    if not operation.module:
        name = segments[route.module_index] if route.module_index >= 0 else ""
    elif operation.module[0] == "?":
        name = query_value(query, operation.module[1:])
    else:
        return operation.module
    return module_name(name)
