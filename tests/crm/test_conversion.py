"""Converting leads: what becomes of one, what is matched, and that a refusal leaves everything as it was."""

from typing import Any

import pytest

from farebox.crm.records import RecordWriter
from farebox.testing.crm import Caller, RunningCrm

Json = dict[str, Any]
LEAD = {
    "First_Name": "Ann",
    "Last_Name": "Lee",
    "Company": "Zylker",
    "Email": "ann@zylker.example",
    "Designation": "CEO",
    "City": "Oslo",
    "No_of_Employees": 7,
}


def convert(caller: Caller, lead: str, **words: Any) -> tuple[int, Json]:
    answer = caller.send("POST", f"Leads/{lead}/actions/convert", {"data": [words]})
    body = answer.json()
    return answer.status_code, body["data"][0] if "data" in body else body


def everything(caller: Caller) -> Json:
    """All records of the modules a conversion writes, and whether the leads are converted."""
    found: Json = {}
    for module in ("Leads", "Contacts", "Accounts", "Deals", "Notes"):
        for converted in ("false", "true"):
            answer = caller.get(module, None, fields="id,Owner", converted=converted)
            found[f"{module} {converted}"] = [] if answer.status_code == 204 else answer.json()["data"]
    return found


def test_a_lead_becomes_a_contact_an_account_and_a_deal(caller: Caller) -> None:
    (lead,) = caller.insert("Leads", LEAD)
    (note,) = caller.insert("Notes", {"Note_Content": "n", "Parent_Id": lead})
    owner = caller.credentials.users[1].id
    deal = {"Deal_Name": "Big", "Stage": "Qualification", "Closing_Date": "2026-12-31", "Contact_Role": "Boss"}
    status, result = convert(caller, lead, Deals=deal, assign_to={"id": owner})
    assert (status, result["message"]) == (200, "The record has been converted successfully")
    ids = {module: made["id"] for module, made in result["details"].items()}
    contact = caller.record("Contacts", ids["Contacts"])
    assert (contact["Full_Name"], contact["Title"], contact["Mailing_City"]) == ("Ann Lee", "CEO", "Oslo")
    assert contact["Account_Name"] == {"name": "Zylker", "id": ids["Accounts"]}
    assert contact["Owner"]["id"] == owner
    assert caller.record("Accounts", ids["Accounts"])["Employees"] == 7
    made = caller.record("Deals", ids["Deals"])
    assert (made["Deal_Name"], made["Contact_Name"]["id"]) == ("Big", ids["Contacts"])
    (role,) = caller.get(f"Deals/{ids['Deals']}/Contact_Roles", fields="id").json()["data"]
    assert role == {"id": ids["Contacts"], "Contact_Role": {"name": "Boss"}}
    assert caller.record("Notes", note)["Parent_Id"]["id"] == ids["Contacts"]
    assert caller.get("Leads", fields="id").status_code == 204
    assert [each["id"] for each in caller.get("Leads", fields="id", converted="true").json()["data"]] == [lead]


def test_a_lead_is_converted_once(caller: Caller) -> None:
    (lead,) = caller.insert("Leads", LEAD)
    assert convert(caller, lead)[0] == 200
    status, refusal = convert(caller, lead)
    assert status == 400
    assert refusal == {
        "code": "ID_ALREADY_CONVERTED",
        "details": {"resource_path_index": 1},
        "message": "id already converted",
        "status": "error",
    }


def test_a_lead_without_a_company_has_no_account(caller: Caller) -> None:
    (lead,) = caller.insert("Leads", {"Last_Name": "Lee"})
    details = convert(caller, lead)[1]["details"]
    assert (details["Accounts"], details["Deals"]) == (None, None)
    assert details["Contacts"]["name"] == "Lee"


