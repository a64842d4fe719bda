"""Listing and getting records: fields, pages, tokens, sorting, ids, If-Modified-Since."""

from collections.abc import Iterator
from typing import Any

import pytest

from farebox.crm.store import Store
from farebox.testing.crm import Caller, RunningCrm


@pytest.fixture(scope="module")
def big(crm: RunningCrm) -> Iterator[Caller]:
    with crm.caller(crm.create_organisation(name="Big", users=2, sample_records=2_050)) as made:
        yield made


def refusal(caller: Caller, path: str, **params: Any) -> tuple[int, str]:
    answer = caller.get(path, **params)
    return answer.status_code, answer.json()["code"]


def test_a_list_shows_the_fields_asked_for_and_the_id(caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "Meyer", "Company": "Acme"})
    answer = caller.get("Leads", fields="Last_Name,Owner,Nonsense")
    user = caller.credentials.users[0]
    assert answer.json()["data"] == [
        {
            "id": record_id,
            "Last_Name": "Meyer",
            "Owner": {"name": user.full_name, "id": user.id, "email": user.email},
        }
    ]
    assert answer.json()["info"] == {
        "call": False,
        "per_page": 200,
        "next_page_token": None,
        "count": 1,
        "sort_by": "id",
        "page": 1,
        "previous_page_token": None,
        "page_token_expiry": None,
        "sort_order": "desc",
        "email": False,
        "more_records": False,
    }


def test_an_empty_list_is_204_without_a_body(caller: Caller) -> None:
    answer = caller.get("Vendors", fields="id")
    assert (answer.status_code, answer.content) == (204, b"")


def test_fields_are_mandatory_and_at_most_fifty(caller: Caller) -> None:
    assert refusal(caller, "Leads") == (400, "REQUIRED_PARAM_MISSING")
    assert refusal(caller, "Leads", fields=",".join(f"F{n}" for n in range(51))) == (400, "LIMIT_EXCEEDED")
    caller.insert("Leads", {"Last_Name": "Meyer"})
    caller.base = "/crm/v2"
    assert caller.get("Leads").json()["data"][0]["Last_Name"] == "Meyer"


@pytest.mark.parametrize(
    "params",
    [
        {"per_page": 0},
        {"per_page": 201},
        {"per_page": "many"},
        {"page": 0},
        {"page": "-1"},
        {"sort_by": "Company"},
        {"sort_order": "up"},
        {"converted": "maybe"},
        {"ids": "12,abc"},
        {"cvid": "1"},
        {"page_token": "nonsense"},
        {"page_token": "AAAA"},
    ],
)
def test_impossible_parameters_are_invalid_data(caller: Caller, params: dict[str, Any]) -> None:
    assert refusal(caller, "Leads", fields="id", **params) == (400, "INVALID_DATA")


def test_parameters_that_exclude_each_other_are_ambiguous(big: Caller) -> None:
    token = big.get("Leads", fields="id").json()["info"]["next_page_token"]
    ambiguous = (400, "AMBIGUITY_DURING_PROCESSING")
    assert refusal(big, "Leads", fields="id", page=2, page_token=token) == ambiguous
    assert refusal(big, "Leads", fields="id", cvid="1", sort_by="id") == ambiguous


def test_page_numbers_reach_two_thousand_records(big: Caller) -> None:
    tenth = big.get("Leads", fields="id", page=10).json()
    assert (len(tenth["data"]), tenth["info"]["more_records"]) == (200, True)
    assert refusal(big, "Leads", fields="id", page=11) == (400, "DISCRETE_PAGINATION_LIMIT_EXCEEDED")
    assert refusal(big, "Leads", fields="id", page=21, per_page=100) == (400, "DISCRETE_PAGINATION_LIMIT_EXCEEDED")


