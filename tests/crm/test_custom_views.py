"""Custom views: those every module has, those users make, and every place that takes a `cvid`."""

import csv
import io
import time
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from farebox.testing.crm import Caller, RunningCrm

DEADLINE_S = 60
AMOUNT = {"field": {"api_name": "Annual_Revenue"}, "comparator": "greater_than", "value": 100}
CITY = {"field": {"api_name": "City"}, "comparator": "contains", "value": "er"}


def views(caller: Caller, module: str = "Leads") -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in caller.get("settings/custom_views", module=module).json()["custom_views"]}


def make(caller: Caller, module: str = "Leads", **definition: Any) -> str:
    answer = caller.send("POST", "settings/custom_views", {"custom_views": [definition]}, params={"module": module})
    assert answer.status_code == 201, answer.text
    (result,) = answer.json()["custom_views"]
    assert (result["code"], result["message"]) == ("SUCCESS", "custom view created")
    made: str = result["details"]["id"]
    return made


def put(caller: Caller, path: str, *bodies: dict[str, Any]) -> Any:
    return caller.send("PUT", path, {"custom_views": list(bodies)}, params={"module": "Leads"})


def names(caller: Caller, cvid: str, **params: Any) -> list[str]:
    answer = caller.get("Leads", fields="Last_Name", cvid=cvid, **params)
    return [] if answer.status_code == 204 else [each["Last_Name"] for each in answer.json()["data"]]


@pytest.fixture
def leads(caller: Caller) -> list[str]:
    other = caller.credentials.users[1].id
    return caller.insert(
        "Leads",
        {"Last_Name": "b", "City": "Denver", "Annual_Revenue": 500},
        {"Last_Name": "C", "City": "Bern", "Annual_Revenue": 50, "Owner": other},
        {"Last_Name": "a", "City": "Rome", "Annual_Revenue": 900, "Owner": other},
    )


def test_every_module_has_its_own_views(caller: Caller) -> None:
    for module in caller.get("settings/modules").json()["modules"]:
        if module["api_supported"]:
            found = views(caller, module["api_name"])
            assert f"All {module['plural_label']}" in found
            assert all(each["system_defined"] and each["access_type"] == "public" for each in found.values())
    assert {"My Leads", "Recently Created Leads", "Unread Leads", "Converted Leads"} <= views(caller).keys()
    assert caller.get("settings/custom_views").json()["code"] == "REQUIRED_PARAM_MISSING"
    assert caller.get("settings/custom_views", module="Nope").json()["code"] == "INVALID_MODULE"


def test_ids_of_views_are_unique(caller: Caller) -> None:
    modules = [each["api_name"] for each in caller.get("settings/modules").json()["modules"] if each["api_supported"]]
    ids = [each["id"] for module in modules for each in views(caller, module).values()]
    assert len(ids) == len(set(ids))


def test_views_are_paged(caller: Caller) -> None:
    page = caller.get("settings/custom_views", module="Leads", per_page=3, page=2).json()
    assert [each["name"] for each in page["custom_views"]] == list(views(caller))[3:6]
    assert (page["info"]["count"], page["info"]["more_records"]) == (3, True)
    assert caller.get("settings/custom_views", module="Leads", page=9).status_code == 204


@pytest.mark.usefixtures("leads")
def test_the_modules_own_views_show_what_they_say(caller: Caller, crm: RunningCrm) -> None:
    own = {name: each["id"] for name, each in views(caller).items()}
    assert names(caller, own["All Leads"]) == ["a", "C", "b"]
    assert names(caller, own["My Leads"]) == ["b"]
    assert names(caller, own["Recently Created Leads"]) == ["a", "C", "b"]
    assert names(caller, own["Unread Leads"]) == []
    with crm.caller(caller.credentials, user=1) as other:
        assert names(other, own["My Leads"]) == names(other, own["Unread Leads"]) == ["a", "C"]


def test_converted_leads_are_in_their_own_view_alone(caller: Caller, crm: RunningCrm, leads: list[str]) -> None:
    with crm.store.transaction() as db:
        db.execute("UPDATE record SET converted = 1 WHERE id = ?", (int(leads[0]),))
    own = {name: each["id"] for name, each in views(caller).items()}
    assert names(caller, own["All Leads"]) == ["a", "C"]
    assert names(caller, own["Converted Leads"]) == names(caller, own["My Converted Leads"]) == ["b"]
    assert caller.get("Leads/actions/count", cvid=own["Converted Leads"]).json() == {"count": 1}
    query = f"select Last_Name from Leads#{own['Converted Leads']} where Last_Name is not null"
    assert [each["Last_Name"] for each in caller.send("POST", "coql", {"select_query": query}).json()["data"]] == ["b"]


