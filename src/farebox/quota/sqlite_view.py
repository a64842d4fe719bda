"""Reading the spend file: what the console shows, in short read-only transactions that never hold up a sync."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path
from typing import Final

from farebox.domain import window
from farebox.domain.identity import Account
from farebox.domain.instants import oldest_counting_second
from farebox.domain.window import Row
from farebox.quota import clock, protocol, sqlite_file
from farebox.quota.port import AccountView, Alarm, AllowanceOf, Position

SPEND_VERSION: Final = 1
"""Data version of the spend file: the number of its schema scripts."""

BLOCK_SECONDS: Final = 300
"""The grain of `spend_block`: 289 blocks a window."""


def read_clock(db: sqlite3.Connection) -> clock.Anchor | None:
    """The anchor of the store's time; None in a new file."""
    row = db.execute("SELECT boot_id, boottime, store_time, wall_ahead FROM clock").fetchone()
    return clock.Anchor(*row) if row else None


def read_life(db: sqlite3.Connection, incarnation: str) -> tuple[int | None, protocol.Life]:
    """What is known of an incarnation, with its row's id; an empty life and None for one never heard of."""
    row = db.execute(
        "SELECT id, sequence, request_hash, reply, settled_segment, settled_byte, closed"
        " FROM incarnations WHERE incarnation = ?",
        (incarnation,),
    ).fetchone()
    if row is None:
        return None, protocol.Life()
    life_id, sequence, request_hash, reply, segment, byte, closed = row
    return life_id, protocol.Life(sequence, request_hash, reply, Position(segment, byte), bool(closed))


def oldest_rows(db: sqlite3.Connection, account: int, oldest: int, missing: int, lent: int) -> list[Row]:
    """The oldest rows from second `oldest` on that return `missing` credits and `lent` more; (0, any): the first few.

    Exact by second at the beginning and where `missing` is reached; else whole blocks of five minutes, at their last
    second.
    """
    rows: list[Row] = db.execute(
        "SELECT second, credits FROM spend WHERE account = ? AND second >= ? AND credits <> 0 ORDER BY second LIMIT ?",
        (account, oldest, 1 if missing else protocol.FIRST_STEPS),
    ).fetchall()
    if not missing or not rows:
        return rows
    first = rows[0][0]
    block = first // BLOCK_SECONDS
    rows = _seconds(db, account, first, (block + 1) * BLOCK_SECONDS)
    returned = sum(amount for _, amount in rows)
    later = db.execute(
        "SELECT block, credits FROM spend_block WHERE account = ? AND block > ? AND credits <> 0 ORDER BY block",
        (account, block),
    )
    for block, amount in later:
        if returned >= missing + lent:
            break
        start, end = block * BLOCK_SECONDS, (block + 1) * BLOCK_SECONDS
        rows += _seconds(db, account, start, end) if returned < missing <= returned + amount else [(end - 1, amount)]
        returned += amount
    return window.reaching(rows, credits_missing=missing + lent)


def _seconds(db: sqlite3.Connection, account: int, start: int, end: int) -> list[Row]:
    return db.execute(
        "SELECT second, credits FROM spend WHERE account = ? AND second >= ? AND second < ? AND credits <> 0"
        " ORDER BY second",
        (account, start, end),
    ).fetchall()


class SpendReader:
    """Questions to an open connection; each is one read transaction. No answer is of a time before `not_before`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        allowance_of: AllowanceOf,
        host: clock.HostClock,
        not_before: int = 0,
    ) -> None:
        self.connection = connection
        self._allowance_of = allowance_of
        self._host = host
        self._not_before = not_before

    def now(self) -> int:
        """The store's time, as every process on this machine reads it."""
        anchor = read_clock(self.connection)
        high_water = max(self._not_before, anchor.store_time if anchor else 0)
        return clock.read(anchor, high_water, self._host).store_time

    def view(self, account: Account) -> AccountView:
        """See `QuotaStore.view`."""
        allowance = self._allowance_of(account)
        with self._snapshot() as db:
            now = self.now()
            oldest = oldest_counting_second(now)
            found = db.execute(
                "SELECT id, lent FROM accounts WHERE org = ? AND product = ? AND pool = ?",
                (account.org, account.product, account.pool),
            ).fetchone()
            if found is None:
                return AccountView(now, allowance, 0, 0, 0, ())
            account_id, lent = found
            rows = db.execute(
                "SELECT second, credits FROM spend WHERE account = ? AND second >= ? AND credits <> 0 ORDER BY second",
                (account_id, oldest),
            ).fetchall()
            unaccounted = db.execute(
                "SELECT ifnull(sum(unaccounted), 0) FROM leases"
                " WHERE account = ? AND unaccounted > 0 AND unaccounted_second >= ?",
                (account_id, oldest),
            ).fetchone()[0]
        used = sum(amount for _, amount in rows)
        return AccountView(now, allowance, used, lent, int(unaccounted), tuple(rows))

    def on_loan(self, incarnation: str, account: Account) -> int:
        """See `QuotaStore.on_loan`."""
        row = self.connection.execute(
            "SELECT lent + iif(unaccounted_second >= ?, unaccounted, 0) FROM leases"
            " WHERE incarnation = (SELECT id FROM incarnations WHERE incarnation = ?)"
            " AND account = (SELECT id FROM accounts WHERE org = ? AND product = ? AND pool = ?)",
            (oldest_counting_second(self.now()), incarnation, account.org, account.product, account.pool),
        ).fetchone()
        return int(row[0]) if row else 0

    def unaccounted(self) -> int:
        """Millicredits lent to gateways that died and still counted, of all accounts."""
        row = self.connection.execute(
            "SELECT ifnull(sum(unaccounted), 0) FROM leases WHERE unaccounted > 0 AND unaccounted_second >= ?",
            (oldest_counting_second(self.now()),),
        ).fetchone()
        return int(row[0])

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        self.connection.execute("BEGIN")
        try:
            yield self.connection
        finally:
            self.connection.execute("ROLLBACK")

    def alarms(self) -> tuple[Alarm, ...]:
        """The last 1,000, oldest first."""
        rows = self.connection.execute("SELECT at, incarnation, org, product, pool, over FROM alarms ORDER BY id")
        return tuple(Alarm(*row) for row in rows)

    def check(self) -> None:
        """Every kept sum against its rows."""
        with self._snapshot() as db:
            for promise, query in _CHECKS.items():
                wrong = db.execute(query).fetchone()
                assert wrong is None, f"{promise}, but not for account, kept, counted = {wrong}"


