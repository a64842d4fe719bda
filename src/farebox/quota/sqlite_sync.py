"""Inside the transaction: expire, load, book, lend, write back, and sweep a little.

Running sums are kept per account: `used` is the sum of its rows from `counted_from` on, and every write that moves one
moves the other. Rows are read once per account and written with executemany: 1,000 accounts take about 50 ms.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from farebox.domain import leases as rules
from farebox.domain.instants import MICROSECONDS, WINDOW_SECONDS, oldest_counting_second
from farebox.quota import protocol
from farebox.quota.port import AccountReply, AccountSync, Alarm, AllowanceOf, SyncRequest
from farebox.quota.sqlite_view import BLOCK_SECONDS, oldest_rows

EXPIRED_PER_SYNC_MAX: Final = 1_000
"""Lapsed leases booked as unaccounted per sync. Until their turn they count as lent, which is as much."""

SWEPT_ACCOUNTS: Final = 4
SWEPT_ROWS_MAX: Final = 1_000
"""Per sync, so many accounts lose so many of the rows that left the window long ago."""


@dataclass(slots=True)
class _Line:
    """A row of `accounts` in the middle of a sync, with this incarnation's lease on it."""

    id: int
    used: int
    counted_from: int
    lent: int
    likes: int
    unaccounted_until: int
    lease_lent: int = 0
    lease_likes: int = 0


