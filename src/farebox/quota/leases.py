"""A `LeaseBook` admits calls from credits lent ahead, asking nobody (long: the admission is written out for speed).

The gateway's side of the quota, touched only from the event loop thread; plain integers; admit + charge take about
2 us, which is why they are not split up. All instants named `now` are CLOCK_BOOTTIME microseconds; all amounts are
millicredits. The rules are those of quota/port.py: a charge leaves `keeps` only by entering `settled`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from farebox.domain import leases as rules
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS
from farebox.errors import QuotaProtocolError
from farebox.quota.chunks import Chunk
from farebox.quota.lease import Answer, Hold, Lease, Refusal, Waiter
from farebox.quota.port import START, AccountReply, AccountSync, Gateway, Position, Snapshot, SyncReply, SyncRequest
from farebox.quota.protocol import ACCOUNTS_PER_SYNC_MAX

DEADLINE_MARGIN: Final = 50_000
"""A lease is spent only until 50 ms before its expiry at the store."""

SYNC_EVERY: Final = 500_000
"""An account in use is synced every 0.5 s: twice within the second that is promised, four times per lease."""

NEEDS_PER_ACCOUNT_MAX: Final = 256
"""Waiting calls of one account in one sync; the rest go into the next."""

DRIFT_DIVISOR: Final = 2_000
"""The store's clock may be slewed by 1 in 2,000; a stamp allows for it, so that it is never ahead of the store."""

SYNC_ACCOUNTS_MAX: Final = ACCOUNTS_PER_SYNC_MAX
"""What one sync of this book names. Building and applying 1,000 hold up the event loop for about 8 ms each."""

CHUNK_ACCOUNTS_MAX: Final = SYNC_ACCOUNTS_MAX
"""What one sync settles. A smaller chunk is full before a sync is due: with 1,000 accounts and 400 a chunk, nearly
every call had its account's part in a sync to itself; with 1,000, all calls of half a second share one."""

CHUNK_BESIDE_WAITERS_MAX: Final = SYNC_ACCOUNTS_MAX * 4 // 5
"""Where calls wait, a chunk of more accounts lets one sync go before it."""


@dataclass(slots=True)
class _InFlight:
    request: SyncRequest
    accounts: list[Account]
    settled: dict[Account, dict[int, int]]
    waiters: dict[Account, list[Waiter]]


__all__ = ["Hold", "LeaseBook", "Refusal"]


