"""Bigin's modules under Bigin's paths have every family that Bigin has, and 404 for what it lacks."""

import io
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.crm.receiver import Receiver

from farebox.crm.routes import BIGIN_LACKS, ROUTES, routes_of
from farebox.testing.crm import Caller, RunningCrm

WAIT_S = 60


@pytest.fixture
def bigin(crm: RunningCrm) -> Iterator[Caller]:
    made = crm.create_organisation(name="Bigin Express", product="bigin", edition="express", users=2, sample_records=12)
    with crm.caller(made, base="/bigin/v2") as caller:
        yield caller


def finished(caller: Caller, url: str) -> httpx.Response:
    """The job's last state, which it reaches before the deadline."""
    deadline = time.monotonic() + WAIT_S
    while True:
        answer = caller.http.get(url)
        if '"COMPLETED"' in answer.text or '"FAILED"' in answer.text:
            return answer
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)


def test_records_are_searched_counted_queried_and_found_again_when_deleted(bigin: Caller) -> None:
    (deal_id,) = bigin.insert("Pipelines", {"Deal_Name": "Größer", "Stage": "Qualification", "Amount": 5})
    ways: tuple[dict[str, Any], ...] = ({"criteria": "(Deal_Name:equals:Größer)"}, {"word": "Größer"})
    for way in ways:
        assert [each["id"] for each in bigin.get("Pipelines/search", **way).json()["data"]] == [deal_id]
    assert bigin.get("Pipelines/actions/count").json() == {"count": 13}
    query = "select Deal_Name, Account_Name.Account_Name from Pipelines where Stage = 'Qualification' and Amount = 5"
    found = bigin.send("POST", "coql", {"select_query": query}).json()["data"]
    assert (found[0]["id"], found[0]["Deal_Name"]) == (deal_id, "Größer")
    upserted = bigin.send("POST", "Pipelines/upsert", {"data": [{"Deal_Name": "Größer", "Stage": "Closed Won"}]})
    assert upserted.json()["data"][0]["details"]["id"] == deal_id
    assert bigin.send("DELETE", f"Pipelines/{deal_id}").status_code == 200
    assert [each["id"] for each in bigin.get("Pipelines/deleted").json()["data"]] == [deal_id]


def test_bulk_read_and_bulk_write_run_under_bigins_paths(bigin: Caller) -> None:
    asked = bigin.http.post("/bigin/bulk/v2/read", json={"query": {"module": {"api_name": "Contacts"}}})
    job = asked.json()["data"][0]["details"]["id"]
    result = finished(bigin, f"/bigin/bulk/v2/read/{job}").json()["data"][0]["result"]
    assert (result["count"], result["download_url"]) == (12, f"/bigin/bulk/v2/read/{job}/result")
    with zipfile.ZipFile(io.BytesIO(bigin.http.get(result["download_url"]).content)) as archive:
        assert len(archive.read(f"{job}.csv").splitlines()) == 13

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("companies.csv", "Account_Name\nNew one\n")
    headers = {"feature": "bulk-write", "X-CRM-ORG": bigin.credentials.zgid}
    upload = bigin.http.post("/bigin/v2/upload", files={"file": ("x.zip", packed.getvalue())}, headers=headers)
    resource = {"type": "data", "module": {"api_name": "Accounts"}, "file_id": upload.json()["details"]["file_id"]}
    asked = bigin.http.post("/bigin/bulk/v2/write", json={"operation": "insert", "resource": [resource]})
    ended = finished(bigin, f"/bigin/bulk/v2/write/{asked.json()['details']['id']}").json()
    assert ended["resource"][0]["file"]["added_count"] == 1
    with zipfile.ZipFile(io.BytesIO(bigin.http.get(ended["result"]["download_url"]).content)) as archive:
        assert b"ADDED" in archive.read(archive.namelist()[0])
    assert bigin.get("Accounts/actions/count").json() == {"count": 13}


def test_changes_are_notified_with_bigins_addresses(bigin: Caller) -> None:
    with Receiver() as receiver:
        entry = {"channel_id": "1", "events": ["Contacts.create"], "notify_url": receiver.url}
        assert bigin.send("POST", "actions/watch", {"watch": [entry]}).status_code == 201
        (contact_id,) = bigin.insert("Contacts", {"Last_Name": "A"})
        (told,) = receiver.wait(bool, "the notification")
    assert told["ids"] == [contact_id]
    assert "/bigin/v2/Contacts" in told["resource_uri"]


def test_what_bigin_lacks_is_404_and_the_rest_of_the_table_is_there(bigin: Caller) -> None:
    lacking = [each for each in ROUTES if each not in routes_of("bigin")]
    assert {word for each in lacking for word in each.pattern} & BIGIN_LACKS
    for each in lacking:
        path = "/".join("1" if part.startswith("{") and part != "{module}" else part for part in each.pattern)
        answer = bigin.send(each.method, path.replace("{module}", "Contacts"), {})
        assert (answer.status_code, answer.json()["code"]) in {
            (404, "INVALID_URL_PATTERN"),
            (400, "INVALID_REQUEST_METHOD"),
        }, (path, answer.text)
