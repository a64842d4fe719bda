"""Two gateways, both stores, crashes, lost and late replies, late journals, clock steps, changed plans, refunds.

Every sync goes to the memory and the SQLite store, whose answers must agree. A judge keeps every charge with the
simulation's true time and checks that no admission ever goes over. Each run prints the seed that replays it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from farebox.domain import window
from farebox.domain.identity import Account
from farebox.quota import leases
from farebox.quota.adoption import Rest, settle_one
from farebox.quota.chunks import Chunk
from farebox.quota.clock import ManualClock
from farebox.quota.leases import Hold, LeaseBook, Refusal
from farebox.quota.port import START, AccountReply, Gateway, Position, SyncReply, SyncRequest

from .quota_world import ACCOUNT, DAY, HOUR, OTHER, SECOND, T0, World, allowance, memory_store, sqlite_store

RUNS = int(os.environ.get("FAREBOX_MODEL_RUNS", "12"))
STEPS = 500
ACCOUNTS = (ACCOUNT, OTHER)
DELAY_MAX = 3 * SECOND
SLEW_OF_A_DAY = DAY // 2_000


@dataclass
class Spend:
    """One admitted call as the judge knows it: at its ceiling until charged."""

    account: Account
    true: int
    stamp: int
    amount: int
    limit: int


@dataclass
class Life:
    """One incarnation: its book, its journal, and the sync on its way."""

    gateway: Gateway
    book: LeaseBook
    holds: list[tuple[Hold, Spend]] = field(default_factory=list)
    waits: list[tuple[Account, asyncio.Future[Hold | Refusal]]] = field(default_factory=list)
    unwritten: list[tuple[Account, int, int, Spend]] = field(default_factory=list)
    journal: list[tuple[Account, int, int]] = field(default_factory=list)
    refundable: list[Spend] = field(default_factory=list)
    request: SyncRequest | None = None
    sent_at: int = 0
    reply: SyncReply | None = None


class TwinStore:
    """Both stores behind one face: they must say the same."""

    def __init__(self, worlds: list[World]) -> None:
        self.worlds = worlds
        self.memory, self.sqlite = (world.store for world in worlds)

    def sync(self, request: SyncRequest) -> SyncReply:
        plain, real = self.memory.sync(request), self.sqlite.sync(request)
        self.sqlite.check()
        assert (plain.sequence, plain.store_time) == (real.sequence, real.store_time)
        for part, one, two in zip(request.accounts, plain.accounts, real.accounts, strict=True):
            assert _comparable(one, part.needs, plain.store_time) == _comparable(two, part.needs, real.store_time)
        for account in ACCOUNTS:
            assert self.memory.view(account) == self.sqlite.view(account)
        return real

    def settled_to(self, incarnation: str) -> Position:
        assert self.memory.settled_to(incarnation) == self.sqlite.settled_to(incarnation)
        return self.sqlite.settled_to(incarnation)

    def sequence_of(self, incarnation: str) -> int:
        return self.sqlite.sequence_of(incarnation)


def _comparable(reply: AccountReply, needs: tuple[int, ...], now: int) -> object:
    """All of a reply, the schedule by what it promises: its inner steps may be merged differently."""
    snapshot = reply.snapshot
    refused = [c for c, granted in zip(needs, reply.needs_granted, strict=True) if not granted]
    fits = window.fits_at(
        total=snapshot.allowance.total,
        used_now=snapshot.used,
        lent=snapshot.lent,
        lent_back_at=reply.expires_at,
        schedule=snapshot.schedule,
        ceiling=max((c for c in refused if c <= snapshot.allowance.total), default=0),
        at=now,
    )
    figures = (snapshot.allowance, snapshot.used, snapshot.lent, snapshot.unaccounted, snapshot.schedule[:1], fits)
    return (reply.granted, reply.needs_granted, reply.expires_at, reply.addon_part, reply.short, figures)


class Simulation:
    """Random steps from one seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock(true=T0)
        worlds = [World(self.clock, memory_store), World(self.clock, sqlite_store(folder / f"{seed}.db"))]
        worlds[1].allowances = worlds[0].allowances
        self.allowances = worlds[0].allowances
        self.changed_at = dict.fromkeys(ACCOUNTS, 0)
        self.before = {account: allowance.total for account, allowance in self.allowances.items()}
        self.store = TwinStore(worlds)
        self.lives = [self.new_life(), self.new_life()]
        self.dead: list[Life] = []
        self.spends: list[Spend] = []
        self.admitted = self.refused = 0

    def new_life(self) -> Life:
        gateway = Gateway("host", 0, f"life-{self.random.getrandbits(60)}")
        return Life(gateway, LeaseBook(gateway, self.clock.boottime))

    # --- what can happen -------------------------------------------------------------------------------------------

    def step(self) -> None:
        life = self.random.choice(self.lives)
        actions = [
            (self.call, 30), (self.finish, 24), (self.release, 2), (self.commit, 20), (self.refund, 4),
            (self.send, 16), (self.process, 16), (self.deliver, 16), (self.lose, 2), (self.cancel, 1),
            (self.crash, 0.4), (self.adopt, 1), (self.change_plan, 0.6), (self.step_wall, 0.4), (self.wait, 30),
        ]  # fmt: skip
        (action,) = self.random.choices([a for a, _ in actions], [weight for _, weight in actions])
        action(life)

    def wait(self, _: Life) -> None:
        lengths = (self.random.randrange(200_000), self.random.randrange(3 * SECOND), self.random.randrange(8 * HOUR))
        (length,) = self.random.choices(lengths, (40, 6, 1))
        self.clock.advance(length)

    def call(self, life: Life) -> None:
        account = self.random.choice(ACCOUNTS)
        ceiling = self.random.choice((1, 5, 20, 50, 120, 300, 900, 1_500))
        found = life.book.admit(account, ceiling)
        if isinstance(found, Hold):
            self.admit(life, found)
        elif found is None:
            life.waits.append((account, life.book.wait(account, ceiling)))
        else:
            self.refused += 1

    def admit(self, life: Life, hold: Hold) -> None:
        """The judge's moment: with this hold counted at its ceiling, is the last day within the allowance?"""
        now = self.clock.true
        self.admitted += 1
        limit = self.limit(hold.account)
        spend = Spend(hold.account, now, hold.stamp, hold.ceiling, limit)
        self.spends.append(spend)
        life.holds.append((hold, spend))
        store_now = self.store.sqlite.now()
        assert hold.stamp <= store_now, "a stamp is never ahead of the store"
        assert store_now - hold.stamp <= DELAY_MAX + SECOND, "nor late by more than a round trip"
        expiry = life.book._leases[hold.account].expires_at
        assert store_now < expiry, "a lease is never spent after its expiry at the store"
        self.judge(hold.account, spend)

    def judge(self, account: Account, last: Spend) -> None:
        same = [s for s in self.spends if s.account == account]
        by_stamp = sum(s.amount for s in same if last.stamp - DAY < s.stamp <= last.stamp)
        assert by_stamp <= last.limit, f"G1: {by_stamp} of {last.limit} by stamps"
        length = DAY - SLEW_OF_A_DAY - DELAY_MAX - SECOND
        by_true = sum(s.amount for s in same if last.true - length < s.true <= last.true)
        assert by_true <= last.limit, f"G1: {by_true} of {last.limit} in true time"

    def limit(self, account: Account) -> int:
        """The allowance in force when the lease was granted: the old one may be used for one lease time."""
        now = self.allowances[account].total
        if self.clock.true - self.changed_at[account] <= 2 * SECOND + SECOND // 100:
            return max(now, self.before[account])
        return now

    def finish(self, life: Life) -> None:
        if not life.holds:
            return
        hold, spend = life.holds.pop(self.random.randrange(len(life.holds)))
        amount = self.random.choice((hold.ceiling, self.random.randint(0, hold.ceiling)))
        addon = life.book.charge(hold, amount)
        assert 0 <= addon <= amount
        spend.amount = amount
        life.unwritten.append((hold.account, hold.stamp // SECOND, amount, spend))

    def release(self, life: Life) -> None:
        if life.holds:
            hold, spend = life.holds.pop()
            life.book.release(hold)
            spend.amount = 0

    def refund(self, life: Life) -> None:
        if life.refundable:
            spend = life.refundable.pop()
            back = self.random.randint(1, spend.amount)
            life.unwritten.append((spend.account, spend.stamp // SECOND, -back, spend))

    def commit(self, life: Life) -> None:
        for account, second, amount, spend in life.unwritten:
            if amount < 0:
                spend.amount += amount
            elif amount and self.random.random() < 0.3:
                life.refundable.append(spend)
            life.journal.append((account, second, amount))
            life.book.settled(account, second, amount)
        life.unwritten.clear()
        life.book.settled_to(Position(1, len(life.journal)))

    def cancel(self, life: Life) -> None:
        if life.waits:
            _, future = life.waits.pop(self.random.randrange(len(life.waits)))
            life.book.cancel_wait(future)

    # --- syncs -------------------------------------------------------------------------------------------------------

    def send(self, life: Life) -> None:
        if life.request is None:
            life.request = life.book.build_sync()
            life.sent_at = self.clock.boottime()

    def process(self, life: Life) -> None:
        """The store gets the request, for the first time or again."""
        if life.request is not None and life.reply is None:
            life.reply = self.store.sync(life.request)

    def lose(self, life: Life) -> None:
        life.reply = None

    def deliver(self, life: Life) -> None:
        if life.reply is None:
            return
        if self.clock.boottime() - life.sent_at > DELAY_MAX and self.random.random() < 0.9:
            life.reply = None  # it got lost on its long way; a retry brings it
        else:
            life.book.apply(life.reply, life.sent_at, self.clock.boottime())
            life.request = life.reply = None
        self.collect(life)

    def collect(self, life: Life) -> None:
        waiting = []
        for account, future in life.waits:
            if not future.done():
                waiting.append((account, future))
            elif isinstance(found := future.result(), Hold):
                self.admit(life, found)
            else:
                self.refused += 1
                assert found.retry_after is None or 1 <= found.retry_after <= 86_403
        life.waits = waiting

    # --- trouble -----------------------------------------------------------------------------------------------------

    def crash(self, life: Life) -> None:
        """kill -9: what was not written was never answered and is not charged."""
        for _, spend in life.holds:
            spend.amount = 0
        for _, _, amount, spend in life.unwritten:
            spend.amount = 0 if amount >= 0 else spend.amount
        self.lives.remove(life)
        self.dead.append(life)
        self.lives.append(self.new_life())

    def adopt(self, _: Life) -> None:
        if not self.dead:
            return
        life = self.dead.pop(self.random.randrange(len(self.dead)))
        if life.request is not None and self.random.random() < 0.5:
            self.store.sync(life.request)  # its last sync arrives after its death
        incarnation = life.gateway.incarnation
        start = self.store.settled_to(incarnation)
        rest = Rest([])
        for number, (account, second, amount) in enumerate(life.journal[start.byte :], start=start.byte + 1):
            if not rest.chunks or self.random.random() < 0.2:
                rest.chunks.append(Chunk(START))
            chunk = rest.chunks[-1]
            chunk.to = Position(1, number)
            chunk.add(account, second, amount)
        while settle_one(self.store, incarnation, rest):  # type: ignore[arg-type]  # the part of a store it needs
            self.wait(life)

    def change_plan(self, _: Life) -> None:
        account = self.random.choice(ACCOUNTS)
        if self.clock.true - self.changed_at[account] > 4 * SECOND:
            self.before[account] = self.allowances[account].total
            self.changed_at[account] = self.clock.true
            total = self.random.choice((0, 500, 1_000, 1_000, 2_000))
            self.allowances[account] = allowance(total, plan_part=total // 2)

    def step_wall(self, _: Life) -> None:
        self.clock.step_wall(self.random.choice((-HOUR, HOUR, 30_000, -30_000)))

    # --- the end -----------------------------------------------------------------------------------------------------

    def finish_all(self) -> None:
        """Every journal is settled: the stores' sums are the judge's sums."""
        for life in list(self.lives):
            self.commit(life)
            self.crash(life)
        self.lives = [self.new_life()]
        while self.dead:
            self.adopt(self.lives[0])
        for account in ACCOUNTS:
            view = self.store.sqlite.view(account)
            due = sum(
                s.amount
                for s in self.spends
                if s.account == account and window.counts(s.stamp // SECOND, at=view.store_time)
            )
            assert (view.used, view.held, view.unaccounted) == (due, 0, 0), "G4: sums agree"
        assert self.store.sqlite.alarms() == self.store.memory.alarms() == ()


def run(seed: int, folder: Path, steps: int = STEPS) -> Simulation:
    print(f"seed {seed}")

    async def simulate() -> Simulation:
        simulation = Simulation(seed, folder)
        try:
            for _ in range(steps):
                simulation.step()
            simulation.finish_all()
        finally:
            simulation.store.sqlite.close()
        return simulation

    return asyncio.run(simulate())


def seeds(count: int) -> Iterator[int]:
    first = os.environ.get("FAREBOX_MODEL_SEED")
    base = random.SystemRandom().randrange(10**9) if first is None else int(first)
    return iter(range(base, base + count))


def test_two_gateways_never_go_over_and_both_stores_agree_whatever_happens(tmp_path: Path) -> None:
    runs = [run(seed, tmp_path) for seed in seeds(RUNS)]
    assert sum(each.admitted for each in runs) > 10 * RUNS, "the simulation admits calls"
    assert sum(each.refused for each in runs) > 2 * RUNS, "and refuses some"


@contextmanager
def _expiry_a_second_late(patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setattr(leases, "DEADLINE_MARGIN", -SECOND)
    yield


@contextmanager
def _lease_returned_and_still_spent(patch: pytest.MonkeyPatch) -> Iterator[None]:
    real = LeaseBook._part

    def part(book: LeaseBook, account: Account, *arguments: object, **options: object) -> object:
        free = book._lease_of(account).free
        sent = real(book, account, *arguments, **options)  # type: ignore[arg-type]
        book._lease_of(account).free = free
        return sent

    patch.setattr(LeaseBook, "_part", part)
    yield


@contextmanager
def _charges_leave_keeps_before_they_are_settled(patch: pytest.MonkeyPatch) -> Iterator[None]:
    real = LeaseBook._part

    def part(book: LeaseBook, account: Account, *arguments: object, **options: object) -> object:
        sent = real(book, account, *arguments, **options)  # type: ignore[arg-type]
        return msgspec.structs.replace(sent, keeps=sent.keeps - book._lease_of(account).charged)

    patch.setattr(LeaseBook, "_part", part)
    yield


@pytest.mark.parametrize(
    "sabotage", [_expiry_a_second_late, _lease_returned_and_still_spent, _charges_leave_keeps_before_they_are_settled]
)
def test_the_judge_catches_a_broken_lease(sabotage: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(sabotage)
    with sabotage(monkeypatch):
        for seed in range(60):
            try:
                run(seed, tmp_path)
            except AssertionError as caught:
                print(f"caught with seed {seed}: {caught}")
                return
    pytest.fail("60 runs, and nobody noticed")
