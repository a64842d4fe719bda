"""Both stores behind one face: memory, the plain model, and SQLite must say the same to everything."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from farebox.domain import window
from farebox.domain.identity import Account
from farebox.errors import QuotaProtocolError, QuotaUnavailableError
from farebox.quota.clock import ManualClock
from farebox.quota.memory import MemoryQuotaStore
from farebox.quota.port import (
    AccountReply,
    AccountSync,
    AccountView,
    Alarm,
    AllowanceInForce,
    Position,
    SyncReply,
    SyncRequest,
)
from farebox.quota.sqlite import SqliteQuotaStore
from farebox.quota.sqlite_file import Mode

from .quota_world import ACCOUNT, OTHER, allowance

ACCOUNTS = (ACCOUNT, OTHER)


class QuickSqliteStore(SqliteQuotaStore):
    """Without waiting for the disk: a crash here is a process that ends or a transaction that rolls back.

    What the disk itself may lose stands in tests/crash and tests/journal.
    """

    def _open(self, *, mode: Mode) -> sqlite3.Connection:
        connection = super()._open(mode=mode)
        connection.execute("PRAGMA synchronous = OFF")
        return connection


class TwinStore:
    """A quota store that asks both and compares; every sum is checked against its rows after every transaction."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.allowances: dict[Account, AllowanceInForce] = {account: allowance(1_000) for account in ACCOUNTS}
        self._path, self._clock = path, clock
        self._failing = False
        self.memory = MemoryQuotaStore(allowance_of=self.allowances.__getitem__, host=clock)
        self.sqlite = self._open()

    def _open(self) -> SqliteQuotaStore:
        return QuickSqliteStore(
            self._path,
            allowance_of=self.allowances.__getitem__,
            host=self._clock,
            directory_version=self._directory_version,
        )

    def _directory_version(self) -> int:
        """Asked for at the end of a transaction: the place where it fails when it has to."""
        if self._failing:
            raise sqlite3.OperationalError("disk I/O error")
        return 0

    def reopen(self) -> None:
        """The process that had the file has gone; another opens it, and knows no later time than the file does."""
        self.sqlite.close()
        self.memory._said = self.memory._anchor.store_time if self.memory._anchor else 0
        self.sqlite = self._open()

    def fail(self, request: SyncRequest) -> None:
        """The transaction books everything and then rolls back; memory is not even asked."""
        self._failing = True
        try:
            self.sqlite.sync(request)
        except QuotaUnavailableError:
            self.sqlite.check()
        finally:
            self._failing = False

    def refuses(self, request: SyncRequest) -> bool:
        """Whether both take `request` for a breach of the protocol."""
        answers = []
        for store in (self.memory, self.sqlite):
            try:
                store.sync(request)
            except QuotaProtocolError:
                answers.append(True)
            else:
                answers.append(False)
        assert answers[0] == answers[1], "the stores disagree about the protocol"
        return answers[0]

    def sync(self, request: SyncRequest) -> SyncReply:
        plain, real = self.memory.sync(request), self.sqlite.sync(request)
        self.sqlite.check()
        assert (plain.sequence, plain.store_time) == (real.sequence, real.store_time)
        for part, one, two in zip(request.accounts, plain.accounts, real.accounts, strict=True):
            assert _comparable(part, one, plain.store_time) == _comparable(part, two, real.store_time)
        return real

    def view(self, account: Account) -> AccountView:
        real = self.sqlite.view(account)
        assert self.memory.view(account) == real, "the stores disagree about an account"
        return real

    def now(self) -> int:
        return self.memory.now()

    def settled_to(self, incarnation: str) -> Position:
        assert self.memory.settled_to(incarnation) == self.sqlite.settled_to(incarnation)
        return self.sqlite.settled_to(incarnation)

    def sequence_of(self, incarnation: str) -> int:
        return self.sqlite.sequence_of(incarnation)

    def on_loan(self, incarnation: str, account: Account) -> int:
        assert self.memory.on_loan(incarnation, account) == self.sqlite.on_loan(incarnation, account)
        return self.sqlite.on_loan(incarnation, account)

    def alarms(self) -> tuple[Alarm, ...]:
        """Of both; memory forgets nothing and may have fewer."""
        return tuple({*self.memory.alarms(), *self.sqlite.alarms()})

    def close(self) -> None:
        self.sqlite.close()


def _comparable(part: AccountSync, reply: AccountReply, now: int) -> object:
    """All of a reply, the schedule by what it promises to the largest call refused: other steps may be merged."""
    snapshot = reply.snapshot
    refused = [part.asks, *(c for c, granted in zip(part.needs, reply.needs_granted, strict=True) if not granted)]
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
