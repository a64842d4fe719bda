"""How many calls of an org's app may be in flight, by its plan, and the refusals that name the limit that was met.

Counted over all workers of one machine (gateway/counter_page.py). Several machines do not know of each other's calls:
there the limit is per machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from farebox.domain.cards import Operation, RateCard
from farebox.errors import FareboxError
from farebox.gateway.counter_page import CELLS_PER_SEAT, HEAVY_SHIFT, HEAVY_UNIT, LOW_HALF, Counters
from farebox.gateway.refuse import Refusal
from farebox.quota.directory_image import DirectoryImage

_log = structlog.get_logger("farebox.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan allows in flight per org and app; 0: as many as come. `plan` is its title."""

    plan: str
    calls: int
    heavy: int


LimitsOf = Callable[[DirectoryImage, str, str], Limits | None]
"""(directory, org, product) -> what its plan allows in flight; None: nothing is limited."""


def limits_of(card_of: Callable[[str], RateCard]) -> LimitsOf:
    """Limits by the subscription's plan. `card_of` gives the rate card a subscription names."""

    def of(image: DirectoryImage, org: str, product: str) -> Limits | None:
        subscription = image.subscription(org, product)
        if subscription is None:
            return None
        try:
            plan = card_of(subscription.card).plan(subscription.plan)
        except FareboxError as error:  # this org has no allowance either: its calls are refused for want of credits
            _log.warning("concurrency.plan_unknown", org=org, product=product, code=error.code, message=str(error))
            return None
        if not plan.concurrency and not plan.sub_concurrency:
            return None
        return Limits(plan=plan.title or plan.name, calls=plan.concurrency, heavy=plan.sub_concurrency)

    return of


class Concurrency:
    """The limits of one org and app, and what it has in flight. One per caller; all of a pair share the counts."""

    __slots__ = ("_at", "_counters", "_limits")

    def __init__(self, counters: Counters, at: int, limits: Limits) -> None:
        self._counters = counters
        self._at = at
        self._limits = limits

    def enter(self, operation: Operation, quantities: dict[str, int], *, from_function: bool) -> int | Refusal:
        """The units the call takes, for `leave`; or the refusal that names the limit it met.

        A call that takes more units than the plan has takes all of them: it runs alone, instead of never.
        """
        limits = self._limits
        calls, heavy = limits.calls, limits.heavy
        units = operation.concurrency if not calls or operation.concurrency <= calls else calls
        if heavy and operation.is_heavy(quantities, from_function=from_function):
            units += HEAVY_UNIT
        total = self._counters.add(self._at, units)
        if calls and total & LOW_HALF > calls:
            self._counters.take_back(self._at, units)
            return _too_many(limits, in_flight=(total - units) & LOW_HALF, units=units & LOW_HALF)
        if units >= HEAVY_UNIT and total >> HEAVY_SHIFT > heavy:
            self._counters.take_back(self._at, units)
            return _too_many_heavy(limits, in_flight=(total - units) >> HEAVY_SHIFT)
        return units

    def leave(self, units: int) -> None:
        """The call is answered, or nobody waits for it any more."""
        self._counters.take_back(self._at, units)


def concurrency_for(
    counters: Counters, limits: LimitsOf, product: str
) -> Callable[[DirectoryImage, str, str], Concurrency | None]:
    """(directory, org, app) -> what holds back the calls of that pair to `product`; None: nothing does."""
    said = False

    def of(image: DirectoryImage, org: str, app: str) -> Concurrency | None:
        limited = limits(image, org, product)
        if limited is None:
            return None
        at = counters.cell(org, product, app)
        if at is not None:
            return Concurrency(counters, at, limited)
        nonlocal said
        if not said:
            said = True
            _log.warning(
                "concurrency.full",
                message=f"more than {CELLS_PER_SEAT} pairs of org and app called since this worker started: those that "
                "came last are not limited; `farebox restart` begins anew",
            )
        return None

    return of


def _too_many(limits: Limits, *, in_flight: int, units: int) -> Refusal:
    takes = "" if units == 1 else f" and this one counts as {units}"
    return Refusal(
        status=429,
        code="CONCURRENCY_EXCEEDED",
        text=(
            f"The plan {limits.plan} allows {limits.calls} calls in flight at once per org and app; {in_flight} are"
            f"{takes}. Nothing was charged; repeat when one of them has been answered, or send fewer at a time."
        ),
        retry_after=1,
        details={
            "limit_reached": "calls in flight per org and app",
            "concurrency": limits.calls,
            "in_flight": in_flight,
            "needed": units,
        },
    )


def _too_many_heavy(limits: Limits, *, in_flight: int) -> Refusal:
    return Refusal(
        status=429,
        code="SUB_CONCURRENCY_EXCEEDED",
        text=(
            f"The plan {limits.plan} allows {limits.heavy} resource-heavy calls in flight at once per org and app; "
            f"{in_flight} are. Nothing was charged; repeat when one of them has been answered. Lighter calls go on."
        ),
        retry_after=1,
        details={
            "limit_reached": "resource-heavy calls in flight per org and app",
            "sub_concurrency": limits.heavy,
            "in_flight": in_flight,
            "needed": 1,
        },
    )
