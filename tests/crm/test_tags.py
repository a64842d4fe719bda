"""Tags: made, named anew, merged and deleted; hung on records and taken off again."""

from typing import Any

import pytest

from farebox.crm import tag_store
from farebox.testing.crm import Caller, RunningCrm

Json = dict[str, Any]
BLUE = tag_store.COLOURS[0]


def create(caller: Caller, *names: str, module: str = "Leads") -> list[str]:
    body = {"tags": [{"name": name} for name in names]}
    answer = caller.send("POST", "settings/tags", body, params={"module": module})
    assert answer.status_code == 201, answer.text
    return [each["details"]["id"] for each in answer.json()["tags"]]


def names(caller: Caller, record_id: str) -> list[str]:
    return [each["name"] for each in caller.record("Leads", record_id)["Tag"]]


def test_tags_are_made_listed_changed_and_deleted(caller: Caller) -> None:
    assert caller.get("settings/tags", module="Leads").status_code == 204
    first, _ = create(caller, "Hot", "Cold")
    listed = caller.get("settings/tags", module="Leads").json()
    assert [each["name"] for each in listed["tags"]] == ["Cold", "Hot"]
    assert listed["info"] == {"count": 2, "allowed_count": 100}
    assert caller.get("settings/tags", module="Contacts").status_code == 204
    params = {"module": "Leads"}
    put = caller.send("PUT", f"settings/tags/{first}", {"tags": [{"name": "Warm", "color_code": BLUE}]}, params=params)
    assert (put.status_code, put.json()["tags"][0]["message"]) == (200, "tags updated successfully")
    many = caller.send("PUT", "settings/tags", {"tags": [{"id": first, "name": "Cold"}]}, params=params)
    assert many.json()["tags"][0]["code"] == "DUPLICATE_DATA"
    assert caller.send("DELETE", f"settings/tags/{first}").json()["tags"]["code"] == "SUCCESS"
    assert caller.send("DELETE", f"settings/tags/{first}").json()["details"] == {"resource_path_index": 2}


def test_a_record_shows_its_tags_in_lists_too(caller: Caller) -> None:
    one, two = caller.insert("Leads", {"Last_Name": "A"}, {"Last_Name": "B"})
    body = {"tags": [{"name": "Hot", "color_code": BLUE}, {"name": "New"}], "ids": [one, two, "17"]}
    answer = caller.send("POST", "Leads/actions/add_tags", body)
    assert answer.status_code == 207
    said = answer.json()
    assert (said["success_count"], said["locked_count"]) == ("2", "0")
    assert said["data"][0]["message"] == "tags updated successfully"
    assert [each["name"] for each in said["data"][0]["details"]["tags"]] == ["Hot", "New"]
    hot = caller.record("Leads", one)["Tag"][0]
    assert hot.keys() == {"name", "id", "color_code"}
    assert (hot["name"], hot["color_code"]) == ("Hot", BLUE)
    listed = caller.get("Leads", fields="Tag").json()["data"]
    assert [[tag["name"] for tag in each["Tag"]] for each in listed] == [["Hot", "New"]] * 2


def test_tags_are_added_to_replaced_and_removed(caller: Caller) -> None:
    (lead,) = caller.insert("Leads", {"Last_Name": "A"})
    path = f"Leads/{lead}/actions"
    caller.send("POST", f"{path}/add_tags", {"tags": [{"name": "A"}, {"name": "B"}]})
    caller.send("POST", f"{path}/add_tags", {"tags": [{"name": "b"}, {"name": "C"}]})
    assert names(caller, lead) == ["A", "B", "C"]
    caller.send("POST", f"{path}/remove_tags", {"tags": [{"name": "A"}]})
    assert names(caller, lead) == ["B", "C"]
    caller.send("POST", f"{path}/add_tags", {"tags": [{"name": "D"}], "over_write": True})
    assert names(caller, lead) == ["D"]


def test_the_older_form_names_tags_and_records_in_the_query(caller: Caller) -> None:
    ids = caller.insert("Leads", {"Last_Name": "A"}, {"Last_Name": "B"})
    params = {"tag_names": "X,Y", "ids": ",".join(ids)}
    assert caller.send("POST", "Leads/actions/add_tags", params=params).status_code == 200
    caller.send("POST", f"Leads/{ids[0]}/actions/remove_tags", params={"tag_names": "X"})
    assert [names(caller, each) for each in ids] == [["Y"], ["X", "Y"]]


