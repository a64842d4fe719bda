"""The dashboard's figures, made from one quota view and one reading of usage: pure, so that the sums can be checked.

used = sum of the entries + unaccounted + what usage has not loaded yet (or has before quota settled it): the difference
between the two stores is a figure of its own, never hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from farebox.console.orgs import App, User
from farebox.domain.credits import MILLICREDITS_PER_CREDIT
from farebox.domain.instants import MICROSECONDS, Instant, returns_at
from farebox.domain.names import FAREBOX
from farebox.quota.port import AccountView, AllowanceInForce
from farebox.usage.port import Breakdown, UsageLine, UsageTotals

HOUR_SECONDS: Final = 3_600
HOURS: Final = 25
"""The last whole second of the window returns one second after 24 hours: in the 25th hour."""
FAREBOX_TITLE: Final = "Farebox itself"
"""Its own calls, that ask an API whose token it was sent."""

MILESTONE_PERCENTS: Final = (10, 25, 50)


class Level(IntEnum):
    """How near the end of the allowance an account is; the percentages are of the total."""

    CALM = 0
    WATCH = 80
    NEAR = 90
    REACHED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """When at least `percent` of the total is unused again, if nothing more is spent."""

    percent: int
    credits: int
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """*Organization API storage*: straight from quota. total = used + held + unused, to the millicredit."""

    at: Instant
    allowance: AllowanceInForce
    total: int
    used: int
    held: int
    unused: int
    unaccounted: int
    level: Level
    percent: int
    """Used of total, to the nearest whole; 100 only when it is all used, 0 only when nothing is."""
    next_return: tuple[Instant, int] | None
    """The next credits to come back: when, and how many."""
    within_hour: int
    hours: tuple[int, ...]
    """Credits that come back in each of the next HOURS hours."""
    milestones: tuple[Milestone, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a section of *API consumption*. `id` is empty for calls that name no user, or no app."""

    id: str
    name: str
    detail: str
    """What tells it from others of that name: a user's e-mail address, an app's id. May be empty."""
    calls: int
    credits: int
    refusals: int
    share: int
    """Of the credits of all lines, in thousandths, rounded down."""
    known: bool
    """False for an id that calls carry and the directory does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of *API consumption*. The lines and `others` add up to the totals, to the millicredit."""

    lines: tuple[Line, ...]
    """Largest spender first; calls that name nobody last."""
    others: int
    """Credits of values beyond those a breakdown gives back (BREAKDOWN_LINES_MAX)."""

    @property
    def top(self) -> Line | None:
        """Who spent most, if anything was spent."""
        return max((line for line in self.lines if line.credits > 0), key=lambda line: line.credits, default=None)

    @property
    def most_refused(self) -> Line | None:
        """Who had most calls refused, if any were."""
        return max((line for line in self.lines if line.refusals > 0), key=lambda line: line.refusals, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """*API consumption* by applications and by users: from usage, of one state, so that both have the same sums."""

    apps: Section
    users: Section
    totals: UsageTotals
    gap: int | None
    """used of the organisation less the sum of a section; None while quota cannot be read."""
    not_loaded: int | None
    """The gap less what is unaccounted: negative when usage is ahead of quota."""


def storage(view: AccountView) -> Storage:
    """The figures of an account as quota sees it."""
    total = view.allowance.total
    unused = total - view.used - view.held
    returns = [(returns_at(second), amount) for second, amount in view.rows if amount]
    hours = [0] * HOURS
    for at, amount in returns:
        hours[min(max(at - view.store_time, 0) // (HOUR_SECONDS * MICROSECONDS), HOURS - 1)] += amount
    return Storage(
        at=Instant(view.store_time),
        allowance=view.allowance,
        total=total,
        used=view.used,
        held=view.held,
        unused=unused,
        unaccounted=view.unaccounted,
        level=level_of(used=view.used, unused=unused, total=total),
        percent=percent_of(view.used, total),
        next_return=returns[0] if returns else None,
        within_hour=hours[0],
        hours=tuple(hours),
        milestones=_milestones(total=total, unused=unused, returns=returns),
    )


def level_of(*, used: int, unused: int, total: int) -> Level:
    """REACHED when not even one credit is left or all is used; else by the share used."""
    if unused < MILLICREDITS_PER_CREDIT or used >= total:
        return Level.REACHED
    if used * 100 >= Level.NEAR * total:
        return Level.NEAR
    return Level.WATCH if used * 100 >= Level.WATCH * total else Level.CALM


def percent_of(used: int, total: int) -> int:
    """Nearest whole per cent, but 100 is kept for "all of it" and 0 for "none of it".

    >>> percent_of(12_480, 52_500), percent_of(52_499, 52_500), percent_of(1, 52_500), percent_of(0, 52_500)
    (24, 99, 1, 0)
    """
    if total <= 0:
        return 100 if used > 0 else 0
    if used >= total:
        return used * 100 // total
    nearest = (used * 200 + total) // (2 * total)
    return min(max(nearest, 1), 99) if used > 0 else 0


def consumption(
    *,
    apps: Sequence[App],
    users: Sequence[User],
    by_app: Breakdown,
    by_user: Breakdown,
    view: AccountView | None,
) -> Consumption:
    """Both sections, from breakdowns of one state."""
    totals = by_user.totals
    gap = None if view is None else view.used - totals.credits
    return Consumption(
        apps=_section([_Named(app.id, app.name, app.id if app.id != app.name else "") for app in apps], by_app),
        users=_section([_Named(user.id, user.name, user.email) for user in users], by_user),
        totals=totals,
        gap=gap,
        not_loaded=None if gap is None or view is None else gap - view.unaccounted,
    )


class _Named(NamedTuple):
    """Whom a line is about."""

    id: str
    name: str
    detail: str = ""


def _section(directory: Sequence[_Named], spent: Breakdown) -> Section:
    """Everybody in the directory with what they spent, whoever else the entries name, and calls that name nobody."""
    totals, by_value = spent.totals, {line.value: line for line in spent.lines}
    if FAREBOX in by_value:
        directory = (*directory, _Named(FAREBOX, FAREBOX_TITLE))
    known = {named.id for named in directory}
    nothing = UsageLine(value="", calls=0, credits=0, refusals=0)
    listed = [_line(named, by_value.get(named.id, nothing), totals, known=True) for named in directory]
    strangers = [
        _line(_Named(line.value, line.value), line, totals, known=False)
        for line in spent.lines
        if line.value and line.value not in known
    ]
    lines = sorted(listed + strangers, key=lambda line: (-line.credits, -line.calls, -line.refusals, line.name))
    if "" in by_value:
        lines.append(_line(_Named("", ""), by_value[""], totals, known=True))
    return Section(lines=tuple(lines), others=totals.credits - sum(line.credits for line in lines))


def _line(named: _Named, spent: UsageLine, totals: UsageTotals, *, known: bool) -> Line:
    return Line(
        id=named.id,
        name=named.name,
        detail=named.detail,
        calls=spent.calls,
        credits=spent.credits,
        refusals=spent.refusals,
        share=max(spent.credits, 0) * 1_000 // totals.credits if totals.credits > 0 else 0,
        known=known,
    )


def _milestones(*, total: int, unused: int, returns: Sequence[tuple[Instant, int]]) -> tuple[Milestone, ...]:
    """The instants at which the unused part climbs over a step; of steps climbed at once, the highest."""
    found: list[Milestone] = []
    wanted = [percent for percent in MILESTONE_PERCENTS if total * percent // 100 > unused]
    free = unused
    for at, amount in returns:
        free += amount
        reached = [percent for percent in wanted if total * percent // 100 <= free]
        if reached:
            found.append(Milestone(percent=reached[-1], credits=total * reached[-1] // 100, at=at))
            wanted = wanted[len(reached) :]
    return tuple(found)
