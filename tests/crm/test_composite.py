"""Several requests in one: answers in order, references, rollback that leaves nothing, and every refusal."""

from typing import Any

import httpx
import pytest

from farebox.testing.crm import Caller, RunningCrm

NAME = "__composite_requests"


def sub(name: str, method: str, uri: str, **more: Any) -> dict[str, Any]:
    return {"sub_request_id": name, "method": method, "uri": uri, **more}


def insert(name: str, last_name: object, module: str = "Leads") -> dict[str, Any]:
    return sub(name, "POST", f"/crm/v8/{module}", body={"data": [{"Last_Name": last_name}]})


def send(caller: Caller, *subs: dict[str, Any], **switches: Any) -> httpx.Response:
    return caller.send("POST", NAME, {**switches, NAME: list(subs)})


def codes(answer: httpx.Response) -> list[str]:
    return [each["code"] for each in answer.json()[NAME]]


def response(answer: httpx.Response, index: int) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()[NAME][index]["details"]["response"]
    return found


def leads(caller: Caller) -> int:
    found: int = caller.get("Leads/actions/count").json()["count"]
    return found


def test_answers_come_in_the_order_of_the_requests_each_with_its_own_status(caller: Caller) -> None:
    answer = send(caller, insert("1", "Meyer"), sub("2", "GET", "/crm/v8/Leads/1"), sub("3", "GET", "/crm/v8/org"))
    assert answer.status_code == 200
    assert codes(answer) == ["SUCCESS"] * 3
    assert [response(answer, n)["status_code"] for n in range(3)] == [201, 400, 200]
    assert response(answer, 1)["body"]["code"] == "INVALID_DATA"
    assert answer.json()[NAME][0]["message"] == "composite sub request executed successfully"


def test_a_sub_request_answers_what_the_same_call_answers_alone(caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "Alone"})
    answer = send(
        caller,
        sub("1", "GET", f"/crm/v8/Leads/{record_id}"),
        sub("2", "GET", "/crm/v8/Leads?fields=Last_Name&per_page=5"),
        sub("3", "GET", "/crm/v8/Leads", params={"fields": "Last_Name", "per_page": 5}),
        sub("4", "POST", "/crm/v8/coql", body={"select_query": "select id from Leads where id is not null"}),
        sub("5", "GET", "/crm/v8/Contacts?fields=id"),
    )
    assert response(answer, 0)["body"] == caller.get(f"Leads/{record_id}").json()
    alone = caller.get("Leads", fields="Last_Name", per_page=5).json()
    assert response(answer, 1)["body"] == response(answer, 2)["body"] == alone
    assert response(answer, 3)["body"]["data"] == [{"id": record_id}]
    assert (response(answer, 4)["status_code"], response(answer, 4)["body"]) == (204, None)


def test_a_reference_takes_a_value_from_an_earlier_answer(caller: Caller) -> None:
    answer = send(
        caller,
        insert("1", "First"),
        sub("2", "GET", "/crm/v8/Leads/@{1:$.data[0].details.id}"),
        sub(
            "3",
            "PUT",
            "/crm/v8/Leads",
            body={"data": [{"id": "@{1:$.data[0].details.id}", "City": "in @{2:$.data[0].Last_Name}"}]},
        ),
        parallel_execution=False,
    )
    assert [response(answer, n)["status_code"] for n in range(3)] == [201, 200, 200]
    record_id = response(answer, 0)["body"]["data"][0]["details"]["id"]
    assert caller.record("Leads", record_id)["City"] == "in First"


def test_in_parallel_the_order_is_that_of_the_references(caller: Caller) -> None:
    answer = send(caller, sub("get", "GET", "/crm/v8/Leads/@{make:$.data[0].details.id}"), insert("make", "Late"))
    assert [response(answer, n)["status_code"] for n in range(2)] == [200, 201]
    assert response(answer, 0)["body"]["data"][0]["Last_Name"] == "Late"