class Booking:
    """One sync's work within an open transaction; `run` once."""

    def __init__(
        self,
        db: sqlite3.Connection,
        request: SyncRequest,
        *,
        life_id: int,
        now: int,
        allowance_of: AllowanceOf,
    ) -> None:
        self.alarms: list[Alarm] = []
        self._db = db
        self._request = request
        self._life_id = life_id
        self._now = now
        self._oldest = oldest_counting_second(now)
        self._allowance_of = allowance_of
        self._spend: list[tuple[int, int, int]] = []
        """(account, second, signed credits) to be added to spend and spend_block."""

    def run(self) -> tuple[AccountReply, ...]:
        """Everything; the reply's accounts in the order of the request."""
        self._expire()
        lines = [self._booked(part) for part in self._request.accounts]
        self._write_spend()
        pairs = list(zip(self._request.accounts, lines, strict=True))
        answers = tuple(self._answer(part, line) for part, line in pairs)
        self._write_accounts(lines)
        self._write_leases(lines, answers)
        if self._request.closing:
            self._drop_leases()
        self._write_alarms()
        self._sweep()
        return answers

    def _expire(self) -> None:
        """What nobody accounted for by its expiry is booked as unaccounted, in the second of expiry."""
        lapsed = self._db.execute(
            "SELECT l.incarnation, l.account, l.lent, l.likes, l.expires_at, a.counted_from"
            " FROM leases l JOIN accounts a ON a.id = l.account"
            " WHERE l.unaccounted = 0 AND l.expires_at <= ? LIMIT ?",
            (self._now, EXPIRED_PER_SYNC_MAX),
        ).fetchall()
        for incarnation, account, lent, likes, expires_at, counted_from in lapsed:
            second = expires_at // MICROSECONDS
            counted = lent if second >= counted_from else 0
            if counted:
                self._spend.append((account, second, counted))
            self._db.execute(
                "UPDATE accounts SET used = used + ?, lent = lent - ?, likes = likes - ?,"
                " unaccounted_until = max(unaccounted_until, ?) WHERE id = ?",
                (counted, lent, likes, second if lent else 0, account),
            )
            if lent:
                self._db.execute(
                    "UPDATE leases SET lent = 0, likes = 0, unaccounted = ?, unaccounted_second = ?"
                    " WHERE incarnation = ? AND account = ?",
                    (lent, second, incarnation, account),
                )
            else:
                self._db.execute("DELETE FROM leases WHERE incarnation = ? AND account = ?", (incarnation, account))
        self._write_spend()

    def _booked(self, part: AccountSync) -> _Line:
        """The account with rows out of the window gone from its sum, settled credits booked, and `keeps` lent."""
        line = self._load(part)
        self._let_go(line)
        out = self._take_back_lease(line)
        counted = [(second, amount) for second, amount in part.settled if second >= self._oldest]
        settled = sum(amount for _, amount in counted)
        over = rules.over(settled=settled, keeps=part.keeps, out=out, unleased=part.unleased)
        if over:
            gateway = self._request.gateway
            self.alarms.append(Alarm(self._now, gateway.incarnation, part.org, part.product, part.pool, over))
        self._spend += [(line.id, second, amount) for second, amount in counted]
        line.used += settled
        line.lent += part.keeps
        line.likes += part.likes
        line.lease_lent, line.lease_likes = part.keeps, part.likes
        return line

    def _load(self, part: AccountSync) -> _Line:
        name = (part.org, part.product, part.pool)
        row = self._db.execute(
            "SELECT id, used, counted_from, lent, likes, unaccounted_until"
            " FROM accounts WHERE org = ? AND product = ? AND pool = ?",
            name,
        ).fetchone()
        if row is not None:
            return _Line(*row)
        cursor = self._db.execute(
            "INSERT INTO accounts (org, product, pool, counted_from) VALUES (?, ?, ?, ?)", (*name, self._oldest)
        )
        assert cursor.lastrowid is not None
        return _Line(cursor.lastrowid, 0, self._oldest, 0, 0, 0)

    def _let_go(self, line: _Line) -> None:
        """Rows that left the window leave the sum at once; the sweep deletes them."""
        if line.counted_from >= self._oldest:
            return
        left = self._db.execute(
            "SELECT ifnull(sum(credits), 0) FROM spend WHERE account = ? AND second >= ? AND second < ?",
            (line.id, line.counted_from, self._oldest),
        ).fetchone()[0]
        line.used -= int(left)
        line.counted_from = self._oldest

    def _take_back_lease(self, line: _Line) -> int:
        """What this incarnation had on loan: out of the account's sums, `unaccounted` spend of it included."""
        row = self._db.execute(
            "SELECT lent, likes, unaccounted, unaccounted_second FROM leases WHERE incarnation = ? AND account = ?",
            (self._life_id, line.id),
        ).fetchone()
        if row is None:
            return 0
        lent, likes, unaccounted, second = row
        line.lent -= lent
        line.likes -= likes
        if unaccounted and second >= self._oldest:
            self._spend.append((line.id, second, -unaccounted))
            line.used -= unaccounted
        return int(lent + unaccounted)

    def _answer(self, part: AccountSync, line: _Line) -> AccountReply:
        standing = protocol.Standing(
            allowance=protocol.allowance_in_force(self._allowance_of, protocol.account_of(part)),
            used=line.used,
            lent=line.lent,
            unaccounted=self._unaccounted_of_others(line),
            likes_of_all=line.likes,
        )
        reply = protocol.answer(
            part,
            standing,
            now=self._now,
            closing=self._request.closing,
            oldest_rows=lambda missing, lent: oldest_rows(self._db, line.id, self._oldest, missing, lent),
        )
        line.lent += reply.granted
        line.lease_lent += reply.granted
        return reply

    def _unaccounted_of_others(self, line: _Line) -> int:
        """This incarnation's own was just replaced."""
        if line.unaccounted_until < self._oldest:
            return 0
        row = self._db.execute(
            "SELECT ifnull(sum(unaccounted), 0) FROM leases"
            " WHERE account = ? AND unaccounted > 0 AND unaccounted_second >= ? AND incarnation <> ?",
            (line.id, self._oldest, self._life_id),
        ).fetchone()
        return int(row[0])

    def _write_spend(self) -> None:
        if not self._spend:
            return
        self._db.executemany(
            "INSERT INTO spend VALUES (?, ?, ?)"
            " ON CONFLICT (account, second) DO UPDATE SET credits = credits + excluded.credits",
            self._spend,
        )
        blocks: dict[tuple[int, int], int] = {}
        for account, second, amount in self._spend:
            key = (account, second // BLOCK_SECONDS)
            blocks[key] = blocks.get(key, 0) + amount
        self._db.executemany(
            "INSERT INTO spend_block VALUES (?, ?, ?)"
            " ON CONFLICT (account, block) DO UPDATE SET credits = credits + excluded.credits",
            [(account, block, amount) for (account, block), amount in blocks.items()],
        )
        self._spend.clear()

    def _write_accounts(self, lines: Iterable[_Line]) -> None:
        self._db.executemany(
            "UPDATE accounts SET used = ?, counted_from = ?, lent = ?, likes = ? WHERE id = ?",
            [(line.used, line.counted_from, line.lent, line.likes, line.id) for line in lines],
        )

    def _write_leases(self, lines: list[_Line], answers: tuple[AccountReply, ...]) -> None:
        pairs = list(zip(lines, answers, strict=True))
        self._db.executemany(
            "INSERT OR REPLACE INTO leases (incarnation, account, lent, likes, expires_at) VALUES (?, ?, ?, ?, ?)",
            [
                (self._life_id, line.id, line.lease_lent, line.lease_likes, answer.expires_at)
                for line, answer in pairs
                if line.lease_lent or line.lease_likes
            ],
        )
        self._db.executemany(
            "DELETE FROM leases WHERE incarnation = ? AND account = ?",
            [(self._life_id, line.id) for line, _ in pairs if not (line.lease_lent or line.lease_likes)],
        )

    def _drop_leases(self) -> None:
        """The incarnation is over: nothing is lent to it, and nothing of it is unaccounted any more."""
        rows = self._db.execute(
            "SELECT l.account, l.lent, l.likes, l.unaccounted, l.unaccounted_second, a.counted_from"
            " FROM leases l JOIN accounts a ON a.id = l.account WHERE l.incarnation = ?",
            (self._life_id,),
        ).fetchall()
        for account, lent, likes, unaccounted, second, counted_from in rows:
            counted = unaccounted if second >= counted_from else 0
            if counted:
                self._spend.append((account, second, -counted))
            self._db.execute(
                "UPDATE accounts SET used = used - ?, lent = lent - ?, likes = likes - ? WHERE id = ?",
                (counted, lent, likes, account),
            )
        self._db.execute("DELETE FROM leases WHERE incarnation = ?", (self._life_id,))
        self._write_spend()

    def _write_alarms(self) -> None:
        if not self.alarms:
            return
        self._db.executemany(
            "INSERT INTO alarms (at, incarnation, org, product, pool, over) VALUES (?, ?, ?, ?, ?, ?)",
            [(a.at, a.incarnation, a.org, a.product, a.pool, a.over) for a in self.alarms],
        )
        self._db.execute("DELETE FROM alarms WHERE id <= (SELECT max(id) FROM alarms) - 1000")

    def _sweep(self) -> None:
        """Delete some of what left the window, account after account, round and round."""
        last = self._db.execute("SELECT last_account FROM sweep").fetchone()[0]
        rows = self._db.execute(
            "SELECT id, used, counted_from, lent, likes, unaccounted_until FROM accounts"
            " WHERE id > ? ORDER BY id LIMIT ?",
            (last, SWEPT_ACCOUNTS),
        ).fetchall()
        lines = [_Line(*row) for row in rows]
        for line in lines:
            self._let_go(line)
            self._db.execute(
                "DELETE FROM spend WHERE account = ?1 AND second IN"
                " (SELECT second FROM spend WHERE account = ?1 AND second < ?2 ORDER BY second LIMIT ?3)",
                (line.id, line.counted_from, SWEPT_ROWS_MAX),
            )
            self._db.execute(
                "DELETE FROM spend_block WHERE account = ? AND block < ?",
                (line.id, line.counted_from // BLOCK_SECONDS),
            )
            self._db.execute(
                "DELETE FROM leases WHERE account = ? AND unaccounted > 0 AND unaccounted_second < ?",
                (line.id, self._oldest - WINDOW_SECONDS),
            )
        self._write_accounts(lines)
        done = lines[-1].id if len(lines) == SWEPT_ACCOUNTS else 0
        self._db.execute("UPDATE sweep SET last_account = ?", (done,))
