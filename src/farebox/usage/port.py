"""The usage store as its users see it: load entries exactly once, ask for sums over what still counts.

Amounts are millicredits, instants microseconds. Every figure is a sum over entries (charges, closes and groups of
refusals alike), so figures of one instant always add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from farebox.domain.identity import Account
from farebox.domain.instants import Instant
from farebox.journal.position import Position
from farebox.journal.records import Entry

BREAKDOWN_LINES_MAX: Final = 10_000
"""Lines one breakdown gives back; the largest spenders come first."""


class Dimension(StrEnum):
    """What a breakdown has one line for each of."""

    USER = "user"
    APP = "app"
    MODULE = "module"
    OPERATION = "operation"
    FUNCTION = "function"
    TASK = "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """An account's sums over the window."""

    calls: int = 0
    credits: int = 0
    refusals: int = 0
    unleased: int = 0
    """The part of `credits` spent under a fail-open policy while quota was out of reach."""
    shadow_calls: int = 0
    """The part of `calls` that would have been refused and that shadow mode let through."""
    shadow_credits: int = 0
    """What these cost, a part of `credits`."""
    last_refusal: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """One value of a dimension and its sums; `value` is empty for entries that have none."""

    value: str
    calls: int
    credits: int
    refusals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """One dimension of an account's window. The lines add up to `totals` unless more than BREAKDOWN_LINES_MAX exist."""

    totals: UsageTotals
    lines: tuple[UsageLine, ...]


class UsageStore(Protocol):
    """What was spent. Safe to use from several threads of the one process that owns it."""

    def offsets(self) -> dict[str, Position]:
        """How far each incarnation's journal is loaded, as of the last committed load."""
        ...

    def load(self, entries: Sequence[Entry], offsets: Mapping[str, Position]) -> None:
        """Add `entries` and move `offsets` in one durable transaction: both or neither.

        Raises UsageUnavailableError (nothing was added: read `offsets()` again and go on from there).
        """
        ...

    def totals(self, account: Account, *, at: Instant) -> UsageTotals:
        """Sums over the account's entries whose stamp second still counts at `at` (the quota store's time)."""
        ...

    def breakdown(self, account: Account, dimension: Dimension, *, at: Instant) -> Breakdown:
        """Totals and lines of one and the same state; largest spender first, at most BREAKDOWN_LINES_MAX lines."""
        ...

    def breakdowns(self, account: Account, dimensions: Sequence[Dimension], *, at: Instant) -> tuple[Breakdown, ...]:
        """A breakdown by each of `dimensions`, all of one and the same state: their totals are equal."""
        ...

    def loads(self) -> int:
        """Grows with every load that added entries: what readers compare to know whether to ask again."""
        ...

    def drop_before(self, at: Instant) -> int:
        """Forget entries stamped before `at`; how many. Offsets stay, so nothing is loaded again."""
        ...

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        ...
