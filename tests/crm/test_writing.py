"""Insert, update, upsert, delete: a result per record, the exact details of every refusal."""

from typing import Any

import pytest

from farebox.testing.crm import Caller, RunningCrm

Json = dict[str, Any]


def one(caller: Caller, module: str, record: Json) -> tuple[int, Json]:
    """Status and result of inserting one record."""
    answer = caller.send("POST", module, {"data": [record]})
    result: Json = answer.json()["data"][0]
    return answer.status_code, result


def test_an_insert_answers_who_when_and_the_new_id(caller: Caller) -> None:
    status, result = one(caller, "Leads", {"Last_Name": "Meyer"})
    user = {"name": caller.credentials.users[0].full_name, "id": caller.credentials.users[0].id}
    details = result.pop("details")
    assert status == 201
    assert result == {"code": "SUCCESS", "message": "record added", "status": "success"}
    assert details.keys() == {"Modified_Time", "Modified_By", "Created_Time", "id", "Created_By", "$approval_state"}
    assert details["Created_By"] == details["Modified_By"] == user
    assert details["Created_Time"] == caller.record("Leads", details["id"])["Created_Time"]


@pytest.mark.parametrize(
    ("module", "record", "missing"),
    [
        ("Leads", {}, "Last_Name"),
        ("Leads", {"Last_Name": ""}, "Last_Name"),
        ("Leads", {"Last_Name": None}, "Last_Name"),
        ("Contacts", {"First_Name": "A"}, "Last_Name"),
        ("Accounts", {}, "Account_Name"),
        ("Deals", {"Deal_Name": "D"}, "Stage"),
        ("Tasks", {}, "Subject"),
        ("Calls", {"Subject": "C"}, "Call_Type"),
        ("Events", {"Event_Title": "E"}, "Start_DateTime"),
        ("Products", {}, "Product_Name"),
        ("Quotes", {"Subject": "Q", "Quoted_Items": []}, "Quoted_Items"),
        ("Cases", {"Subject": "C", "Status": "New"}, "Case_Origin"),
        ("Solutions", {}, "Solution_Title"),
        ("Campaigns", {}, "Campaign_Name"),
        ("Vendors", {}, "Vendor_Name"),
        ("Notes", {"Note_Title": "N"}, "Note_Content"),
        ("Subscriptions", {}, "Name"),
    ],
)
def test_a_missing_mandatory_field_is_named_with_its_path(
    caller: Caller, module: str, record: Json, missing: str
) -> None:
    assert one(caller, module, record) == (
        400,
        {
            "code": "MANDATORY_NOT_FOUND",
            "details": {"api_name": missing, "json_path": f"$.data[0].{missing}"},
            "message": "required field not found",
            "status": "error",
        },
    )


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("Serial_Number", 12, "text"),
        ("Billing_Email", "nobody", "email"),
        ("Billing_Email", "a b@c.de", "email"),
        ("Seats", "3", "integer"),
        ("Seats", 3.5, "integer"),
        ("Seats", True, "integer"),
        ("Usage_Units", "many", "bigint"),
        ("Monthly_Fee", "12", "double"),
        ("Discount", "12", "integer"),
        ("Starts_On", "2026-02-30", "date"),
        ("Starts_On", "01/02/2026", "date"),
        ("Renews_At", "2026-02-03", "datetime"),
        ("Renews_At", "2026-02-03T10:00:00", "datetime"),
        ("Auto_Renew", "yes", "boolean"),
        ("Regions", "Asia", "jsonarray"),
        ("Account", "nobody", "jsonobject"),
        ("Owner", [], "jsonobject"),
    ],
)
def test_a_value_of_the_wrong_type_says_which_was_expected(
    caller: Caller, field: str, value: object, expected: str
) -> None:
    status, result = one(caller, "Subscriptions", {"Name": "S", field: value})
    assert (status, result["code"], result["message"]) == (400, "INVALID_DATA", "invalid data")
    assert result["details"] == {
        "expected_data_type": expected,
        "api_name": field,
        "json_path": f"$.data[0].{field}",
    }


@pytest.mark.parametrize(
    ("field", "longest"),
    [
        ("Serial_Number", "x" * 64),
        ("Seats", 999_999_999),
        ("Usage_Units", "9" * 18),
        ("Monthly_Fee", 9_999_999_999_999_999),
        ("Discount", 99_999),
    ],
)
def test_a_value_may_have_its_fields_length_and_no_more(caller: Caller, field: str, longest: Any) -> None:
    assert one(caller, "Subscriptions", {"Name": "S", field: longest})[0] == 201
    longer = longest * 10 if isinstance(longest, int) else longest + longest[0]
    status, result = one(caller, "Subscriptions", {"Name": "S", field: longer})
    length = len(str(longest))
    assert status == 400
    assert result["details"] == {"maximum_length": length, "api_name": field, "json_path": f"$.data[0].{field}"}


