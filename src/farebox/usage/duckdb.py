"""Usage in DuckDB: one file, one process, rows and offsets in the same transaction.

DuckDB belongs to one process, even for reading (docs/decisions/0006): the lock beside the file says so in words.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any, Final

import duckdb

from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS, Instant, oldest_counting_second
from farebox.errors import DataDirectoryError, DataVersionError, UsageUnavailableError
from farebox.journal.position import Position
from farebox.journal.records import Entry
from farebox.usage import rows
from farebox.usage.port import BREAKDOWN_LINES_MAX, Breakdown, Dimension, UsageLine, UsageTotals

MIGRATIONS: Final = ("001_entries", "002_shadow")
"""Script n takes a file from schema version n to n + 1."""

SCHEMA_VERSION: Final = len(MIGRATIONS)
THREADS_MAX: Final = 2
TEMP_BYTES_MAX: Final = "4GB"
"""What a large question may spill to disk beyond its memory."""


class DuckdbUsage:
    """The usage store in `path`; `memory` as DuckDB writes it ("128MB").

    Opening takes the file for this process alone. Raises UsageUnavailableError when another process has it,
    DataVersionError when a newer Farebox wrote it, DataDirectoryError when it cannot be created.
    """

    def __init__(self, path: Path, *, memory: str = "128MB") -> None:
        self._lock_file = _taken(path)
        self._loads = 0
        self._loading = threading.Lock()
        try:
            self._root = _connected(path, memory)
            _migrated(self._root, path)
        except BaseException:
            self._lock_file.close()
            raise

    def offsets(self) -> dict[str, Position]:
        """How far each incarnation is loaded, as of the last commit."""
        with self._asking() as cursor:
            found = cursor.execute(_sql("offsets")).fetchall()
        return {incarnation: Position(segment, byte) for incarnation, segment, byte in found}

    def load(self, entries: Sequence[Entry], offsets: Mapping[str, Position]) -> None:
        """Rows and offsets in one durable transaction; UsageUnavailableError means that neither was kept."""
        with self._loading, self._asking() as cursor:
            cursor.begin()
            try:
                if entries:
                    cursor.register("batch", rows.table_of(entries))
                    cursor.execute(_sql("insert_entries"))
                for incarnation, position in offsets.items():
                    cursor.execute(_sql("upsert_offset"), [incarnation, position.segment, position.byte])
                cursor.commit()
            except BaseException:
                with contextlib.suppress(duckdb.Error):  # the first error is the one to tell
                    cursor.rollback()
                raise
            self._loads += bool(entries)

    def totals(self, account: Account, *, at: Instant) -> UsageTotals:
        """The account's sums over the window that ends at `at`."""
        with self._asking() as cursor:
            return _totals(cursor, _window(account, at))

    def breakdown(self, account: Account, dimension: Dimension, *, at: Instant) -> Breakdown:
        """Totals and lines from one snapshot, largest spender first."""
        return self.breakdowns(account, [dimension], at=at)[0]

    def breakdowns(self, account: Account, dimensions: Sequence[Dimension], *, at: Instant) -> tuple[Breakdown, ...]:
        """One for each of `dimensions`, all from one snapshot."""
        window = _window(account, at)
        with self._asking() as cursor:
            cursor.begin()
            totals = _totals(cursor, window)
            found = [_lines(cursor, dimension, window) for dimension in dimensions]
            cursor.commit()
        return tuple(Breakdown(totals=totals, lines=lines) for lines in found)

    def loads(self) -> int:
        """Grows with every load that added entries."""
        return self._loads

    def drop_before(self, at: Instant) -> int:
        """Forget entries stamped before `at`; how many went."""
        with self._loading, self._asking() as cursor:
            found = cursor.execute(_sql("drop_before"), [at]).fetchone()
        return int(found[0]) if found else 0

    def close(self) -> None:
        """Fold the write-ahead log into the file, then let go of file and lock."""
        with self._loading:
            try:
                self._root.execute("CHECKPOINT")
            finally:
                self._root.close()
                self._lock_file.close()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        """A cursor of its own: DuckDB runs one statement at a time per connection."""
        try:
            with contextlib.closing(self._root.cursor()) as cursor:
                yield cursor
        except duckdb.Error as error:
            raise UsageUnavailableError(
                f"the usage store did not answer ({error}); the journal keeps everything, so nothing is lost: "
                "check free disk space and `console.usage_memory`"
            ) from error


