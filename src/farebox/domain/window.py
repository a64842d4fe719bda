"""The window: which rows count, which credits return when, and how long a refused call should wait.

A row is (second, millicredits). Credits spent in second s count while s > floor(now) - 86,401: for at least
24 hours and at most one second more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from farebox.domain.instants import (
    MICROSECONDS,
    WINDOW_SECONDS,
    Instant,
    oldest_counting_second,
    returns_at,
)

Row = tuple[int, int]

SCHEDULE_STEPS_MAX: Final = 64
"""Steps of a schedule of returning credits: enough for a curve, small enough to travel with every sync."""

GROUPS_MAX: Final = 30
"""Merged steps on either side of the exact one: 2 x 30 + 3 exact steps are fewer than 64."""


def counts(second: int, *, at: int) -> bool:
    """Whether a row of `second` counts at the instant `at`.

    >>> counts(100, at=(100 + 86_400) * 1_000_000 + 999_999), counts(100, at=(100 + 86_401) * 1_000_000)
    (True, False)
    """
    return second >= oldest_counting_second(at)


def counting(rows: Iterable[Row], *, at: int) -> list[Row]:
    """The rows that count at `at` and are not zero, oldest first."""
    oldest = oldest_counting_second(at)
    return sorted(row for row in rows if row[0] >= oldest and row[1])


def used(rows: Iterable[Row], *, at: int) -> int:
    """The sum of the rows that count at `at`."""
    oldest = oldest_counting_second(at)
    return sum(amount for second, amount in rows if second >= oldest)


def reaching(rows: Iterable[Row], *, credits_missing: int) -> list[Row]:
    """The oldest rows that together return at least `credits_missing`; all of them when they never do."""
    taken: list[Row] = []
    returned = 0
    for row in rows:
        taken.append(row)
        returned += row[1]
        if returned >= credits_missing:
            break
    return taken


def merged(rows: Sequence[Row], *, exact_at: int = 0) -> tuple[Row, ...]:
    """At most 64 steps, each merged to its later second: nothing is promised before it returns.

    Three steps stay exact: the first (what callers see in `RateLimit`), the one that brings the sum of returned credits
    to `exact_at` (what a refused call waits for), and the last.

    >>> steps = merged([(s, 1) for s in range(200)], exact_at=150)
    >>> len(steps) <= 64, steps[0], (149, 1) in steps, steps[-1], sum(amount for _, amount in steps)
    (True, (0, 1), True, (199, 1), 200)
    """
    if len(rows) <= SCHEDULE_STEPS_MAX:
        return tuple(rows)
    mark = min(len(reaching(rows, credits_missing=exact_at)) - 1, len(rows) - 1)
    before, after = rows[1:mark], rows[max(mark, 0) + 1 : -1]
    marked = rows[mark : mark + 1] if 0 < mark < len(rows) - 1 else []
    return (rows[0], *_grouped(before), *marked, *_grouped(after), rows[-1])


def _grouped(rows: Sequence[Row]) -> list[Row]:
    """At most 30 steps, each at the second of its last row."""
    size = max(1, -(-len(rows) // GROUPS_MAX))  # rounded up: never more groups
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [(group[-1][0], sum(amount for _, amount in group)) for group in groups]


def fits_at(
    *,
    total: int,
    used_now: int,
    lent: int,
    lent_back_at: int,
    schedule: Iterable[Row],
    ceiling: int,
    at: int,
) -> Instant | None:
    """The earliest instant >= `at` at which the allowance less the rows still counting holds `ceiling`.

    Lent credits are taken as back at `lent_back_at`. None when `ceiling` is more than the whole allowance. A schedule
    that ends too early gives the instant at which every row of today has returned.
    """
    if ceiling > total:
        return None
    free = total - used_now - lent
    if free >= ceiling:
        return Instant(at)
    returns = sorted([(lent_back_at, lent), *((int(returns_at(second)), amount) for second, amount in schedule)])
    for instant, amount in returns:
        free += amount
        if free >= ceiling:
            return Instant(max(instant, at))
    return Instant(at + (WINDOW_SECONDS + 1) * MICROSECONDS)


def retry_after(fits: int, *, at: int) -> int:
    """Retry-After in seconds: whole, rounded up, plus one, so that the caller's clock cannot make it early.

    >>> retry_after(10_000_001, at=9_000_000), retry_after(9_000_000, at=9_000_000)
    (3, 1)
    """
    return -(-max(0, fits - at) // MICROSECONDS) + 1