@pytest.mark.usefixtures("leads")
def test_a_made_view_filters_and_sorts_a_list(caller: Caller) -> None:
    both = {"group_operator": "and", "group": [AMOUNT, CITY]}
    assert names(caller, make(caller, name="rich", criteria=AMOUNT)) == ["a", "b"]
    assert names(caller, make(caller, name="both", criteria=both)) == ["b"]
    ordered = make(caller, name="by name", sort_by={"api_name": "Last_Name"}, sort_order="asc")
    assert names(caller, ordered) == ["a", "b", "C"]
    found = caller.get("Leads", fields="Last_Name", cvid=ordered, per_page=2).json()
    assert (found["info"]["sort_by"], found["info"]["more_records"]) == ("Last_Name", True)
    token = found["info"]["next_page_token"]
    rest = caller.get("Leads", fields="Last_Name", cvid=ordered, per_page=2, page_token=token).json()
    assert [each["Last_Name"] for each in rest["data"]] == ["C"]
    back = rest["info"]["previous_page_token"]
    assert names(caller, ordered, per_page=2, page_token=back) == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("${TODAY}", ["a", "C", "b"]), ("${THISWEEK}", ["a", "C", "b"]), ("${YESTERDAY}", []), ("${NEXTWEEK}", [])],
)
@pytest.mark.usefixtures("leads")
def test_periods_stand_for_days(caller: Caller, value: str, expected: list[str]) -> None:
    criteria = {"field": {"api_name": "Created_Time"}, "comparator": "equal", "value": value}
    assert names(caller, make(caller, name=value, criteria=criteria)) == expected


@pytest.mark.usefixtures("leads")
def test_the_current_user_and_emptiness_have_words(caller: Caller) -> None:
    mine = {"field": {"api_name": "Owner"}, "comparator": "equal", "value": "${CURRENTUSER}"}
    empty = {"field": {"api_name": "Email"}, "comparator": "equal", "value": "${NOTEMPTY}"}
    assert names(caller, make(caller, name="mine", criteria=mine)) == ["b"]
    assert names(caller, make(caller, name="with e-mail", criteria=empty)) == []


@pytest.mark.usefixtures("leads")
def test_a_view_counts_and_is_queried_and_read_in_bulk(caller: Caller) -> None:
    cvid = make(caller, name="rich", criteria=AMOUNT)
    assert caller.get("Leads/actions/count", cvid=cvid).json() == {"count": 2}
    query = f"select Last_Name from Leads#{cvid} where City = 'Rome'"
    found = caller.send("POST", "coql", {"select_query": query}).json()["data"]
    assert [each["Last_Name"] for each in found] == ["a"]
    assert sorted(bulk_names(caller, {"cvid": cvid})) == ["a", "b"]
    assert bulk_names(caller, {"cvid": cvid, "criteria": CITY}) == ["b"]


def bulk_names(caller: Caller, query: dict[str, Any]) -> list[str]:
    body = {"query": {"module": {"api_name": "Leads"}, "fields": ["Last_Name"], **query}}
    headers = {"Content-Type": "application/json"}
    made = caller.http.post("/crm/bulk/v8/read", json=body, headers=headers).json()
    job = f"/crm/bulk/v8/read/{made['data'][0]['details']['id']}"
    wait_until(lambda: caller.http.get(job).json()["data"][0]["state"] == "COMPLETED")
    with zipfile.ZipFile(io.BytesIO(caller.http.get(f"{job}/result").content)) as archive:
        rows = csv.DictReader(io.StringIO(archive.read(archive.namelist()[0]).decode()))
        return [row["Last_Name"] for row in rows]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def test_an_unknown_view_is_refused_in_each_place_in_its_words(caller: Caller) -> None:
    other_module = make(caller, module="Contacts", name="of contacts")
    for cvid in ("17", "x", other_module):
        for path in ("Leads", "Leads/actions/count"):
            refused = caller.get(path, cvid=cvid, fields="id")
            assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_DATA")
            assert refused.json()["details"]["param_name"] == "cvid"
    query = f"select Last_Name from Leads#{other_module} where Last_Name is not null"
    assert caller.send("POST", "coql", {"select_query": query}).json()["code"] == "INVALID_QUERY"
    body = {"query": {"module": {"api_name": "Leads"}, "cvid": other_module}}
    assert caller.http.post("/crm/bulk/v8/read", json=body).json()["code"] == "CVID_NOT_SUPPORTED"
    assert caller.get(f"settings/custom_views/{other_module}", module="Leads").json()["code"] == "INVALID_DATA"