def test_values_come_back_in_the_shapes_of_their_types(caller: Caller) -> None:
    (account_id,) = caller.insert("Accounts", {"Account_Name": "Acme"})
    (record_id,) = caller.insert(
        "Subscriptions",
        {
            "Name": "S",
            "Account": {"id": int(account_id)},
            "Regions": ["Asia", "Europe", "Asia"],
            "Usage_Units": "123456789012345678",
            "Monthly_Fee": 12.5,
            "Starts_On": "2026-02-03",
            "Renews_At": "2026-02-03T10:00:00+02:00",
            "Auto_Renew": True,
            "Owner": {"id": caller.credentials.users[1].id},
        },
    )
    record = caller.record("Subscriptions", record_id)
    assert record["Account"] == {"name": "Acme", "id": account_id}
    assert record["Regions"] == ["Asia", "Europe"]
    assert record["Usage_Units"] == "123456789012345678"
    assert record["Monthly_Fee"] == 12.5
    assert record["Starts_On"] == "2026-02-03"
    assert record["Renews_At"] == "2026-02-03T08:00:00+00:00"
    assert record["Auto_Renew"] is True
    assert record["Owner"]["email"] == caller.credentials.users[1].email


def test_new_picklist_values_are_accepted_and_unknown_fields_ignored(caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "M", "Lead_Source": "Pigeon", "Nonsense": 1, "Full_Name": "x"})
    record = caller.record("Leads", record_id)
    assert record["Lead_Source"] == "Pigeon"
    assert record["Full_Name"] == "M"
    assert "Nonsense" not in record


@pytest.mark.parametrize("value", ["5725767000009999999", {"id": "5725767000009999999"}, {"id": 7}])
def test_a_lookup_must_point_at_a_record_of_its_module(caller: Caller, value: object) -> None:
    status, result = one(caller, "Contacts", {"Last_Name": "M", "Account_Name": value})
    assert (status, result["code"]) == (400, "INVALID_DATA")
    assert result["details"]["api_name"] == "Account_Name"
    assert result["details"]["json_path"].startswith("$.data[0].Account_Name")


def test_a_lookup_cannot_point_into_another_organisation(crm: RunningCrm, caller: Caller) -> None:
    with crm.caller(crm.create_organisation(users=1)) as stranger:
        (foreign,) = stranger.insert("Accounts", {"Account_Name": "Elsewhere"})
    assert one(caller, "Contacts", {"Last_Name": "M", "Account_Name": {"id": foreign}})[0] == 400
    assert one(caller, "Tasks", {"Subject": "T", "What_Id": {"id": foreign}})[0] == 400


def test_a_task_points_into_any_module_and_says_which(caller: Caller) -> None:
    (deal_id,) = caller.insert("Deals", {"Deal_Name": "D", "Stage": "Qualification"})
    (task_id,) = caller.insert("Tasks", {"Subject": "T", "What_Id": deal_id, "$se_module": "Deals"})
    task = caller.record("Tasks", task_id)
    assert (task["What_Id"], task["$se_module"]) == ({"name": "D", "id": deal_id}, "Deals")


def test_lines_of_a_subform_are_checked_like_records(caller: Caller) -> None:
    status, result = one(caller, "Quotes", {"Subject": "Q", "Quoted_Items": [{"Quantity": 1}]})
    assert status == 400
    assert result["details"]["json_path"] == "$.data[0].Quoted_Items[0].Product_Name"


def test_autonumbers_count_up(caller: Caller) -> None:
    case = {"Subject": "C", "Status": "New", "Case_Origin": "Web", "Case_Number": "999"}
    ids = caller.insert("Cases", case, case)
    assert [caller.record("Cases", each)["Case_Number"] for each in ids] == ["1", "2"]


def test_a_unique_value_that_is_taken_names_the_record_that_has_it(caller: Caller) -> None:
    (first,) = caller.insert("Contacts", {"Last_Name": "A", "Email": "Ann@x.example"})
    status, result = one(caller, "Contacts", {"Last_Name": "B", "Email": "ann@X.example "[:-1]})
    user = caller.credentials.users[0]
    details = result["details"]
    assert (status, result["code"], result["message"]) == (400, "DUPLICATE_DATA", "duplicate data")
    assert (details["api_name"], details["json_path"], details["id"]) == ("Email", "$.data[0].Email", first)
    assert details["duplicate_record"]["id"] == first
    assert details["duplicate_record"]["Owner"] == {"name": user.full_name, "id": user.id}
    assert details["duplicate_record"]["module"]["api_name"] == "Contacts"