def test_forward_references_and_those_to_nothing_are_invalid(caller: Caller) -> None:
    forward = sub("1", "GET", "/crm/v8/Leads/@{2:$.data[0].details.id}")
    answer = send(caller, forward, insert("2", "Later"), parallel_execution=False)
    assert answer.status_code == 207
    assert codes(answer) == ["INVALID_REFERENCE", "SUCCESS"]
    details = answer.json()[NAME][0]["details"]
    assert details == {
        "api_name": "uri",
        "json_path": f"$.{NAME}[0].uri",
        "reference": "@{2:$.data[0].details.id}",
    }
    failed = sub("2", "POST", "/crm/v8/Leads", body={"data": [{}]})
    for path in ("$.data[9]", "$.data[0].details.nope", "$..x", "$.data[0].details.id"):
        answer = send(caller, sub("1", "GET", f"/crm/v8/Leads/@{{2:{path}}}"), failed)
        assert codes(answer)[0] == "INVALID_REFERENCE"


def test_requests_that_refer_to_each_other_are_not_executed(caller: Caller) -> None:
    loop = [
        sub("1", "GET", "/crm/v8/Leads/@{2:$.data[0].id}"),
        sub("2", "GET", "/crm/v8/Leads/@{1:$.data[0].id}"),
        insert("3", "Free"),
    ]
    answer = send(caller, *loop)
    assert answer.status_code == 207
    assert codes(answer) == ["LOOPING_FOUND", "LOOPING_FOUND", "SUCCESS"]
    dependent = answer.json()[NAME][0]["details"]["dependent_data"]
    assert {each["sub_request_id"] for each in dependent} == {"1", "2"}


def test_with_rollback_a_failure_leaves_nothing(caller: Caller) -> None:
    before = leads(caller)
    answer = send(caller, insert("1", "A"), insert("2", None), insert("3", "C"), rollback_on_fail=True)
    assert answer.status_code == 400
    assert codes(answer) == ["ROLLBACK_PERFORMED", "SUCCESS", "PROCESSING_STOPPED"]
    assert answer.json()[NAME][0]["details"] == {"rollbacked_by_sub_request_index": 1}
    assert response(answer, 1)["status_code"] == 400
    assert leads(caller) == before
    assert caller.get("Leads/deleted").status_code != 200
    assert caller.get("Leads/search", word="A1").status_code == 204


def test_with_rollback_and_no_failure_all_stays(caller: Caller) -> None:
    before = leads(caller)
    answer = send(caller, insert("1", "A"), insert("2", "B"), rollback_on_fail=True)
    assert (answer.status_code, codes(answer)) == (200, ["SUCCESS", "SUCCESS"])
    assert leads(caller) == before + 2


def test_with_rollback_an_unfit_request_keeps_all_from_running(caller: Caller) -> None:
    before = leads(caller)
    answer = send(caller, insert("1", "A"), sub("2", "GET", "/nowhere"), rollback_on_fail=True)
    assert (answer.status_code, codes(answer)) == (400, ["PROCESSING_STOPPED", "INVALID_DATA"])
    assert leads(caller) == before


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"method": "GET", "uri": "/crm/v8/org"}, "MANDATORY_NOT_FOUND"),
        ({"sub_request_id": "1", "uri": "/crm/v8/org"}, "MANDATORY_NOT_FOUND"),
        ({"sub_request_id": "1", "method": "GET"}, "MANDATORY_NOT_FOUND"),
        ("text", "INVALID_DATA"),
        (sub("-", "GET", "/crm/v8/org"), "INVALID_DATA"),
        (sub("1", "HEAD", "/crm/v8/org"), "INVALID_DATA"),
        (sub("1", "GET", "/v8/org"), "INVALID_DATA"),
        (sub("1", "GET", "https://evil.example/crm/v8/org"), "INVALID_DATA"),
        (sub("1", "GET", "/crm/v8/org", headers={"Authorization": "x"}), "INVALID_DATA"),
        (sub("1", "GET", "/crm/v8/org", params=[]), "INVALID_DATA"),
        (sub("1", "POST", f"/crm/v8/{NAME}", body={}), "NOT_SUPPORTED"),
        (sub("1", "POST", "/crm/bulk/v8/read", body={}), "NOT_SUPPORTED"),
        (sub("1", "POST", "/crm/v8/functions/x/actions/execute"), "NOT_SUPPORTED"),
        (sub("1", "DELETE", "/crm/v8/Leads?ids=1"), "NOT_SUPPORTED"),
        (sub("1", "GET", "/crm/v9/org"), "NOT_ALLOWED"),
    ],
)
def test_an_unfit_request_is_refused_in_its_place_and_the_others_run(caller: Caller, request_: Any, code: str) -> None:
    answer = send(caller, request_, sub("ok", "GET", "/crm/v8/org"))
    assert (answer.status_code, codes(answer)) == (207, [code, "SUCCESS"]), answer.text
    assert send(caller, request_).status_code == 400


