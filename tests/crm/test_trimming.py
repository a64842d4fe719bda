"""What is forgotten in time, what is kept until then, and that it goes piece by piece."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crm.test_bulk import ended, read_job, rows_of, table, upload, write_job, zipped

from farebox.crm import deleted, deliveries, trimming, uploads
from farebox.crm.deliveries import pending
from farebox.crm.provision import create_organisation
from farebox.crm.store import Store
from farebox.crm.trimming import DAY_S
from farebox.testing.crm import Caller, RunningCrm

NOTICE = (
    "INSERT INTO notice (zgid, channel_id, call_id, module, operation, record_id, changed, shown, url, token, "
    "resource_uri, due) VALUES (1, 1, 'c', 'Leads', 'insert', ?, '[]', 'null', 'http://127.0.0.1:1/', '', '', 0)"
)


@pytest.fixture
def ahead(crm: RunningCrm, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many seconds the store's clock is ahead, to be changed by the test."""
    seconds = [0]
    now = crm.store.now
    monkeypatch.setattr(crm.store, "now", lambda: now() + seconds[0])
    return seconds


@pytest.fixture
def clock() -> list[int]:
    return [1_000_000]


@pytest.fixture
def store(clock: list[int]) -> Iterator[Store]:
    made = Store(clock=lambda: clock[0])
    yield made
    made.close()


def test_results_of_bulk_jobs_last_a_day(crm: RunningCrm, caller: Caller, ahead: list[int]) -> None:
    written = write_job(caller, table(["Last_Name"], [["A"]]))
    read = ended(caller, "read", read_job(caller)["id"])
    urls = [written["result"]["download_url"], read["result"]["download_url"]]
    ahead[0] = DAY_S - 60
    trimming.trim_results(crm.store)
    ahead[0] = 0
    assert all(rows_of(caller, url)[1] for url in urls)
    ahead[0] = DAY_S + 60
    trimming.trim_results(crm.store)
    ahead[0] = 0
    answers = [caller.http.get(url) for url in urls]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(404, "RESOURCE_NOT_FOUND")] * 2
    assert not [each for each in crm.store.files.iterdir() if read["id"] in each.name or written["id"] in each.name]
    assert ended(caller, "write", written["id"])["status"] == "COMPLETED"


def test_an_upload_lasts_a_day(crm: RunningCrm, caller: Caller, ahead: list[int]) -> None:
    file_id = upload(caller, zipped(data=table(["Last_Name"], [["A"]]))).json()["details"]["file_id"]
    path = uploads.path_of(crm.store, int(file_id))
    ahead[0] = DAY_S - 60
    trimming.trim_uploads(crm.store)
    assert path.exists()
    ahead[0] = DAY_S + 60
    trimming.trim_uploads(crm.store)
    ahead[0] = 0
    assert not path.exists()
    resource = {"type": "data", "module": {"api_name": "Leads"}, "file_id": file_id}
    answer = caller.http.post("/crm/bulk/v8/write", json={"operation": "insert", "resource": [resource]})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_FILE_ID")


def test_an_upload_is_kept_as_long_as_a_job_that_has_not_ended_needs_it(store: Store, clock: list[int]) -> None:
    zgid = int(create_organisation(store, name="Zylker", users=1).zgid)
    for file_id in (1, 2):
        add_upload(store, zgid, file_id)
    request = json.dumps({"resource": [{"file_id": "2"}]})
    with store.transaction() as db:
        db.execute(
            "INSERT INTO job (id, zgid, user_id, kind, version, scope, request, state, created) "
            "VALUES (7, ?, 1, 'write', 'v8', '', ?, 'IN PROGRESS', 0)",
            (zgid, request),
        )
    clock[0] += DAY_S
    trimming.trim_uploads(store)
    assert [uploads.path_of(store, each).exists() for each in (1, 2)] == [False, True]
    with store.transaction() as db:
        db.execute("UPDATE job SET state = 'FAILED'")
    trimming.trim_uploads(store)
    assert not uploads.path_of(store, 2).exists()


def add_upload(store: Store, zgid: int, file_id: int) -> Path:
    path = uploads.path_of(store, file_id)
    path.write_bytes(b"x")
    with store.transaction() as db:
        db.execute("INSERT INTO upload VALUES (?, ?, 'a.zip', ?)", (file_id, zgid, store.now()))
    return path


def test_what_was_given_up_is_listed_for_a_week_and_what_waits_for_ever(
    store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "RETRY_AFTER_S", ())
    with store.transaction() as db:
        db.execute(NOTICE, (5,))
        deliveries.call_back(db, zgid=1, url="http://127.0.0.1:1/", content={}, at=0)
    for post in deliveries._due(store):
        with store.transaction() as db:
            deliveries._settle(db, post, "answered 500", at=store.now())
    with store.transaction() as db:
        db.execute(NOTICE, (6,))
    clock[0] += 7 * DAY_S - 1
    trimming.trim_given_up(store)
    assert len(pending(store)) == 2  # the two notices are of one call
    clock[0] += 1
    trimming.trim_given_up(store)
    (left,) = pending(store)
    assert (left.records, left.due) == (1, 0)


def test_much_goes_in_pieces_until_all_is_gone(store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    zgid = int(create_organisation(store, name="Zylker", users=1).zgid)
    monkeypatch.setattr(trimming, "PIECE_MAX", 2)
    paths = [add_upload(store, zgid, n) for n in range(1, 6)]
    clock[0] += DAY_S
    left = []
    while trimming.trim_uploads(store):
        left.append(sum(each.exists() for each in paths))
    assert left == [3, 1]
    assert not any(each.exists() for each in paths)


def test_a_failed_jobs_notes_of_its_rows_go_in_pieces_too(
    store: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    zgid = int(create_organisation(store, name="Zylker", users=1).zgid)
    monkeypatch.setattr(trimming, "ROWS_MAX", 2)
    with store.transaction() as db:
        db.execute(
            "INSERT INTO job (id, zgid, user_id, kind, version, scope, request, state, created, files_until) "
            "VALUES (7, ?, 1, 'write', 'v8', '', '{}', 'FAILED', 0, ?)",
            (zgid, clock[0]),
        )
        db.executemany("INSERT INTO job_row VALUES (7, 0, ?, '[]', '', '', '')", [(n,) for n in range(5)])
    assert [trimming.trim_results(store) for _ in range(4)] == [True, True, False, False]
    with store.reading() as db:
        assert db.execute("SELECT count(*) FROM job_row").fetchone()[0] == 0


def test_the_worker_goes_on_at_once_while_there_is_more_and_then_waits(store: Store) -> None:
    more = [True, True, False]
    worker = trimming.make_worker(store, (lambda _: more.pop(0), deleted.trim))
    assert [worker._step() for _ in range(3)] == [0.0, 0.0, trimming.EVERY_S]
