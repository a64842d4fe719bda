"""The gateway's side of the quota: a `LeaseBook` admits calls from credits lent ahead, without asking anybody.

Touched only from the event loop thread; plain integers; admit + charge take about 2 us, which is why `admit` and
`charge` are written out instead of split up. All instants named `now` are CLOCK_BOOTTIME microseconds; all amounts are
millicredits. The rules are those of quota/port.py: a charge leaves `keeps` only by entering `settled`.

Over 400 lines because the book of one account and the sync that carries it are one idea.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from farebox.domain import leases as rules
from farebox.domain import window
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS
from farebox.errors import QuotaProtocolError
from farebox.quota.port import START, AccountReply, AccountSync, Gateway, Position, Snapshot, SyncReply, SyncRequest
from farebox.quota.protocol import ACCOUNTS_PER_SYNC_MAX

DEADLINE_MARGIN: Final = 50_000
"""A lease is spent only until 50 ms before its expiry at the store."""

SYNC_EVERY: Final = 500_000
"""An account in use is synced every 0.5 s: twice within the second that is promised, four times per lease."""

REMEMBERED: Final = 1_000_000
"""A refusal answers further callers for at most one second."""

RESERVE_DIVISOR: Final = 4
"""A quarter of what was liked stays spendable while a sync is under way: about half a second's worth."""

NEEDS_PER_ACCOUNT_MAX: Final = 256
"""Waiting calls of one account in one sync; the rest go into the next."""

DRIFT_DIVISOR: Final = 2_000
"""The store's clock may be slewed by 1 in 2,000; a stamp allows for it, so that it is never ahead of the store."""

SYNC_ACCOUNTS_MAX: Final = ACCOUNTS_PER_SYNC_MAX // 2
"""What one sync of this book names. Building and applying 500 hold up the event loop for about 4 ms each."""

CHUNK_ACCOUNTS_MAX: Final = SYNC_ACCOUNTS_MAX * 4 // 5
"""Most of a sync may settle; the rest is for accounts that wait or are due."""

NEVER: Final = 1 << 62

