"""The window's rules: what counts, what returns when, how long to wait."""

from __future__ import annotations

import doctest
import random

import pytest

from farebox.domain import window
from farebox.domain.instants import returns_at

SECOND = 1_000_000
DAY = 86_400


def test_a_charge_counts_for_24_hours_and_at_most_one_second_more() -> None:
    for made_at in (500 * SECOND, 500 * SECOND + 1, 501 * SECOND - 1):
        second = made_at // SECOND
        assert window.counts(second, at=made_at)
        assert window.counts(second, at=made_at + DAY * SECOND), "never earlier"
        assert not window.counts(second, at=made_at + (DAY + 1) * SECOND), "at most one second later"


def test_the_instant_of_return_is_the_first_at_which_it_no_longer_counts() -> None:
    assert window.counts(500, at=returns_at(500) - 1)
    assert not window.counts(500, at=returns_at(500))


def test_used_is_the_sum_of_the_rows_that_count() -> None:
    rows = [(100, 5), (101, 7), (102, -3)]
    assert window.used(rows, at=102 * SECOND) == 9
    assert window.used(rows, at=returns_at(100)) == 4
    assert window.used(rows, at=returns_at(102)) == 0


def test_rows_that_count_come_oldest_first_without_zeros() -> None:
    assert window.counting([(103, 1), (101, 7), (102, 0), (1, 9)], at=returns_at(1)) == [(101, 7), (103, 1)]


@pytest.mark.parametrize("length", [0, 1, 2, 63, 64, 65, 66, 127, 1_000, 86_400])
@pytest.mark.parametrize("mark", [0, 1, 2, 500, 10**9])
def test_a_merged_schedule_has_at_most_64_steps_promises_nothing_early_and_is_exact_where_it_matters(
    length: int, mark: int
) -> None:
    rows = [(second * 3, 1) for second in range(length)]
    steps = window.merged(rows, exact_at=mark)
    assert len(steps) <= window.SCHEDULE_STEPS_MAX
    assert sum(amount for _, amount in steps) == length
    assert list(steps) == sorted(steps)
    if length:
        assert (steps[0], steps[-1]) == (rows[0], rows[-1])
    returned = 0
    for second, amount in steps:
        returned += amount
        assert returned == second // 3 + 1, "all rows up to that second, and no later ones"
    if 0 < mark <= length:
        returned = 0
        for second, amount in steps:
            returned += amount
            if returned >= mark:
                assert second == (mark - 1) * 3
                break


def test_reaching_takes_the_oldest_rows_that_are_enough() -> None:
    rows = [(1, 10), (2, 10), (3, 10)]
    assert window.reaching(rows, credits_missing=10) == [(1, 10)]
    assert window.reaching(rows, credits_missing=11) == [(1, 10), (2, 10)]
    assert window.reaching(rows, credits_missing=99) == rows


def fits(*, ceiling: int, total: int = 100, lent: int = 0, at: int = 1_000 * SECOND) -> int | None:
    schedule = [(900, 30), (950, 30), (990, 30)]
    return window.fits_at(
        total=total, used_now=90, lent=lent, lent_back_at=at + 2 * SECOND, schedule=schedule, ceiling=ceiling, at=at
    )


def test_a_call_fits_now_when_what_is_left_holds_it() -> None:
    assert fits(ceiling=10) == 1_000 * SECOND


def test_a_call_fits_when_enough_has_returned() -> None:
    assert fits(ceiling=11) == returns_at(900)
    assert fits(ceiling=40) == returns_at(900)
    assert fits(ceiling=41) == returns_at(950)
    assert fits(ceiling=100) == returns_at(990)


def test_lent_credits_are_taken_as_back_at_their_expiry() -> None:
    assert fits(ceiling=10, lent=10) == 1_002 * SECOND


def test_a_ceiling_above_the_allowance_never_fits() -> None:
    assert fits(ceiling=101) is None


def test_a_schedule_that_ends_too_early_gives_the_end_of_the_window() -> None:
    assert fits(ceiling=200, total=300, lent=205) == 1_002 * SECOND
    assert (
        window.fits_at(total=100, used_now=90, lent=0, lent_back_at=0, schedule=[], ceiling=50, at=SECOND)
        == (DAY + 2) * SECOND
    )


def test_the_instant_of_fitting_is_the_earliest_by_trying_every_second() -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(200):
        at = 200_000 * SECOND + chance.randrange(SECOND)
        rows = window.counting([(chance.randrange(199_900, 200_000), chance.randrange(1, 9)) for _ in range(20)], at=at)
        used = window.used(rows, at=at)
        total, ceiling = used + chance.randrange(5), chance.randrange(1, 60)
        found = window.fits_at(
            total=total, used_now=used, lent=0, lent_back_at=at, schedule=rows, ceiling=ceiling, at=at
        )
        instants = sorted({at, *(returns_at(second) for second, _ in rows)})
        tried = [instant for instant in instants if total - window.used(rows, at=instant) >= ceiling]
        assert found == (tried[0] if ceiling <= total else None)


def test_retry_after_is_whole_seconds_rounded_up_plus_one() -> None:
    assert window.retry_after(10 * SECOND, at=10 * SECOND) == 1
    assert window.retry_after(10 * SECOND + 1, at=10 * SECOND) == 2
    assert window.retry_after(11 * SECOND, at=10 * SECOND) == 2
    assert window.retry_after(5 * SECOND, at=10 * SECOND) == 1


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(window).failed == 0
