"""When credits return, as bars: one per hour of the next 24, measured in per cent so that the text never scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from farebox.console.figures import HOUR_SECONDS
from farebox.console.words import time_text
from farebox.domain.instants import MICROSECONDS

BARS: Final = 24
HEIGHT: Final = 132
"""Pixels of the tallest bar."""
BAR_SHARE: Final = 72
"""Per cent of its hour that a bar is wide."""
BAR_MIN: Final = 3
"""Pixels of a bar that is not zero, so that one credit can be seen beside a million."""
TICKS: Final = (0, 6, 12, 18, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One hour. `x` and `width` are per cent of the chart's width, `y` and `height` pixels."""

    x: str
    width: str
    y: int
    height: int
    from_time: str
    to_time: str
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A time below the bars."""

    x: str
    anchor: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The bars with their axis; `highest` is the largest bar's credits."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    highest: int


def chart_of(hours: Sequence[int], *, at: int, zone: tzinfo) -> Chart:
    """The chart of `hours` (credits that return in each hour from `at`); what returns in the last second joins in."""
    amounts = [*hours[: BARS - 1], sum(hours[BARS - 1 :])]
    highest = max(0, *amounts)
    return Chart(
        bars=tuple(_bar(index, amount, highest, at, zone) for index, amount in enumerate(amounts)),
        ticks=tuple(
            Tick(
                x=_percent(hour, BARS),
                anchor={0: "start", BARS: "end"}.get(hour, "middle"),
                text=_time(at, hour, zone)[:5],
            )
            for hour in TICKS
        ),
        highest=highest,
    )


def _bar(index: int, amount: int, highest: int, at: int, zone: tzinfo) -> Bar:
    height = max(amount * HEIGHT // highest, BAR_MIN) if amount > 0 else 0
    return Bar(
        x=_percent(index * 100 + (100 - BAR_SHARE) // 2, BARS * 100),
        width=_percent(BAR_SHARE, BARS * 100),
        y=HEIGHT - height,
        height=height,
        from_time=_time(at, index, zone)[:5],
        to_time=_time(at, index + 1, zone)[:5],
        credits=amount,
    )


def _time(at: int, hours: int, zone: tzinfo) -> str:
    return time_text(at + hours * HOUR_SECONDS * MICROSECONDS, zone)


def _percent(part: int, whole: int) -> str:
    hundredths = part * 10_000 // whole
    return f"{hundredths // 100}.{hundredths % 100:02d}%"