def test_a_unique_value_counts_within_one_call_and_is_free_after_delete_or_change(caller: Caller) -> None:
    twice = {"data": [{"Last_Name": "A", "Email": "a@x.example"}, {"Last_Name": "B", "Email": "a@x.example"}]}
    answer = caller.send("POST", "Contacts", twice)
    assert answer.status_code == 207
    record_id = answer.json()["data"][0]["details"]["id"]
    assert caller.send("PUT", f"Contacts/{record_id}", {"data": [{"Email": "a@x.example"}]}).status_code == 200
    assert caller.send("PUT", f"Contacts/{record_id}", {"data": [{"Email": "b@x.example"}]}).status_code == 200
    (second,) = caller.insert("Contacts", {"Last_Name": "C", "Email": "a@x.example"})
    assert caller.send("DELETE", f"Contacts/{second}").status_code == 200
    caller.insert("Contacts", {"Last_Name": "D", "Email": "a@x.example"})


def test_a_hundred_records_go_in_at_once_and_not_one_more(caller: Caller) -> None:
    records = [{"Last_Name": f"L{n}"} for n in range(101)]
    answer = caller.send("POST", "Leads", {"data": records})
    assert answer.status_code == 400
    assert answer.json()["details"] == {"maximum_length": 100, "api_name": "data", "json_path": "$.data"}
    answer = caller.send("POST", "Leads", {"data": records[:100]})
    assert answer.status_code == 201
    names = [caller.record("Leads", each["details"]["id"])["Last_Name"] for each in answer.json()["data"][::33]]
    assert names == ["L0", "L33", "L66", "L99"]


def test_a_partial_insert_is_207_with_results_in_order(caller: Caller) -> None:
    answer = caller.send("POST", "Leads", {"data": [{"Last_Name": "A"}, {}, "text", {"Last_Name": "B"}]})
    assert answer.status_code == 207
    codes = [each["code"] for each in answer.json()["data"]]
    assert codes == ["SUCCESS", "MANDATORY_NOT_FOUND", "INVALID_DATA", "SUCCESS"]
    assert answer.json()["data"][2]["details"] == {
        "expected_data_type": "jsonobject",
        "api_name": "data",
        "json_path": "$.data[2]",
    }


@pytest.mark.parametrize(
    ("body", "code", "details"),
    [
        (b"", "INVALID_DATA", {"expected_data_type": "jsonobject"}),
        (b"{", "INVALID_DATA", {"expected_data_type": "jsonobject"}),
        (b"\xff\xfe", "INVALID_DATA", {"expected_data_type": "jsonobject"}),
        (b"[]", "INVALID_DATA", {"expected_data_type": "jsonobject"}),
        (b"{}", "MANDATORY_NOT_FOUND", {"api_name": "data", "json_path": "$.data"}),
        (
            b'{"data": {}}',
            "INVALID_DATA",
            {"expected_data_type": "jsonarray", "api_name": "data", "json_path": "$.data"},
        ),
        (b'{"data": []}', "INVALID_DATA", {"minimum_length": 1, "api_name": "data", "json_path": "$.data"}),
        (
            b'{"data": [{}], "trigger": "workflow"}',
            "INVALID_DATA",
            {"expected_data_type": "jsonarray", "api_name": "trigger", "json_path": "$.trigger"},
        ),
    ],
)
@pytest.mark.parametrize("request_line", ["POST Leads", "PUT Leads", "POST Leads/upsert"])
def test_a_body_that_holds_no_records_is_refused_as_a_whole(
    caller: Caller, body: bytes, code: str, details: Json, request_line: str
) -> None:
    method, _, path = request_line.partition(" ")
    answer = caller.http.request(method, f"/crm/v8/{path}", content=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["details"]) == (400, code, details)


def test_many_updates_name_their_ids_as_numbers_or_strings(caller: Caller) -> None:
    first, second = caller.insert("Leads", {"Last_Name": "A"}, {"Last_Name": "B", "City": "Bonn"})
    body = {"data": [{"id": int(first), "City": "Ulm"}, {"id": second, "City": None}]}
    answer = caller.send("PUT", "Leads", body)
    assert answer.status_code == 200
    assert {each["message"] for each in answer.json()["data"]} == {"record updated"}
    assert [caller.record("Leads", each)["City"] for each in (first, second)] == ["Ulm", None]
    assert [caller.record("Leads", each)["Last_Name"] for each in (first, second)] == ["A", "B"]


