"""The SQLite store: one connection, one transaction per request, data that survives a restart."""

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from farebox.crm.errors import StoreError

SCHEMA_VERSION = 1
SERIALS_PER_ORGANISATION = 10**12
"""Ids of an organisation are its prefix (7 digits) and a serial (12 digits): 19 digits."""
BUSY_TIMEOUT_MS = 2_000


class Store:
    """All organisations in one SQLite file (WAL), or in memory when `path` is None.

    Safe to use from several threads of one process; transactions are taken one after the other.
    `clock` gives whole seconds since 1970 and is the only time the API knows.
    """

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """Open or create the file.

        Raises StoreError when it cannot be used: no directory, not writable, made by a newer version.
        """
        self._clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        self._db = _connect(path)
        try:
            self._prepare(path)
        except BaseException:
            self._db.close()
            raise
        self.signing_key = bytes.fromhex(self._setting("signing_key"))

    def now(self) -> int:
        """The current time in whole seconds since 1970."""
        return int(self._clock())

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction: everything or, when the block raises, nothing. Nested blocks join the outer one."""
        with self._lock:
            if self._depth:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # a full disk has SQLite roll back by itself
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for reading; joins a transaction of the same thread when there is one."""
        with self._lock:
            yield self._db

    def is_empty(self) -> bool:
        """Whether there is no organisation yet."""
        with self.reading() as db:
            return db.execute("SELECT 1 FROM organisation").fetchone() is None

    def close(self) -> None:
        """Close the file; safe to repeat."""
        with self._lock:
            self._db.close()

    def _prepare(self, path: Path | None) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{path} was made by a newer version (schema {version}, this one knows {SCHEMA_VERSION}). "
                "Use that version, or another --data directory."
            )
        if version == SCHEMA_VERSION:
            return
        script = resources.files("farebox.crm").joinpath("schema.sql").read_text(encoding="utf-8")
        key = secrets.token_hex(32)
        self._db.executescript(
            f"BEGIN IMMEDIATE; {script} INSERT INTO setting VALUES ('signing_key', '{key}');"  # noqa: S608 (hex)
            f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )

    def _setting(self, name: str) -> str:
        row = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return str(row[0])


def _connect(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            ":memory:" if path is None else path,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1_000,
            cached_statements=256,
        )
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        # NORMAL: a kill loses nothing; a power cut may lose the last commits, never consistency
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA cache_size = -8192")
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"The CRM store {path} cannot be opened: {error}. "
            "Give --data a directory this user may write to, and no other program's file."
        ) from error
    return db