def test_a_merged_tag_is_on_all_records_of_both_once(caller: Caller) -> None:
    ids = caller.insert("Leads", *({"Last_Name": "L"} for _ in range(3)))
    keep, lose = create(caller, "Keep", "Lose")
    caller.send("POST", "Leads/actions/add_tags", {"tags": [{"id": keep}], "ids": ids[:2]})
    caller.send("POST", "Leads/actions/add_tags", {"tags": [{"id": lose}], "ids": ids[1:]})
    answer = caller.send("POST", f"settings/tags/{keep}/actions/merge", {"tags": [{"conflict_id": lose}]})
    assert answer.json()["tags"][0]["code"] == "SUCCESS"
    assert [names(caller, each) for each in ids] == [["Keep"]] * 3
    count = caller.get(f"settings/tags/{keep}/actions/records_count", module="Leads").json()
    assert count == {"count": "3"}
    caller.send("DELETE", f"settings/tags/{keep}")
    assert [names(caller, each) for each in ids] == [[]] * 3


@pytest.mark.parametrize(
    ("tag", "details"),
    [
        ({}, {"api_name": "name", "json_path": "$.tags[0].name"}),
        ({"name": "x" * 26}, {"maximum_length": 25, "api_name": "name", "json_path": "$.tags[0].name"}),
        (
            {"name": "x", "color_code": "#123456"},
            {
                "supported_values": list(tag_store.COLOURS),
                "api_name": "color_code",
                "json_path": "$.tags[0].color_code",
            },
        ),
    ],
)
def test_a_tag_that_cannot_be_says_why(caller: Caller, tag: Json, details: Json) -> None:
    made = caller.send("POST", "settings/tags", {"tags": [tag]}, params={"module": "Leads"})
    assert (made.status_code, made.json()["tags"][0]["details"]) == (400, details)
    (lead,) = caller.insert("Leads", {"Last_Name": "A"})
    assert caller.send("POST", f"Leads/{lead}/actions/add_tags", {"tags": [tag]}).json()["details"] == details


def test_limits_of_tags(caller: Caller) -> None:
    (lead,) = caller.insert("Leads", {"Last_Name": "A"})
    eleven = {"tags": [{"name": f"T{n}"} for n in range(11)]}
    answer = caller.send("POST", f"Leads/{lead}/actions/add_tags", eleven)
    assert answer.json()["data"][0]["code"] == "LIMIT_EXCEEDED"
    many = {"tags": [{"name": "T"}], "ids": [str(n) for n in range(1, 502)]}
    answer = caller.send("POST", "Leads/actions/add_tags", many)
    assert answer.json()["details"]["maximum_length"] == 500


def test_tags_of_another_organisation_are_nobodys(caller: Caller, crm: RunningCrm) -> None:
    (tag,) = create(caller, "Hidden")
    with crm.caller(crm.create_organisation(name="Other")) as stranger:
        assert stranger.get("settings/tags", module="Leads").status_code == 204
        assert stranger.send("DELETE", f"settings/tags/{tag}").status_code == 400
        (lead,) = stranger.insert("Leads", {"Last_Name": "A"})
        answer = stranger.send("POST", f"Leads/{lead}/actions/add_tags", {"tags": [{"id": tag}]})
        assert answer.json()["code"] == "INVALID_DATA"
    assert caller.get("settings/tags", module="Leads").status_code == 200


def test_a_converted_leads_tags_go_where_they_are_asked_to(caller: Caller) -> None:
    (lead,) = caller.insert("Leads", {"Last_Name": "A", "Company": "C"})
    caller.send("POST", f"Leads/{lead}/actions/add_tags", {"tags": [{"name": "Hot"}, {"name": "Not"}]})
    body = {"data": [{"carry_over_tags": {"Contacts": ["hot"], "Accounts": [{"name": "Hot"}]}}]}
    made = caller.send("POST", f"Leads/{lead}/actions/convert", body).json()["data"][0]["details"]
    for module in ("Contacts", "Accounts"):
        assert [each["name"] for each in caller.record(module, made[module]["id"])["Tag"]] == ["Hot"]
