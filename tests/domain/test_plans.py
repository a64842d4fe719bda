"""The allowance of a plan: base + users x per user + add-on, at most the cap."""

from __future__ import annotations

import pytest

from farebox.domain.credits import credits_of
from farebox.domain.plans import (
    AddonSlab,
    Plan,
    PlanPool,
    addon_cost_microdollars,
    allowance,
    plan_named,
)
from farebox.errors import UnknownNameError

STANDARD = PlanPool("standard", "api", credits_of(50_000), credits_of(250), credits_of(100_000), "L8")
UNLIMITED = PlanPool("ultimate", "api", credits_of(50_000), credits_of(2_000), None, "L8")
FREE = PlanPool("free", "api", credits_of(5_000), 0, credits_of(5_000), "L8")
SLABS = tuple(
    AddonSlab(None if up_to is None else credits_of(up_to), price, "P8")
    for up_to, price in ((25_000, 140), (100_000, 60), (250_000, 50), (None, 25))
)


def test_standard_with_ten_users_has_52_500() -> None:
    made = allowance(STANDARD, 10)
    assert made.total == made.plan_part == credits_of(52_500)
    assert (made.base, made.users, made.per_user, made.cap) == (
        credits_of(50_000),
        10,
        credits_of(250),
        credits_of(100_000),
    )


def test_the_cap_covers_base_users_and_add_on_together() -> None:
    made = allowance(STANDARD, 100, addon=credits_of(60_000))
    assert made.plan_part == credits_of(75_000)
    assert made.total == credits_of(100_000)
    assert made.addon == credits_of(60_000)


def test_a_thousand_users_do_not_lift_standard_above_its_cap() -> None:
    assert allowance(STANDARD, 1_000).total == credits_of(100_000)


def test_a_plan_without_cap_grows_with_every_user() -> None:
    assert allowance(UNLIMITED, 10_000).total == credits_of(20_050_000)


def test_free_has_5_000_whatever_the_users() -> None:
    assert allowance(FREE, 0).total == allowance(FREE, 3).total == credits_of(5_000)


def test_the_base_limit_of_an_account_replaces_the_plans() -> None:
    assert allowance(STANDARD, 10, base_override=credits_of(60_000)).total == credits_of(62_500)
    assert allowance(STANDARD, 10, base_override=0).total == credits_of(2_500)


@pytest.mark.parametrize("wrong", [{"users": -1}, {"users": 1, "addon": -1}, {"users": 1, "base_override": -1}])
def test_negative_figures_are_a_bug_of_the_caller(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="negative"):
        allowance(STANDARD, **wrong)


def test_a_plan_is_found_by_name_and_alias_in_any_case_and_else_the_names_are_listed() -> None:
    one = Plan("zoho-one", "Zoho One", ("one",), (STANDARD,), 20, 10, "L8")
    assert plan_named((one,), "ONE") is plan_named((one,), "Zoho-One") is one
    with pytest.raises(UnknownNameError, match="zoho-one"):
        plan_named((one,), "gold")
    with pytest.raises(UnknownNameError, match="api"):
        one.pool("functions")


@pytest.mark.parametrize(
    ("consumed", "dollars_in_cents"),
    [(0, 0), (25_000, 350), (80_000, 680), (100_000, 800), (250_000, 1_550), (350_000, 1_800)],
)
def test_add_on_credits_cost_by_slabs(consumed: int, dollars_in_cents: int) -> None:
    assert addon_cost_microdollars(SLABS, credits_of(consumed)) == dollars_in_cents * 10_000


def test_a_part_of_a_microdollar_is_rounded_up() -> None:
    assert addon_cost_microdollars(SLABS, 1) == 1
