"""Opening Farebox's SQLite files: schema versions, write-ahead logging, and errors that say what to do."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from farebox.errors import DataVersionError, QuotaUnavailableError

APPLICATION_ID: Final = 0x46424F58  # "FBOX"
BUSY_SECONDS: Final = 0.5
"""How long a statement waits for another process's write before it gives up."""

SYNC_BUSY_SECONDS: Final = 1.5
"""How long a sync waits for those of other workers, less than a lease lasts: two of 1,000 accounts each on a disk that
is slow to sync take longer than BUSY_SECONDS, and a call that waits for credits is better served late than refused."""

Mode = Literal["rwc", "rw", "ro"]


def script(name: str) -> str:
    """The text of a numbered schema script in quota/sql."""
    return resources.files("farebox.quota").joinpath("sql", name).read_text(encoding="utf-8")


def connect(path: Path, *, mode: Mode, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """A connection in autocommit mode; with "rwc" the file is created, else it must exist."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=busy_seconds, isolation_level=None, cached_statements=256, check_same_thread=False
    )
    try:
        if mode != "ro":
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """The change to WAL of a new file is not covered by SQLite's busy time-out: two processes may open it at once."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return


def bring_up_to_date(connection: sqlite3.Connection, path: Path, scripts: Sequence[str]) -> None:
    """Create or migrate the schema: `scripts[n]` takes a file from version n to n + 1, each in one transaction.

    Raises `DataVersionError` for a file of a newer version or of another program. Safe to repeat.
    """
    if version_of(connection, path) == len(scripts):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection, path)
        if version > len(scripts):
            raise _newer(path, version, len(scripts))  # noqa: TRY301 - rolls back like any other trouble
        for number in range(version, len(scripts)):
            for statement in _statements(scripts[number]):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(scripts)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def require_version(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """For readers, who do not migrate: `DataVersionError` unless the file has exactly `version`."""
    found = version_of(connection, path)
    if found > version:
        raise _newer(path, found, version)
    if found < version:
        raise DataVersionError(
            f"{path} has data version {found}, this Farebox needs {version}. "
            "Start `farebox serve`: it migrates the file."
        )


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of the file; 0 when it is new. Raises `DataVersionError` for another program's file."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if application != APPLICATION_ID and (version or tables):
        raise DataVersionError(
            f"{path} is a database of another program. Choose another data directory, or move that file away."
        )
    return version


def _newer(path: Path, found: int, known: int) -> DataVersionError:
    return DataVersionError(
        f"{path} was written by a newer Farebox (data version {found}; this one knows up to {known}). "
        "Nothing was changed. Install that newer version again, or restore the file from before the upgrade."
    )


def _statements(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def unavailable(path: Path, what: str) -> Iterator[None]:
    """Any trouble of SQLite inside becomes `QuotaUnavailableError`: `what` could not be done with `path`."""
    try:
        yield
    except sqlite3.Error as error:
        text = f"{path} cannot be {what} now: {error}. {_advice(error)}"
        raise QuotaUnavailableError(text, why=str(error)) from error


def _advice(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "Another process has held it for too long; it is tried again."
    if "readonly" in text or "unable to open" in text or "permission" in text:
        return "Check that the file and its directory exist and are writable for this user; it is tried again."
    if "full" in text:
        return "Make room on that disk; it is tried again."
    return "Check the disk and the file (`sqlite3 FILE 'PRAGMA integrity_check'`); it is tried again."