@pytest.mark.parametrize("sort_by", ["id", "Created_Time", "Modified_Time"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_page_tokens_reach_every_record_once_and_in_order(big: Caller, sort_by: str, order: str) -> None:
    params: dict[str, Any] = {"fields": "Created_Time,Modified_Time", "sort_by": sort_by, "sort_order": order}
    seen: list[tuple[str, int]] = []
    pages = 0
    answer = big.get("Leads", **params).json()
    while True:
        pages += 1
        assert answer["info"]["page"] == pages
        seen += [
            (each.get(sort_by, ""), int(each["id"])) if sort_by != "id" else ("", int(each["id"]))
            for each in answer["data"]
        ]
        if not answer["info"]["more_records"]:
            break
        answer = big.get("Leads", **params, page_token=answer["info"]["next_page_token"]).json()
    assert (pages, len(set(seen))) == (11, 2_050)
    assert seen == sorted(seen, reverse=order == "desc")


def test_the_previous_page_token_leads_back(big: Caller) -> None:
    def page(token: str | None) -> dict[str, Any]:
        extra: dict[str, Any] = {} if token is None else {"page_token": token}
        found: dict[str, Any] = big.get("Deals", fields="id", per_page=20, **extra).json()
        return found

    first = page(None)
    second = page(first["info"]["next_page_token"])
    third = page(second["info"]["next_page_token"])
    assert page(third["info"]["previous_page_token"])["data"] == second["data"]
    assert page(second["info"]["previous_page_token"])["data"] == first["data"]


def test_a_page_token_is_bound_to_parameters_module_and_user(crm: RunningCrm, big: Caller) -> None:
    token = big.get("Leads", fields="id", per_page=100).json()["info"]["next_page_token"]
    mismatch = (400, "TOKEN_BOUND_DATA_MISMATCH")
    assert refusal(big, "Leads", fields="id,Email", per_page=100, page_token=token) == mismatch
    assert refusal(big, "Leads", fields="id", page_token=token) == mismatch
    assert refusal(big, "Contacts", fields="id", per_page=100, page_token=token) == mismatch
    other = crm.caller(big.credentials, user=1)
    assert refusal(other, "Leads", fields="id", per_page=100, page_token=token) == (400, "INVALID_DATA")
    assert big.get("Leads", fields="id", per_page=100, page_token=token).status_code == 200


def test_a_page_token_cannot_be_made_up(big: Caller) -> None:
    token = big.get("Leads", fields="id").json()["info"]["next_page_token"]
    for position in range(0, len(token) - 4, 7):  # the last letters have bits that count for nothing
        other = "A" if token[position] != "A" else "B"
        forged = token[:position] + other + token[position + 1 :]
        assert refusal(big, "Leads", fields="id", page_token=forged) == (400, "INVALID_DATA")


def test_a_page_token_ends_after_24_hours(crm: RunningCrm, big: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    token = big.get("Leads", fields="id").json()["info"]["next_page_token"]
    form = {
        "grant_type": "refresh_token",
        "client_id": big.credentials.client_id,
        "client_secret": big.credentials.client_secret,
        "refresh_token": big.credentials.refresh_token,
    }
    later = crm.store.now() + 24 * 3600
    monkeypatch.setattr(Store, "now", lambda _: later)
    fresh = big.http.post("/oauth/v2/token", data=form).json()["access_token"]
    headers = {"Authorization": f"Zoho-oauthtoken {fresh}"}
    answer = big.get("Leads", headers=headers, fields="id", page_token=token)
    assert (answer.status_code, answer.json()["code"]) == (400, "EXPIRED_VALUE")


def test_records_made_while_paging_by_token_shift_nothing(caller: Caller) -> None:
    ids = caller.insert("Leads", *[{"Last_Name": f"L{n}"} for n in range(6)])
    first = caller.get("Leads", fields="id", per_page=3).json()
    caller.insert("Leads", {"Last_Name": "Late"})
    second = caller.get("Leads", fields="id", per_page=3, page_token=first["info"]["next_page_token"]).json()
    assert [each["id"] for each in first["data"] + second["data"]] == ids[::-1]


def test_ids_choose_records(caller: Caller) -> None:
    ids = caller.insert("Leads", *[{"Last_Name": f"L{n}"} for n in range(5)])
    found = caller.get("Leads", fields="id", ids=f"{ids[0]},{ids[3]},999").json()["data"]
    assert [each["id"] for each in found] == [ids[3], ids[0]]
    assert refusal(caller, "Leads", fields="id", ids=",".join(["1"] * 101)) == (400, "LIMIT_EXCEEDED")


def test_if_modified_since_is_304_when_nothing_changed(caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "Meyer"})
    modified = caller.record("Leads", record_id)["Modified_Time"]
    unchanged = {"If-Modified-Since": modified}
    assert caller.get(f"Leads/{record_id}", headers=unchanged).status_code == 304
    assert caller.get("Leads", headers=unchanged, fields="id").status_code == 304
    earlier = {"If-Modified-Since": "2020-01-01T00:00:00+02:00"}
    assert caller.get(f"Leads/{record_id}", headers=earlier).status_code == 200
    assert caller.get("Leads", headers=earlier, fields="id").json()["data"][0]["id"] == record_id
    assert caller.get("Leads", headers={"If-Modified-Since": "Wed, 21 Oct 2015 07:28:00 GMT"}, fields="id").is_success
    assert caller.get("Leads", headers={"If-Modified-Since": "soon"}, fields="id").status_code == 400


def test_one_record_has_every_field_and_the_system_keys(caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"First_Name": "Ann", "Last_Name": "Meyer", "Annual_Revenue": 12})
    record = caller.record("Leads", record_id)
    user = {"name": caller.credentials.users[0].full_name, "id": caller.credentials.users[0].id}
    assert record["Full_Name"] == "Ann Meyer"
    assert record["Annual_Revenue"] == 12
    assert record["Company"] is None
    assert record["Email_Opt_Out"] is False
    assert record["$approval_state"] == "approved"
    assert record["Created_By"].items() >= user.items()
    assert record["Tag"] == []
    assert len(record["id"]) == 19


@pytest.mark.parametrize("record_id", ["1", "99999999999999999999", "5725767000000999999"])
def test_an_id_that_names_nothing_says_where_in_the_path_it_stands(caller: Caller, record_id: str) -> None:
    answer = caller.get(f"Leads/{record_id}")
    assert answer.status_code == 400
    assert answer.json() == {
        "code": "INVALID_DATA",
        "details": {"resource_path_index": 1},
        "message": "the id given seems to be invalid",
        "status": "error",
    }


def test_nobody_reads_another_organisations_record(crm: RunningCrm, caller: Caller) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "Secret"})
    stranger = crm.caller(crm.create_organisation(users=1))
    assert stranger.get(f"Leads/{record_id}").status_code == 400
    assert stranger.get("Leads", fields="id", ids=record_id).status_code == 204


