"""Whatever goes wrong, the answer is in Zoho's envelope; and Bigin is the same store under its own paths."""

import gzip
import json

import httpx
import pytest

from farebox.crm import reading, tokens
from farebox.testing.crm import Caller, RunningCrm


def assert_envelope(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json;charset=utf-8"
    body = answer.json()
    assert body.keys() == {"code", "details", "message", "status"}
    assert (body["code"], body["status"]) == (code, "error")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nope",
        "/crm",
        "/crm/v8",
        "/crm/v9/Leads",
        "/crm/v8/bulk/read",
        "/crm/v8/Leads/1/__timeline",
        "/crm/v8/settings/automation/workflow_rules",
        "/crm/bulk/v8/nothing",
        "/crm/bulk/v8",
        "/bigin/v8/Contacts",
        "/oauth/v2/nothing",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_paths_that_are_not_offered_are_404(caller: Caller, method: str, path: str) -> None:
    assert_envelope(caller.http.request(method, path), 404, "INVALID_URL_PATTERN")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/crm/v8/Leads", "DELETE, GET, POST, PUT"),
        ("OPTIONS", "/crm/v8/Leads", "DELETE, GET, POST, PUT"),
        ("POST", "/crm/v8/Leads/17", "DELETE, GET, PUT"),
        ("GET", "/crm/v8/Leads/upsert", "POST"),
        ("POST", "/crm/v8/org", "GET"),
    ],
)
def test_a_wrong_method_is_400_and_names_the_right_ones(caller: Caller, method: str, path: str, allowed: str) -> None:
    answer = caller.http.request(method, path)
    assert_envelope(answer, 400, "INVALID_REQUEST_METHOD")
    assert answer.headers["allow"] == allowed


def test_the_accounts_server_answers_a_wrong_method_with_405(crm: RunningCrm) -> None:
    assert_envelope(httpx.get(crm.token_url), 405, "INVALID_REQUEST_METHOD")


