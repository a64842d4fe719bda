"""The quota store as a plain model: every sum is taken afresh from its rows, so that it is obviously right.

It is what the SQLite store is compared with, and what users' own tests run on. Nothing survives the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from farebox.domain import leases, window
from farebox.domain.identity import Account
from farebox.domain.instants import oldest_counting_second, second_of
from farebox.domain.window import Row
from farebox.quota import clock, protocol
from farebox.quota.port import (
    AccountReply,
    AccountSync,
    AccountView,
    Alarm,
    AllowanceOf,
    Position,
    SyncReply,
    SyncRequest,
)

ALARMS_KEPT = 1_000


@dataclass(slots=True)
class _Lease:
    """What one incarnation has of one account: lent (`out`), or after expiry `unaccounted` in a second."""

    out: int = 0
    likes: int = 0
    expires_at: int = 0
    unaccounted: int = 0
    second: int = 0


@dataclass(slots=True)
class _Incarnation(protocol.Life):
    leases: dict[Account, _Lease] = field(default_factory=dict)


class MemoryQuotaStore:
    """A `QuotaStore` in plain dictionaries."""

    def __init__(
        self,
        *,
        allowance_of: AllowanceOf,
        host: clock.HostClock,
        directory_version: Callable[[], int] = lambda: 0,
    ) -> None:
        self._allowance_of = allowance_of
        self._host = host
        self._directory_version = directory_version
        self._anchor: clock.Anchor | None = None
        self._said = 0
        self._rows: dict[Account, dict[int, int]] = {}
        self._incarnations: dict[str, _Incarnation] = {}
        self._alarms: deque[Alarm] = deque(maxlen=ALARMS_KEPT)

    def now(self) -> int:
        """The store's time."""
        self._said = self._read_clock().store_time
        return self._said

    def _read_clock(self) -> clock.Anchor:
        return clock.read(self._anchor, self._said, self._host)

    def sync(self, request: SyncRequest) -> SyncReply:
        """See `QuotaStore.sync`."""
        life = self._incarnations.get(request.gateway.incarnation) or _Incarnation()
        request_hash = protocol.hash_of(request)
        kept = protocol.kept_reply(request, life, request_hash)
        if kept is not None:
            return kept
        self._anchor = self._read_clock()
        now = self._said = self._anchor.store_time
        self._incarnations[request.gateway.incarnation] = life
        self._expire(now)
        self._forget_rows(now)
        answers = tuple(self._account(request, life, part, now) for part in request.accounts)
        if request.closing:
            life.leases.clear()
            life.closed = True
        reply = SyncReply(
            sequence=request.sequence,
            store_time=now,
            accounts=answers,
            directory_version=self._directory_version(),
        )
        life.sequence, life.request_hash, life.reply = (
            request.sequence,
            request_hash,
            protocol.encode_reply(reply),
        )
        life.settled_to = request.settled_to
        return reply

    def _account(self, request: SyncRequest, life: _Incarnation, part: AccountSync, now: int) -> AccountReply:
        account = protocol.account_of(part)
        lease = life.leases.setdefault(account, _Lease())
        lease.out, lease.unaccounted = lease.out + lease.unaccounted, 0
        self._sound_alarm(request, part, lease.out, now)
        rows = self._rows.setdefault(account, {})
        for second, amount in part.settled:
            rows[second] = rows.get(second, 0) + amount
        lease.out, lease.likes = part.keeps, part.likes
        standing = protocol.Standing(
            allowance=protocol.allowance_in_force(self._allowance_of, account),
            used=window.used(self._all_rows(account), at=now),
            lent=self._lent(account),
            unaccounted=window.used(self._unaccounted_rows(account), at=now),
            likes_of_all=sum(other.likes for other in self._leases_of(account)),
        )
        reply = protocol.answer(
            part,
            standing,
            now=now,
            closing=request.closing,
            oldest_rows=lambda missing, lent: self._oldest_rows(account, missing, lent, now),
        )
        lease.out += reply.granted
        lease.expires_at = reply.expires_at
        if not (lease.out or lease.likes):
            del life.leases[account]
        return reply

    def _sound_alarm(self, request: SyncRequest, part: AccountSync, out: int, now: int) -> None:
        settled = window.used(part.settled, at=now)
        over = leases.over(settled=settled, keeps=part.keeps, out=out, unleased=part.unleased)
        if over:
            self._alarms.append(Alarm(now, request.gateway.incarnation, part.org, part.product, part.pool, over))

    def _expire(self, now: int) -> None:
        """What nobody accounted for by its expiry is booked as unaccounted, in the second of expiry."""
        for life in self._incarnations.values():
            for lease in life.leases.values():
                if lease.expires_at <= now and not lease.unaccounted:
                    lease.unaccounted, lease.out, lease.likes = lease.out, 0, 0
                    lease.second = second_of(lease.expires_at)
            for account in [a for a, lease in life.leases.items() if not (lease.out or lease.unaccounted)]:
                if life.leases[account].expires_at <= now:
                    del life.leases[account]

    def _forget_rows(self, now: int) -> None:
        oldest = oldest_counting_second(now)
        for rows in self._rows.values():
            for second in [second for second in rows if second < oldest]:
                del rows[second]

    def _leases_of(self, account: Account) -> Iterator[_Lease]:
        for life in self._incarnations.values():
            if account in life.leases:
                yield life.leases[account]

    def _lent(self, account: Account) -> int:
        return sum(lease.out for lease in self._leases_of(account))

    def _unaccounted_rows(self, account: Account) -> list[Row]:
        return [(lease.second, lease.unaccounted) for lease in self._leases_of(account)]

    def _all_rows(self, account: Account) -> list[Row]:
        rows = dict(self._rows.get(account, {}))
        for second, amount in self._unaccounted_rows(account):
            rows[second] = rows.get(second, 0) + amount
        return list(rows.items())

    def _oldest_rows(self, account: Account, missing: int, lent: int, now: int) -> list[Row]:
        rows = window.counting(self._all_rows(account), at=now)
        if not missing:
            return rows[: protocol.FIRST_STEPS]
        return window.reaching(rows, credits_missing=missing + lent)

    def settled_to(self, incarnation: str) -> Position:
        """See `QuotaStore.settled_to`."""
        return self._incarnations.get(incarnation, _Incarnation()).settled_to

    def sequence_of(self, incarnation: str) -> int:
        """See `QuotaStore.sequence_of`."""
        return self._incarnations.get(incarnation, _Incarnation()).sequence

    def is_closed(self, incarnation: str) -> bool:
        """See `QuotaStore.is_closed`."""
        return self._incarnations.get(incarnation, _Incarnation()).closed

    def on_loan(self, incarnation: str, account: Account) -> int:
        """See `QuotaStore.on_loan`."""
        lease = self._incarnations.get(incarnation, _Incarnation()).leases.get(account, _Lease())
        return lease.out + window.used([(lease.second, lease.unaccounted)], at=self.now())

    def view(self, account: Account) -> AccountView:
        """See `QuotaStore.view`."""
        now = self.now()
        return AccountView(
            store_time=now,
            allowance=self._allowance_of(account),
            used=window.used(self._all_rows(account), at=now),
            held=self._lent(account),
            unaccounted=window.used(self._unaccounted_rows(account), at=now),
            rows=tuple(window.counting(self._all_rows(account), at=now)),
        )

    def alarms(self) -> tuple[Alarm, ...]:
        """See `QuotaStore.alarms`."""
        return tuple(self._alarms)

    def check(self) -> None:
        """Nothing to check: there are no kept sums."""

    def close(self) -> None:
        """Nothing to let go of."""