Reason = Literal["allowance", "never_fits", "suspended", "quota_unavailable"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is not admitted now. `retry_after` is whole seconds; None when waiting does not help or is unknown."""

    reason: Reason
    account: Account
    ceiling: int
    retry_after: int | None
    snapshot: Snapshot | None
    """The account as last known; None when the store was never reached about it."""


class Hold:
    """Credits set aside for one admitted call, until `charge` or `release` ends it.

    `stamp` is the instant of admission by the store's clock: read once, it is the time of the charge and its refunds.
    `leased` is False for a call let through under a fail-open policy.
    """

    __slots__ = ("account", "addon", "ceiling", "leased", "open", "stamp")

    def __init__(self, account: Account, ceiling: int, stamp: int, addon: int, leased: bool) -> None:  # noqa: FBT001 - positional for speed, made only here
        self.account = account
        self.ceiling = ceiling
        self.stamp = stamp
        self.addon = addon
        self.leased = leased
        self.open = True

    def __repr__(self) -> str:
        return f"Hold({self.account}, ceiling={self.ceiling}, stamp={self.stamp}, open={self.open})"


Answer = Hold | Refusal


@dataclass(slots=True, eq=False)
class _Waiter:
    ceiling: int
    future: asyncio.Future[Answer]


class _Lease:
    """What this gateway has of one account."""

    __slots__ = (
        "account", "addon_free", "asked", "charged", "deadline", "decayed_at", "expires_at", "free", "held",
        "recent", "refused_from", "refused_until", "short", "snapshot", "synced_at", "unbooked", "waiting",
    )  # fmt: skip

    def __init__(self, account: Account, now: int) -> None:
        self.account = account
        self.free = 0
        """Spendable before `deadline`; `addon_free` of it is add-on credits."""
        self.addon_free = 0
        self.held = 0
        self.charged = 0
        """Charged and in no `settled` yet."""
        self.unbooked: dict[int, int] = {}
        """second -> signed millicredits charged here and not in `snapshot.used` yet."""
        self.deadline = 0
        self.expires_at = 0
        self.recent = 0
        """Ceilings admitted, halved every second: about two seconds' worth of a steady rate."""
        self.decayed_at = now
        self.refused_from = NEVER
        self.refused_until = 0
        self.asked = 0
        self.short = False
        self.snapshot: Snapshot | None = None
        self.synced_at = 0
        self.waiting: deque[_Waiter] = deque()

    def quiet(self) -> bool:
        """Nothing here that a sync would have to carry or a caller could use."""
        return not (
            self.free or self.held or self.charged or self.recent or self.asked or self.waiting or self.unbooked
        )


@dataclass(slots=True)
class _Chunk:
    """Credits of committed journal bytes up to `to`, at most so many accounts that they fit one sync."""

    to: Position
    rows: dict[Account, dict[int, int]] = field(default_factory=dict)
    charges: dict[Account, int] = field(default_factory=dict)
    """Of which charges (the positive part)."""

    def add(self, account: Account, second: int, amount: int) -> None:
        rows = self.rows.setdefault(account, {})
        rows[second] = rows.get(second, 0) + amount
        if amount > 0:
            self.charges[account] = self.charges.get(account, 0) + amount

    def absorb(self, other: _Chunk) -> None:
        for account, rows in other.rows.items():
            mine = self.rows.setdefault(account, {})
            for second, amount in rows.items():
                mine[second] = mine.get(second, 0) + amount
        for account, amount in other.charges.items():
            self.charges[account] = self.charges.get(account, 0) + amount
        self.to = other.to


@dataclass(slots=True)
class _InFlight:
    request: SyncRequest
    accounts: list[Account]
    settled: dict[Account, dict[int, int]]
    waiters: dict[Account, list[_Waiter]]


class LeaseBook:
    """The leases of one gateway. `clock` reads CLOCK_BOOTTIME in microseconds; `wake` asks for a sync at once.

    `fail_open`: with the store unreachable and the lease out, calls are let through unleased instead of refused.
    """

    def __init__(
        self,
        gateway: Gateway,
        clock: Callable[[], int],
        *,
        wake: Callable[[], None] = lambda: None,
        fail_open: bool = False,
        settled_to: Position = START,
    ) -> None:
        self.gateway = gateway
        self.wake = wake
        self.directory_version = 0
        """Of the last reply: when it grew, the directory image is to be read again."""
        self._clock = clock
        self._fail_open = fail_open
        self._leases: dict[Account, _Lease] = {}
        """In order of their last sync: the one due next is first."""
        self._waiting: dict[Account, None] = {}
        self._staged = _Chunk(settled_to)
        self._chunks: deque[_Chunk] = deque()
        self._sequence = 0
        self._settled_to = settled_to
        self._synced_at = 0
        self._in_flight: _InFlight | None = None
        self._reachable = True
        self._base_store = 0
        self._base_boot = 0
        self._last_stamp = 0

    # --- the way of a call -------------------------------------------------------------------------------------

    def admit(self, account: Account, ceiling: int) -> Hold | Refusal | None:
        """A hold from the lease; a refusal remembered since the last sync; None: `wait` for one sync."""
        lease = self._leases.get(account)
        if lease is None:
            return None
        now = self._clock()
        free = lease.free
        if ceiling <= free and now < lease.deadline:
            elapsed = now - self._base_boot
            stamp = self._base_store + elapsed - elapsed // DRIFT_DIVISOR
            if stamp < self._last_stamp:
                stamp = self._last_stamp
            else:
                self._last_stamp = stamp
            addon = lease.addon_free
            if addon:
                addon = max(0, ceiling - (free - addon))
                lease.addon_free -= addon
            lease.free = free - ceiling
            lease.held += ceiling
            lease.recent += ceiling
            return Hold(account, ceiling, stamp, addon, True)
        if ceiling >= lease.refused_from and now < lease.refused_until:
            lease.asked = max(lease.asked, ceiling)
            return self._refusal(lease, ceiling)
        return None

    def wait(self, account: Account, ceiling: int) -> asyncio.Future[Answer]:
        """Registers the need and asks for a sync at once; the future resolves with the reply that carried the need.

        While the store is unreachable it resolves immediately: refused, or let through unleased when failing open.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        lease = self._lease_of(account)
        if not self._reachable:
            future.set_result(self._without_store(lease, ceiling))
            return future
        lease.waiting.append(_Waiter(ceiling, future))
        self._waiting[account] = None
        self.wake()
        return future

    def cancel_wait(self, future: asyncio.Future[Answer]) -> None:
        """The caller went away. Credits granted to it meanwhile go back to the lease."""
        if not future.done():
            future.cancel()
        elif not future.cancelled() and isinstance(hold := future.result(), Hold) and hold.open:
            self.release(hold)

    def charge(self, hold: Hold, millicredits: int) -> int:
        """End the hold: `millicredits` (0 .. ceiling) are spent, the rest returns to the lease.

        Returns the add-on part of the charge. The amount stays in `keeps` until it was `settled`.
        """
        assert hold.open, "a hold is charged or released once"
        assert 0 <= millicredits <= hold.ceiling, "a charge is never above its ceiling"
        hold.open = False
        lease = self._leases.get(hold.account) or self._lease_of(hold.account)
        lease.charged += millicredits
        if millicredits:
            second = hold.stamp // MICROSECONDS
            lease.unbooked[second] = lease.unbooked.get(second, 0) + millicredits
        if not hold.leased:
            return 0
        addon = 0
        if hold.addon:
            addon = rules.spent_addon(spent=millicredits, hold=hold.ceiling, hold_addon=hold.addon)
            lease.addon_free += hold.addon - addon
        lease.held -= hold.ceiling
        lease.free += hold.ceiling - millicredits
        return addon

    def release(self, hold: Hold) -> None:
        """End the hold with nothing charged: the call never reached the upstream."""
        self.charge(hold, 0)

    def uncharge(self, hold: Hold, millicredits: int) -> None:
        """The record of this charge never became durable, so it is no charge: its credits return to the lease."""
        lease = self._lease_of(hold.account)
        lease.charged -= millicredits
        self._unbook(lease, hold.stamp // MICROSECONDS, millicredits)
        if hold.leased:
            lease.free += millicredits

    # --- the journal's side --------------------------------------------------------------------------------------

    def settled(self, account: Account, second: int, millicredits: int) -> None:
        """A committed entry: a charge (> 0), or the correction of one (< 0), both in the second of the stamp.

        Belongs to the journal bytes up to the next `settled_to`.
        """
        if not millicredits:
            return
        lease = self._lease_of(account)
        if millicredits < 0:
            lease.unbooked[second] = lease.unbooked.get(second, 0) + millicredits
        self._staged.add(account, second, millicredits)

    def settled_to(self, position: Position) -> None:
        """All entries up to `position` (a record's end in committed bytes) were passed to `settled`."""
        staged, self._staged = self._staged, _Chunk(position)
        staged.to = position
        last = self._chunks[-1] if self._chunks else None
        if last is not None and len(last.rows.keys() | staged.rows.keys()) <= CHUNK_ACCOUNTS_MAX:
            last.absorb(staged)
        else:
            self._chunks.append(staged)

    # --- what callers are told -------------------------------------------------------------------------------------

    def snapshot(self, account: Account) -> Snapshot | None:
        """The account as of the last reply about it."""
        lease = self._leases.get(account)
        return lease.snapshot if lease else None

    def left(self, account: Account) -> int | None:
        """Total - used - held, with this gateway's own charges and holds as of now; None before the first reply."""
        lease = self._leases.get(account)
        if lease is None or lease.snapshot is None:
            return None
        spent = lease.snapshot.used + sum(lease.unbooked.values())
        return lease.snapshot.allowance.total - spent - lease.held

    def standing(self, account: Account) -> tuple[Snapshot, int, int] | None:
        """(snapshot, left, held here) in one look-up, for every answer's fields; None before the first reply."""
        lease = self._leases.get(account)
        if lease is None or lease.snapshot is None:
            return None
        snapshot, held = lease.snapshot, lease.held
        return snapshot, snapshot.allowance.total - snapshot.used - sum(lease.unbooked.values()) - held, held

    def stamp(self) -> int:
        """The store's time as far as it is known here: monotone, never ahead of the store; 0 before the first reply."""
        elapsed = self._clock() - self._base_boot
        stamp = self._base_store + elapsed - elapsed // DRIFT_DIVISOR if self._base_store else 0
        self._last_stamp = max(self._last_stamp, stamp)
        return self._last_stamp

    def reachable(self) -> bool:
        """Whether the last attempt to sync got an answer."""
        return self._reachable

    def accounts(self) -> int:
        """How many accounts the book holds now."""
        return len(self._leases)

    def may_close(self) -> bool:
        """Every hold has ended and every charge was settled up to the last `settled_to`."""
        return not any(lease.held or lease.waiting for lease in self._leases.values()) and not self._uncommitted()

    def _uncommitted(self) -> bool:
        in_chunks = sum(amount for chunk in self._chunks for amount in chunk.charges.values())
        return bool(self._staged.rows) or sum(lease.charged for lease in self._leases.values()) != in_chunks

    def held(self) -> int:
        """Millicredits of all holds in flight."""
        return sum(lease.held for lease in self._leases.values())

    # --- syncs -----------------------------------------------------------------------------------------------------

    def due_in(self) -> int | None:
        """Microseconds until the next sync is due: 0 when one is wanted now, None when nothing is in use."""
        if self._in_flight is not None:
            return None
        if self._waiting or len(self._chunks) > 1:
            return 0
        if self._leases:
            synced_at = next(iter(self._leases.values())).synced_at
        elif self._chunks:
            synced_at = self._synced_at
        else:
            return None
        return max(0, synced_at + SYNC_EVERY - self._clock())

    def build_sync(self, *, closing: bool = False) -> SyncRequest | None:
        """The next sync, or None when there is nothing to say or one is in flight.

        `closing` gives back everything and ends the incarnation: only when `may_close`.
        """
        if self._in_flight is not None:
            return None
        assert not closing or self.may_close(), "closing with a hold in flight or before the journal's end"
        now = self._clock()
        chunk = self._take_chunks() if closing else self._chunks.popleft() if self._chunks else None
        chosen = list(chunk.rows if chunk else ()) if closing else self._chosen(chunk, now)
        if chunk is None and not chosen and not closing:
            return None
        self._synced_at = now
        settled = chunk.rows if chunk else {}
        waiters: dict[Account, list[_Waiter]] = {}
        parts = [self._part(account, chunk, waiters, now, closing=closing) for account in chosen]
        request = SyncRequest(
            gateway=self.gateway,
            sequence=self._sequence + 1,
            settled_from=self._settled_to,
            settled_to=chunk.to if chunk else self._settled_to,
            accounts=tuple(parts),
            closing=closing,
        )
        self._in_flight = _InFlight(request, chosen, settled, waiters)
        return request

    def _take_chunks(self) -> _Chunk | None:
        if not self._chunks:
            return None
        whole = self._chunks.popleft()
        while self._chunks:
            whole.absorb(self._chunks.popleft())
        return whole

    def _chosen(self, chunk: _Chunk | None, now: int) -> list[Account]:
        """Who is in this sync: all of the chunk, then who waits, then whose sync is due."""
        chosen: dict[Account, None] = dict.fromkeys(chunk.rows) if chunk else {}
        for account in self._waiting:
            if len(chosen) >= SYNC_ACCOUNTS_MAX:
                break
            chosen[account] = None
        for account, lease in self._leases.items():
            if lease.synced_at + SYNC_EVERY > now or len(chosen) >= SYNC_ACCOUNTS_MAX:
                break
            chosen[account] = None
        return list(chosen)

    def _part(
        self,
        account: Account,
        chunk: _Chunk | None,
        waiters: dict[Account, list[_Waiter]],
        now: int,
        *,
        closing: bool,
    ) -> AccountSync:
        lease = self._lease_of(account)
        del self._leases[account]
        self._leases[account] = lease
        lease.synced_at = now
        self._decay(lease, now)
        needs = [] if closing else self._needs(lease)
        if needs:
            waiters[account] = needs
        rows = chunk.rows.get(account, {}) if chunk else {}
        lease.charged -= chunk.charges.get(account, 0) if chunk else 0
        likes = 0 if closing else lease.recent + sum(waiter.ceiling for waiter in needs)
        self._give_up(lease, now, closing=closing)
        asks, lease.asked = lease.asked, 0
        return AccountSync(
            org=account.org,
            product=account.product,
            pool=account.pool,
            settled=tuple(sorted(rows.items())),
            keeps=0 if closing else lease.held + lease.charged + lease.free,
            needs=tuple(waiter.ceiling for waiter in needs),
            likes=likes,
            asks=asks,
        )

    def _needs(self, lease: _Lease) -> list[_Waiter]:
        needs: list[_Waiter] = []
        while lease.waiting and len(needs) < NEEDS_PER_ACCOUNT_MAX:
            waiter = lease.waiting.popleft()
            if not waiter.future.done():
                needs.append(waiter)
        if not lease.waiting:
            self._waiting.pop(lease.account, None)
        return needs

    def _give_up(self, lease: _Lease, now: int, *, closing: bool) -> None:
        """All that is not held or charged, but for what may still be spent until the reply."""
        keep_nothing = closing or lease.short or now >= lease.deadline
        reserve = 0 if keep_nothing else min(lease.free, lease.recent // RESERVE_DIVISOR)
        plan_free = lease.free - lease.addon_free
        lease.free = reserve
        lease.addon_free = max(0, reserve - plan_free)

    @staticmethod
    def _decay(lease: _Lease, now: int) -> None:
        seconds = (now - lease.decayed_at) // MICROSECONDS
        if seconds > 0:
            lease.recent >>= min(seconds, 62)
            lease.decayed_at += seconds * MICROSECONDS

    def apply(self, reply: SyncReply, sent_at: int, received_at: int) -> None:
        """Take the answer to the sync in flight. `sent_at` is when its *first* attempt was sent.

        A reply may be late by any time: what it lends is then already past its deadline and is not spent.
        """
        flight = self._in_flight
        if flight is None or reply.sequence != flight.request.sequence:
            raise QuotaProtocolError(
                f"Reply {reply.sequence} answers no sync in flight. Please report this with the gateway's log."
            )
        self._in_flight = None
        self._sequence = reply.sequence
        self._settled_to = flight.request.settled_to
        self._reachable = True
        self.directory_version = max(self.directory_version, reply.directory_version)
        self._take_time(reply.store_time, received_at)
        parts = zip(flight.accounts, flight.request.accounts, reply.accounts, strict=True)
        for account, part, answer in parts:
            lease = self._lease_of(account)
            deadline = sent_at + (answer.expires_at - reply.store_time) - DEADLINE_MARGIN
            self._take_answer(lease, answer, deadline, flight.settled.get(account, {}))
            self._remember(lease, part, answer, received_at)
            self._answer_waiters(lease, flight.waiters.get(account, []), answer)
            self._serve_late_waiters(lease)
            if lease.quiet():
                self._leases.pop(account, None)

    def _take_time(self, store_time: int, received_at: int) -> None:
        """Of two lower bounds of the store's time, the higher one is the better."""
        elapsed = received_at - self._base_boot
        if not self._base_store or store_time >= self._base_store + elapsed - elapsed // DRIFT_DIVISOR:
            self._base_store, self._base_boot = store_time, received_at

    def _take_answer(self, lease: _Lease, answer: AccountReply, deadline: int, settled: dict[int, int]) -> None:
        lease.free += answer.granted
        lease.addon_free += answer.addon_part
        lease.deadline = deadline
        lease.expires_at = answer.expires_at
        lease.short = answer.short
        lease.snapshot = snapshot = answer.snapshot
        if snapshot.used + snapshot.lent > snapshot.allowance.total:
            lease.deadline = 0  # lowered or suspended: not even what ending holds return may be spent
        for second, amount in settled.items():
            self._unbook(lease, second, amount)

    @staticmethod
    def _unbook(lease: _Lease, second: int, amount: int) -> None:
        left = lease.unbooked.get(second, 0) - amount
        if left:
            lease.unbooked[second] = left
        else:
            lease.unbooked.pop(second, None)

    @staticmethod
    def _remember(lease: _Lease, part: AccountSync, answer: AccountReply, now: int) -> None:
        """Which ceilings need not ask again until the next sync."""
        left = answer.snapshot.allowance.total - answer.snapshot.used - answer.snapshot.lent + lease.free
        refused = [c for c, granted in zip(part.needs, answer.needs_granted, strict=True) if not granted]
        if part.asks and part.asks > left:
            refused.append(max(left + 1, min(lease.refused_from, part.asks)))
        lease.refused_from = min(refused, default=NEVER)
        lease.refused_until = now + REMEMBERED if refused else 0

    def _answer_waiters(self, lease: _Lease, waiters: list[_Waiter], answer: AccountReply) -> None:
        again: list[_Waiter] = []
        for waiter, granted in zip(waiters, answer.needs_granted, strict=True):
            if waiter.future.done():
                continue
            if not granted:
                waiter.future.set_result(self._refusal(lease, waiter.ceiling))
                continue
            hold = self.admit(lease.account, waiter.ceiling)
            if isinstance(hold, Hold):
                waiter.future.set_result(hold)
            else:
                again.append(waiter)  # the reply came after the lease's deadline: nothing lent by it may be spent
        if again:
            lease.waiting.extendleft(reversed(again))
            self._waiting[lease.account] = None
            self.wake()

    def _serve_late_waiters(self, lease: _Lease) -> None:
        """Who came while the sync was under way may be served from what it brought; else the next one carries them."""
        while lease.waiting:
            waiter = lease.waiting[0]
            if not waiter.future.done():
                hold = self.admit(lease.account, waiter.ceiling)
                if not isinstance(hold, Hold):
                    self.wake()
                    return
                waiter.future.set_result(hold)
            lease.waiting.popleft()
        self._waiting.pop(lease.account, None)

    def unreachable(self) -> None:
        """An attempt to sync failed: nobody waits for the store any longer; calls go on within their leases."""
        self._reachable = False
        flight = self._in_flight
        waiting = [(account, waiter) for account in self._waiting for waiter in self._leases[account].waiting]
        if flight is not None:
            waiting[:0] = [(account, waiter) for account, ws in flight.waiters.items() for waiter in ws]
        for account in self._waiting:
            self._leases[account].waiting.clear()
        self._waiting.clear()
        for account, waiter in waiting:
            if not waiter.future.done():
                waiter.future.set_result(self._without_store(self._lease_of(account), waiter.ceiling))

    def _without_store(self, lease: _Lease, ceiling: int) -> Answer:
        hold = self.admit(lease.account, ceiling)
        if isinstance(hold, Hold):
            return hold
        if self._fail_open and self._base_store:
            return Hold(lease.account, ceiling, self.stamp(), 0, False)
        return Refusal("quota_unavailable", lease.account, ceiling, None, lease.snapshot)

    def _refusal(self, lease: _Lease, ceiling: int) -> Refusal:
        snapshot = lease.snapshot
        assert snapshot is not None, "a refusal follows a reply"
        if snapshot.allowance.suspended:
            return Refusal("suspended", lease.account, ceiling, None, snapshot)
        at = self.stamp()
        spent_here = sum(lease.unbooked.values())
        fits = window.fits_at(
            total=snapshot.allowance.total,
            used_now=snapshot.used + spent_here,
            lent=max(0, snapshot.lent - spent_here),
            lent_back_at=lease.expires_at,
            schedule=(*snapshot.schedule, *lease.unbooked.items()),
            ceiling=ceiling,
            at=at,
        )
        if fits is None:
            return Refusal("never_fits", lease.account, ceiling, None, snapshot)
        return Refusal("allowance", lease.account, ceiling, window.retry_after(fits, at=at), snapshot)

    def _lease_of(self, account: Account) -> _Lease:
        lease = self._leases.get(account)
        if lease is None:
            lease = self._leases[account] = _Lease(account, self._clock())
        return lease
