"""What the families of the API stand on: transactions inside transactions, migrations, snapshots, workers."""

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from farebox.crm.background import Worker, Workers
from farebox.crm.store import MIGRATIONS, SCHEMA_VERSION, Store


def names(db: sqlite3.Connection) -> list[str]:
    return [row["name"] for row in db.execute("SELECT name FROM setting WHERE name LIKE 'k%' ORDER BY name")]


def write(db: sqlite3.Connection, name: str) -> None:
    db.execute("INSERT INTO setting VALUES (?, '')", (name,))


def test_an_inner_block_that_fails_leaves_nothing_and_the_outer_one_goes_on() -> None:
    store = Store()
    with store.transaction() as db:
        write(db, "k1")
        with suppress(ZeroDivisionError), store.transaction():
            write(db, "k2")
            with store.transaction():
                write(db, "k3")
            raise ZeroDivisionError
        write(db, "k4")
    with store.reading() as db:
        assert names(db) == ["k1", "k4"]
    store.close()


def test_an_outer_block_that_fails_undoes_the_inner_ones() -> None:
    store = Store()
    with suppress(ZeroDivisionError), store.transaction() as db:
        with store.transaction():
            write(db, "k1")
        raise ZeroDivisionError
    with store.reading() as db:
        assert names(db) == []
    store.close()


def test_a_snapshot_sees_one_state_and_holds_up_no_writer() -> None:
    store = Store()
    with store.transaction() as db:
        write(db, "k1")
    with store.snapshot() as seen:
        assert names(seen) == ["k1"]
        with store.transaction() as db:
            write(db, "k2")
        assert names(seen) == ["k1"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            write(seen, "k3")
    with store.snapshot() as seen:
        assert names(seen) == ["k1", "k2"]
    store.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_store_of_an_older_version_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    path = tmp_path / "crm.sqlite3"
    with sqlite3.connect(path) as db:
        for script in MIGRATIONS[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("INSERT INTO setting VALUES ('signing_key', '00'), ('kept', '')")
    db.close()
    store = Store(path)
    with store.reading() as db:
        assert names(db) == ["kept"]
        assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    fresh = Store()
    for each in (store, fresh):
        with each.reading() as db:
            shapes = [tuple(row) for row in db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name")]
        if each is store:
            brought = shapes
    assert brought == shapes
    assert store.signing_key == b"\x00"
    store.close()
    fresh.close()


def test_a_fleeting_store_leaves_nothing_on_disk() -> None:
    store = Store()
    folder = store.path.parent
    assert folder.exists()
    store.close()
    assert not folder.exists()


def test_a_worker_goes_on_after_a_failure_and_stops_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farebox.crm.background.AFTER_FAILURE_S", 0.0)
    steps: list[int] = []
    third = threading.Event()

    def step() -> float | None:
        steps.append(len(steps))
        if len(steps) == 1:
            raise RuntimeError("the first step breaks")
        if len(steps) == 3:
            third.set()
            return None
        return 0.0

    workers = Workers([Worker("test", step)])
    workers.start()
    assert third.wait(60)
    third.clear()
    workers.wake("test")
    workers.wake("nobody")
    workers.stop()
    assert steps[:3] == [0, 1, 2]