@pytest.mark.parametrize("module", ["Nope", "Quoted_Items", "Leadz"])
def test_a_module_that_is_none_says_where_it_stands(caller: Caller, module: str) -> None:
    answer = caller.get(module, fields="id")
    assert_envelope(answer, 400, "INVALID_MODULE")
    assert answer.json()["details"] == {"resource_path_index": 0}


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain"],
)
def test_json_is_read_whatever_the_content_type_says(caller: Caller, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert caller.send("POST", "Leads", {"data": [{"Last_Name": "A"}]}, headers=headers).status_code == 201


@pytest.mark.parametrize("headers", [{"Content-Type": "text/xml"}, {"Content-Encoding": "br"}])
def test_what_cannot_be_json_is_415(caller: Caller, headers: dict[str, str]) -> None:
    answer = caller.send("POST", "Leads", {"data": [{"Last_Name": "A"}]}, headers=headers)
    assert_envelope(answer, 415, "MEDIA_TYPE_NOT_SUPPORTED")


def test_a_gzip_body_is_read(caller: Caller) -> None:
    body = gzip.compress(json.dumps({"data": [{"Last_Name": "A"}]}).encode())
    headers = {"Content-Encoding": "gzip"}
    assert caller.http.post("/crm/v8/Leads", content=body, headers=headers).status_code == 201
    assert_envelope(caller.http.post("/crm/v8/Leads", content=body[:-9], headers=headers), 400, "INVALID_DATA")
    assert_envelope(caller.http.post("/crm/v8/Leads", content=b"no", headers=headers), 400, "INVALID_DATA")


def test_a_gzip_body_that_unfolds_without_end_is_413(caller: Caller) -> None:
    bomb = gzip.compress(b" " * 30_000_000)
    answer = caller.http.post("/crm/v8/Leads", content=bomb, headers={"Content-Encoding": "gzip"})
    assert_envelope(answer, 413, "REQUEST_ENTITY_TOO_LARGE")


def test_a_fault_of_our_own_is_500_in_the_envelope(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "show_records", lambda *_: 1 / 0)
    (record_id,) = caller.insert("Leads", {"Last_Name": "A"})
    assert_envelope(caller.get(f"Leads/{record_id}"), 500, "INTERNAL_ERROR")


def test_a_write_that_fails_half_way_leaves_nothing(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from farebox.crm.records import RecordWriter

    insert = RecordWriter.insert

    def failing(writer: RecordWriter, checked: object) -> object:
        if checked.values["Last_Name"] == "B":  # type: ignore[attr-defined]
            raise RuntimeError("half way")
        return insert(writer, checked)  # type: ignore[arg-type]

    monkeypatch.setattr(RecordWriter, "insert", failing)
    answer = caller.send("POST", "Leads", {"data": [{"Last_Name": "A"}, {"Last_Name": "B"}]})
    assert_envelope(answer, 500, "INTERNAL_ERROR")
    assert caller.get("Leads", fields="id").status_code == 204


def test_head_is_get_without_a_body(caller: Caller) -> None:
    answer = caller.http.head("/crm/v8/org")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("version", ["v2", "v2.1", "v3", "v4", "v5", "v6", "v7", "v8"])
def test_every_version_answers(caller: Caller, version: str) -> None:
    caller.base = f"/crm/{version}"
    caller.insert("Leads", {"Last_Name": "A"})
    assert caller.get("Leads", fields="id").status_code == 200


def test_bigin_is_the_same_under_its_own_paths(crm: RunningCrm) -> None:
    made = crm.create_organisation(name="Bigin Express", product="bigin", edition="express", users=10, sample_records=5)
    with crm.caller(made, base="/bigin/v2") as caller:
        names = [each["api_name"] for each in caller.get("settings/modules").json()["modules"]]
        assert names == ["Contacts", "Accounts", "Pipelines", "Tasks", "Events", "Calls", "Products", "Notes"]
        assert caller.get("org").json()["org"][0]["type"] == "bigin"
        assert len(caller.get("users", type="ActiveUsers").json()["users"]) == 10
        (deal_id,) = caller.insert("Pipelines", {"Deal_Name": "D", "Stage": "Qualification"})
        assert caller.record("Deals", deal_id)["Deal_Name"] == "D"
        assert caller.get("Companies", fields="Account_Name").json()["info"]["count"] == 5
        missing = caller.send("POST", "Pipelines", {"data": [{"Deal_Name": "D"}]}).json()["data"][0]
        assert (missing["code"], missing["details"]["api_name"]) == ("MANDATORY_NOT_FOUND", "Stage")
        assert_envelope(caller.get("Leads", fields="id"), 400, "INVALID_MODULE")
        caller.base = "/bigin/v1"
        assert caller.get("Contacts").json()["data"][0]["Last_Name"]
        caller.base = "/crm/v8"
        assert_envelope(caller.get("Contacts", fields="id"), 401, "OAUTH_SCOPE_MISMATCH")


def test_a_crm_token_does_not_open_bigin(caller: Caller) -> None:
    caller.base = "/bigin/v2"
    assert_envelope(caller.get("Contacts", fields="id"), 401, "OAUTH_SCOPE_MISMATCH")


def test_a_scope_for_the_other_product_does_not_open_an_organisation(crm: RunningCrm, caller: Caller) -> None:
    token = tokens.issue_access_token(
        crm.store,
        client_id=caller.credentials.client_id,
        user_id=int(caller.credentials.users[0].id),
        scope="ZohoBigin.modules.ALL",
    )
    headers = {"Authorization": f"Zoho-oauthtoken {token}"}
    answer = caller.http.get("/bigin/v2/Contacts", params={"fields": "id"}, headers=headers)
    assert_envelope(answer, 403, "NO_PERMISSION")
    assert answer.json()["details"] == {"permissions": ["Crm_Implied_Api_Access"]}
