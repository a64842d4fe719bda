"""The dashboard's figures: every sum agrees, to the millicredit."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from farebox.console.figures import HOURS, Consumption, Level, consumption, level_of, percent_of, storage
from farebox.console.orgs import App, User
from farebox.domain.instants import MICROSECONDS, WINDOW_SECONDS, returns_at
from farebox.quota.port import AccountView, AllowanceInForce
from farebox.usage.port import Breakdown, UsageLine, UsageTotals

NOW = 1_700_000_000
AT = NOW * MICROSECONDS + 250_000


def view(
    *, total: int = 52_500_000, held: int = 0, unaccounted: int = 0, rows: tuple[tuple[int, int], ...]
) -> AccountView:
    allowance = AllowanceInForce(total, total, "standard", 50_000_000, 10, 250_000, 0, 100_000_000, 1)
    return AccountView(AT, allowance, sum(amount for _, amount in rows), held, unaccounted, rows)


def spent(*lines: UsageLine) -> Breakdown:
    totals = UsageTotals(
        calls=sum(line.calls for line in lines),
        credits=sum(line.credits for line in lines),
        refusals=sum(line.refusals for line in lines),
    )
    return Breakdown(totals=totals, lines=lines)


def by_user(breakdown: Breakdown, *, users: Sequence[User] = (), seen: AccountView | None = None) -> Consumption:
    """Consumption of which only the users' section matters: all calls are without an app."""
    totals = breakdown.totals
    nobodys = UsageLine(value="", calls=totals.calls, credits=totals.credits, refusals=totals.refusals)
    by_app = Breakdown(totals=totals, lines=(nobodys,))
    return consumption(apps=(), users=users, by_app=by_app, by_user=breakdown, view=seen)


def test_total_is_used_and_held_and_unused() -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    rows = tuple((NOW - rng.randrange(WINDOW_SECONDS), rng.randrange(1, 10_000)) for _ in range(500))
    made = storage(view(held=rng.randrange(10_000), rows=tuple(sorted(rows))))
    assert made.total == made.used + made.held + made.unused, f"seed {seed}"
    assert sum(made.hours) == made.used, f"seed {seed}"


def test_credits_return_in_the_hour_their_second_is_24_hours_old() -> None:
    oldest, newest = NOW - WINDOW_SECONDS, NOW
    made = storage(view(rows=((oldest, 1_000), (oldest + 3_599, 2_000), (oldest + 3_600, 4_000), (newest, 8_000))))
    assert made.next_return == (returns_at(oldest), 1_000)
    assert made.within_hour == 3_000
    assert made.hours[1] == 4_000
    assert made.hours[HOURS - 1] == 8_000


def test_milestones_say_when_a_tenth_a_quarter_and_half_are_free() -> None:
    rows = ((NOW - 3_000, 20_000), (NOW - 2_000, 10_000), (NOW - 1_000, 70_000))
    made = storage(view(total=100_000, rows=rows))
    assert [(each.percent, each.credits, each.at) for each in made.milestones] == [
        (10, 10_000, returns_at(NOW - 3_000)),
        (25, 25_000, returns_at(NOW - 2_000)),
        (50, 50_000, returns_at(NOW - 1_000)),
    ]


def test_more_used_than_a_lowered_total_leaves_less_than_nothing() -> None:
    made = storage(view(total=5_000_000, rows=((NOW, 5_300_000),)))
    assert made.unused == -300_000
    assert made.percent == 106
    assert made.level is Level.REACHED


@pytest.mark.parametrize(
    ("used", "unused", "level"),
    [
        (79_999, 20_001, Level.CALM),
        (80_000, 20_000, Level.WATCH),
        (90_000, 10_000, Level.NEAR),
        (99_001, 999, Level.REACHED),
        (100_000, 0, Level.REACHED),
        (50_000, 0, Level.REACHED),
    ],
)
def test_levels_begin_at_80_and_90_per_cent_and_where_not_one_credit_is_left(
    used: int, unused: int, level: Level
) -> None:
    assert level_of(used=used, unused=unused, total=100_000) is level


