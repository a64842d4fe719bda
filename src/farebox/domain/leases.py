"""Lending: how much of what remains goes to whom, and which part of it is add-on credits.

remaining = allowance - used - everything lent. A grant never exceeds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grant:
    """What a sync lends to one gateway for one account."""

    needs: tuple[bool, ...]
    """For each call that waits, in order of arrival: whether its whole ceiling is granted."""
    total: int
    """All granted needs and, unless short, what was liked."""
    short: bool
    """Less remained than all gateways together like: nothing is lent ahead of need."""


def lend(*, remaining: int, needs: Iterable[int], likes: int, likes_of_all: int) -> Grant:
    """Needs first, whole and in order; one that does not fit is passed over and smaller ones behind it go on.

    Then `likes`, but only when what is left covers the likes of all gateways (`likes_of_all`, this one's included), so
    that no idle gateway sits on what another needs.

    >>> lend(remaining=10, needs=(6, 6, 4), likes=5, likes_of_all=5)
    Grant(needs=(True, False, True), total=10, short=True)
    >>> lend(remaining=100, needs=(6,), likes=20, likes_of_all=40)
    Grant(needs=(True,), total=26, short=False)
    """
    left = max(0, remaining)
    fits: list[bool] = []
    granted = 0
    for ceiling in needs:
        fit = ceiling <= left
        fits.append(fit)
        if fit:
            left -= ceiling
            granted += ceiling
    short = left < likes_of_all
    if not short:
        granted += likes
    return Grant(needs=tuple(fits), total=granted, short=short)


def addon_part(*, granted: int, committed: int, plan_part: int) -> int:
    """How much of `granted` lies above the plan's own credits, when `committed` was used or lent before it.

    The plan's own credits go first.

    >>> addon_part(granted=10, committed=95, plan_part=100)
    5
    """
    return max(0, min(granted, committed + granted - plan_part))


def spent_addon(*, spent: int, hold: int, hold_addon: int) -> int:
    """The add-on part of a charge of `spent` against a hold of `hold` with `hold_addon` add-on credits in it.

    >>> spent_addon(spent=7, hold=10, hold_addon=4), spent_addon(spent=5, hold=10, hold_addon=4)
    (1, 0)
    """
    return max(0, spent - (hold - hold_addon))


def over(*, settled: int, keeps: int, out: int, unleased: int = 0) -> int:
    """By how much a gateway accounts for more than it was lent and said it let through unleased; 0 when all is well.

    >>> over(settled=30, keeps=90, out=100), over(settled=30, keeps=90, out=100, unleased=20)
    (20, 0)
    """
    return max(0, settled + keeps - out - unleased)
