"""The judge: every charge with the simulation's true time, against what G1, G4 and G5 promise.

It believes no gateway: not its stamps, not its sums. It knows when a call truly was admitted, what the allowance was,
what stands in every journal and how far that is settled. A violation is an AssertionError that begins with its name.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from farebox.domain.identity import Account
from farebox.domain.instants import oldest_counting_second
from farebox.quota.clock import SLEW_DIVISOR, ManualClock
from farebox.quota.port import AccountView

from .quota_world import DAY, SECOND

LEASE = 2 * SECOND
DRIFT = 2 * LEASE // SLEW_DIVISOR + 4
"""What stamp and store may come apart by slewing within one lease, and roundings."""


@dataclass(slots=True, eq=False)
class Spend:
    """One admitted call: at its ceiling until charged, at its charge until refunded. It only ever becomes less."""

    account: Account
    true: int
    store: int
    """The store's time at the true instant of admission: not what the gateway took it for."""
    stamp: int
    late: int
    """By how much the stamp may lie behind: how long the reply was under way that brought the lease."""
    granted: int
    """When the store wrote the reply that brought the lease (`Judge.awake`)."""
    amount: int
    leased: bool = True
    limit: int = 0
    """The allowance in force for it."""
    booked: int = 0
    """What the store has of it: its journal entries up to where that journal is settled."""


@dataclass(slots=True)
class Books:
    """One account as the judge keeps it."""

    spends: deque[Spend] = field(default_factory=deque)
    """Admitted within a day and a little, in true order."""
    settled: dict[int, int] = field(default_factory=dict)
    """second -> credits, by the journals."""
    totals: list[tuple[int, int]] = field(default_factory=list)
    """(since when, allowance), in force one after the other."""


class Judge:
    """Told what truly happens; asserts what was promised."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.frozen = 0
        """How long all clocks stood still: time nobody can know of, so a lease is older by it than anybody sees."""
        self.books: dict[Account, Books] = {}
        self._seen: tuple[str, int, int] | None = None

    def awake(self) -> int:
        return self.clock.true - self.frozen

    def allowance_is(self, account: Account, total: int) -> None:
        self.books.setdefault(account, Books()).totals.append((self.awake(), total))

    def in_force(self, spend: Spend) -> int:
        """The largest allowance since the lease was granted; a lowered one is in force everywhere one lease later."""
        begin = max(spend.granted, self.awake() - LEASE)
        largest = 0
        for since, total in reversed(self.books[spend.account].totals):
            largest = max(largest, total)
            if since < begin:
                break
        return largest

    def admitted(self, spend: Spend) -> None:
        """G1 at the moment of admission, all that is in flight taken at its ceiling: what follows can only be less."""
        assert spend.stamp <= spend.store, f"G1: a stamp {spend.stamp - spend.store} us ahead of the store"
        behind = spend.store - spend.stamp
        assert behind <= spend.late, f"G1: a stamp {behind} us behind the store, the reply was {spend.late} us old"
        spends = self.books[spend.account].spends
        spends.append(spend)
        while spend.store - spends[0].store > DAY + 10 * SECOND:
            spends.popleft()
        limit = spend.limit = self.in_force(spend)
        by_true = sum(s.amount for s in spends if s.leased and _age(s, spend) < DAY)
        assert by_true <= limit, f"G1: {by_true} of {limit} within 24 h of true time"
        for later in (s for s in spends if s.leased and s.stamp >= spend.stamp):
            by_stamp = sum(s.amount for s in spends if s.leased and later.stamp - DAY < s.stamp <= later.stamp)
            most = max(limit, later.limit)
            assert by_stamp <= most, f"G1: {by_stamp} of {most} by stamps"

    def settled(self, account: Account, second: int, amount: int, spend: Spend) -> None:
        """A journal entry that the store says it has."""
        rows = self.books[account].settled
        rows[second] = rows.get(second, 0) + amount
        spend.booked += amount

    def looked_at(self, account: Account, view: AccountView) -> None:
        """G4 to the credit, and G5 for every single charge, by what any reader sees now."""
        books, now = self.books[account], view.store_time
        oldest = oldest_counting_second(now)
        for second in [second for second in books.settled if second < oldest - 60]:
            del books.settled[second]
        due = sum(amount for second, amount in books.settled.items() if second >= oldest)
        assert view.used == due + view.unaccounted, f"G4: used {view.used}, entries {due} + {view.unaccounted}"
        charged = view.used - view.unaccounted
        counts = sum(s.booked for s in books.spends if now - s.store + s.late < DAY)
        assert charged >= counts, f"G5: {charged} used, but {counts} are not 24 h old"
        may_count = sum(s.booked for s in books.spends if now - s.store < DAY + SECOND)
        assert charged <= may_count, f"G5: {charged} used, but {charged - may_count} of it has to be back"

    def rebooted(self) -> None:
        self._seen = None

    def read_clock(self, store_time: int) -> None:
        """After a sync: since the last one the store's clock went as this machine's does, within its slew."""
        boot, boottime = self.clock.boot_id(), self.clock.boottime()
        seen, self._seen = self._seen, (boot, boottime, store_time)
        if seen is None:
            return
        elapsed, told = boottime - seen[1], store_time - seen[2]
        assert told >= 0, "G5: the store's time went back"
        assert abs(told - elapsed) <= elapsed // SLEW_DIVISOR + 4, f"G5: {told} us told, {elapsed} us went by"


def _age(spend: Spend, now: Spend) -> int:
    """How old `spend` is at `now` at most: by true time, or by the store's where that was slewed ahead."""
    return max(now.true - spend.true, now.store - spend.store) + spend.late
