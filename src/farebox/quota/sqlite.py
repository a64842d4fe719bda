"""The quota store in one SQLite file: the transaction that books and lends for a gateway.

Per account the cost is a handful of statements by primary key, whatever the window holds. The reading side stands in
sqlite_view.py; the rules in domain/window.py, domain/leases.py and protocol.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from farebox.domain.identity import Account
from farebox.quota import clock, protocol, sqlite_file
from farebox.quota.port import AccountView, Alarm, AllowanceOf, Position, SyncReply, SyncRequest
from farebox.quota.sqlite_sync import Booking
from farebox.quota.sqlite_view import SpendReader, read_clock, read_life

SCRIPTS = ("spend_1.sql",)

REPLIES_KEPT = 64
"""Closed incarnations younger than so many lives still get the answer to a repeated last sync (up to 100 KB each)."""

_log = structlog.get_logger("farebox.quota")


class SqliteQuotaStore:
    """A `QuotaStore` in `path`, created when it does not exist. Use from one thread at a time.

    Raises `DataVersionError` when another version wrote the file, `QuotaUnavailableError` when it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        allowance_of: AllowanceOf,
        host: clock.HostClock | None = None,
        directory_version: Callable[[], int] = lambda: 0,
    ) -> None:
        self._path = path
        self._allowance_of = allowance_of
        self._host = host or clock.SystemClock()
        self._directory_version = directory_version
        self._connection: sqlite3.Connection | None = None
        self._said = 0
        """The latest time this store ever gave: not even a reboot goes behind it."""
        self._open(mode="rwc")

    def _open(self, *, mode: sqlite_file.Mode) -> sqlite3.Connection:
        with sqlite_file.unavailable(self._path, "opened"):
            connection = sqlite_file.connect(self._path, mode=mode, busy_seconds=sqlite_file.SYNC_BUSY_SECONDS)
            try:
                scripts = [sqlite_file.script(name) for name in SCRIPTS]
                sqlite_file.bring_up_to_date(connection, self._path, scripts)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction. After any trouble the connection is dropped and the next call opens a new one.

        The file is never created anew then: a file that vanished is trouble, not an empty window.
        """
        with sqlite_file.unavailable(self._path, "written"):
            connection = self._connection or self._open(mode="rw")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._drop_connection()
                raise

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()  # rolls back what was not committed

    def sync(self, request: SyncRequest) -> SyncReply:
        """See `QuotaStore.sync`."""
        request_hash = protocol.hash_of(request)
        with self._transaction() as db:
            life_id, life = read_life(db, request.gateway.incarnation)
            kept = protocol.kept_reply(request, life, request_hash)
            if kept is not None:
                return kept
            now = self._advance_clock(db)
            if life_id is None:
                life_id = _begin_life(db, request)
            booking = Booking(db, request, life_id=life_id, now=now, allowance_of=self._allowance_of)
            reply = SyncReply(
                sequence=request.sequence,
                store_time=now,
                accounts=booking.run(),
                directory_version=self._directory_version(),
            )
            _end_sync(db, request, life_id, request_hash, reply)
        if booking.alarms:
            _log.error("quota.settled_over_lent", accounts=len(booking.alarms), first=repr(booking.alarms[0]))
        return reply

    def _advance_clock(self, db: sqlite3.Connection) -> int:
        anchor = read_clock(db)
        anchor = clock.read(anchor, max(self._said, anchor.store_time if anchor else 0), self._host)
        self._said = anchor.store_time
        db.execute(
            "INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?)",
            (anchor.boot_id, anchor.boottime, anchor.store_time, anchor.wall_ahead),
        )
        return anchor.store_time

    @contextmanager
    def _reader(self) -> Iterator[SpendReader]:
        with sqlite_file.unavailable(self._path, "read"):
            connection = self._connection or self._open(mode="rw")
            try:
                yield SpendReader(connection, allowance_of=self._allowance_of, host=self._host, not_before=self._said)
            except sqlite3.Error:
                self._drop_connection()
                raise

    def now(self) -> int:
        """The store's time. Raises `QuotaUnavailableError`."""
        with self._reader() as reader:
            self._said = reader.now()
        return self._said

    def settled_to(self, incarnation: str) -> Position:
        """See `QuotaStore.settled_to`. Raises `QuotaUnavailableError`."""
        with self._reader() as reader:
            return read_life(reader.connection, incarnation)[1].settled_to

    def sequence_of(self, incarnation: str) -> int:
        """See `QuotaStore.sequence_of`. Raises `QuotaUnavailableError`."""
        with self._reader() as reader:
            return read_life(reader.connection, incarnation)[1].sequence

    def is_closed(self, incarnation: str) -> bool:
        """See `QuotaStore.is_closed`. Raises `QuotaUnavailableError`."""
        with self._reader() as reader:
            return read_life(reader.connection, incarnation)[1].closed

    def on_loan(self, incarnation: str, account: Account) -> int:
        """See `QuotaStore.on_loan`. Raises `QuotaUnavailableError`."""
        with self._reader() as reader:
            return reader.on_loan(incarnation, account)

    def view(self, account: Account) -> AccountView:
        """See `QuotaStore.view`. Raises `QuotaUnavailableError`."""
        with self._reader() as reader:
            found = reader.view(account)
        self._said = found.store_time
        return found

    def alarms(self) -> tuple[Alarm, ...]:
        """See `QuotaStore.alarms`. Raises `QuotaUnavailableError`."""
        with self._reader() as reader:
            return reader.alarms()

    def check(self) -> None:
        """See `QuotaStore.check`."""
        with self._reader() as reader:
            reader.check()

    def close(self) -> None:
        """Close the file."""
        self._drop_connection()


def _begin_life(db: sqlite3.Connection, request: SyncRequest) -> int:
    gateway = request.gateway
    cursor = db.execute(
        "INSERT INTO incarnations (incarnation, machine, slot, sequence, request_hash, reply,"
        " settled_segment, settled_byte, closed) VALUES (?, ?, ?, 0, x'', x'', 0, 0, 0)",
        (gateway.incarnation, gateway.machine, gateway.slot),
    )
    assert cursor.lastrowid is not None
    db.execute(
        "UPDATE incarnations SET reply = x'', request_hash = x'' WHERE closed = 1 AND id <= ?",
        (cursor.lastrowid - REPLIES_KEPT,),
    )
    return cursor.lastrowid


def _end_sync(
    db: sqlite3.Connection, request: SyncRequest, life_id: int, request_hash: bytes, reply: SyncReply
) -> None:
    db.execute(
        "UPDATE incarnations SET sequence = ?, request_hash = ?, reply = ?, settled_segment = ?, settled_byte = ?,"
        " closed = ? WHERE id = ?",
        (
            request.sequence,
            request_hash,
            protocol.encode_reply(reply),
            request.settled_to.segment,
            request.settled_to.byte,
            request.closing,
            life_id,
        ),
    )
