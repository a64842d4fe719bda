"""1 to 4 gateways, both stores and their clocks, as they are in the middle of a run of the quota model."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

from farebox.domain.identity import Account
from farebox.quota.adoption import Rest, settle_one
from farebox.quota.chunks import Chunk
from farebox.quota.clock import ManualClock
from farebox.quota.leases import Hold, LeaseBook, Refusal
from farebox.quota.port import START, Gateway, Position, SyncReply, SyncRequest

from .quota_judge import DRIFT, LEASE, Judge, Spend
from .quota_twin import ACCOUNTS, TwinStore
from .quota_world import DAY, SECOND, T0

FORGOTTEN = 2 * DAY
"""After so long the store forgets what a gateway had on loan: whatever it charged has left the window."""


@dataclass(slots=True)
class Line:
    """An entry on its way to the journal: a charge (with the hold it ended) or a refund."""

    spend: Spend
    amount: int
    hold: Hold | None


@dataclass
class Life:
    """One incarnation: its book, its journal, and the sync on its way."""

    number: int
    gateway: Gateway
    book: LeaseBook
    paused: bool = False
    holds: list[tuple[Hold, Spend]] = field(default_factory=list)
    waits: list[tuple[Account, asyncio.Future[Hold | Refusal]]] = field(default_factory=list)
    unwritten: list[Line] = field(default_factory=list)
    journal: list[Line] = field(default_factory=list)
    judged_to: int = 0
    refundable: list[Spend] = field(default_factory=list)
    request: SyncRequest | None = None
    before: SyncRequest | None = None
    answered: int = 0
    """When the store answered the sync on its way, for the first time."""
    heard_at: int = 0
    """The store's time at its last sync."""
    sent_at: int = 0
    reply: SyncReply | None = None
    leases: dict[Account, tuple[int, int]] = field(default_factory=dict)
    """(when the store granted it, how old its reply was): what the judge holds an admission to."""