def test_a_view_and_another_order_or_search_are_ambiguous(caller: Caller) -> None:
    cvid = make(caller, name="all")
    for answer in (
        caller.get("Leads", fields="id", cvid=cvid, sort_by="id"),
        caller.get("Leads/actions/count", cvid=cvid, word="any"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "AMBIGUITY_DURING_PROCESSING")


def test_a_view_tells_what_it_was_made_of(caller: Caller) -> None:
    fields = [{"api_name": "Last_Name"}, {"api_name": "City"}]
    cvid = make(caller, name="Rich", criteria=AMOUNT, fields=fields, sort_by={"api_name": "City"}, sort_order="asc")
    (found,) = caller.get(f"settings/custom_views/{cvid}", module="Leads").json()["custom_views"]
    assert (found["name"], found["criteria"], found["sort_order"]) == ("Rich", AMOUNT, "asc")
    assert [each["api_name"] for each in found["fields"]] == ["Last_Name", "City"]
    city = {each["api_name"]: each["id"] for each in caller.get("settings/fields", module="Leads").json()["fields"]}
    assert found["sort_by"] == {"api_name": "City", "id": city["City"]}
    assert (found["category"], found["system_defined"], found["locked"]) == ("created_by_me", False, False)
    assert views(caller)["Rich"]["id"] == cvid


@pytest.mark.usefixtures("leads")
def test_a_view_is_changed_sorted_and_deleted(caller: Caller) -> None:
    first, second = make(caller, name="one", criteria=AMOUNT), make(caller, name="two")
    assert put(caller, f"settings/custom_views/{first}", {"name": "uno", "criteria": CITY}).status_code == 200
    assert names(caller, first) == ["C", "b"]
    assert "uno" in views(caller)
    by_name = {"sort_by": {"api_name": "Last_Name"}, "sort_order": "asc"}
    assert put(caller, f"settings/custom_views/{first}/actions/change_sort", by_name).status_code == 200
    assert names(caller, first) == ["b", "C"]
    mixed = put(caller, "settings/custom_views/actions/change_sort", {"id": second, **by_name}, {"id": "17", **by_name})
    assert mixed.status_code == 207
    assert mixed.json()["custom_views"][1]["details"]["json_path"] == "$.custom_views[1].id"
    gone = caller.send("DELETE", "settings/custom_views", params={"module": "Leads", "ids": f"{first},12"})
    assert gone.status_code == 207
    assert [each["code"] for each in gone.json()["custom_views"]] == ["SUCCESS", "INVALID_DATA"]
    assert caller.get("Leads", fields="id", cvid=first).json()["code"] == "INVALID_DATA"


@pytest.mark.parametrize(
    ("wrong", "code", "api_name"),
    [
        ({}, "MANDATORY_NOT_FOUND", "name"),
        ({"name": "x" * 101}, "INVALID_DATA", "name"),
        ({"name": "all leads"}, "DUPLICATE_DATA", "name"),
        ({"name": "v", "criteria": {"field": {"api_name": "Nope"}}}, "INVALID_DATA", "criteria"),
        ({"name": "v", "criteria": {**AMOUNT, "value": "much"}}, "INVALID_DATA", "criteria"),
        ({"name": "v", "criteria": []}, "INVALID_DATA", "criteria"),
        ({"name": "v", "fields": [{"api_name": "Nope"}]}, "INVALID_DATA", "api_name"),
        ({"name": "v", "sort_by": {"api_name": "Description"}}, "INVALID_DATA", "api_name"),
        ({"name": "v", "sort_order": "up"}, "INVALID_DATA", "sort_order"),
        ({"name": "v", "access_type": "shared"}, "DEPENDENT_FIELD_MISSING", "shared_to"),
        ({"name": "v", "shared_to": [{"type": "users", "id": "17"}]}, "INVALID_DATA", "id"),
    ],
)
def test_a_wrong_view_is_refused_and_not_made(caller: Caller, wrong: dict[str, Any], code: str, api_name: str) -> None:
    before = views(caller)
    answer = caller.send("POST", "settings/custom_views", {"custom_views": [wrong]}, params={"module": "Leads"})
    assert answer.status_code == 400
    (result,) = answer.json()["custom_views"]
    assert (result["code"], result["details"]["api_name"]) == (code, api_name)
    assert views(caller) == before


def test_a_view_is_seen_by_those_it_is_for_and_changed_by_its_maker(caller: Caller, crm: RunningCrm) -> None:
    users = caller.credentials.users
    with crm.caller(caller.credentials, user=1) as second, crm.caller(caller.credentials, user=2) as third:
        private = make(second, name="private")
        shared = make(second, name="shared", access_type="shared", shared_to=[{"type": "users", "id": users[2].id}])
        locked = make(second, name="locked", access_type="public", locked=True)
        assert {"private", "shared", "locked"} <= views(second).keys()
        assert {"shared", "locked"} <= views(third).keys()
        assert not {"private", "shared"} & views(caller).keys()
        assert third.get("Leads", fields="id", cvid=private).json()["code"] == "INVALID_DATA"
        assert third.get("Leads", fields="id", cvid=shared).status_code == 204
        for each in (shared, locked, views(third)["All Leads"]["id"]):
            refused = put(third, f"settings/custom_views/{each}", {"name": "mine now"})
            assert (refused.status_code, refused.json()["code"]) == (403, "NO_PERMISSION")
        assert put(caller, f"settings/custom_views/{locked}", {"name": "n"}).status_code == 403
        assert put(second, f"settings/custom_views/{locked}", {"name": "n"}).status_code == 200


def test_another_organisation_sees_none_of_it(caller: Caller, crm: RunningCrm) -> None:
    cvid = make(caller, name="Secret", access_type="public")
    with crm.caller(crm.create_organisation(name="Other")) as other:
        assert "Secret" not in views(other)
        assert other.get("Leads", fields="id", cvid=cvid).json()["code"] == "INVALID_DATA"
        gone = other.send("DELETE", "settings/custom_views", params={"module": "Leads", "ids": cvid})
        assert gone.status_code == 400
    assert "Secret" in views(caller)