def test_an_update_that_cannot_be_says_why(caller: Caller) -> None:
    (known,) = caller.insert("Leads", {"Last_Name": "A"})
    body = {"data": [{"City": "Ulm"}, {"id": "17", "City": "Ulm"}, {"id": known, "Last_Name": ""}]}
    answer = caller.send("PUT", "Leads", body)
    assert answer.status_code == 400
    missing, unknown, emptied = answer.json()["data"]
    assert (missing["code"], missing["details"]) == (
        "MANDATORY_NOT_FOUND",
        {"api_name": "id", "json_path": "$.data[0].id"},
    )
    assert (unknown["code"], unknown["details"]) == ("INVALID_DATA", {"id": "17"})
    assert unknown["message"] == "the id given seems to be invalid"
    assert emptied["details"]["api_name"] == "Last_Name"


def test_one_update_takes_its_id_from_the_path(crm: RunningCrm, caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "A"})
    with crm.caller(caller.credentials, user=1) as second:
        answer = second.send("PUT", f"Leads/{record_id}", {"data": [{"City": "Ulm"}]})
        modifier = second.credentials.users[1].full_name
    assert answer.status_code == 200
    assert answer.json()["data"][0]["details"]["Modified_By"]["name"] == modifier
    assert caller.record("Leads", record_id)["Modified_By"]["name"] == modifier
    assert caller.send("PUT", "Leads/17", {"data": [{"City": "Ulm"}]}).json()["details"] == {"resource_path_index": 1}
    two = {"data": [{"City": "Ulm"}, {"City": "Bonn"}]}
    assert caller.send("PUT", f"Leads/{record_id}", two).json()["details"]["maximum_length"] == 1


def test_if_unmodified_since_before_the_last_change_is_412(caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "A"})
    body = {"data": [{"id": record_id, "City": "Ulm"}]}
    stale = {"If-Unmodified-Since": "2020-01-01T00:00:00+00:00"}
    for path in ("Leads", f"Leads/{record_id}"):
        answer = caller.send("PUT", path, body, headers=stale)
        assert (answer.status_code, answer.json()["code"]) == (412, "ALREADY_MODIFIED")
    fresh = {"If-Unmodified-Since": caller.record("Leads", record_id)["Modified_Time"]}
    assert caller.send("PUT", "Leads", body, headers=fresh).status_code == 200


def test_append_values_adds_to_a_multi_select_field(caller: Caller) -> None:
    (record_id,) = caller.insert("Subscriptions", {"Name": "S", "Regions": ["Asia"]})
    body = {"data": [{"Regions": ["Europe", "Asia"], "$append_values": {"Regions": True}}]}
    assert caller.send("PUT", f"Subscriptions/{record_id}", body).status_code == 200
    assert caller.record("Subscriptions", record_id)["Regions"] == ["Asia", "Europe"]


def upsert(caller: Caller, module: str, records: list[Json], **more: object) -> tuple[int, list[tuple[Any, Any]]]:
    """Status, and action and duplicate field of each result."""
    answer = caller.send("POST", f"{module}/upsert", {"data": records, **more})
    return answer.status_code, [(each.get("action"), each.get("duplicate_field")) for each in answer.json()["data"]]


def test_upsert_by_the_system_field_inserts_then_updates(caller: Caller) -> None:
    lead = {"Last_Name": "A", "Email": "a@x.example", "City": "Ulm"}
    assert upsert(caller, "Leads", [lead]) == (201, [("insert", None)])
    assert upsert(caller, "Leads", [lead | {"City": "Bonn"}]) == (200, [("update", "Email")])
    assert upsert(caller, "Leads", [lead, {"Last_Name": "B"}]) == (201, [("update", "Email"), ("insert", None)])
    assert caller.get("Leads", fields="City").json()["info"]["count"] == 2


def test_upsert_tries_named_unique_fields_then_the_others_and_the_system_field_last(caller: Caller) -> None:
    caller.insert("Contacts", {"Last_Name": "A", "Email": "a@x.example", "Mobile": "1"})
    by_mobile = {"Last_Name": "A", "Email": "new@x.example", "Mobile": "1"}
    assert upsert(caller, "Contacts", [by_mobile], duplicate_check_fields=["Mobile"]) == (200, [("update", "Mobile")])
    by_email = {"Last_Name": "A", "Email": "new@x.example", "Mobile": "2"}
    assert upsert(caller, "Contacts", [by_email], duplicate_check_fields=["Mobile"]) == (200, [("update", "Email")])


