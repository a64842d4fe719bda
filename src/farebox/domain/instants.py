"""Time as an argument: an instant is an integer count of microseconds since 1970-01-01 UTC.

Only the quota store and the clock at the edge make instants; every rule takes them as values.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NewType

Instant = NewType("Instant", int)
"""Microseconds since the Unix epoch, by the quota store's clock."""

Second = NewType("Second", int)
"""A whole second since the Unix epoch: the grain of the window."""

MICROSECONDS: Final = 1_000_000
WINDOW_SECONDS: Final = 86_400


def second_of(at: int) -> Second:
    """The whole second an instant lies in (rounded down)."""
    return Second(at // MICROSECONDS)


def oldest_counting_second(at: int) -> Second:
    """The oldest second whose rows still count at `at`.

    A row of second s counts while floor(at) <= s + 86,400: a charge made anywhere inside s counts for at
    least 24 h and at most one second more.
    """
    return Second(at // MICROSECONDS - WINDOW_SECONDS)


def returns_at(second: int) -> Instant:
    """The instant at which the rows of `second` stop counting."""
    return Instant((second + WINDOW_SECONDS + 1) * MICROSECONDS)


def text_of(at: int) -> str:
    """An instant as RFC 3339 in UTC, to the second (rounded down)."""
    return datetime.fromtimestamp(at // MICROSECONDS, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
