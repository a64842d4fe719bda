"""What the SQLite store promises beyond the contract: its file, its versions, trouble, other processes, speed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farebox.domain.identity import Account
from farebox.errors import DataVersionError, QuotaUnavailableError
from farebox.quota import sqlite_file
from farebox.quota.clock import ManualClock
from farebox.quota.port import START, AccountSync, AllowanceInForce, Gateway, Position, SyncRequest
from farebox.quota.sqlite import SqliteQuotaStore
from farebox.quota.sqlite_view import SpendFile

SECOND = 1_000_000
DAY = 86_400 * SECOND
T0 = 1_800_000_000 * SECOND
ACCOUNT = Account("acme", "crm", "api")


def allowance_of(_: Account) -> AllowanceInForce:
    return AllowanceInForce(10**9, 10**9, "p", 10**9, 0, 0, 0, None, 1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(true=T0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "quota.db"


@pytest.fixture
def store(path: Path, clock: ManualClock) -> Iterator[SqliteQuotaStore]:
    made = SqliteQuotaStore(path, allowance_of=allowance_of, host=clock)
    yield made
    made.close()


def request(sequence: int, *parts: AccountSync, life: str = "life-1", start: int = 0, end: int = 0) -> SyncRequest:
    at = Position(1, start) if start else START
    return SyncRequest(Gateway("host", 0, life), sequence, at, Position(1, end) if end else at, parts)


def part(
    *, settled: tuple[tuple[int, int], ...] = (), keeps: int = 0, needs: tuple[int, ...] = (), asks: int = 0
) -> AccountSync:
    return AccountSync("acme", "crm", "api", settled, keeps, needs, 0, asks)


def test_everything_survives_a_restart_and_a_retry_across_it_is_booked_once(path: Path, clock: ManualClock) -> None:
    store = SqliteQuotaStore(path, allowance_of=allowance_of, host=clock)
    store.sync(request(1, part(needs=(500,))))
    second = request(2, part(settled=((T0 // SECOND, 500),)), end=10)
    first = store.sync(second)
    store.close()
    again = SqliteQuotaStore(path, allowance_of=allowance_of, host=clock)
    assert again.sync(second) == first
    assert (again.view(ACCOUNT).used, again.settled_to("life-1")) == (500, Position(1, 10))
    again.check()
    again.close()


def test_a_file_of_a_newer_version_is_refused_untouched(path: Path, clock: ManualClock) -> None:
    SqliteQuotaStore(path, allowance_of=allowance_of, host=clock).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(DataVersionError, match="newer Farebox"):
        SqliteQuotaStore(path, allowance_of=allowance_of, host=clock)
    assert path.read_bytes() == before
    with pytest.raises(DataVersionError, match="newer Farebox"):
        SpendFile(path, allowance_of=allowance_of, host=clock).view(ACCOUNT)


def test_a_file_of_another_program_is_refused_untouched(path: Path, clock: ManualClock) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    with pytest.raises(DataVersionError, match="another program"):
        SqliteQuotaStore(path, allowance_of=allowance_of, host=clock)


def test_an_older_file_is_migrated_step_by_step_and_a_reader_says_who_does_it(path: Path) -> None:
    scripts = ["CREATE TABLE a (x);", "ALTER TABLE a ADD COLUMN y;\nINSERT INTO a VALUES (1, 2);"]
    connection = sqlite_file.connect(path, mode="rwc")
    sqlite_file.bring_up_to_date(connection, path, scripts[:1])
    with pytest.raises(DataVersionError, match="farebox serve"):
        sqlite_file.require_version(connection, path, 2)
    sqlite_file.bring_up_to_date(connection, path, scripts)
    sqlite_file.bring_up_to_date(connection, path, scripts)
    assert connection.execute("SELECT * FROM a").fetchall() == [(1, 2)]
    connection.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    connection = sqlite_file.connect(path, mode="rwc")
    sqlite_file.bring_up_to_date(connection, path, ["CREATE TABLE a (x);"])
    with pytest.raises(sqlite3.OperationalError):
        sqlite_file.bring_up_to_date(connection, path, ["CREATE TABLE a (x);", "CREATE TABLE b (y);\nNONSENSE;"])
    assert sqlite_file.version_of(connection, path) == 1
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]
    connection.close()


def test_a_file_that_is_no_database_gets_a_clear_error(path: Path, clock: ManualClock) -> None:
    path.write_bytes(b"not a database at all, but long enough to look like something" * 20)
    with pytest.raises(QuotaUnavailableError, match="not a database"):
        SqliteQuotaStore(path, allowance_of=allowance_of, host=clock)


def test_a_locked_file_is_unavailable_and_the_same_sync_works_later(store: SqliteQuotaStore, path: Path) -> None:
    first = request(1, part(needs=(500,)))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(QuotaUnavailableError, match="Another process"):
        store.sync(first)
    other.execute("ROLLBACK")
    other.close()
    assert store.sync(first).accounts[0].needs_granted == (True,)


def test_a_reader_never_holds_up_a_sync(store: SqliteQuotaStore, path: Path) -> None:
    store.sync(request(1, part(needs=(500,))))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM accounts").fetchall()
    assert store.sync(request(2, part(keeps=500, needs=(1,)))).accounts[0].needs_granted == (True,)
    reader.close()


def test_a_file_that_vanished_is_trouble_and_not_an_empty_window(store: SqliteQuotaStore, path: Path) -> None:
    store.sync(request(1, part(needs=(500,))))
    store.close()
    kept = {each: each.read_bytes() for each in path.parent.iterdir()}
    for each in kept:
        each.unlink()
    with pytest.raises(QuotaUnavailableError, match="unable to open"):
        store.sync(request(2, part(keeps=500)))
    assert not path.exists()
    for each, content in kept.items():
        each.write_bytes(content)
    store.sync(request(2, part(keeps=500)))
    assert store.view(ACCOUNT).held == 500


def test_a_full_disk_books_nothing_and_the_same_sync_works_when_there_is_room(
    store: SqliteQuotaStore, path: Path
) -> None:
    store.sync(request(1, part(needs=(500_000,))))
    assert store._connection is not None
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    rows = tuple((T0 // SECOND - n, 1) for n in range(40_000))
    large = request(2, part(settled=rows), end=10)
    with pytest.raises(QuotaUnavailableError, match="full"):
        store.sync(large)
    assert (store.view(ACCOUNT).used, store.settled_to("life-1")) == (0, START)
    store.sync(large)  # a new connection, without the limit
    assert store.view(ACCOUNT).used == 40_000
    store.check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_directory_gets_a_clear_error(path: Path, clock: ManualClock) -> None:
    path.parent.chmod(0o500)
    with pytest.raises(QuotaUnavailableError, match="writable"):
        SqliteQuotaStore(path, allowance_of=allowance_of, host=clock)


def test_a_missing_directory_gets_a_clear_error(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(QuotaUnavailableError, match="exist and are writable"):
        SqliteQuotaStore(tmp_path / "none" / "quota.db", allowance_of=allowance_of, host=clock)


def test_another_process_reads_the_account_as_it_stands(path: Path) -> None:
    store = SqliteQuotaStore(path, allowance_of=allowance_of)
    store.sync(request(1, part(needs=(500,))))
    program = (
        "import sys, pathlib\n"
        "from farebox.domain.identity import Account\n"
        "from farebox.quota.port import AllowanceInForce\n"
        "from farebox.quota.sqlite_view import SpendFile\n"
        "a = AllowanceInForce(10**9, 10**9, 'p', 10**9, 0, 0, 0, None, 1)\n"
        "view = SpendFile(pathlib.Path(sys.argv[1]), allowance_of=lambda _: a).view(Account('acme', 'crm', 'api'))\n"
        "print(view.held, view.used, view.store_time)\n"
    )
    said = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    held, used, store_time = map(int, said.stdout.split())
    assert (held, used) == (500, 0)
    assert abs(store_time - store.now()) < 10 * SECOND
    store.close()


def test_reading_a_file_that_does_not_exist_yet_is_unavailable(path: Path) -> None:
    with pytest.raises(QuotaUnavailableError):
        SpendFile(path, allowance_of=allowance_of).view(ACCOUNT)
    assert not path.exists()


def test_rows_that_left_the_window_are_deleted_in_time(store: SqliteQuotaStore, clock: ManualClock) -> None:
    store.sync(request(1, part(needs=(3_000,))))
    rows = tuple((T0 // SECOND - n, 1) for n in range(3_000))
    store.sync(request(2, part(settled=rows), end=10))
    clock.advance(DAY + 302 * SECOND)
    for sequence in range(3, 9):
        store.sync(request(sequence, life="life-1", start=10))
        store.check()
    assert store._connection is not None
    for table in ("spend", "spend_block"):
        assert store._connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_the_cost_of_a_sync_does_not_depend_on_what_the_window_holds(
    store: SqliteQuotaStore, clock: ManualClock
) -> None:
    """Counted in rows of SQLite's virtual machine, so that a busy machine does not fail it."""

    def steps(sequence: int, *, asks: int = 0) -> int:
        assert store._connection is not None
        count = 0

        def tick() -> int:
            nonlocal count
            count += 1
            return 0

        store._connection.set_progress_handler(tick, 10)
        store.sync(request(sequence, part(needs=(1,), asks=asks), start=10))
        store._connection.set_progress_handler(None, 0)
        return count

    store.sync(request(1, part(needs=(90_000_000,))))
    store.sync(request(2, part(settled=((T0 // SECOND, 1),), keeps=89_999_999), end=10))
    few = steps(3)
    with_asks = steps(4, asks=10**9)
    rows = tuple((T0 // SECOND - n, 1_000) for n in range(86_000))
    full = SyncRequest(Gateway("host", 0, "life-2"), 1, START, Position(1, 1), (part(settled=rows),))
    store.sync(full)
    assert steps(5) <= 2 * few
    assert steps(6, asks=10**9) <= 2 * with_asks + 1_500, "hundreds of rows, not 86,400"


def test_syncs_of_a_thousand_accounts_are_booked_whole(path: Path) -> None:
    store = SqliteQuotaStore(path, allowance_of=allowance_of)
    now = store.now() // SECOND
    for sequence in range(1, 8):
        parts = tuple(
            AccountSync(f"org{n}", "crm", "api", ((now - 1, 5), (now, 5)) if sequence > 1 else (), 50, (10,), 40)
            for n in range(1_000)
        )
        position = START if sequence <= 2 else Position(1, sequence - 1)
        to = Position(1, sequence) if sequence > 1 else START
        store.sync(SyncRequest(Gateway("host", 0, "life-1"), sequence, position, to, parts))
    store.check()
    assert {store.view(Account(f"org{n}", "crm", "api")).used for n in range(1_000)} == {60}
    store.close()
