"""G1, G4 and G5 on the memory and the SQLite store, whatever happens to 1 to 4 gateways; and that the judge can see.

`quota_steps` says what can happen, `quota_judge` what was promised. `make soak` runs the same without end.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from farebox.domain import instants, window
from farebox.domain.identity import Account
from farebox.quota import clock, leases, memory, sqlite_sync, sqlite_view
from farebox.quota.leases import LeaseBook
from farebox.quota.port import AccountSync, SyncReply

from .quota_hunt import STEPS, hunt, run, shrunk
from .quota_world import SECOND

RUNS = 100
CAUGHT_WITHIN = 60_000
"""Steps in which a broken rule has to be found."""


def first_seed() -> int:
    given = os.environ.get("FAREBOX_SEED")
    return random.SystemRandom().randrange(10**9) if given is None else int(given)


def test_no_gateway_ever_goes_over_sums_agree_and_credits_return_whatever_happens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = first_seed()
    print(f"seeds {first} to {first + RUNS - 1}")
    *_, tally = hunt(range(first, first + RUNS), tmp_path)
    with capsys.disabled():
        print(f" [quota model: {tally}; seeds from {first}] ", end="")
    assert tally.steps >= 50_000
    assert tally.admitted > 20 * RUNS, "the simulation admits calls"
    assert tally.refused > 20 * RUNS, "and refuses some"


def test_a_seed_replays_to_the_last_word(tmp_path: Path) -> None:
    one, two = (run(4_711, tmp_path, range(STEPS)) for _ in range(2))
    assert one.story == two.story
    assert one.admitted == two.admitted > 0


# --- rules broken on purpose: each must be caught ---------------------------------------------------------------------


def expiry_a_second_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leases, "DEADLINE_MARGIN", -SECOND)


def a_lease_returned_and_still_spent(patch: pytest.MonkeyPatch) -> None:
    real = LeaseBook._part

    def part(book: LeaseBook, account: Account, *arguments: object, **options: object) -> AccountSync:
        free = book._lease_of(account).free
        sent = real(book, account, *arguments, **options)  # type: ignore[arg-type]
        book._lease_of(account).free = free
        return sent

    patch.setattr(LeaseBook, "_part", part)


def charges_leave_keeps_before_they_are_settled(patch: pytest.MonkeyPatch) -> None:
    real = LeaseBook._part

    def part(book: LeaseBook, account: Account, *arguments: object, **options: object) -> AccountSync:
        sent = real(book, account, *arguments, **options)  # type: ignore[arg-type]
        return msgspec.structs.replace(sent, keeps=sent.keeps - book._lease_of(account).charged)

    patch.setattr(LeaseBook, "_part", part)


def the_deadline_counted_from_the_reply(patch: pytest.MonkeyPatch) -> None:
    real = LeaseBook.apply

    def apply(book: LeaseBook, reply: SyncReply, _: int, received_at: int) -> None:
        real(book, reply, received_at, received_at)

    patch.setattr(LeaseBook, "apply", apply)


def a_refund_booked_when_it_happens(patch: pytest.MonkeyPatch) -> None:
    real = LeaseBook.settled

    def settled(book: LeaseBook, account: Account, second: int, amount: int) -> None:
        real(book, account, second if amount > 0 else book.stamp() // SECOND, amount)

    patch.setattr(LeaseBook, "settled", settled)


def credits_back_a_second_early(patch: pytest.MonkeyPatch) -> None:
    real = instants.oldest_counting_second
    for module in (window, memory, sqlite_sync, sqlite_view):
        patch.setattr(module, "oldest_counting_second", lambda at: real(at) + 1)


def the_store_follows_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clock, "SLEW_DIVISOR", 1)


@pytest.mark.sources
@pytest.mark.parametrize(
    ("sabotage", "caught_as"),
    [
        (expiry_a_second_late, "within 24 h of true time"),
        (a_lease_returned_and_still_spent, "within 24 h of true time"),
        (charges_leave_keeps_before_they_are_settled, "within 24 h of true time"),
        (the_deadline_counted_from_the_reply, "within 24 h of true time"),
        (a_refund_booked_when_it_happens, "G4"),
        (credits_back_a_second_early, "G"),
        (the_store_follows_the_wall_clock, "G5"),
    ],
)
def test_the_machine_catches_a_broken_rule(
    sabotage: Callable[[pytest.MonkeyPatch], None], caught_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    for seed in range(CAUGHT_WITHIN // STEPS):
        try:
            run(seed, tmp_path, range(STEPS))
        except AssertionError as violation:
            if caught_as in str(violation):
                print(f"seed {seed}, after at most {(seed + 1) * STEPS} steps: {violation}")
                return
    pytest.fail(f"{CAUGHT_WITHIN:,} steps, and nobody noticed")


@pytest.mark.sources
def test_a_violation_is_told_with_fewer_steps_and_the_command_that_replays_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_lease_returned_and_still_spent(monkeypatch)
    with pytest.raises(AssertionError) as caught:
        for _ in hunt(range(100), tmp_path):
            pass
    (told,) = caught.value.__notes__[-1:]
    assert "replay: FAREBOX_SEED=" in told
    seed = int(told.rsplit("FAREBOX_SEED=", 1)[1].split()[0])
    kept, found = shrunk(seed, tmp_path, range(STEPS))
    assert len(kept) < STEPS // 4
    assert str(found) in told
    assert len(found.__notes__) <= len(kept)
