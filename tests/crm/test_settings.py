"""What the settings say besides modules and fields: layouts, related lists, roles, profiles; what the API offers."""

import json
from typing import Any

import pytest

from farebox.crm.routes import ROUTES
from farebox.testing.crm import Caller

KINDS = {
    "layouts": {"module": "Quotes"},
    "related_lists": {"module": "Accounts"},
    "roles": {},
    "profiles": {},
}


def listed(caller: Caller, kind: str, **params: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.get(f"settings/{kind}", **(params or KINDS[kind])).json()[kind]  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_thing_is_found_by_the_id_it_is_listed_with(caller: Caller, kind: str) -> None:
    everything = listed(caller, kind)
    assert len({each["id"] for each in everything}) == len(everything) > 0
    for each in everything:
        (found,) = caller.get(f"settings/{kind}/{each['id']}", **KINDS[kind]).json()[kind]  # type: ignore[arg-type]
        assert (found["id"], found["name"]) == (each["id"], each["name"])
    refused = caller.get(f"settings/{kind}/17", **KINDS[kind])  # type: ignore[arg-type]
    assert (refused.status_code, refused.json()["details"]) == (400, {"resource_path_index": 2})


@pytest.mark.parametrize("kind", ["layouts", "related_lists"])
def test_what_is_a_modules_own_needs_the_module(caller: Caller, kind: str) -> None:
    assert caller.get(f"settings/{kind}").json()["code"] == "REQUIRED_PARAM_MISSING"
    assert caller.get(f"settings/{kind}", module="Nope").json()["code"] == "INVALID_MODULE"


def test_a_layout_holds_every_field_once_and_says_what_is_required(caller: Caller) -> None:
    (layout,) = listed(caller, "layouts")
    shown = [field for section in layout["sections"] for field in section["fields"]]
    fields = {each["id"]: each for each in caller.get("settings/fields", module="Quotes").json()["fields"]}
    assert sorted(each["id"] for each in shown) == sorted(fields)
    assert all(each["required"] == fields[each["id"]]["system_mandatory"] for each in shown)
    assert [each["isSubformSection"] for each in layout["sections"]] == [False, True]


def test_related_lists_lead_to_the_paths_that_answer(caller: Caller) -> None:
    (account,) = caller.insert("Accounts", {"Account_Name": "A"})
    lists = listed(caller, "related_lists")
    assert {"Contacts", "Deals", "Notes"} <= {each["api_name"] for each in lists}
    for each in lists:
        if each["module"] is not None:
            path = each["href"].replace("{ENTITYID}", account)
            assert caller.get(path, fields="id").status_code == 204, path
            (target,) = caller.get(f"settings/modules/{each['module']['id']}").json()["modules"]
            assert target["api_name"] == each["module"]["api_name"]


def test_users_have_the_roles_and_profiles_of_the_settings(caller: Caller) -> None:
    roles = {each["id"]: each["name"] for each in listed(caller, "roles")}
    profiles = {each["id"]: each["name"] for each in listed(caller, "profiles")}
    for user in caller.get("users", type="AllUsers").json()["users"]:
        assert roles[user["role"]["id"]] == user["role"]["name"]
        assert profiles[user["profile"]["id"]] == user["profile"]["name"]


def apis(caller: Caller, **criterion: Any) -> dict[str, dict[str, Any]]:
    params = {"filters": json.dumps(criterion)} if criterion else {}
    answer = caller.get("__apis", **params)  # type: ignore[arg-type]
    if answer.status_code == 204:
        return {}
    return {
        each["path"]: {operation["method"]: operation for operation in each["operation_types"]}
        for each in answer.json()["__apis"]
    }


def by(name: str, value: str) -> dict[str, Any]:
    return {"field": {"api_name": name}, "comparator": "equals", "value": value}


def test_the_list_of_apis_is_the_table_of_paths(caller: Caller) -> None:
    offered = apis(caller)
    leads = offered["/crm/v8/Leads"]
    assert leads["POST"] == {
        "method": "POST",
        "oauth_scope": "ZohoCRM.modules.leads.CREATE",
        "min_credits": 1,
        "max_credits": 10,
    }
    assert leads["GET"] == {"method": "GET", "oauth_scope": "ZohoCRM.modules.leads.READ"}
    assert offered["/crm/v8/Leads/{{id}}"].keys() == {"GET", "PUT", "DELETE"}
    assert "/crm/v8/{{module}}/{{id}}" in offered
    assert offered["/crm/v8/settings/fields"]["POST"]["oauth_scope"] == "ZohoCRM.settings.fields.CREATE"
    assert offered["/crm/bulk/v8/read"]["POST"]["oauth_scope"] == "ZohoCRM.bulk.CREATE"
    assert offered["/crm/v8/__apis"]["GET"]["max_credits"] == 1
    methods = {operation["method"] for path in offered.values() for operation in path.values()}
    assert methods == {each.method for each in ROUTES}


def test_the_list_of_apis_is_filtered(caller: Caller) -> None:
    assert set(apis(caller, **by("operation_types.oauth_scope", "coql"))) == {"/crm/v8/coql"}
    fields = apis(caller, **by("operation_types.oauth_scope", "settings.fields"))
    assert set(fields) == {"/crm/v8/settings/fields", "/crm/v8/settings/fields/{{id}}"}
    deletes = apis(caller, **by("operation_types.method", "DELETE"))
    assert {method for path in deletes.values() for method in path} == {"DELETE"}
    assert {path.split("/")[3] for path in apis(caller, **by("module", "deals"))} == {"Deals"}
    assert apis(caller, **by("module", "Nope")) == {}


@pytest.mark.parametrize(
    ("filters", "code", "path"),
    [
        ("{", "INVALID_DATA", None),
        ("[]", "INVALID_DATA", None),
        ("{}", "MANDATORY_NOT_FOUND", "$.field"),
        ('{"field": {}}', "MANDATORY_NOT_FOUND", "$.field.api_name"),
        ('{"field": {"api_name": "path"}}', "INVALID_DATA", "$.field.api_name"),
        ('{"field": {"api_name": "module"}}', "DEPENDENT_FIELD_MISSING", "$.comparator"),
        ('{"field": {"api_name": "module"}, "comparator": "equals"}', "DEPENDENT_FIELD_MISSING", "$.value"),
        ('{"field": {"api_name": "module"}, "comparator": "in", "value": "x"}', "INVALID_DATA", "$.comparator"),
        ('{"field": {"api_name": "module"}, "comparator": "equals", "value": 1}', "INVALID_DATA", "$.value"),
    ],
)
def test_a_wrong_filter_says_where(caller: Caller, filters: str, code: str, path: str | None) -> None:
    answer = caller.get("__apis", filters=filters)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert (answer.json()["details"].get("json_path"), answer.json()["details"]["param_name"]) == (path, "filters")


def test_user_licences_are_counted_as_the_organisation_counts_them(caller: Caller) -> None:
    (feature,) = caller.get("__features/user_licenses").json()["__features"]
    bought = caller.get("org").json()["org"][0]["license_details"]["users_license_purchased"]
    assert feature["details"]["limits"] == feature["details"]["used_count"] == {"total": bought}
    assert caller.get("__features").json()["__features"] == [feature]
    assert caller.get("__features", api_names="other").status_code == 204
    assert caller.get("__features/other").json()["code"] == "INVALID_DATA"
    assert caller.get("__features", module="Nope").json()["code"] == "INVALID_MODULE"
