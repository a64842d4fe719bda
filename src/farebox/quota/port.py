"""The quota store as its users see it: one `sync` per gateway and second, and views for the console.

A gateway never asks per call. It holds leases and tells the store, in one transaction for all its accounts, what it
settled (from committed journal bytes), what it keeps, and what it needs. The store answers with grants. All amounts are
millicredits, all instants microseconds of the store's clock. Every implementation passes tests/contracts/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from farebox.domain.identity import Account
from farebox.journal.position import START as START  # noqa: PLC0414 - exported: a sync names positions
from farebox.journal.position import Position as Position  # noqa: PLC0414 - same


class Gateway(msgspec.Struct, frozen=True, array_like=True):
    """One life of one gateway worker. Each start is a new incarnation (unique for ever), with new segments."""

    machine: str
    slot: int
    incarnation: str


class AccountSync(msgspec.Struct, frozen=True, array_like=True):
    """One account's part of a sync. It accounts fully for (incarnation, account): all not named here is given up.

    Accounts that are not part of a sync keep what they have, until their own expiry.
    """

    org: str
    product: str
    pool: str
    settled: tuple[tuple[int, int], ...]
    """(second, signed millicredits) for exactly the committed journal bytes of this sync."""
    keeps: int
    """Holds in flight + charges not yet in `settled` + what may still be spent until the reply."""
    needs: tuple[int, ...]
    """Ceilings of calls waiting now, in order of arrival."""
    likes: int
    """What the recent rate suggests: about two seconds' worth."""
    asks: int = 0
    """The largest ceiling refused lately (0 none): the schedule in the snapshot reaches it."""
    unleased: int = 0
    """Ceilings let through without a lease since the last sync (fail-open, shadow mode): they are in `keeps` or
    `settled` from now on although nobody lent them, which is no reason for an alarm."""


class SyncRequest(msgspec.Struct, frozen=True, array_like=True):
    """One sync. A retry is byte-identical (same `sequence`, same everything); the store then repeats its reply."""

    gateway: Gateway
    sequence: int
    settled_from: Position
    settled_to: Position
    accounts: tuple[AccountSync, ...]
    closing: bool = False
    """The incarnation is over (its journal is read to its end): every `out` of it becomes 0."""


class AllowanceInForce(msgspec.Struct, frozen=True, array_like=True):
    """How an account's total is made. total = min(base + users x per_user + addon, cap), all millicredits but users.

    `plan_part` is the total without add-on credits: min(base + users x per_user, cap).
    """

    total: int
    plan_part: int
    plan: str
    base: int
    users: int
    per_user: int
    addon: int
    cap: int | None
    version: int
    """Grows with every change of the directory that touches this account."""
    suspended: bool = False
    """The org is suspended: `total` and `plan_part` are 0 until it is not."""


NO_ALLOWANCE = AllowanceInForce(total=0, plan_part=0, plan="", base=0, users=0, per_user=0, addon=0, cap=0, version=0)
"""What is in force for an account the directory does not (or no longer) have: nothing can be spent."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """An account as it stands after the sync. unused = total - used - held; `lent` includes what gateways hold."""

    allowance: AllowanceInForce
    used: int
    lent: int
    unaccounted: int
    schedule: tuple[tuple[int, int], ...]
    """(second, millicredits) still counting, oldest first, at most 64 steps merged to the later second."""


class AccountReply(msgspec.Struct, frozen=True, array_like=True):
    """The answer for one account. `granted` = the needs that fit (whole, in order) + what was liked and fits."""

    org: str
    product: str
    pool: str
    granted: int
    needs_granted: tuple[bool, ...]
    expires_at: int
    addon_part: int
    """How much of `granted` lies above the plan's own credits."""
    snapshot: Snapshot
    short: bool
    """remaining was less than the sum of likes: gateways keep nothing that is not held."""


class SyncReply(msgspec.Struct, frozen=True, array_like=True):
    """The answer to one sync; kept by the store until the next one, for a retry."""

    sequence: int
    store_time: int
    accounts: tuple[AccountReply, ...]
    directory_version: int


class AccountView(msgspec.Struct, frozen=True):
    """What the console shows of an account, from one read transaction."""

    store_time: int
    allowance: AllowanceInForce
    used: int
    held: int
    """Lent to gateways and not yet settled."""
    unaccounted: int
    rows: tuple[tuple[int, int], ...]
    """(second, millicredits) still counting, oldest first; sums to `used`."""


AllowanceOf = Callable[[Account], AllowanceInForce]
"""Raises `UnknownNameError` for an account the directory does not have."""


class Alarm(msgspec.Struct, frozen=True, array_like=True):
    """A gateway accounted for more than it was lent. The spend is booked all the same; someone must look."""

    at: int
    incarnation: str
    org: str
    product: str
    pool: str
    over: int
    """Millicredits settled or kept beyond what was lent."""


class QuotaStore(Protocol):
    """Spend and leases. Safe to call from one thread at a time; `QuotaUnavailableError` means: try again, unchanged."""

    def now(self) -> int:
        """The store's time: never behind what it once said."""
        ...

    def sync(self, request: SyncRequest) -> SyncReply:
        """Book, lend and answer in one durable transaction.

        Raises `QuotaUnavailableError` (nothing booked, or unknown: retry the same request) and `QuotaProtocolError`.
        """
        ...

    def settled_to(self, incarnation: str) -> Position:
        """How far that incarnation's journal is settled; START when the store never heard of it."""
        ...

    def sequence_of(self, incarnation: str) -> int:
        """The sequence of that incarnation's last sync; 0 when the store never heard of it.

        Who adopts the journal of a dead gateway goes on with the next one.
        """
        ...

    def is_closed(self, incarnation: str) -> bool:
        """Whether that incarnation was closed (its segments may go once usage has them too)."""
        ...

    def on_loan(self, incarnation: str, account: Account) -> int:
        """Millicredits lent to that incarnation and counted now: as lent, or since their expiry as unaccounted."""
        ...

    def view(self, account: Account) -> AccountView:
        """The account as it stands now, without changing anything.

        Raises `UnknownNameError` for an account the directory does not have.
        """
        ...

    def alarms(self) -> tuple[Alarm, ...]:
        """What went wrong lately, oldest first, at most 1,000."""
        ...

    def check(self) -> None:
        """Assert that every sum is the sum of its rows; `AssertionError` names the account. For tests: reads all."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
