"""What a lease likes: enough that a steady caller never waits, and nothing once it is idle."""

from __future__ import annotations

from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS
from farebox.quota.lease import IDLE_MICROSECONDS, Lease

ACCOUNT = Account("acme", "crm", "api")


def _used(*, ceiling: int, at: int) -> Lease:
    lease = Lease(ACCOUNT, at)
    lease.recent += ceiling
    lease.usual = max(lease.usual, ceiling)
    lease.used_at = at
    return lease


def test_a_caller_of_one_call_in_two_seconds_is_liked_a_whole_call_each_time() -> None:
    lease = _used(ceiling=1_000, at=0)
    for tick in range(1, 5):
        lease.decay(tick * MICROSECONDS // 2)
        assert lease.likes() >= 1_000


def test_while_a_sync_is_under_way_one_usual_call_may_still_be_spent() -> None:
    lease = _used(ceiling=5_000, at=0)
    lease.free, lease.deadline = 20_000, 2 * MICROSECONDS
    lease.decay(MICROSECONDS)
    lease.give_up(MICROSECONDS, closing=False)
    assert lease.free == 5_000


def test_an_idle_account_likes_nothing_gives_all_back_and_leaves() -> None:
    lease = _used(ceiling=500_000, at=0)
    lease.free, lease.deadline = 500_000, IDLE_MICROSECONDS + MICROSECONDS
    lease.decay(IDLE_MICROSECONDS)
    lease.give_up(IDLE_MICROSECONDS, closing=False)
    assert (lease.likes(), lease.free) == (0, 0)
    assert lease.quiet()