class Machine:
    """One run: quota_steps.py says what happens to it; `finish` settles every journal and counts again."""

    def __init__(self, seed: int, path: Path) -> None:
        chance = random.Random(seed)
        self.seed = seed
        self.clock = ManualClock(true=T0 + chance.randrange(SECOND))
        self.store = TwinStore(path, self.clock)
        self.judge = Judge(self.clock)
        for account, found in self.store.allowances.items():
            self.judge.allowance_is(account, found.total)
        self.forgotten: set[str] = set()
        """Lives that come back after days with a call still in flight: the store no longer knows it, and says so."""
        self.born = self.admitted = self.refused = 0
        self.lives = [self.new_life() for _ in range(1 + seed % 4)]
        self.dead: list[Life] = []
        self.story: list[str] = []

    def new_life(self) -> Life:
        self.born += 1
        away = self.born * 7_919 * SECOND  # every machine's CLOCK_BOOTTIME began at another time
        gateway = Gateway("host", self.born, f"life-{self.seed}-{self.born}")
        return Life(self.born, gateway, LeaseBook(gateway, lambda: self.clock.boottime() + away))

    # --- calls ---------------------------------------------------------------------------------------------------

    def ask(self, life: Life, account: Account, ceiling: int) -> str:
        """One call: admitted, refused, or waiting for a sync."""
        found = life.book.admit(account, ceiling)
        if isinstance(found, Hold):
            self.admit(life, found)
            return f"{account.product} {ceiling} admitted"
        if found is None:
            life.waits.append((account, life.book.wait(account, ceiling)))
            self.collect(life)
            return f"{account.product} {ceiling} waits"
        self.refused += 1
        return f"{account.product} {ceiling} refused"

    def admit(self, life: Life, hold: Hold) -> None:
        self.admitted += 1
        granted, late = life.leases[hold.account]
        now = self.store.now()
        spend = Spend(hold.account, self.clock.true, now, hold.stamp, late + DRIFT, granted, hold.ceiling)
        self.judge.admitted(spend)
        life.holds.append((hold, spend))

    def collect(self, life: Life) -> None:
        """The calls that waited and now have an answer."""
        waiting = []
        for account, future in life.waits:
            if not future.done():
                waiting.append((account, future))
            elif isinstance(found := future.result(), Hold):
                self.admit(life, found)
            else:
                self.refused += 1
                assert found.retry_after is None or 1 <= found.retry_after <= DAY // SECOND + 3
        life.waits = waiting

    def write(self, life: Life) -> None:
        """The group is durable: what is refunded is refunded now, what the judge counts is what the journal says."""
        for line in life.unwritten:
            if line.amount < 0:
                line.spend.amount += line.amount
            elif line.amount:
                life.refundable.append(line.spend)
        life.journal += life.unwritten
        life.unwritten = []

    # --- syncs ---------------------------------------------------------------------------------------------------

    def reach(self, life: Life) -> None:
        """The store gets the sync on its way, for the first time or again."""
        assert life.request is not None
        if self.store.sequence_of(life.gateway.incarnation) < life.request.sequence:
            life.answered = self.judge.awake()
            if life.heard_at and self.store.now() - life.heard_at > FORGOTTEN:
                self.forgotten.add(life.gateway.incarnation)
        life.reply = self.store.sync(life.request)
        life.heard_at = life.reply.store_time
        self.look(life)

    def look(self, life: Life) -> None:
        """After a transaction: the judge learns how far that journal is settled, and looks at every account."""
        to = self.store.settled_to(life.gateway.incarnation).byte
        for line in life.journal[life.judged_to : to]:
            self.judge.settled(line.spend.account, line.spend.stamp // SECOND, line.amount, line.spend)
        life.judged_to = max(to, life.judged_to)
        self.judge.read_clock(self.store.now())
        self.look_around()

    def look_around(self) -> None:
        for account in ACCOUNTS:
            self.judge.looked_at(account, self.store.view(account))

    def receive(self, life: Life) -> None:
        """The reply arrives at the gateway."""
        request, reply = life.request, life.reply
        assert request is not None
        assert reply is not None
        late = self.store.now() - reply.store_time
        for part in request.accounts:
            account = Account(part.org, part.product, part.pool)
            life.leases[account] = (life.answered, late)
        life.before, life.request, life.reply = request, None, None
        life.book.apply(reply, life.sent_at, life.book._clock())
        self.collect(life)

    def sync_now(self, life: Life) -> bool:
        """A whole sync in no time, the one on its way included."""
        if life.request is None:
            life.request = life.book.build_sync()
            life.sent_at = life.book._clock()
        if life.request is None:
            return False
        if life.reply is None:
            self.reach(life)
        self.receive(life)
        return True

    # --- the end -------------------------------------------------------------------------------------------------

    def kill(self, life: Life, *, written: bool) -> None:
        """kill -9, with the group under way written or not. What was in flight is not charged."""
        if written:
            self.write(life)
        for _, spend in life.holds:
            spend.amount = 0
        for line in life.unwritten:
            line.spend.amount = 0 if line.amount >= 0 else line.spend.amount
        self.lives.remove(life)
        self.dead.append(life)

    def adopt_one(self, life: Life, chance: random.Random, *, chunks_max: int, pause: bool) -> str:
        """Another worker ships the rest of a dead one's journal, up to so many syncs; then it may die itself."""
        incarnation = life.gateway.incarnation
        start = self.store.settled_to(incarnation)
        rest = Rest([])
        for number, line in enumerate(life.journal[start.byte :], start=start.byte + 1):
            if not rest.chunks or chance.random() < 0.2:
                rest.chunks.append(Chunk(START))
            chunk = rest.chunks[-1]
            chunk.to = Position(1, number)
            if line.amount:
                chunk.add(line.spend.account, line.spend.stamp // SECOND, line.amount)
                if not line.spend.leased and line.amount > 0:
                    chunk.unleased[line.spend.account] = chunk.unleased.get(line.spend.account, 0) + line.amount
        for _ in range(chunks_max):
            more = settle_one(self.store, incarnation, rest)  # type: ignore[arg-type]  # the part of a store it needs
            self.look(life)
            if not more:
                self.dead.remove(life)
                return f"life {life.number} settled and closed"
            if pause:
                self.clock.advance(chance.randrange(SECOND))
        return f"life {life.number} settled in part"

    def finish(self) -> None:
        """Every journal is settled: G4 to the credit, nothing lent, and the last credit can be spent."""
        chance = random.Random(self.seed)
        for life in list(self.lives):
            self.write(life)
            self.kill(life, written=True)
        for life in list(self.dead):
            self.adopt_one(life, chance, chunks_max=1_000_000, pause=False)
        alarms = [alarm for alarm in self.store.alarms() if alarm.incarnation not in self.forgotten]
        assert not alarms, f"G1: a gateway accounted for more than it had: {alarms}"
        self.clock.advance(2 * LEASE)
        self.lives = [self.new_life()]
        for account in ACCOUNTS:
            view = self.store.view(account)
            self.judge.looked_at(account, view)
            assert (view.held, view.unaccounted) == (0, 0), "G4: something is still lent"
            left = view.allowance.total - view.used
            for ceiling, spent in ((left + 1, 0), (left, left)):
                if ceiling <= 0 or view.allowance.suspended:
                    continue
                self.ask(self.lives[0], account, ceiling)
                self.sync_now(self.lives[0])
                held = self.lives[0].book.held()
                assert held == spent, f"{left} credits are left, {ceiling} asked for, {held} held"
                for hold, _ in self.lives[0].holds:
                    self.lives[0].book.release(hold)
                self.lives[0].holds.clear()