@pytest.mark.parametrize("overwrite", [True, False])
def test_existing_ones_are_matched_and_changed_only_when_asked(crm: RunningCrm, overwrite: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    with crm.caller(crm.create_organisation(name="Nothing unique")) as caller:
        (account,) = caller.insert("Accounts", {"Account_Name": "ZYLKER"})
        (contact,) = caller.insert("Contacts", {"Last_Name": "Old", "Email": "Ann@Zylker.example"})
        (lead,) = caller.insert("Leads", LEAD)
        details = convert(caller, lead, overwrite=overwrite)[1]["details"]
        assert (details["Accounts"]["id"], details["Contacts"]["id"]) == (account, contact)
        found = caller.record("Contacts", contact)
        assert found["Last_Name"] == ("Lee" if overwrite else "Old")
        assert found["Account_Name"]["id"] == account
        (namesake,) = caller.insert("Contacts", {"Last_Name": "Solo"})
        (second,) = caller.insert("Leads", {"Last_Name": "Solo"})
        assert convert(caller, second)[1]["details"]["Contacts"]["id"] == namesake


def test_a_contact_of_another_account_does_not_fit(caller: Caller) -> None:
    one, two = caller.insert("Accounts", {"Account_Name": "One"}, {"Account_Name": "Two"})
    (contact,) = caller.insert("Contacts", {"Last_Name": "C", "Account_Name": one})
    (lead,) = caller.insert("Leads", LEAD)
    status, result = convert(caller, lead, Accounts={"id": two}, Contacts={"id": contact})
    assert (status, result["code"]) == (400, "MAPPING_MISMATCH")
    assert convert(caller, lead, Accounts={"id": one}, Contacts={"id": contact})[0] == 200


@pytest.mark.parametrize(
    ("words", "code", "json_path"),
    [
        ({"Deals": {"Deal_Name": "D"}}, "MANDATORY_NOT_FOUND", "$.data[0].Deals.Stage"),
        ({"Deals": {"Deal_Name": "D", "Stage": 3}}, "INVALID_DATA", "$.data[0].Deals.Stage"),
        ({"Accounts": {"id": "17"}}, "INVALID_DATA", "$.data[0].Accounts.id"),
        ({"Contacts": {}}, "MANDATORY_NOT_FOUND", "$.data[0].Contacts.id"),
        ({"assign_to": {"id": "17"}}, "INVALID_DATA", "$.data[0].assign_to.id"),
        ({"overwrite": "yes"}, "INVALID_DATA", "$.data[0].overwrite"),
        ({"move_attachments_to": {"api_name": "Deals"}}, "INVALID_DATA", "$.data[0].move_attachments_to.api_name"),
        ({"carry_over_tags": {"Contacts": ["none"]}}, "INVALID_DATA", "$.data[0].carry_over_tags.Contacts[0]"),
    ],
)
def test_a_refusal_leaves_everything_as_it_was(caller: Caller, words: Json, code: str, json_path: str) -> None:
    (lead,) = caller.insert("Leads", LEAD)
    before = everything(caller)
    status, result = convert(caller, lead, **words)
    assert (status, result["code"], result["details"]["json_path"]) == (400, code, json_path)
    assert everything(caller) == before


def test_a_unique_value_that_is_taken_is_named_and_nothing_is_written(caller: Caller) -> None:
    # Contacts.Mobile is unique here; name and address differ
    caller.insert("Contacts", {"Last_Name": "Other", "Mobile": "123"})
    (lead,) = caller.insert("Leads", {**LEAD, "Mobile": "123"})
    before = everything(caller)
    status, result = convert(caller, lead)
    assert (status, result["code"], result["details"]["api_name"]) == (400, "DUPLICATE_DATA", "Mobile")
    assert everything(caller) == before


def test_a_fault_half_way_leaves_everything_as_it_was(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    (lead,) = caller.insert("Leads", LEAD)
    before = everything(caller)
    update = RecordWriter.update

    def failing(writer: RecordWriter, *values: Any, **more: Any) -> Any:
        if writer.module.api_name == "Leads":
            raise RuntimeError("half way")
        return update(writer, *values, **more)

    monkeypatch.setattr(RecordWriter, "update", failing)
    answer = caller.send("POST", f"Leads/{lead}/actions/convert", {"data": [{}]})
    assert answer.status_code == 500
    assert everything(caller) == before
