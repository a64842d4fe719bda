"""Plans: how many credits an organisation may spend in any 24 hours, and how that total is made.

total = min(base + users x per_user + add-on, cap); a plan without a cap is unlimited upwards. `users` counts purchased
licences, not user rows. Every amount is in millicredits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farebox.domain.credits import MILLICREDITS_PER_CREDIT
from farebox.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class PlanPool:
    """What one plan gives to one pool. `cap` None means no upper limit; it covers base, users and add-on together."""

    plan: str
    pool: str
    base: int
    per_user: int
    cap: int | None
    source: str
    mark: str = "own"


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan (edition) of a product. Concurrency is data: calls in flight per org and app; 0 means not limited."""

    name: str
    title: str
    aliases: tuple[str, ...]
    pools: tuple[PlanPool, ...]
    concurrency: int
    sub_concurrency: int
    source: str
    mark: str = "own"

    def pool(self, name: str) -> PlanPool:
        """This plan's part in the pool; `UnknownNameError` when the plan gives it nothing."""
        for pool in self.pools:
            if pool.pool == name:
                return pool
        known = ", ".join(pool.pool for pool in self.pools)
        raise UnknownNameError(f"Plan {self.name!r} has no pool {name!r}. Its pools are: {known}.")

    def answers_to(self, name: str) -> bool:
        """Whether `name` is this plan's name or one of its aliases, letter case aside."""
        wanted = name.casefold()
        return wanted == self.name.casefold() or any(wanted == alias.casefold() for alias in self.aliases)


@dataclass(frozen=True, slots=True)
class Allowance:
    """A total and how it is made. `plan_part` is the total without add-on credits."""

    total: int
    plan_part: int
    plan: str
    pool: str
    base: int
    users: int
    per_user: int
    addon: int
    cap: int | None


@dataclass(frozen=True, slots=True)
class AddonSlab:
    """What add-on credits consumed within 24 h cost, up to `up_to` millicredits (None: everything above)."""

    up_to: int | None
    microdollars_per_credit: int
    source: str
    mark: str = "own"


def plan_named(plans: Sequence[Plan], name: str) -> Plan:
    """The plan of that name or alias; `UnknownNameError` names those there are."""
    for plan in plans:
        if plan.answers_to(name):
            return plan
    known = ", ".join(plan.name for plan in plans)
    raise UnknownNameError(f"There is no plan {name!r} in this card. Its plans are: {known}.")


def allowance(
    plan_pool: PlanPool,
    users: int,
    base_override: int | None = None,
    addon: int = 0,
) -> Allowance:
    """The allowance of `users` licences: min(base + users x per_user + addon, cap), in millicredits.

    `base_override` replaces the plan's base ("the base limit for your account"); the cap stays the plan's.

    >>> standard = PlanPool("standard", "api", 50_000_000, 250_000, 100_000_000, "doc")
    >>> allowance(standard, 10).total, allowance(standard, 1_000).total
    (52500000, 100000000)
    """
    if users < 0 or addon < 0 or (base_override is not None and base_override < 0):
        raise ValueError("users, base and add-on cannot be negative")
    base = plan_pool.base if base_override is None else base_override
    by_users = base + users * plan_pool.per_user
    return Allowance(
        total=_capped(by_users + addon, plan_pool.cap),
        plan_part=_capped(by_users, plan_pool.cap),
        plan=plan_pool.plan,
        pool=plan_pool.pool,
        base=base,
        users=users,
        per_user=plan_pool.per_user,
        addon=addon,
        cap=plan_pool.cap,
    )


def addon_cost_microdollars(slabs: Sequence[AddonSlab], consumed: int) -> int:
    """What `consumed` millicredits of add-on cost for one 24-hour period, in microdollars rounded up.

    Each slab prices the credits that fall into it. What lies above the last bounded slab costs as that slab.
    """
    cost, below = 0, 0
    for position, slab in enumerate(slabs):
        is_last = position == len(slabs) - 1
        upper = consumed if slab.up_to is None or is_last else min(consumed, slab.up_to)
        cost += max(0, upper - below) * slab.microdollars_per_credit
        below = max(below, upper)
    return -(-cost // MILLICREDITS_PER_CREDIT)


def _capped(amount: int, cap: int | None) -> int:
    return amount if cap is None else min(amount, cap)