def test_upsert_ignores_the_system_field_unless_it_is_named(caller: Caller) -> None:
    caller.insert("Subscriptions", {"Name": "S", "Serial_Number": "1"})
    other = {"Name": "S", "Serial_Number": "2"}
    named = {"duplicate_check_fields": ["Serial_Number"]}
    assert upsert(caller, "Subscriptions", [other], **named) == (201, [("insert", None)])
    assert upsert(caller, "Subscriptions", [{"Name": "S"}]) == (200, [("update", "Name")])


def test_upsert_checks_by_system_and_unique_fields_only(caller: Caller) -> None:
    answer = caller.send("POST", "Leads/upsert", {"data": [{"Last_Name": "A"}], "duplicate_check_fields": ["City"]})
    assert answer.status_code == 400
    assert answer.json()["details"] == {
        "supported_values": ["Email"],
        "api_name": "duplicate_check_fields",
        "json_path": "$.duplicate_check_fields[0]",
    }


def test_upsert_sees_what_the_same_call_inserted(caller: Caller) -> None:
    lead = {"Last_Name": "A", "Email": "a@x.example"}
    assert upsert(caller, "Leads", [lead, lead]) == (201, [("insert", None), ("update", "Email")])


def test_upsert_with_an_id_updates_that_record(caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "A"})
    assert upsert(caller, "Leads", [{"id": record_id, "City": "Ulm"}]) == (200, [("update", "id")])


def test_upsert_reports_a_value_taken_by_a_third_record(caller: Caller) -> None:
    caller.insert("Contacts", {"Last_Name": "A", "Email": "a@x.example"}, {"Last_Name": "B", "Mobile": "1"})
    answer = caller.send(
        "POST", "Contacts/upsert", {"data": [{"Last_Name": "C", "Email": "a@x.example", "Mobile": "1"}]}
    )
    assert (answer.status_code, answer.json()["data"][0]["code"]) == (400, "DUPLICATE_DATA")


def test_deleting_by_ids_answers_for_each(caller: Caller) -> None:
    first, second = caller.insert("Leads", {"Last_Name": "A"}, {"Last_Name": "B"})
    answer = caller.send("DELETE", "Leads", params={"ids": f"{first},17,{second}", "wf_trigger": "false"})
    assert answer.status_code == 207
    good, bad, _ = answer.json()["data"]
    assert good == {"code": "SUCCESS", "details": {"id": first}, "message": "record deleted", "status": "success"}
    assert bad == {"code": "INVALID_DATA", "details": {"id": "17"}, "message": "record not deleted", "status": "error"}
    assert caller.get("Leads", fields="id").status_code == 204


def test_deleting_one_by_its_path(caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "A"})
    assert caller.send("DELETE", f"Leads/{record_id}").status_code == 200
    gone = caller.send("DELETE", f"Leads/{record_id}")
    assert (gone.status_code, gone.json()["details"]) == (400, {"resource_path_index": 1})


def test_deleting_needs_ids_and_takes_a_hundred(caller: Caller) -> None:
    assert caller.send("DELETE", "Leads").json()["code"] == "REQUIRED_PARAM_MISSING"
    many = caller.send("DELETE", "Leads", params={"ids": ",".join(map(str, range(1, 102)))})
    assert many.json()["code"] == "LIMIT_EXCEEDED"


def test_a_deleted_account_leaves_its_contacts_without_its_name(caller: Caller) -> None:
    (account_id,) = caller.insert("Accounts", {"Account_Name": "Acme"})
    (contact_id,) = caller.insert("Contacts", {"Last_Name": "A", "Account_Name": account_id})
    caller.send("DELETE", f"Accounts/{account_id}")
    assert caller.record("Contacts", contact_id)["Account_Name"] == {"name": None, "id": account_id}


def test_a_record_that_was_modified_since_is_not_deleted(caller: Caller) -> None:
    ids = caller.insert("Leads", {"Last_Name": "A"}, {"Last_Name": "B"})
    stale = {"If-Unmodified-Since": "2020-01-01T00:00:00+00:00"}
    for path, params in ((f"Leads/{ids[0]}", None), ("Leads", {"ids": ",".join(ids)})):
        answer = caller.send("DELETE", path, headers=stale, params=params)
        assert (answer.status_code, answer.json()["code"]) == (412, "ALREADY_MODIFIED")
    fresh = {"If-Unmodified-Since": caller.record("Leads", ids[0])["Modified_Time"]}
    assert caller.send("DELETE", f"Leads/{ids[0]}", headers=fresh).status_code == 200
