"""Mass delete, update and convert: at once by ids, by a job for views and leads."""

import time
from typing import Any

import pytest

from farebox.crm.background import Worker
from farebox.testing.crm import Caller

Json = dict[str, Any]


def finished(caller: Caller, path: str, job_id: str) -> Json:
    """The job's status once it is no longer running."""
    deadline = time.monotonic() + 60
    while True:
        (shown,) = caller.get(path, job_id=job_id).json()["data"]
        if shown["Status"] != "RUNNING":
            return dict(shown)
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)


def view_of_all(caller: Caller, module: str) -> str:
    views = caller.get("settings/custom_views", module=module).json()["custom_views"]
    return next(str(each["id"]) for each in views if each["system_name"] == "ALLVIEWS")


def count(caller: Caller, module: str) -> int:
    return int(caller.get(f"{module}/actions/count").json()["count"])


def test_ids_are_deleted_at_once_with_a_result_each(caller: Caller) -> None:
    ids = caller.insert("Leads", *({"Last_Name": f"L{n}"} for n in range(3)))
    answer = caller.send("POST", "Leads/actions/mass_delete", {"ids": [ids[0], int(ids[1]), "17"]})
    assert answer.status_code == 207
    assert [(each["code"], each["message"]) for each in answer.json()["data"]] == [
        ("SUCCESS", "record is deleted"),
        ("SUCCESS", "record is deleted"),
        ("INVALID_DATA", "record not deleted"),
    ]
    assert count(caller, "Leads") == 1


def test_500_ids_are_the_most(caller: Caller) -> None:
    answer = caller.send("POST", "Leads/actions/mass_delete", {"ids": [str(n) for n in range(1, 502)]})
    assert answer.json()["details"] == {"maximum_length": 500, "api_name": "ids", "json_path": "$.ids"}


def test_a_view_is_deleted_by_a_job(caller: Caller) -> None:
    for _ in range(5):
        caller.insert("Leads", *({"Last_Name": "L"} for _ in range(90)))
    caller.insert("Contacts", {"Last_Name": "stays"})
    answer = caller.send("POST", "Leads/actions/mass_delete", {"cvid": view_of_all(caller, "Leads")})
    assert answer.status_code == 202
    (scheduled,) = answer.json()["data"]
    assert (scheduled["code"], scheduled["message"]) == ("SCHEDULED", "mass delete scheduled successfully")
    shown = finished(caller, "Leads/actions/mass_delete", scheduled["details"]["job_id"])
    assert shown == {"Status": "COMPLETED", "Total_Count": 450, "Deleted_Count": 450, "Failed_Count": 0}
    assert (count(caller, "Leads"), count(caller, "Contacts")) == (0, 1)