def test_the_same_id_twice_is_refused_twice(caller: Caller) -> None:
    answer = send(caller, insert("1", "A"), insert("1", "B"), insert("2", "C"))
    assert codes(answer) == ["DUPLICATE_DATA", "DUPLICATE_DATA", "SUCCESS"]
    assert answer.json()[NAME][0]["details"]["sub_request_indexes"] == [0, 1]


def test_a_sub_request_writes_one_record_and_reads_twenty_five(caller: Caller) -> None:
    caller.insert("Leads", *({"Last_Name": str(n)} for n in range(30)))
    two = sub("1", "POST", "/crm/v8/Leads", body={"data": [{"Last_Name": "A"}, {"Last_Name": "B"}]})
    query = {"select_query": "select id from Leads where id is not null limit 200"}
    answer = send(
        caller,
        two,
        sub("2", "GET", "/crm/v8/Leads?fields=id"),
        sub("3", "GET", "/crm/v8/Leads?fields=id&per_page=26"),
        sub("4", "POST", "/crm/v8/coql", body=query),
    )
    assert response(answer, 0)["body"]["details"]["maximum_length"] == 1
    assert len(response(answer, 1)["body"]["data"]) == 25
    assert response(answer, 2)["body"]["details"]["maximum"] == 25
    assert response(answer, 3)["body"]["info"] == {"count": 25, "more_records": True}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "MANDATORY_NOT_FOUND"),
        ({NAME: {}}, "INVALID_DATA"),
        ({NAME: []}, "INVALID_DATA"),
        ({NAME: [sub(str(n), "GET", "/crm/v8/org") for n in range(6)]}, "INVALID_DATA"),
        ({NAME: [sub("1", "GET", "/crm/v8/org")], "rollback_on_fail": "yes"}, "INVALID_DATA"),
        (
            {NAME: [sub("1", "GET", "/crm/v8/org")], "rollback_on_fail": True, "concurrent_execution": True},
            "AMBIGUITY_DURING_PROCESSING",
        ),
    ],
)
def test_a_body_that_is_no_composite_is_refused_as_a_whole(caller: Caller, body: Any, code: str) -> None:
    answer = caller.send("POST", NAME, body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_sub_requests_need_their_own_scopes_and_the_composite_its_own(crm: RunningCrm) -> None:
    made = crm.create_organisation(users=1)
    with crm.caller(made) as caller, crm.caller(made, base="/crm/v2") as old:
        form = {"grant_type": "client_credentials", "client_id": made.client_id, "client_secret": made.client_secret}

        def with_scope(scope: str) -> None:
            token = caller.http.post("/oauth/v2/token", data=form | {"scope": scope}).json()["access_token"]
            caller.http.headers["Authorization"] = f"Zoho-oauthtoken {token}"

        with_scope("ZohoCRM.composite_requests.CUSTOM ZohoCRM.org.READ")
        answer = send(caller, insert("1", "A"), sub("2", "GET", "/crm/v8/org"))
        assert [response(answer, n)["status_code"] for n in range(2)] == [401, 200]
        with_scope("ZohoCRM.org.READ")
        assert send(caller, sub("2", "GET", "/crm/v8/org")).json()["code"] == "OAUTH_SCOPE_MISMATCH"
        assert send(old, sub("2", "GET", "/crm/v2/org")).json()["code"] == "API_NOT_SUPPORTED"


@pytest.mark.parametrize("name", ["1/Attachments/2", "functions/f/actions/execute", "__composite_requests"])
def test_what_a_reference_makes_of_a_path_is_looked_at_too(caller: Caller, name: str) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": name})
    read = sub("1", "GET", f"/crm/v8/Leads/{record_id}")
    uri = "/crm/v8/Leads/@{1:$.data[0].Last_Name}" if "/A" in name else "/crm/v8/@{1:$.data[0].Last_Name}"
    answer = send(caller, read, sub("2", "DELETE" if "/A" in name else "POST", uri, body={}))
    assert codes(answer) == ["SUCCESS", "NOT_SUPPORTED"], answer.text


def test_a_path_without_a_version_in_its_place_is_refused(caller: Caller) -> None:
    assert codes(send(caller, sub("1", "GET", "/crm/x/v8/Leads"))) == ["INVALID_DATA"]