def _totals(cursor: duckdb.DuckDBPyConnection, window: dict[str, Any]) -> UsageTotals:
    found = cursor.execute(_sql("totals"), window).fetchone()
    assert found is not None, "an aggregate without GROUP BY has one row"
    calls, credits_, refusals, unleased, shadow_calls, shadow_credits, last_refusal = found
    return UsageTotals(
        calls=calls,
        credits=credits_,
        refusals=refusals,
        unleased=unleased,
        shadow_calls=shadow_calls,
        shadow_credits=shadow_credits,
        last_refusal=Instant(last_refusal) if last_refusal else None,
    )


def _lines(cursor: duckdb.DuckDBPyConnection, dimension: Dimension, window: dict[str, Any]) -> tuple[UsageLine, ...]:
    question = _sql("by_dimension").replace("{dimension}", f'"{Dimension(dimension).value}"')
    found = cursor.execute(question, window | {"lines_max": BREAKDOWN_LINES_MAX}).fetchall()
    return tuple(UsageLine(value=v, calls=n, credits=c, refusals=r) for v, n, c, r in found)


def _window(account: Account, at: Instant) -> dict[str, Any]:
    since = oldest_counting_second(at) * MICROSECONDS
    return {"org": account.org, "product": account.product, "pool": account.pool, "since": since}


def _taken(path: Path) -> IO[str]:
    """The lock file beside `path`, locked until it is closed or the process ends."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_file = lock_path.open("a+", encoding="ascii")
    except OSError as error:
        raise DataDirectoryError(f"{lock_path} cannot be written: {error}; give `data` a writable directory") from error
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock_file.seek(0)
        owner = lock_file.read().strip() or "unknown"
        lock_file.close()
        raise UsageUnavailableError(
            f"another console (process {owner}) has {path} open, and a DuckDB file belongs to one process, even for "
            "reading; stop that console first, or ask it: `farebox usage` and /api/v1 do"
        ) from None
    lock_file.truncate(0)
    lock_file.write(str(os.getpid()))
    lock_file.flush()
    return lock_file


def _connected(path: Path, memory: str) -> duckdb.DuckDBPyConnection:
    settings: dict[str, Any] = {
        "memory_limit": memory,
        "threads": THREADS_MAX,
        "temp_directory": str(path.with_name(path.name + ".tmp")),
        "max_temp_directory_size": TEMP_BYTES_MAX,
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        return duckdb.connect(str(path), config=settings)
    except duckdb.Error as error:
        raise UsageUnavailableError(
            f"{path} cannot be opened: {error}; if `console.usage_memory` is not at fault, move the file away: "
            "what the journal still holds is loaded again"
        ) from error


def _migrated(root: duckdb.DuckDBPyConnection, path: Path) -> None:
    """A new file gets the schema, an older one what it lacks; a file of a newer Farebox is refused untouched."""
    tables = {name for (name,) in root.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    found = root.execute("SELECT max(version) FROM schema_version").fetchone() if "schema_version" in tables else None
    version = found[0] if found else None if tables else 0
    if version is None or version > SCHEMA_VERSION or (tables and version < 1):
        root.close()
        raise DataVersionError(
            f"{path} has schema version {version}, this Farebox knows {SCHEMA_VERSION}: "
            "start the Farebox that wrote it, or move the file away to load again what the journal still holds"
        )
    if version < SCHEMA_VERSION:
        root.begin()
        for name in MIGRATIONS[version:]:
            root.execute(_sql(name))
        root.commit()


@cache
def _sql(name: str) -> str:
    return resources.files("farebox.usage").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