class LeaseBook:
    """The leases of one gateway. `clock` reads CLOCK_BOOTTIME in microseconds; `wake` asks for a sync at once.

    `fail_open`: with the store out of reach and the lease out, calls are let through unleased instead of refused.
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
        self.fail_open = fail_open
        self._leases: dict[Account, Lease] = {}
        """In order of their last sync: the one due next is first."""
        self._waiting: dict[Account, None] = {}
        self._staged = Chunk(settled_to)
        self._chunks: deque[Chunk] = deque()
        self._held_back = False
        """The first chunk let the last sync go before it."""
        self._sequence = 0
        self._settled_to = settled_to
        self._synced_at = 0
        self._in_flight: _InFlight | None = None
        self._reachable = True
        self._why = ""
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
            lease.used_at = now
            if ceiling > lease.usual:  # noqa: PLR1730 - max() takes 0.1 us more, on the way of every call
                lease.usual = ceiling
            return Hold(account, ceiling, stamp, addon, True)
        if ceiling >= lease.refused_from and now < lease.refused_until:
            lease.asked = max(lease.asked, ceiling)
            return lease.refusal(ceiling, self.stamp())
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
        lease.waiting.append(Waiter(ceiling, future))
        self._waiting[account] = None
        self.wake()
        return future

    def let_through(self, account: Account, ceiling: int) -> Hold | None:
        """A hold that no lease covers; None before the store's first reply: then there is no time to stamp it with.

        The next sync says so, and from then on the store counts it like any other.
        """
        if not self._base_store:
            return None
        lease = self._lease_of(account)
        lease.held += ceiling
        lease.unleased += ceiling
        return Hold(account, ceiling, self.stamp(), 0, False)

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
            lease.held -= hold.ceiling
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
        lease.unbook(hold.stamp // MICROSECONDS, millicredits)
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
        staged, self._staged = self._staged, Chunk(position)
        staged.to = position
        last = self._chunks[-1] if self._chunks else None
        if last is not None and last.accounts_with(staged) <= CHUNK_ACCOUNTS_MAX:
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

    def free(self) -> int:
        """Millicredits lent and spendable now, held ones not counted; past a lease's deadline nothing is."""
        now = self._clock()
        return sum(lease.free for lease in self._leases.values() if now < lease.deadline)

    def waiting(self) -> int:
        """Calls that wait for credits."""
        return sum(len(self._leases[account].waiting) for account in self._waiting)

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
        chunk = self._take_chunks() if closing else self._next_chunk()
        chosen = list(chunk.rows if chunk else ()) if closing else self._chosen(chunk, now)
        if chunk is None and not chosen and not closing:
            return None
        self._synced_at = now
        settled = chunk.rows if chunk else {}
        waiters: dict[Account, list[Waiter]] = {}
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

    def _next_chunk(self) -> Chunk | None:
        """What to settle next; at most once nothing, so that those who wait find room in the sync."""
        if not self._chunks:
            return None
        full = len(self._chunks[0].rows) > CHUNK_BESIDE_WAITERS_MAX
        self._held_back = full and bool(self._waiting) and not self._held_back
        return None if self._held_back else self._chunks.popleft()

    def _take_chunks(self) -> Chunk | None:
        if not self._chunks:
            return None
        whole = self._chunks.popleft()
        while self._chunks:
            whole.absorb(self._chunks.popleft())
        return whole

    def _chosen(self, chunk: Chunk | None, now: int) -> list[Account]:
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
        chunk: Chunk | None,
        waiters: dict[Account, list[Waiter]],
        now: int,
        *,
        closing: bool,
    ) -> AccountSync:
        lease = self._lease_of(account)
        del self._leases[account]
        self._leases[account] = lease
        lease.synced_at = now
        lease.decay(now)
        needs = [] if closing else self._needs(lease)
        if needs:
            waiters[account] = needs
        rows = chunk.rows.get(account, {}) if chunk else {}
        lease.charged -= chunk.charges.get(account, 0) if chunk else 0
        likes = 0 if closing else lease.likes() + sum(waiter.ceiling for waiter in needs)
        lease.give_up(now, closing=closing)
        asks, lease.asked = lease.asked, 0
        unleased, lease.unleased = lease.unleased, 0
        return AccountSync(
            org=account.org,
            product=account.product,
            pool=account.pool,
            settled=tuple(sorted(rows.items())),
            keeps=0 if closing else lease.held + lease.charged + lease.free,
            needs=tuple(waiter.ceiling for waiter in needs),
            likes=likes,
            asks=asks,
            unleased=unleased,
        )

    def _needs(self, lease: Lease) -> list[Waiter]:
        needs: list[Waiter] = []
        while lease.waiting and len(needs) < NEEDS_PER_ACCOUNT_MAX:
            waiter = lease.waiting.popleft()
            if not waiter.future.done():
                needs.append(waiter)
        if not lease.waiting:
            self._waiting.pop(lease.account, None)
        return needs

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
            lease.take(answer, deadline, flight.settled.get(account, {}))
            lease.remember(part, answer, received_at)
            self._answer_waiters(lease, flight.waiters.get(account, []), answer)
            self._serve_late_waiters(lease)
            if lease.quiet():
                self._leases.pop(account, None)

    def _take_time(self, store_time: int, received_at: int) -> None:
        """Of two lower bounds of the store's time, the higher one is the better."""
        elapsed = received_at - self._base_boot
        if not self._base_store or store_time >= self._base_store + elapsed - elapsed // DRIFT_DIVISOR:
            self._base_store, self._base_boot = store_time, received_at

    def _answer_waiters(self, lease: Lease, waiters: list[Waiter], answer: AccountReply) -> None:
        again: list[Waiter] = []
        for waiter, granted in zip(waiters, answer.needs_granted, strict=True):
            if waiter.future.done():
                continue
            if not granted and not lease.kept:
                waiter.future.set_result(lease.refusal(waiter.ceiling, self.stamp()))
                continue
            if not granted:
                again.append(waiter)  # it may fit without what was kept; told that credits are short, nothing is kept
                continue
            hold = self.admit(lease.account, waiter.ceiling) if waiter.ceiling else self._for_nothing(lease)
            if hold is not None:
                waiter.future.set_result(hold)
            else:
                again.append(waiter)  # the reply came after the lease's deadline: nothing lent by it may be spent
        if again:
            lease.waiting.extendleft(reversed(again))
            self._waiting[lease.account] = None
            self.wake()

    def _for_nothing(self, lease: Lease) -> Answer:
        """A ceiling of 0 needs no lease: admitted also where nothing lent may be spent, unless the org is suspended."""
        if lease.snapshot is not None and lease.snapshot.allowance.suspended:
            return lease.refusal(0, self.stamp())
        lease.used_at = self._clock()
        return Hold(lease.account, 0, self.stamp(), 0, True)

    def _serve_late_waiters(self, lease: Lease) -> None:
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

    def unreachable(self, why: str = "") -> None:
        """An attempt to sync failed: nobody waits for the store any longer; calls go on within their leases."""
        self._reachable = False
        self._why = why
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

    def _without_store(self, lease: Lease, ceiling: int) -> Answer:
        hold = self.admit(lease.account, ceiling)
        if isinstance(hold, Hold):
            return hold
        if self.fail_open and (hold := self.let_through(lease.account, ceiling)) is not None:
            return hold
        return Refusal("quota_unavailable", lease.account, ceiling, None, lease.snapshot, self._why)

    def _lease_of(self, account: Account) -> Lease:
        lease = self._leases.get(account)
        if lease is None:
            lease = self._leases[account] = Lease(account, self._clock())
        return lease
