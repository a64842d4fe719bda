"""Modules and fields that an organisation makes itself: usable at once everywhere, and what they say is enforced."""

import os
import random
from typing import Any

import pytest

from farebox.testing.crm import Caller, RunningCrm


def profile(caller: Caller) -> dict[str, str]:
    found: dict[str, str] = caller.get("settings/modules/Leads").json()["modules"][0]["profiles"][0]
    return {"id": found["id"]}


def make_module(caller: Caller, **more: Any) -> str:
    body = {"singular_label": "Ship", "plural_label": "Ships", "profiles": [profile(caller)], **more}
    answer = caller.send("POST", "settings/modules", {"modules": [body]})
    assert answer.status_code == 201, answer.text
    (result,) = answer.json()["modules"]
    assert (result["code"], result["message"]) == ("SUCCESS", "module created")
    (shown,) = caller.get(f"settings/modules/{result['details']['id']}").json()["modules"]
    name: str = shown["api_name"]
    return name


def make_fields(caller: Caller, module: str, *fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The new fields as settings/fields shows them."""
    answer = caller.send("POST", "settings/fields", {"fields": list(fields)}, params={"module": module})
    assert answer.status_code == 201, answer.text
    ids = [each["details"]["id"] for each in answer.json()["fields"]]
    return [caller.get(f"settings/fields/{each}", module=module).json()["fields"][0] for each in ids]


def refusal(caller: Caller, path: str, body: dict[str, Any]) -> tuple[str, str]:
    key = path.rpartition("/")[2]
    answer = caller.send("POST", path, {key: [body]}, params={"module": "Leads"})
    assert answer.status_code == 400, answer.text
    (result,) = answer.json()[key]
    return result["code"], result["details"].get("json_path", "").removeprefix(f"$.{key}[0].")


EVERY_TYPE: tuple[dict[str, Any], ...] = (
    {"field_label": "Berth", "data_type": "text", "length": 5},
    {"field_label": "Notes here", "data_type": "textarea"},
    {"field_label": "Captain's mail", "data_type": "email"},
    {"field_label": "Radio", "data_type": "phone"},
    {"field_label": "Site", "data_type": "website"},
    {"field_label": "Class", "data_type": "picklist", "pick_list_values": [{"display_value": "A"}]},
    {"field_label": "Flags", "data_type": "multiselectpicklist", "pick_list_values": [{"display_value": "DE"}]},
    {"field_label": "Launched", "data_type": "date"},
    {"field_label": "Docked", "data_type": "datetime"},
    {"field_label": "Decks", "data_type": "integer", "length": 2},
    {"field_label": "IMO", "data_type": "bigint"},
    {"field_label": "Value", "data_type": "currency"},
    {"field_label": "Draught", "data_type": "double"},
    {"field_label": "Load", "data_type": "percent"},
    {"field_label": "Insured", "data_type": "boolean"},
    {"field_label": "Builder", "data_type": "lookup", "lookup": {"module": {"api_name": "Accounts"}}},
    {
        "field_label": "Papers",
        "data_type": "autonumber",
        "auto_number": {"prefix": "P-", "start_number": "21", "suffix": "/x"},
    },
)


def test_a_new_module_takes_records_queries_and_upserts_at_once(caller: Caller) -> None:
    module = make_module(caller)
    assert module == "Ships"
    (shown,) = caller.get("settings/modules/Ships").json()["modules"]
    assert (shown["generated_type"], shown["plural_label"], shown["api_supported"]) == ("custom", "Ships", True)
    fields = make_fields(caller, module, *EVERY_TYPE)
    assert [each["data_type"] for each in fields] == [each["data_type"] for each in EVERY_TYPE]
    assert all(each["custom_field"] for each in fields)
    (account,) = caller.insert("Accounts", {"Account_Name": "Yard"})
    values = {
        "Berth": "12", "Notes_here": "long", "Captain_s_mail": "c@x.example", "Radio": "16", "Site": "x.example",
        "Class": "A", "Flags": ["DE"], "Launched": "2020-01-02", "Docked": "2020-01-02T03:04:05+00:00", "Decks": 9,
        "IMO": "123456789012", "Value": 2.5, "Draught": 7.25, "Load": 80, "Insured": True,
    }  # fmt: skip
    first, second = caller.insert(module, {"Name": "Vega", "Builder": account, **values}, {"Name": "Mira", "Decks": 3})
    record = caller.record(module, first)
    assert {name: record[name] for name in values} == values
    assert record["Builder"] == {"name": "Yard", "id": account}
    assert (record["Papers"], caller.record(module, second)["Papers"]) == ("P-21/x", "P-22/x")
    query = "select Name, Builder.Account_Name from Ships where Decks > 5 and Insured = true"
    assert caller.send("POST", "coql", {"select_query": query}).json()["data"] == [
        {"Name": "Vega", "Builder.Account_Name": "Yard", "id": first}
    ]
    found = caller.get("Ships/search", criteria="(Load:greater_than:50)").json()["data"]
    assert [each["id"] for each in found] == [first]
    again = caller.send("POST", "Ships/upsert", {"data": [{"Name": "Vega", "Decks": 10}]}).json()["data"][0]
    assert (again["action"], again["details"]["id"]) == ("update", first)
    view = {"name": "Big", "criteria": {"field": {"api_name": "Decks"}, "comparator": "greater_than", "value": 5}}
    made = caller.send("POST", "settings/custom_views", {"custom_views": [view]}, params={"module": "Ships"}).json()
    cvid = made["custom_views"][0]["details"]["id"]
    assert caller.get("Ships/actions/count", cvid=cvid).json() == {"count": 1}


def test_a_field_of_a_standard_module_is_there_for_old_and_new_records(caller: Caller) -> None:
    (old,) = caller.insert("Leads", {"Last_Name": "Old"})
    (field,) = make_fields(caller, "Leads", {"field_label": "Shoe size", "data_type": "integer"})
    assert (field["api_name"], caller.record("Leads", old)["Shoe_size"]) == ("Shoe_size", None)
    caller.send("PUT", f"Leads/{old}", {"data": [{"Shoe_size": 44}]})
    assert caller.record("Leads", old)["Shoe_size"] == 44


def test_another_organisation_has_none_of_it(caller: Caller, crm: RunningCrm) -> None:
    make_module(caller)
    (field,) = make_fields(caller, "Leads", {"field_label": "Secret", "data_type": "text"})
    with crm.caller(crm.create_organisation(name="Other")) as other:
        assert other.get("Ships", fields="Name").json()["code"] == "INVALID_MODULE"
        assert other.get(f"settings/fields/{field['id']}", module="Leads").json()["code"] == "INVALID_DATA"
        gone = other.send("DELETE", f"settings/fields/{field['id']}", params={"module": "Leads"})
        assert gone.json()["code"] == "INVALID_DATA"
        names = [each["api_name"] for each in other.get("settings/fields", module="Leads").json()["fields"]]
        assert "Secret" not in names


def test_names_are_identifiers_and_never_given_twice(caller: Caller) -> None:
    labels = ("Größe (cm)", "größe [cm]", "価格", "1st", "x'); DROP TABLE record;--", "Id")
    fields = make_fields(caller, "Leads", *({"field_label": each, "data_type": "text"} for each in labels))
    names = [each["api_name"] for each in fields]
    assert names == ["Gr_e_cm", "gr_e_cm1", "Field", "Field_1st", "x_DROP_TABLE_record", "Id1"]
    assert [each["field_label"] for each in fields] == list(labels)
    caller.insert("Leads", {"Last_Name": "A", **dict.fromkeys(names, "value")})
    for each in names:
        query = f"select {each} from Leads where {each} = 'value'"
        assert caller.send("POST", "coql", {"select_query": query}).json()["data"][0][each] == "value"
    for wrong in ("1x", "a b", "a'b", "a.b", "ä", "", "x" * 51, 7):
        body = {"field_label": "L", "data_type": "text", "api_name": wrong}
        assert refusal(caller, "settings/fields", body) == ("INVALID_DATA", "api_name")


def test_a_removed_field_leaves_its_values_behind_and_its_name_unused(caller: Caller) -> None:
    (field,) = make_fields(
        caller, "Leads", {"field_label": "Code", "data_type": "text", "unique": {"casesensitive": False}}
    )
    (record,) = caller.insert("Leads", {"Last_Name": "A", "Code": "x"})
    path = f"settings/fields/{field['id']}"
    gone = caller.send("DELETE", path, params={"module": "Leads"})
    assert (gone.status_code, gone.json()["fields"][0]["message"]) == (200, "field deleted")
    assert "Code" not in caller.record("Leads", record)
    assert caller.get(path, module="Leads").json()["code"] == "INVALID_DATA"
    caller.insert("Leads", {"Last_Name": "B", "Code": "x"})
    (again,) = make_fields(caller, "Leads", {"field_label": "Code", "data_type": "datetime"})
    assert again["api_name"] == "Code1"
    assert caller.record("Leads", record)["Code1"] is None


def test_a_field_in_a_view_and_a_standard_field_cannot_be_removed(caller: Caller) -> None:
    (field,) = make_fields(caller, "Leads", {"field_label": "Used", "data_type": "text"})
    view = {"name": "V", "criteria": {"field": {"api_name": "Used"}, "comparator": "equal", "value": "x"}}
    caller.send("POST", "settings/custom_views", {"custom_views": [view]}, params={"module": "Leads"})
    city = next(
        each for each in caller.get("settings/fields", module="Leads").json()["fields"] if each["api_name"] == "City"
    )
    for each in (field, city):
        refused = caller.send("DELETE", f"settings/fields/{each['id']}", params={"module": "Leads"})
        assert (refused.status_code, refused.json()["code"]) == (400, "NOT_ALLOWED")


def test_a_field_is_changed_alone_or_with_others(caller: Caller) -> None:
    first, second = make_fields(
        caller,
        "Leads",
        {"field_label": "Grade", "data_type": "picklist", "pick_list_values": [{"display_value": "A"}]},
        {"field_label": "Code", "data_type": "text", "length": 10},
    )
    change = {"field_label": "Mark", "pick_list_values": [{"display_value": "1"}, {"display_value": "2"}]}
    answer = caller.send("PATCH", f"settings/fields/{first['id']}", {"fields": [change]}, params={"module": "Leads"})
    assert (answer.status_code, answer.json()["fields"][0]["message"]) == (200, "field updated")
    (shown,) = caller.get(f"settings/fields/{first['id']}", module="Leads").json()["fields"]
    assert (shown["api_name"], shown["field_label"]) == ("Grade", "Mark")
    assert [each["display_value"] for each in shown["pick_list_values"]] == ["1", "2"]
    caller.insert("Leads", {"Last_Name": "A", "Code": "same"}, {"Last_Name": "B", "Code": "Same"})
    many = [{"id": second["id"], "length": 3}, {"id": second["id"], "unique": {"casesensitive": False}}, {"id": "17"}]
    mixed = caller.send("PATCH", "settings/fields", {"fields": many}, params={"module": "Leads"})
    assert mixed.status_code == 207
    assert [each["code"] for each in mixed.json()["fields"]] == ["SUCCESS", "DUPLICATE_DATA", "INVALID_DATA"]
    too_long = caller.send("POST", "Leads", {"data": [{"Last_Name": "C", "Code": "1234"}]}).json()["data"][0]
    assert too_long["details"]["maximum_length"] == 3
    retyped = [{"id": second["id"], "data_type": "date"}]
    refused = caller.send("PATCH", "settings/fields", {"fields": retyped}, params={"module": "Leads"})
    assert refused.json()["fields"][0]["code"] == "NOT_ALLOWED"


def test_making_a_field_unique_counts_the_records_there_are(caller: Caller) -> None:
    (field,) = make_fields(caller, "Leads", {"field_label": "Code", "data_type": "text"})
    caller.insert("Leads", {"Last_Name": "A", "Code": "x"})
    change = {"fields": [{"unique": {"casesensitive": False}}]}
    assert caller.send("PATCH", f"settings/fields/{field['id']}", change, params={"module": "Leads"}).status_code == 200
    taken = caller.send("POST", "Leads", {"data": [{"Last_Name": "B", "Code": "X"}]}).json()["data"][0]
    assert (taken["code"], taken["details"]["api_name"]) == ("DUPLICATE_DATA", "Code")


TEXT = {"field_label": "L", "data_type": "text"}


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"data_type": "text"}, "MANDATORY_NOT_FOUND", "field_label"),
        ({"field_label": "City", "data_type": "text"}, "DUPLICATE_DATA", "field_label"),
        ({"field_label": "x" * 51, "data_type": "text"}, "INVALID_DATA", "field_label"),
        ({"field_label": "L"}, "MANDATORY_NOT_FOUND", "data_type"),
        ({"field_label": "L", "data_type": "formula"}, "INVALID_DATA", "data_type"),
        ({**TEXT, "length": 256}, "INVALID_DATA", "length"),
        ({**TEXT, "length": "5"}, "INVALID_DATA", "length"),
        ({**TEXT, "api_name": "City"}, "DUPLICATE_DATA", "api_name"),
        ({**TEXT, "unique": {"casesensitive": True}}, "INVALID_DATA", "unique.casesensitive"),
        ({"field_label": "L", "data_type": "date", "unique": {"casesensitive": False}}, "DEPENDENT_MISMATCH", "unique"),
        ({"field_label": "L", "data_type": "picklist"}, "DEPENDENT_FIELD_MISSING", "pick_list_values"),
        ({"field_label": "L", "data_type": "lookup"}, "DEPENDENT_FIELD_MISSING", "lookup"),
        (
            {"field_label": "L", "data_type": "lookup", "lookup": {"module": {"api_name": "Nope"}}},
            "INVALID_DATA",
            "lookup.module.api_name",
        ),
        ({"field_label": "L", "data_type": "autonumber"}, "DEPENDENT_FIELD_MISSING", "auto_number"),
        (
            {"field_label": "L", "data_type": "autonumber", "auto_number": {"prefix": "x"}},
            "MANDATORY_NOT_FOUND",
            "auto_number.start_number",
        ),
    ],
)
def test_a_wrong_field_is_refused_and_says_where(caller: Caller, body: dict[str, Any], code: str, path: str) -> None:
    before = caller.get("settings/fields", module="Leads").json()
    assert refusal(caller, "settings/fields", body) == (code, path)
    assert caller.get("settings/fields", module="Leads").json() == before


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"singular_label": None}, "MANDATORY_NOT_FOUND", "singular_label"),
        ({"plural_label": "leads"}, "DUPLICATE_DATA", "plural_label"),
        ({"api_name": "Leads"}, "DUPLICATE_DATA", "api_name"),
        ({"api_name": "Settings"}, "RESERVED_KEYWORD_NOT_ALLOWED", "api_name"),
        ({"api_name": "x' OR 1=1"}, "INVALID_DATA", "api_name"),
        ({"profiles": None}, "MANDATORY_NOT_FOUND", "profiles"),
        ({"profiles": [{"id": "17"}]}, "INVALID_DATA", "profiles[0].id"),
        ({"display_field": {"data_type": "date"}}, "INVALID_DATA", "display_field.data_type"),
        ({"display_field": {"data_type": "autonumber"}}, "DEPENDENT_FIELD_MISSING", "display_field.auto_number"),
    ],
)
def test_a_wrong_module_is_refused_and_says_where(caller: Caller, change: dict[str, Any], code: str, path: str) -> None:
    body = {"singular_label": "Ship", "plural_label": "Ships", "profiles": [profile(caller)], **change}
    assert refusal(caller, "settings/modules", body) == (code, path)
    assert caller.get("settings/modules/Ships").json()["code"] == "INVALID_MODULE"


def test_records_of_a_module_with_numbered_names_are_numbered(caller: Caller) -> None:
    display = {"field_label": "No", "data_type": "autonumber", "auto_number": {"start_number": 7, "prefix": "S"}}
    module = make_module(caller, api_name="Fleet", display_field=display)
    ids = caller.insert(module, {}, {})
    assert [caller.record(module, each)["Name"] for each in ids] == ["S7", "S8"]


def test_only_administrators_change_modules_and_fields(caller: Caller, crm: RunningCrm) -> None:
    with crm.caller(caller.credentials, user=1) as other:
        for path, key in (("settings/modules", "modules"), ("settings/fields", "fields")):
            refused = other.send("POST", path, {key: [{}]}, params={"module": "Leads"})
            assert (refused.status_code, refused.json()["code"]) == (403, "NO_PERMISSION")
            assert refused.json()["details"] == {"permissions": ["Crm_Implied_Customize_Zoho_CRM"]}


def test_if_modified_since_tells_whether_something_changed(crm: RunningCrm) -> None:
    with crm.caller(crm.create_organisation(name="Dated")) as caller:
        with crm.store.transaction() as db:
            db.execute("UPDATE organisation SET created = 1000 WHERE zgid = ?", (int(caller.credentials.zgid),))
        since = {"If-Modified-Since": "2001-01-01T00:00:00+00:00"}
        after = {"If-Modified-Since": "2100-01-01T00:00:00+00:00"}

        def statuses(headers: dict[str, str]) -> list[int]:
            return [
                caller.get("settings/modules", headers=headers).status_code,
                caller.get("settings/fields", headers=headers, module="Leads").status_code,
                caller.get("settings/fields", headers=headers, module="Deals").status_code,
            ]

        assert statuses(since) == [304, 304, 304]
        make_fields(caller, "Leads", {"field_label": "New", "data_type": "text"})
        assert statuses(since) == [200, 200, 304]
        assert statuses(after) == [304, 304, 304]


def value_of(field: dict[str, Any], length: int, seed: random.Random) -> Any:
    """A value of the field's type, so many characters or digits long."""
    digits = "".join(seed.choice("123456789") for _ in range(length))
    match field["data_type"]:
        case "text" | "textarea" | "picklist" | "phone":
            return digits
        case "email":
            return f"{digits[9:]}a@ab.cdef" if length > 9 else None
        case "website":
            return f"{digits[5:]}a.bcd" if length > 5 else None
        case "bigint":
            return digits
        case "integer" | "currency" | "double" | "percent":
            return int(digits)
        case _:
            return None


WRONG: dict[str, Any] = {
    "integer": "x", "bigint": "x", "currency": "x", "double": "x", "percent": "x", "boolean": "x", "text": 1,
    "textarea": 1, "email": "x", "phone": "!", "website": 1, "picklist": 1, "multiselectpicklist": "x", "date": "x",
    "datetime": "x", "lookup": "x", "ownerlookup": "x",
}  # fmt: skip


def test_what_the_settings_say_of_a_field_is_what_an_insert_enforces(caller: Caller) -> None:
    number = int(os.environ.get("FAREBOX_SEED", random.SystemRandom().randrange(10**6)))
    print(f"FAREBOX_SEED={number}")
    seed = random.Random(number)
    kinds = ["text", "textarea", "email", "phone", "website", "integer", "bigint", "currency", "double", "percent"]
    own = [
        {
            "field_label": f"Own {n}",
            "data_type": kind,
            "length": seed.randint(10, 30) if kind in kinds[:5] else seed.randint(1, 5),
            "unique": {"casesensitive": False} if kind in ("text", "email", "bigint") else {},
        }
        for n, kind in enumerate(kinds)
    ]
    make_fields(caller, "Leads", *own)
    for module, least in (("Leads", {"Last_Name": "x"}), ("Subscriptions", {"Name": "x"})):
        for field in caller.get("settings/fields", module=module).json()["fields"]:
            if not field["read_only"]:
                check_field(caller, module, field, least, seed)


def check_field(caller: Caller, module: str, field: dict[str, Any], least: dict[str, Any], seed: random.Random) -> None:
    name, kind = field["api_name"], field["data_type"]

    def insert(values: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = caller.send("POST", module, {"data": [{**least, **values}]}).json()["data"][0]
        return result

    without = {key: value for key, value in least.items() if key != name}
    empty = caller.send("POST", module, {"data": [without]}).json()["data"][0]
    assert (empty["code"] == "MANDATORY_NOT_FOUND") == field["system_mandatory"], name
    if kind in WRONG:
        wrong = insert({name: WRONG[kind]})
        assert (wrong["code"], wrong["details"]["api_name"]) == ("INVALID_DATA", name) or "id" in wrong["details"], name
    fitting, longer = (value_of(field, field["length"] + more, seed) for more in (0, 1))
    if fitting is not None:
        assert insert({name: fitting})["code"] == "SUCCESS", name
        assert (insert({name: fitting})["code"] == "DUPLICATE_DATA") == bool(field["unique"]), name
        refused = insert({name: longer})
        assert (refused["code"], refused["details"]["maximum_length"]) == ("INVALID_DATA", field["length"]), name