def test_one_job_of_a_kind_runs_on_a_module(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    caller.insert("Leads", {"Last_Name": "L"})
    cvid = view_of_all(caller, "Leads")
    with monkeypatch.context() as asleep:
        asleep.setattr(Worker, "wake", lambda _: None)
        first = caller.send("POST", "Leads/actions/mass_delete", {"cvid": cvid})
        again = caller.send("POST", "Leads/actions/mass_delete", {"cvid": cvid})
    states = [first.json()["data"][0]["code"], again.json()["code"]]
    assert states == ["SCHEDULED", "ALREADY_SCHEDULED"]
    update = caller.send("POST", "Leads/actions/mass_update", {"cvid": cvid, "data": [{"City": "Oslo"}]})
    assert update.json()["data"][0]["code"] == "SCHEDULED"
    finished(caller, "Leads/actions/mass_delete", first.json()["data"][0]["details"]["job_id"])


def test_ids_are_updated_at_once(caller: Caller) -> None:
    ids = caller.insert("Subscriptions", {"Name": "A", "Regions": ["Asia"]}, {"Name": "B"})
    body: Json = {"data": [{"Seats": 3, "Regions": ["Europe"]}], "ids": [*ids, "17"]}
    answer = caller.send("POST", "Subscriptions/actions/mass_update", body)
    assert [each["code"] for each in answer.json()["data"]] == ["SUCCESS", "SUCCESS", "INVALID_DATA"]
    first = caller.record("Subscriptions", ids[0])
    assert (first["Seats"], first["Regions"]) == (3, ["Asia", "Europe"])
    caller.send("POST", "Subscriptions/actions/mass_update", {**body, "over_write": True})
    assert caller.record("Subscriptions", ids[0])["Regions"] == ["Europe"]


def test_a_unique_value_goes_to_the_first_only(caller: Caller) -> None:
    ids = caller.insert("Contacts", {"Last_Name": "A"}, {"Last_Name": "B"})
    answer = caller.send("POST", "Contacts/actions/mass_update", {"data": [{"Mobile": "1"}], "ids": ids})
    assert [each["code"] for each in answer.json()["data"]] == ["SUCCESS", "DUPLICATE_DATA"]


def test_a_view_is_updated_by_a_job_and_a_record_that_leaves_it_is_not_missed(caller: Caller) -> None:
    for _ in range(3):
        caller.insert("Leads", *({"Last_Name": "L", "City": "Rome"} for _ in range(90)))
    body = {"data": [{"City": "Oslo"}], "cvid": view_of_all(caller, "Leads")}
    answer = caller.send("POST", "Leads/actions/mass_update", body)
    job_id = answer.json()["data"][0]["details"]["job_id"]
    shown = finished(caller, "Leads/actions/mass_update", job_id)
    assert (shown["Status"], shown["Updated_Count"], shown["Not_Updated_Count"]) == ("COMPLETED", 270, 0)
    assert int(caller.get("Leads/actions/count", criteria="(City:equals:Oslo)").json()["count"]) == 270


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "EXPECTED_FIELD_MISSING"),
        ({"ids": ["1"], "cvid": "2"}, "AMBIGUITY_DURING_PROCESSING"),
        ({"cvid": "17"}, "INVALID_DATA"),
        ({"ids": "1"}, "INVALID_DATA"),
        ({"ids": []}, "INVALID_DATA"),
        ({"ids": ["1"], "territory": {"id": "1"}}, "TERRITORY_NOT_ENABLED"),
    ],
)
def test_a_body_that_says_not_which_records_is_refused(caller: Caller, body: Json, code: str) -> None:
    for action, more in (("mass_delete", {}), ("mass_update", {"data": [{"City": "Oslo"}]})):
        answer = caller.send("POST", f"Leads/actions/{action}", {**body, **more})
        assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_job_that_is_none_is_refused(caller: Caller) -> None:
    assert caller.get("Leads/actions/mass_delete").json()["code"] == "REQUIRED_PARAM_MISSING"
    assert caller.get("Leads/actions/mass_delete", job_id="17").json()["code"] == "INVALID_DATA"


def test_leads_are_converted_by_a_job(caller: Caller) -> None:
    ids = caller.insert("Leads", {"Last_Name": "A", "Company": "X"}, {"Last_Name": "B"}, {"Last_Name": "C"})
    assert caller.send("POST", f"Leads/{ids[2]}/actions/convert", {"data": [{}]}).status_code == 200
    body = {"ids": ids, "assign_to": {"id": caller.credentials.users[1].id}}
    answer = caller.send("POST", "Leads/actions/mass_convert", body)
    assert (answer.status_code, answer.json()["code"]) == (202, "SCHEDULED")
    shown = finished(caller, "Leads/actions/mass_convert", answer.json()["details"]["job_id"])
    assert shown == {
        "Status": "COMPLETED",
        "Total_Count": 3,
        "Converted_Count": 2,
        "Failed_Count": 1,
        "Not_Converted_Count": 0,
    }
    assert count(caller, "Contacts") == 3
    too_many = caller.send("POST", "Leads/actions/mass_convert", {"ids": [str(n) for n in range(1, 52)]})
    assert too_many.json()["details"]["maximum_length"] == 50
