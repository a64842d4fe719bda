"""The SQLite store: one connection that writes, snapshots beside it for long reading, data that survives a restart."""

import secrets
import sqlite3
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from farebox.crm.errors import StoreError

SERIALS_PER_ORGANISATION = 10**12
"""Ids of an organisation are its prefix (7 digits) and a serial (12 digits): 19 digits."""
BUSY_TIMEOUT_MS = 2_000
CACHE_KIB = 8_192
SNAPSHOTS_KEPT_MAX = 4
"""Connections that wait for the next snapshot; of more than that at once, the rest are closed."""


def _migrations() -> list[str]:
    """The scripts that make the schema, in order; the store's version is how many of them it has had."""
    folder = resources.files("farebox.crm").joinpath("migrations")
    scripts = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return [each.read_text(encoding="utf-8") for each in scripts]


MIGRATIONS = _migrations()
SCHEMA_VERSION = len(MIGRATIONS)


class Store:
    """All organisations in one SQLite file (WAL); without `path` in one that is gone when the store is closed.

    `files` is the directory for what is too large for the database. Safe to use from several threads of one
    process; transactions are taken one after the other. `clock` gives whole seconds since 1970 and is the only
    time the API knows.
    """

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """Open or create the file.

        Raises StoreError when it cannot be used: no directory, not writable, made by a newer version.
        """
        self._clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        self._kept: deque[sqlite3.Connection] = deque()
        self._mine = threading.local()
        self._fleeting: tempfile.TemporaryDirectory[str] | None = None
        self.path = path.absolute() if path is not None else Path(self._fleeting_name()) / "crm.sqlite3"
        self.files = self.path.parent / "crm-files"
        self._db = _connect(self.path, fleeting=path is None)
        try:
            self._prepare(self.path)
            self.files.mkdir(mode=0o700, exist_ok=True)
        except BaseException:
            self._db.close()
            raise
        self.signing_key = bytes.fromhex(self._setting("signing_key"))

    def now(self) -> int:
        """The current time in whole seconds since 1970."""
        return int(self._clock())

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction: everything or, when the block raises, nothing.

        A block inside another joins it: it is undone alone when it raises, and with the outer one when that does.
        """
        assert getattr(self._mine, "snapshot", None) is None, "what reads one state of the store writes nothing"
        with self._lock:
            begin, end, undo = _WHOLE if self._depth == 0 else _INNER
            self._db.execute(begin)
            self._depth += 1
            try:
                yield self._db
                self._db.execute(end)
            except BaseException:
                # a full disk has SQLite roll back by itself
                if self._db.in_transaction:
                    for statement in undo:
                        self._db.execute(statement)
                raise
            finally:
                self._depth -= 1

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own that sees one state of the store for as long as the block takes.

        For long reading beside the calls: it holds up nobody and nobody holds it up.
        """
        db = self._kept_or_new()
        try:
            db.execute("BEGIN")
            # the state is that of the first read
            db.execute("SELECT 1 FROM setting").fetchone()
            yield db
        except BaseException:
            db.close()
            raise
        db.execute("COMMIT")
        if len(self._kept) < SNAPSHOTS_KEPT_MAX:
            self._kept.append(db)
        else:
            db.close()

    @contextmanager
    def reading_one_state(self) -> Iterator[None]:
        """Within the block, `reading` of this thread is of one snapshot; nothing can be written there."""
        with self.snapshot() as db:
            self._mine.snapshot = db
            try:
                yield
            finally:
                self._mine.snapshot = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for reading; joins a transaction or the one state of the same thread when there is one."""
        snapshot: sqlite3.Connection | None = getattr(self._mine, "snapshot", None)
        if snapshot is not None:
            yield snapshot
            return
        with self._lock:
            yield self._db

    def is_empty(self) -> bool:
        """Whether there is no organisation yet."""
        with self.reading() as db:
            return db.execute("SELECT 1 FROM organisation").fetchone() is None

    def close(self) -> None:
        """Close the file; safe to repeat."""
        with self._lock:
            while self._kept:
                self._kept.pop().close()
            self._db.close()
            if self._fleeting is not None:
                self._fleeting.cleanup()

    def _kept_or_new(self) -> sqlite3.Connection:
        try:
            return self._kept.pop()
        except IndexError:
            return _connect_to_read(self.path)

    def _fleeting_name(self) -> str:
        self._fleeting = tempfile.TemporaryDirectory(prefix="farebox-crm-")
        return self._fleeting.name

    def _prepare(self, path: Path) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{path} was made by a newer version (schema {version}, this one knows {SCHEMA_VERSION}). "
                "Use that version, or another --data directory."
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
        key = secrets.token_hex(32)
        self._db.execute("INSERT OR IGNORE INTO setting VALUES ('signing_key', ?)", (key,))

    def _setting(self, name: str) -> str:
        row = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return str(row[0])


_WHOLE = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_INNER = ("SAVEPOINT inner_block", "RELEASE inner_block", ("ROLLBACK TO inner_block", "RELEASE inner_block"))


def _connect(path: Path, *, fleeting: bool) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            path,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1_000,
            cached_statements=256,
        )
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        # NORMAL: a kill loses nothing; a power cut may lose the last commits, never consistency
        db.execute(f"PRAGMA synchronous = {'OFF' if fleeting else 'NORMAL'}")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"The CRM store {path} cannot be opened: {error}. "
            "Give --data a directory this user may write to, and no other program's file."
        ) from error
    return db


def _connect_to_read(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA query_only = ON")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return db