def test_a_hundred_per_cent_means_all_of_it_and_none_means_nothing() -> None:
    assert percent_of(12_480, 52_500) == 24
    assert percent_of(99_999, 100_000) == 99
    assert percent_of(1, 100_000) == 1
    assert percent_of(0, 0) == 0
    assert percent_of(1, 0) == 100


def test_every_user_has_a_line_also_without_calls_and_strangers_and_calls_without_a_user() -> None:
    users = [User(id="u1", name="Ada"), User(id="u2", name="Ben")]
    breakdown = spent(
        UsageLine(value="u9", calls=2, credits=3_000, refusals=0),
        UsageLine(value="", calls=4, credits=9_000, refusals=0),
        UsageLine(value="u1", calls=1, credits=1_000, refusals=7),
    )
    made = by_user(breakdown, users=users)
    assert [(line.id, line.credits, line.known) for line in made.users.lines] == [
        ("u9", 3_000, False),
        ("u1", 1_000, True),
        ("u2", 0, True),
        ("", 9_000, True),
    ]
    assert sum(line.credits for line in made.users.lines) + made.users.others == made.totals.credits
    assert sum(line.share for line in made.users.lines) <= 1_000


def test_every_app_has_a_line_by_its_name_and_its_id_where_that_is_another() -> None:
    apps = [App(id="1000.AB", name="Website form"), App(id="erp", name="erp"), App(id="idle", name="Old import")]
    breakdown = spent(
        UsageLine(value="erp", calls=2, credits=2_000, refusals=5),
        UsageLine(value="1000.AB", calls=1, credits=6_000, refusals=4),
        UsageLine(value="", calls=1, credits=1_000, refusals=0),
        UsageLine(value="1000.CD", calls=1, credits=1_000, refusals=0),
    )
    made = consumption(apps=apps, users=(), by_app=breakdown, by_user=breakdown, view=None).apps
    assert [(line.name, line.detail, line.credits, line.share, line.known) for line in made.lines] == [
        ("Website form", "1000.AB", 6_000, 600, True),
        ("erp", "", 2_000, 200, True),
        ("1000.CD", "", 1_000, 100, False),
        ("Old import", "idle", 0, 0, True),
        ("", "", 1_000, 100, True),
    ]
    assert made.top is not None
    assert made.top.name == "Website form"
    assert made.most_refused is not None
    assert made.most_refused.name == "erp"


def test_where_nothing_was_spent_nobody_spent_most() -> None:
    idle = spent(UsageLine(value="u1", calls=1, credits=0, refusals=0))
    made = by_user(idle, users=[User(id="u1", name="Ada")]).users
    assert made.top is None
    assert made.most_refused is None


def test_the_gap_is_what_is_unaccounted_and_what_is_not_loaded_yet() -> None:
    breakdown = spent(UsageLine(value="u1", calls=1, credits=7_000, refusals=0))
    made = by_user(breakdown, seen=view(unaccounted=2_000, rows=((NOW, 10_000),)))
    assert made.gap == 3_000
    assert made.not_loaded == 1_000


def test_usage_may_be_ahead_of_quota_and_the_gap_says_so() -> None:
    breakdown = spent(UsageLine(value="u1", calls=1, credits=7_000, refusals=0))
    made = by_user(breakdown, seen=view(rows=((NOW, 5_000),)))
    assert made.gap == -2_000


def test_lines_beyond_those_given_are_a_figure_of_their_own() -> None:
    given = (UsageLine(value="u1", calls=1, credits=7_000, refusals=0),)
    breakdown = Breakdown(totals=UsageTotals(calls=3, credits=9_000), lines=given)
    assert by_user(breakdown).users.others == 2_000