def test_times_are_in_the_zone_of_the_user_who_asks(crm: RunningCrm) -> None:
    from farebox.crm.organisations import UserSeed

    users = (UserSeed(email="a@x.example"), UserSeed(email="b@x.example", time_zone="Asia/Kolkata"))
    made = crm.create_organisation(users=users)
    first, second = crm.caller(made), crm.caller(made, user=1)
    (record_id,) = first.insert("Subscriptions", {"Name": "S", "Renews_At": "2026-03-01T12:00:00+01:00"})
    assert first.record("Subscriptions", record_id)["Renews_At"] == "2026-03-01T11:00:00+00:00"
    assert second.record("Subscriptions", record_id)["Renews_At"] == "2026-03-01T16:30:00+05:30"
    assert second.record("Subscriptions", record_id)["Created_Time"].endswith("+05:30")


def test_lists_cut_long_texts_and_leave_subforms_out(caller: Caller) -> None:
    (product_id,) = caller.insert("Products", {"Product_Name": "Widget"})
    quote = {
        "Subject": "Q",
        "Quoted_Items": [{"Product_Name": {"id": product_id}, "Quantity": 2}],
        "Description": "x" * 900,
    }
    (quote_id,) = caller.insert("Quotes", quote)
    listed = caller.get("Quotes", fields="Subject,Quoted_Items,Description").json()["data"][0]
    assert len(listed["Description"]) == 500
    assert "Quoted_Items" not in listed
    whole = caller.record("Quotes", quote_id)
    assert len(whole["Description"]) == 900
    assert whole["Quoted_Items"][0]["Product_Name"] == {"name": "Widget", "id": product_id}
