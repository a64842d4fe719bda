"""Bulk read and bulk write: jobs to their end, results, callbacks, every refusal, kill -9, and n rows = n singles."""

import csv
import io
import json
import random
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.crm.receiver import Receiver
from tests.crm.test_robustness import start_program

from farebox.crm import bulk_read, bulk_write
from farebox.testing.crm import Caller, RunningCrm

WAIT_S = 60
KILLS = 11
Row = dict[str, str]


def bulk(caller: Caller, method: str, path: str, body: object = None) -> httpx.Response:
    content = None if body is None else json.dumps(body).encode()
    return caller.http.request(method, f"/crm/bulk/v8/{path}", content=content)


def read_job(caller: Caller, **query: Any) -> dict[str, Any]:
    answer = bulk(caller, "POST", "read", {"query": {"module": {"api_name": "Leads"}, **query}})
    assert answer.status_code == 201, answer.text
    (element,) = answer.json()["data"]
    assert (element["code"], element["details"]["state"]) == ("ADDED_SUCCESSFULLY", "ADDED")
    return ended(caller, "read", element["details"]["id"])


def ended(caller: Caller, kind: str, job_id: str) -> dict[str, Any]:
    """The job once it is done, well or not."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        answer = bulk(caller, "GET", f"{kind}/{job_id}").json()
        job: dict[str, Any] = answer["data"][0] if kind == "read" else answer
        if job.get("state", job.get("status")) in ("COMPLETED", "FAILURE", "FAILED"):
            return job
        time.sleep(0.02)
    raise AssertionError(f"job {job_id} did not end within {WAIT_S} s: {job}")


def rows_of(caller: Caller, url: str) -> tuple[str, list[Row]]:
    """The name of the CSV in a result and its rows."""
    answer = caller.http.get(url)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert "attachment" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        (name,) = archive.namelist()
        return name, list(csv.DictReader(io.StringIO(archive.read(name).decode())))


def read_rows(caller: Caller, **query: Any) -> list[Row]:
    job = read_job(caller, **query)
    assert job["state"] == "COMPLETED", job
    name, rows = rows_of(caller, job["result"]["download_url"])
    assert name == f"{job['id']}.csv"
    assert job["result"]["count"] == len(rows)
    return rows


def zipped(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.csv", text)
    return made.getvalue()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


def upload(caller: Caller, content: bytes, **headers: str) -> httpx.Response:
    sent = {"feature": "bulk-write", "X-CRM-ORG": caller.credentials.zgid, **headers}
    return caller.http.post("/crm/v8/upload", files={"file": ("data.zip", content, "application/zip")}, headers=sent)


def write_job(caller: Caller, text: str, *, operation: str = "insert", **resource: Any) -> dict[str, Any]:
    file_id = upload(caller, zipped(data=text)).json()["details"]["file_id"]
    module = {"api_name": resource.pop("module", "Leads")}
    body = {
        "operation": operation,
        "ignore_empty": resource.pop("ignore_empty", False),
        "resource": [{"type": "data", "module": module, "file_id": file_id, **resource}],
    }
    answer = bulk(caller, "POST", "write", body)
    assert answer.status_code == 201, answer.text
    return ended(caller, "write", answer.json()["details"]["id"])


def results(caller: Caller, job: Mapping[str, Any]) -> list[Row]:
    assert job["status"] == "COMPLETED", job
    return rows_of(caller, job["result"]["download_url"])[1]


def counts(job: Mapping[str, Any]) -> tuple[int, int, int, int]:
    file = job["resource"][0]["file"]
    return file["added_count"], file["updated_count"], file["skipped_count"], file["total_count"]


# --- read -----------------------------------------------------------------------------------------------------------


def test_a_read_job_gives_every_record_of_the_module_once(caller: Caller) -> None:
    ids = caller.insert("Leads", *({"Last_Name": f"L{n}", "City": 'A, "B"\nC'} for n in range(30)))
    rows = read_rows(caller, fields=["Last_Name", "City", "Owner.last_name"])
    assert list(rows[0]) == ["Id", "Last_Name", "City", "Owner.last_name"]
    assert sorted(each["Id"] for each in rows) == sorted(ids)
    assert {each["City"] for each in rows} == {'A, "B"\nC'}
    assert rows[0]["Owner.last_name"]


def test_cells_are_written_as_the_api_writes_values(caller: Caller) -> None:
    (account,) = caller.insert("Accounts", {"Account_Name": "Acme"})
    (lead,) = caller.insert("Contacts", {"Last_Name": "X", "Account_Name": account, "Email_Opt_Out": True})
    (row,) = read_rows(
        caller,
        module={"api_name": "Contacts"},
        fields=["Account_Name", "Account_Name.Account_Name", "Email_Opt_Out", "Created_Time", "Owner", "Title"],
    )
    assert row["Id"] == lead
    assert (row["Account_Name"], row["Account_Name.Account_Name"]) == (account, "Acme")
    assert (row["Email_Opt_Out"], row["Title"]) == ("true", "")
    shown = caller.record("Contacts", lead)
    assert row["Created_Time"] == shown["Created_Time"]
    assert row["Owner"] == shown["Owner"]["id"]


def test_without_fields_all_are_there(caller: Caller) -> None:
    caller.insert("Leads", {"Last_Name": "X", "Annual_Revenue": 1.5})
    (row,) = read_rows(caller)
    assert row["Annual_Revenue"] == "1.5"
    assert {"Id", "Last_Name", "Created_Time", "Modified_By"} <= set(row)


def test_an_empty_module_gives_a_header(caller: Caller) -> None:
    assert read_rows(caller, fields=["Last_Name"]) == []


@pytest.mark.parametrize(
    ("criteria", "names"),
    [
        ({"field": {"api_name": "Last_Name"}, "comparator": "equal", "value": "a"}, {"A"}),
        ({"field": {"api_name": "Last_Name"}, "comparator": "in", "value": ["A", "B"]}, {"A", "B"}),
        ({"field": {"api_name": "Last_Name"}, "comparator": "in", "value": "A,B"}, {"A", "B"}),
        ({"field": {"api_name": "City"}, "comparator": "equal", "value": "${EMPTY}"}, {"C"}),
        ({"field": {"api_name": "City"}, "comparator": "not_equal", "value": "${EMPTY}"}, {"A", "B"}),
        ({"field": {"api_name": "No_of_Employees"}, "comparator": "between", "value": [1, 2]}, {"A", "B"}),
        ({"field": {"api_name": "City"}, "comparator": "contains", "value": "ust"}, {"A"}),
        ({"field": {"api_name": "City"}, "comparator": "ends_with", "value": "on"}, {"B"}),
        (
            {
                "group_operator": "or",
                "group": [
                    {"field": {"api_name": "Last_Name"}, "comparator": "equal", "value": "C"},
                    {"field": {"api_name": "No_of_Employees"}, "comparator": "greater_than", "value": 1},
                ],
            },
            {"B", "C"},
        ),
    ],
)
def test_criteria_choose_the_records(caller: Caller, criteria: dict[str, Any], names: set[str]) -> None:
    caller.insert(
        "Leads",
        {"Last_Name": "A", "City": "Austin", "No_of_Employees": 1},
        {"Last_Name": "B", "City": "Boston", "No_of_Employees": 2},
        {"Last_Name": "C"},
    )
    assert {each["Last_Name"] for each in read_rows(caller, fields=["Last_Name"], criteria=criteria)} == names


def test_pages_add_up_to_the_whole_while_others_write(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_read, "ROWS_MAX", 10)
    monkeypatch.setattr(bulk_read, "ROWS_AT_A_TIME", 4)
    ids = caller.insert("Leads", *({"Last_Name": f"L{n}"} for n in range(25)))
    seen: list[str] = []
    job = read_job(caller, fields=["Last_Name"])
    while True:
        seen += [each["Id"] for each in rows_of(caller, job["result"]["download_url"])[1]]
        caller.send("DELETE", f"Leads/{ids[0]}")
        caller.insert("Leads", {"Last_Name": "new"})
        if not job["result"]["more_records"]:
            break
        answer = bulk(caller, "POST", "read", {"query": {"page_token": job["result"]["next_page_token"]}})
        job = ended(caller, "read", answer.json()["data"][0]["details"]["id"])
    assert len(seen) == len(set(seen))
    assert set(ids) <= set(seen)
    second = read_job(caller, fields=["Last_Name"], page=2)
    assert second["result"]["page"] == 2
    assert second["result"]["count"] == 10


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"module": {"api_name": "Nope"}}, "MODULE_NOT_AVAILABLE"),
        ({"module": {"api_name": "Quoted_Items"}}, "MODULE_NOT_SUPPORTED"),
        ({"fields": ["Nope"]}, "FIELD_NOT_AVAILABLE"),
        ({"fields": ["Owner.Owner.id.x.y"]}, "JOIN_LIMIT_EXCEEDED"),
        ({"fields": ["Tag"]}, "FIELD_NOT_SUPPORTED"),
        ({"page": 501}, "PAGE_RANGE_EXCEEDED"),
        ({"page": "x"}, "PAGE_NOT_SUPPORTED"),
        ({"cvid": "1"}, "CVID_NOT_SUPPORTED"),
        ({"page_token": "x"}, "INVALID_DATA"),
        ({"criteria": []}, "INVALID_CRITERIA"),
        ({"criteria": {"field": {"api_name": "City"}, "comparator": "is", "value": 1}}, "INVALID_CRITERIA"),
        ({"criteria": {"group": [], "group_operator": "and"}}, "INVALID_CRITERIA"),
        ({"criteria": {"group": [{}], "comparator": "equal"}}, "AMBIGUOUS_CRITERIA"),
        (
            {"criteria": {"field": {"api_name": "City"}, "comparator": "in", "value": ["x"] * 101}},
            "VALUE_LIMIT_EXCEEDED_IN_CRITERIA",
        ),
        (
            {"criteria": {"field": {"api_name": "City"}, "comparator": "less_than", "value": "${EMPTY}"}},
            "CRITERIA_NOT_SUPPORTED",
        ),
        (
            {"criteria": {"field": {"api_name": "No_of_Employees"}, "comparator": "equal", "value": "x"}},
            "INVALID_CRITERIA",
        ),
    ],
)
def test_a_query_that_makes_no_sense_makes_no_job(caller: Caller, query: dict[str, Any], code: str) -> None:
    answer = bulk(caller, "POST", "read", {"query": {"module": {"api_name": "Leads"}, **query}})
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "REQUEST_BODY_IS_EMPTY"),
        (b"{", "REQUEST_BODY_NOT_READABLE"),
        (b"[]", "REQUEST_BODY_NOT_READABLE"),
        (b"{}", "INVALID_BULK_OPERATION"),
        (b'{"query": {"module": "Events"}, "file_type": "ics"}', "JOB_NOT_SUPPORTED"),
        (b'{"query": {"module": "Leads"}, "callback": {"url": "http://10.0.0.1/"}}', "INVALID_CALLBACK_URL"),
        (
            b'{"query": {"module": "Leads"}, "callback": {"url": "https://a.example/", "method": "get"}}',
            "INVALID_CALLBACK_METHOD",
        ),
    ],
)
def test_a_body_that_is_no_read_is_refused(caller: Caller, body: bytes, code: str) -> None:
    answer = caller.http.post("/crm/bulk/v8/read", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_jobs_and_results_of_others_are_not_there(crm: RunningCrm, caller: Caller) -> None:
    job = read_job(caller, fields=["Last_Name"])
    with crm.caller(crm.create_organisation(users=1)) as stranger:
        for path in (f"read/{job['id']}", f"read/{job['id']}/result", f"write/{job['id']}", "read/7"):
            answer = bulk(stranger, "GET", path)
            assert (answer.status_code, answer.json()["code"]) == (404, "RESOURCE_NOT_FOUND")
    assert bulk(caller, "GET", f"write/{job['id']}").status_code == 404


def test_the_eleventh_download_within_a_minute_is_too_many(caller: Caller) -> None:
    job = read_job(caller, fields=["Last_Name"])
    statuses = [caller.http.get(job["result"]["download_url"]).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]


def test_a_callback_tells_what_the_job_itself_would(caller: Caller) -> None:
    with Receiver(500) as receiver:
        callback = {"url": receiver.url, "method": "post"}
        body = {"callback": callback, "query": {"module": {"api_name": "Leads"}, "fields": ["Last_Name"]}}
        job_id = bulk(caller, "POST", "read", body).json()["data"][0]["details"]["id"]
        _, told = receiver.wait(lambda bodies: len(bodies) == 2, "the callback, asked again")
    assert told == bulk(caller, "GET", f"read/{job_id}").json()
    assert told["data"][0]["state"] == "COMPLETED"


# --- write ----------------------------------------------------------------------------------------------------------


def test_an_insert_job_writes_every_row_and_says_what_became_of_it(caller: Caller) -> None:
    text = table(
        ["Last_Name", "Email", "No_of_Employees", "City"],
        [["A", "a@x.example", 5, "X"], ["", "b@x.example", 5, "X"], ["C", "nonsense", 5, "X"], ["D", "", "many", "X"]],
    )
    job = write_job(caller, text)
    assert counts(job) == (1, 0, 3, 4)
    rows = results(caller, job)
    assert list(rows[0]) == ["Last_Name", "Email", "No_of_Employees", "STATUS", "RECORD_ID", "ERRORS"]
    assert [each["STATUS"] for each in rows] == ["ADDED", "UNPROCESSED", "UNPROCESSED", "UNPROCESSED"]
    assert [each["ERRORS"] for each in rows[1:]] == [
        "MANDATORY_NOT_FOUND-Last_Name",
        "INVALID_DATA-Email",
        "INVALID_DATA-No_of_Employees",
    ]
    record = caller.record("Leads", rows[0]["RECORD_ID"])
    assert (record["Last_Name"], record["No_of_Employees"], record["City"]) == ("A", 5, "X")


def test_update_and_upsert_find_by_a_field(caller: Caller) -> None:
    (first,) = caller.insert("Leads", {"Last_Name": "Old", "Email": "a@x.example", "City": "Stays"})
    text = table(["Last_Name", "Email", "City"], [["New", "A@x.example", ""], ["Other", "b@x.example", "Y"]])
    job = write_job(caller, text, operation="update", find_by="Email", ignore_empty=True)
    assert counts(job) == (0, 1, 1, 2)
    assert (caller.record("Leads", first)["Last_Name"], caller.record("Leads", first)["City"]) == ("New", "Stays")
    job = write_job(caller, text, operation="upsert", find_by="Email")
    assert counts(job) == (1, 1, 0, 2)
    assert caller.record("Leads", first)["City"] is None
    assert [each["STATUS"] for each in results(caller, job)] == ["UPDATED", "ADDED"]
    again = write_job(caller, text, operation="upsert", find_by="Email")
    assert counts(again) == (0, 2, 0, 2)
    assert caller.get("Leads/actions/count").json() == {"count": 2}


def test_update_by_id_and_insert_that_skips_what_is_there(caller: Caller) -> None:
    (first,) = caller.insert("Leads", {"Last_Name": "Old", "Email": "a@x.example"})
    job = write_job(caller, table(["id", "Last_Name"], [[first, "New"], [7, "No"]]), operation="update", find_by="id")
    assert counts(job) == (0, 1, 1, 2)
    job = write_job(
        caller, table(["Last_Name", "Email"], [["X", "a@x.example"], ["Y", "c@x.example"]]), find_by="Email"
    )
    rows = results(caller, job)
    assert [(each["STATUS"], each["RECORD_ID"] == first) for each in rows] == [("SKIPPED", True), ("ADDED", False)]
    assert rows[0]["ERRORS"] == "DUPLICATE_DATA-Email"


def test_mappings_give_columns_formats_defaults_and_look_ups(caller: Caller) -> None:
    caller.insert("Accounts", {"Account_Name": "Acme"})
    text = table(["x", "when", "company"], [["D1", "31.12.2026", "Acme"], ["D2", "1.1.2027", "Nobody"]])
    mappings = [
        {"api_name": "Deal_Name", "index": 0},
        {"api_name": "Closing_Date", "index": 1, "format": "dd.MM.yyyy"},
        {"api_name": "Account_Name", "index": 2, "find_by": "Account_Name"},
        {"api_name": "Stage", "default_value": {"value": "Qualification"}},
    ]
    job = write_job(caller, text, module="Deals", field_mappings=mappings)
    rows = results(caller, job)
    assert [(each["STATUS"], each["ERRORS"]) for each in rows] == [
        ("ADDED", ""),
        ("UNPROCESSED", "INVALID_DATA-Account_Name"),
    ]
    deal = caller.record("Deals", rows[0]["RECORD_ID"])
    assert (deal["Closing_Date"], deal["Stage"], deal["Account_Name"]["name"]) == (
        "2026-12-31",
        "Qualification",
        "Acme",
    )
    assert job["resource"][0]["field_mappings"] == mappings


def test_dates_come_as_the_united_states_write_them_unless_told(caller: Caller) -> None:
    text = table(["Deal_Name", "Stage", "Closing_Date"], [["D", "Qualification", "12/31/2026"]])
    (row,) = results(caller, write_job(caller, text, module="Deals"))
    assert caller.record("Deals", row["RECORD_ID"])["Closing_Date"] == "2026-12-31"


def test_unique_fields_hold_within_a_file_too(caller: Caller) -> None:
    text = table(["Last_Name", "Email"], [["A", "same@x.example"], ["B", "same@x.example"]])
    rows = results(caller, write_job(caller, text, module="Contacts"))
    assert [each["ERRORS"] for each in rows] == ["", "DUPLICATE_DATA-Email"]


def test_bulk_of_n_is_n_singles(crm: RunningCrm) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    values: dict[str, Callable[[], str]] = {
        "Last_Name": lambda: chance.choice(["A", "B", "", "x" * 81]),
        "Email": lambda: chance.choice(["", "a@x.example", "no mail"]),
        "Phone": lambda: chance.choice(["", "+1 555", "<>"]),
        "No_of_Employees": lambda: chance.choice(["", "5", "1234567890", "x"]),
        "Email_Opt_Out": lambda: chance.choice(["", "true", "maybe"]),
        "City": lambda: chance.choice(["", "Ümlaut", "a,b", "c" * 101]),
    }
    rows = [{name: make() for name, make in values.items()} for _ in range(200)]
    with crm.caller(crm.create_organisation(users=1)) as one, crm.caller(crm.create_organisation(users=1)) as other:
        job = write_job(one, table(list(values), [list(each.values()) for each in rows]))
        singles = 0
        for row in rows:
            record: dict[str, Any] = {name: text for name, text in row.items() if text}
            if record.get("No_of_Employees", "").isdecimal():
                record["No_of_Employees"] = int(record["No_of_Employees"])
            if record.get("Email_Opt_Out") == "true":
                record["Email_Opt_Out"] = True
            singles += other.send("POST", "Leads", {"data": [record]}).status_code == 201
        assert counts(job)[0] == singles
        fields = list(values)
        assert _contents(one, fields) == _contents(other, fields)


def _contents(caller: Caller, fields: Sequence[str]) -> list[tuple[str, ...]]:
    return sorted(tuple(row[name] for name in fields) for row in read_rows(caller, fields=fields))


@pytest.mark.parametrize(
    ("resource", "operation", "code"),
    [
        ({}, "delete", "INVALID_BULK_OPERATION"),
        ({"module": {"api_name": "Nope"}}, "insert", "MODULE_NOT_AVAILABLE"),
        ({"file_id": "7"}, "insert", "INVALID_FILE_ID"),
        ({"file_id": None}, "insert", "MISSING_REQUIRED_KEY"),
        ({"file_names": ["other.csv"]}, "insert", "FILE_NOT_SUPPORTED"),
        ({}, "update", "MISSING_REQUIRED_KEY"),
        ({"find_by": "Nope"}, "update", "INVALID_FIELD"),
        ({"find_by": "Phone"}, "update", "MANDATORY_FIELDS_NOT_MAPPED"),
        ({"field_mappings": [{"api_name": "City", "index": 0}]}, "insert", "MANDATORY_FIELDS_NOT_MAPPED"),
        ({"field_mappings": [{"api_name": "Last_Name", "index": 9}]}, "insert", "COLUMN_INDEX_NOT_FOUND"),
        ({"field_mappings": [{"api_name": "Nope", "index": 0}]}, "insert", "INVALID_FIELD"),
    ],
)
def test_a_write_that_makes_no_sense_makes_no_job(
    caller: Caller, resource: dict[str, Any], operation: str, code: str
) -> None:
    file_id = upload(caller, zipped(data=table(["Last_Name"], [["A"]]))).json()["details"]["file_id"]
    whole = {"type": "data", "module": {"api_name": "Leads"}, "file_id": file_id, **resource}
    answer = bulk(caller, "POST", "write", {"operation": operation, "resource": [whole]})
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


def test_uploads_need_their_headers_and_a_zip(crm: RunningCrm, caller: Caller) -> None:
    assert upload(caller, b"no zip").json()["code"] == "INVALID_FILE_FORMAT"
    for headers in ({"feature": "other"}, {"X-CRM-ORG": "1"}):
        answer = upload(caller, zipped(data="a"), **headers)
        assert answer.status_code == 400
        assert "feature, X-CRM-ORG" in answer.json()["x-error"]
    answer = caller.http.post(
        "/crm/v8/upload", content=b"x", headers={"feature": "bulk-write", "X-CRM-ORG": caller.credentials.zgid}
    )
    assert answer.json()["code"] == "INVALID_FILE_FORMAT"
    file_id = upload(caller, zipped(data=table(["Last_Name"], [["A"]]))).json()["details"]["file_id"]
    with crm.caller(crm.create_organisation(users=1)) as stranger:
        resource = {"type": "data", "module": {"api_name": "Leads"}, "file_id": file_id}
        answer = bulk(stranger, "POST", "write", {"operation": "insert", "resource": [resource]})
        assert answer.json()["code"] == "INVALID_FILE_ID"


def test_too_many_rows_fail_the_job_with_the_reason(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_write, "ROWS_MAX", 3)
    job = write_job(caller, table(["Last_Name"], [["A"]] * 4))
    assert job["status"] == "FAILED"
    assert "at most 3" in job["result"]["error_message"], job
    assert caller.get("Leads/actions/count").json() == {"count": 0}


def test_a_bulk_write_survives_kill_9_without_losing_or_doubling_a_row(tmp_path: Path) -> None:
    total, job_id, file_id = 4_000, "", ""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Receiver() as receiver:
        for last in [False] * KILLS + [True]:  # the last one may go on to its end, however slow this machine is
            process, said = start_program(tmp_path, "--local-callbacks")
            try:
                made = said["organisations"][1]
                form = {name: made[name] for name in ("client_id", "client_secret", "refresh_token")}
                with httpx.Client(base_url=said["url"], timeout=60) as http:
                    token = http.post("/oauth/v2/token", data={**form, "grant_type": "refresh_token"}).json()
                    http.headers["Authorization"] = f"Zoho-oauthtoken {token['access_token']}"
                    if not job_id:
                        text = table(["Last_Name"], [[f"Row {n}"] for n in range(total)])
                        headers = {"feature": "bulk-write", "X-CRM-ORG": made["zgid"]}
                        files = {"file": ("data.zip", zipped(data=text), "application/zip")}
                        file_id = http.post("/crm/v8/upload", files=files, headers=headers).json()["details"]["file_id"]
                        resource = {"type": "data", "module": {"api_name": "Leads"}, "file_id": file_id}
                        body = {"operation": "insert", "resource": [resource], "callback": {"url": receiver.url}}
                        answer = http.post("/crm/bulk/v8/write", json=body)
                        job_id = answer.json()["details"]["id"]
                    end = time.monotonic() + (WAIT_S if last else chance.uniform(0.02, 0.3))
                    job = http.get(f"/crm/bulk/v8/write/{job_id}").json()
                    while time.monotonic() < end and job["status"] != "COMPLETED":
                        job = http.get(f"/crm/bulk/v8/write/{job_id}").json()
                    if job["status"] == "COMPLETED":
                        receiver.wait(bool, "the callback")
                        written = {"criteria": "(Last_Name:starts_with:Row)"}
                        counted = http.get("/crm/v8/Leads/actions/count", params=written).json()
                        break
            finally:
                process.kill()
                process.wait()
                process.stdout.close()  # type: ignore[union-attr]  # it is a pipe
        else:
            raise AssertionError("the job never ended")
    assert counts(job) == (total, 0, 0, total)
    assert counted == {"count": total}


def test_a_job_that_cannot_be_done_fails_and_holds_up_nobody(crm: RunningCrm, caller: Caller) -> None:
    caller.insert("Leads", {"Last_Name": "L"})
    (row,) = read_rows(caller, fields=["Owner.full_name", "Created_By.full_name"])
    assert row["Owner.full_name"] == row["Created_By.full_name"] != ""
    long = {"field": {"api_name": "Last_Name"}, "comparator": "contains", "value": "x" * 60_000}
    answer = bulk(caller, "POST", "read", {"query": {"module": {"api_name": "Leads"}, "criteria": long}})
    assert answer.json()["code"] == "INVALID_CRITERIA"
    with crm.caller(crm.create_organisation(users=1)) as other:
        assert read_rows(other, fields=["Last_Name"]) == []


@pytest.mark.parametrize("encoding", ["undefined", "punycode", "a\0b", "nope"])
def test_an_encoding_that_is_none_makes_no_job(caller: Caller, encoding: str) -> None:
    file_id = upload(caller, zipped(data=table(["Last_Name"], [["A"]]))).json()["details"]["file_id"]
    resource = {"type": "data", "module": {"api_name": "Leads"}, "file_id": file_id}
    body = {"operation": "insert", "character_encoding": encoding, "resource": [resource]}
    answer = bulk(caller, "POST", "write", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "FILE_NOT_SUPPORTED")


def test_a_small_zip_of_endless_rows_or_one_endless_line_is_not_unpacked(caller: Caller) -> None:
    for text in ("Last_Name\n" + "x\n" * 5_000_000, "Last_Name\n" + "x" * 5_000_000):
        job = write_job(caller, text)
        assert job["status"] == "FAILED"
        assert "more" in job["result"]["error_message"]


def test_a_file_named_twice_and_too_many_resources_are_refused(caller: Caller) -> None:
    file_id = upload(caller, zipped(data=table(["Last_Name"], [["A"]]))).json()["details"]["file_id"]
    one = {"type": "data", "module": {"api_name": "Leads"}, "file_id": file_id, "file_names": ["data.csv"]}
    for resources, code in (
        ([one, {**one, "file_names": ["data.csv", 1]}], "COEXISTENCE_NOT_ALLOWED"),
        ([one] * 11, "LIMIT_EXCEEDED"),
    ):
        answer = bulk(caller, "POST", "write", {"operation": "insert", "resource": resources})
        assert (answer.status_code, answer.json()["code"]) == (400, code)