_CHECKS: Final = {
    "`used` is the sum of the spend rows that count": """
        SELECT a.id, a.used, (SELECT ifnull(sum(credits), 0) FROM spend s
            WHERE s.account = a.id AND s.second >= a.counted_from) AS counted
        FROM accounts a WHERE a.used <> counted""",
    "`lent` is the sum of the leases": """
        SELECT a.id, a.lent, (SELECT ifnull(sum(lent), 0) FROM leases l WHERE l.account = a.id) AS counted
        FROM accounts a WHERE a.lent <> counted""",
    "`likes` is the sum of the leases' likes": """
        SELECT a.id, a.likes, (SELECT ifnull(sum(likes), 0) FROM leases l WHERE l.account = a.id) AS counted
        FROM accounts a WHERE a.likes <> counted""",
    "a block of five minutes is the sum of its seconds": """
        SELECT b.account, b.credits, (SELECT ifnull(sum(credits), 0) FROM spend s
            WHERE s.account = b.account AND s.second / 300 = b.block) AS counted
        FROM spend_block b JOIN accounts a ON a.id = b.account
        WHERE b.block > a.counted_from / 300 AND b.credits <> counted""",
    "no second is below zero": "SELECT account, credits, 0 FROM spend WHERE credits < 0",
    "nobody is lent less than nothing": "SELECT account, lent, 0 FROM leases WHERE lent < 0",
}


class SpendFile:
    """The spend file as another process reads it (the console): opened read-only, each answer a short transaction.

    Raises `QuotaUnavailableError` while the file is missing or unreadable; the next call tries again.
    """

    def __init__(self, path: Path, *, allowance_of: AllowanceOf, host: clock.HostClock | None = None) -> None:
        self._path = path
        self._allowance_of = allowance_of
        self._host = host or clock.SystemClock()

    def view(self, account: Account) -> AccountView:
        """See `QuotaStore.view`."""
        with self._reader() as reader:
            return reader.view(account)

    def alarms(self) -> tuple[Alarm, ...]:
        """See `QuotaStore.alarms`."""
        with self._reader() as reader:
            return reader.alarms()

    def unaccounted(self) -> int:
        """Millicredits lent to gateways that died and still counted, of all accounts."""
        with self._reader() as reader:
            return reader.unaccounted()

    def settled_to(self, incarnation: str) -> Position:
        """See `QuotaStore.settled_to`."""
        with self._reader() as reader:
            return read_life(reader.connection, incarnation)[1].settled_to

    def is_closed(self, incarnation: str) -> bool:
        """See `QuotaStore.is_closed`."""
        with self._reader() as reader:
            return read_life(reader.connection, incarnation)[1].closed

    def loans_of(self, incarnation: str) -> list[tuple[Account, int]]:
        """What is lent to an incarnation and counted now, as lent or as unaccounted: millicredits, by account."""
        with self._reader() as reader:
            found = reader.connection.execute(
                "SELECT org, product, pool FROM leases l JOIN incarnations i ON i.id = l.incarnation"
                " JOIN accounts a ON a.id = l.account WHERE i.incarnation = ? ORDER BY org, product, pool",
                (incarnation,),
            ).fetchall()
            loans = [(account, reader.on_loan(incarnation, account)) for account in starmap(Account, found)]
        return [(account, amount) for account, amount in loans if amount]

    def now(self) -> int:
        """See `QuotaStore.now`."""
        with self._reader() as reader:
            return reader.now()

    @contextmanager
    def _reader(self) -> Iterator[SpendReader]:
        with sqlite_file.unavailable(self._path, "read"):
            connection = sqlite_file.connect(self._path, mode="ro")
            try:
                sqlite_file.require_version(connection, self._path, SPEND_VERSION)
                yield SpendReader(connection, allowance_of=self._allowance_of, host=self._host)
            finally:
                connection.close()
