"""Lending: tables of who gets what."""

from __future__ import annotations

import doctest

import pytest

from farebox.domain import leases
from farebox.domain.leases import Grant, lend


@pytest.mark.parametrize(
    ("remaining", "needs", "likes", "likes_of_all", "grant"),
    [
        (100, (), 0, 0, Grant((), 0, short=False)),
        (100, (100,), 0, 0, Grant((True,), 100, short=False)),
        (100, (101,), 0, 0, Grant((False,), 0, short=False)),
        (100, (60, 60, 40), 0, 0, Grant((True, False, True), 100, short=False)),
        (100, (), 100, 100, Grant((), 100, short=False)),
        (100, (), 101, 101, Grant((), 0, short=True)),
        (100, (1,), 100, 100, Grant((True,), 1, short=True)),
        (100, (1,), 10, 99, Grant((True,), 11, short=False)),
        (100, (), 10, 101, Grant((), 0, short=True)),
        (0, (0, 1), 0, 0, Grant((True, False), 0, short=False)),
        (-5, (0, 1), 0, 0, Grant((True, False), 0, short=False)),
        (-5, (), 1, 1, Grant((), 0, short=True)),
    ],
)
def test_needs_come_first_whole_and_in_order_and_likes_only_when_everybodys_fit(
    remaining: int, needs: tuple[int, ...], likes: int, likes_of_all: int, grant: Grant
) -> None:
    assert lend(remaining=remaining, needs=needs, likes=likes, likes_of_all=likes_of_all) == grant


@pytest.mark.parametrize(
    ("granted", "committed", "plan_part", "addon"),
    [(10, 0, 100, 0), (10, 90, 100, 0), (10, 95, 100, 5), (10, 100, 100, 10), (10, 500, 100, 10), (0, 500, 100, 0)],
)
def test_the_plans_own_credits_go_first(granted: int, committed: int, plan_part: int, addon: int) -> None:
    assert leases.addon_part(granted=granted, committed=committed, plan_part=plan_part) == addon


def test_a_charge_spends_the_plan_part_of_its_hold_first() -> None:
    assert [leases.spent_addon(spent=spent, hold=10, hold_addon=4) for spent in (0, 6, 7, 10)] == [0, 0, 1, 4]


def test_settled_and_kept_beyond_what_was_lent_is_told() -> None:
    assert leases.over(settled=5, keeps=5, out=10) == 0
    assert leases.over(settled=6, keeps=5, out=10) == 1
    assert leases.over(settled=-6, keeps=5, out=0) == 0, "a refund needs no loan"


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(leases).failed == 0
