"""What the API says about itself: organisation, users, modules, fields."""

from typing import Any

import pytest

from farebox.crm.organisations import UserSeed
from farebox.testing.crm import Caller, RunningCrm

PEOPLE = (
    UserSeed(email="admin@x.example", first_name="Ann", last_name="Admin"),
    UserSeed(email="second@x.example", last_name="Second", admin=True, confirmed=False),
    UserSeed(email="plain@x.example", last_name="Plain", time_zone="Asia/Kolkata"),
    UserSeed(email="off@x.example", last_name="Off", status="disabled"),
    UserSeed(email="gone@x.example", last_name="Gone", status="deleted"),
)


def test_the_organisation_says_what_it_is(caller: Caller) -> None:
    (org,) = caller.get("org").json()["org"]
    assert org["zgid"] == caller.credentials.zgid
    assert org["company_name"] == "Zylker"
    assert org["type"] == "production"
    assert org["primary_email"] == caller.credentials.users[0].email
    assert org["license_details"]["users_license_purchased"] == 3
    assert org["license_details"]["paid_type"] == "standard"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("AllUsers", "admin second plain off"),
        ("ActiveUsers", "admin second plain"),
        ("DeactiveUsers", "off"),
        ("ConfirmedUsers", "admin plain off"),
        ("NotConfirmedUsers", "second"),
        ("DeletedUsers", "gone"),
        ("ActiveConfirmedUsers", "admin plain"),
        ("AdminUsers", "admin second"),
        ("ActiveConfirmedAdmins", "admin"),
        ("CurrentUser", "plain"),
    ],
)
def test_users_are_listed_by_type(crm: RunningCrm, kind: str, expected: str) -> None:
    with crm.caller(crm.create_organisation(users=PEOPLE), user=2) as caller:
        users = caller.get("users", type=kind).json()["users"]
    assert [user["email"].partition("@")[0] for user in users] == expected.split()


def test_users_are_paged_and_chosen_by_ids(caller: Caller) -> None:
    ids = [user.id for user in caller.credentials.users]
    page = caller.get("users", type="AllUsers", per_page=2).json()
    assert page["info"] == {"per_page": 2, "count": 2, "page": 1, "more_records": True}
    last = caller.get("users", type="AllUsers", per_page=2, page=2).json()
    assert [user["id"] for user in page["users"] + last["users"]] == ids
    assert caller.get("users", page=2).status_code == 204
    assert [user["id"] for user in caller.get("users", ids=ids[1]).json()["users"]] == [ids[1]]


def test_a_user_has_the_mixed_case_keys_of_the_original(crm: RunningCrm) -> None:
    made = crm.create_organisation(users=PEOPLE)
    with crm.caller(made) as caller:
        user = caller.get(f"users/{made.users[2].id}").json()["users"][0]
        assert caller.get("users/17").json()["details"] == {"resource_path_index": 1}
    assert (user["full_name"], user["status"], user["confirm"]) == ("Plain", "active", True)
    assert (user["time_zone"], user["offset"]) == ("Asia/Kolkata", 19_800_000)
    assert user["profile"]["name"] == "Standard"
    assert {"Modified_Time", "Isonline", "type__s", "created_time", "role", "zuid"} <= user.keys()


def test_an_unknown_type_of_users_names_the_known_ones(caller: Caller) -> None:
    answer = caller.get("users", type="Everybody")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_DATA")
    assert "CurrentUser" in answer.json()["details"]["supported_values"]


def test_modules_are_listed_with_one_custom_among_them(caller: Caller) -> None:
    modules = {each["api_name"]: each for each in caller.get("settings/modules").json()["modules"]}
    for name in ("Leads", "Contacts", "Accounts", "Deals", "Tasks", "Calls", "Events", "Products", "Notes"):
        assert modules[name]["api_supported"] is True
        assert modules[name]["generated_type"] == "default"
    assert [name for name, each in modules.items() if each["generated_type"] == "custom"] == ["Subscriptions"]
    assert modules["Quoted_Items"]["api_supported"] is False
    since = {"If-Modified-Since": "2100-01-01T00:00:00+00:00"}
    assert caller.get("settings/modules", headers=since).status_code == 304


def test_a_module_is_found_by_name_or_id(caller: Caller) -> None:
    (by_name,) = caller.get("settings/modules/leads").json()["modules"]
    (by_id,) = caller.get(f"settings/modules/{by_name['id']}").json()["modules"]
    assert by_name == by_id
    assert caller.get("settings/modules/Nope").json()["code"] == "INVALID_MODULE"


def test_fields_have_types_lengths_picklists_and_lookups(caller: Caller) -> None:
    fields = {each["api_name"]: each for each in caller.get("settings/fields", module="Contacts").json()["fields"]}
    assert (fields["Last_Name"]["data_type"], fields["Last_Name"]["length"]) == ("text", 80)
    assert fields["Last_Name"]["system_mandatory"] is True
    assert fields["Email"]["data_type"] == "email"
    assert fields["Email"]["unique"] == {"casesensitive": "false"}
    assert fields["Account_Name"]["lookup"]["module"]["api_name"] == "Accounts"
    assert fields["Owner"]["data_type"] == "ownerlookup"
    assert fields["Created_Time"]["read_only"] is True
    choices = [each["display_value"] for each in fields["Lead_Source"]["pick_list_values"]]
    assert choices[0] == "-None-"
    assert "Trade Show" in choices
    one = caller.get(f"settings/fields/{fields['Email']['id']}", module="Contacts").json()["fields"]
    assert one == [fields["Email"]]


def test_the_custom_module_shows_every_simple_data_type(caller: Caller) -> None:
    fields = caller.get("settings/fields", module="Subscriptions").json()["fields"]
    types = {each["data_type"] for each in fields}
    assert types >= {"text", "lookup", "multiselectpicklist", "integer", "bigint", "currency", "percent", "date"}
    assert types >= {"datetime", "boolean", "email", "ownerlookup"}


def test_field_ids_are_unique_in_an_organisation(caller: Caller) -> None:
    ids: list[str] = []
    for module in caller.get("settings/modules").json()["modules"]:
        ids.append(module["id"])
        for each in caller.get("settings/fields", module=module["api_name"]).json()["fields"]:
            ids += [each["id"], *(choice["id"] for choice in each["pick_list_values"])]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("settings/fields", {}, "REQUIRED_PARAM_MISSING"),
        ("settings/fields", {"module": "Nope"}, "INVALID_MODULE"),
        ("settings/fields/17", {"module": "Leads"}, "INVALID_DATA"),
    ],
)
def test_fields_of_nothing_are_refused(caller: Caller, path: str, params: dict[str, Any], code: str) -> None:
    answer = caller.get(path, **params)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_there_are_no_unused_fields(caller: Caller) -> None:
    assert caller.get("settings/fields", module="Leads", type="unused").status_code == 204
