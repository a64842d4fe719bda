"""The books of a Farebox that stands still: what its usage, its quota and its journal say, and where they disagree.

Promises are judged on the files alone: each entry once (G3), sums that agree (G4), never over (G1).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Final

import duckdb

from farebox import cards
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS, WINDOW_SECONDS
from farebox.journal import reader
from farebox.journal.records import CHARGE, CLOSE
from farebox.quota.allowances import allowance_of
from farebox.quota.directory import DirectoryWatch
from farebox.quota.port import Alarm
from farebox.quota.sqlite import SqliteQuotaStore

WINDOW: Final = WINDOW_SECONDS * MICROSECONDS


@dataclass(frozen=True, slots=True)
class Row:
    """What of an entry in usage the books are kept by. Millicredits, microseconds."""

    kind: int
    call_id: bytes
    stamp: int
    account: Account
    user: str
    target_hash: bytes
    status: int
    outcome: str
    quote: int
    credits: int
    calls: int
    refusals: int
    leased: bool


@dataclass(frozen=True, slots=True)
class Quota:
    """What quota says: spend by account and second, what is not settled yet, and what went wrong."""

    rows: Mapping[Account, Mapping[int, int]]
    lent: int
    unaccounted: int
    open_incarnations: tuple[str, ...]
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True)
class Books:
    """Everything a data directory says about what was spent."""

    entries: tuple[Row, ...]
    quota: Quota
    journals: tuple[str, ...]
    """Incarnations whose journal is still there."""

    def credits_of(self, target_hash: bytes) -> int:
        """The sum of the entries of one target."""
        return sum(row.credits for row in self.entries if row.target_hash == target_hash)

    def spent(self, account: Account) -> dict[int, int]:
        """Millicredits by the second of their stamp; seconds that come to nothing left out."""
        sums: Counter[int] = Counter()
        for row in self.entries:
            if row.account == account:
                sums[row.stamp // MICROSECONDS] += row.credits
        return {second: amount for second, amount in sums.items() if amount}

    def disagreements(self) -> list[str]:
        """Every way in which the books do not hold, in words; empty when all is well."""
        return [*self._not_once(), *self._sums_apart(), *self._left_open()]

    def _not_once(self) -> Iterable[str]:
        kinds = Counter((row.call_id, row.kind) for row in self.entries if row.kind in (CHARGE, CLOSE))
        for (call_id, kind), times in kinds.items():
            if times != 1:
                yield f"G3: entry {kind} of call {call_id.hex()} is in usage {times} times"
            if kind == CLOSE and (call_id, CHARGE) not in kinds:
                yield f"G3: call {call_id.hex()} has a close and no charge"

    def _sums_apart(self) -> Iterable[str]:
        accounts = {row.account for row in self.entries if row.credits} | set(self.quota.rows)
        for account in sorted(accounts):
            spent, booked = self.spent(account), dict(self.quota.rows.get(account, {}))
            for second in sorted(spent.keys() | booked.keys()):
                if spent.get(second, 0) != booked.get(second, 0):
                    yield (
                        f"G4: {account}, second {second}: entries say {spent.get(second, 0)}, "
                        f"quota {booked.get(second, 0)} millicredits"
                    )

    def _left_open(self) -> Iterable[str]:
        quota = self.quota
        if quota.unaccounted:
            yield f"{quota.unaccounted} millicredits are unaccounted"
        if quota.lent:
            yield f"{quota.lent} millicredits are still lent"
        yield from (f"incarnation {name} was never closed" for name in quota.open_incarnations)
        yield from (f"alarm: {alarm}" for alarm in quota.alarms)

    def over(self, account: Account, allowances: Iterable[tuple[int, int]]) -> list[str]:
        """G1: each charge with which the 24 hours before it hold more than the allowance in force.

        `allowances`: (instant from which it may have been in force, millicredits), which only ever grow.
        """
        charges = sorted((row.stamp, row.credits) for row in self.entries if row.account == account and row.leased)
        sums = [0, *accumulate(amount for _, amount in charges)]
        granted = sorted(allowances)
        found, first = [], 0
        for index, (stamp, _) in enumerate(charges):
            while charges[first][0] <= stamp - WINDOW:
                first += 1
            total = max((amount for since, amount in granted if since <= stamp), default=0)
            if sums[index + 1] - sums[first] > total:
                found.append(f"G1: {account} at {stamp}: {sums[index + 1] - sums[first]} of {total} millicredits")
        return found


def read_books(data: Path, *, check_sums: bool = True) -> Books:
    """The books of a data directory nobody writes to any more (console and gateways stopped).

    `check_sums` also proves quota's running sums (AssertionError).
    """
    return Books(
        entries=tuple(entries_of(data / "usage.duckdb")),
        quota=_quota(data, check_sums=check_sums),
        journals=tuple(reader.incarnations(data / "journal")),
    )


def entries_of(path: Path) -> list[Row]:
    """All rows of a usage file, in the order of their call ids."""
    with duckdb.connect(str(path), read_only=True) as db:
        found = db.execute(
            'SELECT kind, call_id, stamp, org, product, pool, "user", target_hash, status, outcome, quote, credits,'
            " calls, refusals, leased FROM entries ORDER BY call_id, kind"
        ).fetchall()
    return [
        Row(kind, call_id, stamp, Account(org, product, pool), *rest)
        for kind, call_id, stamp, org, product, pool, *rest in found
    ]


def hash_of(data: Path, target: str) -> bytes:
    """What entries carry of a call's path and query."""
    hashed = blake2b(target.encode("latin-1"), digest_size=8, key=(data / "target.salt").read_bytes())
    return hashed.digest()


def _quota(data: Path, *, check_sums: bool) -> Quota:
    path = data / "quota.db"
    if check_sums:
        _prove_sums(data, path)
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        rows: dict[Account, dict[int, int]] = {}
        for org, product, pool, second, amount in db.execute(
            "SELECT org, product, pool, second, credits FROM spend JOIN accounts ON id = account WHERE credits <> 0"
        ):
            rows.setdefault(Account(org, product, pool), {})[second] = amount
        lent, unaccounted = db.execute(
            "SELECT ifnull(sum(lent), 0), ifnull(sum(unaccounted), 0) FROM leases"
        ).fetchone()
        left_open = [name for (name,) in db.execute("SELECT incarnation FROM incarnations WHERE NOT closed")]
        alarms = tuple(
            Alarm(*row) for row in db.execute("SELECT at, incarnation, org, product, pool, over FROM alarms")
        )
    finally:
        db.close()
    return Quota(rows, lent, unaccounted, tuple(left_open), alarms)


def _prove_sums(data: Path, path: Path) -> None:
    watch = DirectoryWatch(data)
    store = SqliteQuotaStore(path, allowance_of=allowance_of(lambda: watch.image, cards.load))
    try:
        store.check()
    finally:
        store.close()
        watch.close()
