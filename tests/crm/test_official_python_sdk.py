"""The official Python SDK works against the API unmodified."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farebox.testing.crm import RunningCrm

SESSION = Path(__file__).with_name("sdk_session.py")


@pytest.fixture(scope="module")
def session(crm: RunningCrm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = crm.create_organisation(name="SDK", users=10)
    directory = tmp_path_factory.mktemp("sdk")
    arguments = [crm.url, made.client_id, made.client_secret, made.refresh_token, str(directory)]
    done = subprocess.run(
        [sys.executable, str(SESSION), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=directory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return {**report, "zgid": made.zgid, "emails": [user.email for user in made.users]}


def test_the_sdk_sees_every_active_user(session: dict[str, Any]) -> None:
    assert session["users"]["status"] == 200
    assert session["users"]["emails"] == session["emails"]
    assert session["users"]["count"] == 10
    assert session["users"]["role"] == "CEO"


def test_the_sdk_reads_organisation_modules_fields_lookups_and_picklists(session: dict[str, Any]) -> None:
    found = session["metadata"]
    assert found["org"] == session["zgid"]
    assert found["modules"]["Leads"] == "default"
    assert found["modules"]["Subscriptions"] == "custom"
    assert found["account_target"] == "Accounts"
    assert "Closed Won" in found["stages"]


def test_the_sdk_reads_the_settings_and_makes_a_field(session: dict[str, Any]) -> None:
    found = session["settings"]
    assert {"All Leads", "My Leads", "Converted Leads"} <= set(found["views"])
    assert found["sections"] == ["Lead Information"]
    assert "Notes" in found["related"]
    assert (found["roles"], found["profiles"]) == (["CEO", "Manager"], ["Administrator", "Standard"])
    assert "/crm/v8/coql" in found["paths"]
    assert found["licences"] == 10
    assert found["made"] == {"status": 201, "name": "Shoe_size", "custom": True}


def test_the_sdk_inserts_one_record(session: dict[str, Any]) -> None:
    assert session["single"]["status"] == 201
    (result,) = session["single"]["data"]
    assert result["type"] == "SuccessResponse"
    assert result["message"] == "record added"
    assert len(result["details"]["id"]) == 19


def test_the_sdk_inserts_twenty_records_in_one_call(session: dict[str, Any]) -> None:
    assert session["twenty"]["status"] == 201
    assert len({each["details"]["id"] for each in session["twenty"]["data"]}) == 20


def test_the_sdk_sees_a_partial_insert_as_207_with_a_result_per_record(session: dict[str, Any]) -> None:
    assert session["mixed"]["status"] == 207
    assert [each["type"] for each in session["mixed"]["data"]] == ["SuccessResponse", "APIException", "APIException"]
    assert session["mixed"]["data"][2]["details"]["maximum_length"] == "30"


def test_the_sdk_sees_a_missing_mandatory_field_as_its_exception_object(session: dict[str, Any]) -> None:
    assert session["mandatory"]["status"] == 400
    (result,) = session["mandatory"]["data"]
    assert result["type"] == "APIException"
    assert result["code"] == "MANDATORY_NOT_FOUND"
    assert result["details"] == {"api_name": "Last_Name", "json_path": "$.data[0].Last_Name"}


def test_the_sdk_upserts_by_the_duplicate_check_field(session: dict[str, Any]) -> None:
    assert session["upsert"]["status"] == 201
    assert [each["action"] for each in session["upsert"]["data"]] == ["update", "insert"]
    assert [each["duplicate_field"] for each in session["upsert"]["data"]] == ["Email", None]


def test_the_sdk_pages_by_number_and_by_token(session: dict[str, Any]) -> None:
    first, second = session["first"], session["second"]
    assert len(first["ids"]) == 10
    assert first["more"] is True
    assert first["owner"] == session["emails"][0]
    assert not set(first["ids"]) & set(second["ids"])


def test_the_sdk_writes_and_reads_lookups_dates_and_picklists(session: dict[str, Any]) -> None:
    assert session["deal"] == {
        "contact": 201,
        "account": "Harbor Optics",
        "stage": "Qualification",
        "closing": "2026-12-24",
    }


def test_the_sdk_updates_and_deletes(session: dict[str, Any]) -> None:
    changes = session["changes"]
    assert changes["updated"]["status"] == 200
    assert {each["message"] for each in changes["updated"]["data"]} == {"record updated"}
    assert changes["city"] == "Denver"
    assert changes["revenue"] == 1250.5
    assert changes["unmodified"] == 304
    assert changes["deleted"]["data"][0]["message"] == "record deleted"
