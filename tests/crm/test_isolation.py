"""An organisation's ids mean nothing to another's token: every line of the table answers as for ids of nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from farebox.crm.route import Route
from farebox.crm.routes import ROUTES
from farebox.testing.crm import Caller, RunningCrm, running_crm
from farebox.testing.system import until

SECRETS = ("Hidden", "hidden@", "Zebra")
NOBODYS = "999999999999999999"
REFUSED_TOKENS = {
    "none": "",
    "unknown": "Zoho-oauthtoken 1000.unknown.unknown",
    "a Farebox key": "Bearer fbx_unknown",
    "a console token": "Bearer fbc_unknown",
    "a login": "Basic YWRhOnBhc3N3b3Jk",
}


@dataclass(frozen=True)
class Orgs:
    """One organisation that asks, and another one's ids by what they are of."""

    asking: Caller
    other: Caller
    ids: dict[str, str]


@pytest.fixture(scope="module")
def orgs() -> Iterator[Orgs]:
    with running_crm() as crm:
        other = crm.caller(crm.create_organisation(name="Zebra Hidden", seed=7))
        asking = crm.caller(crm.create_organisation(name="Asking", seed=8))
        fields = other.get("settings/fields", module="Leads").json()["fields"]
        ids = {
            "record_id": other.insert(
                "Leads", {"Last_Name": "Hidden", "Company": "Zebra", "Email": "hidden@z.example"}
            )[0],
            "user_id": other.get("users", type="AllUsers").json()["users"][0]["id"],
            "field_id": fields[0]["id"],
        }
        yield Orgs(asking, other, ids)
        asking.http.close()
        other.http.close()


def base_of(route: Route) -> str:
    """The bulk APIs have the words of their paths in another order."""
    return {"bulk": "/crm/bulk/v8", "content": "/v8/crm"}.get(route.pattern[0], "/crm/v8")


def path_of(route: Route, id_of: dict[str, str] | str) -> str:
    """The route's path with ids of the other organisation, or one of nobody's."""
    parts = []
    for part in route.pattern:
        name = part.strip("{}")
        if part == name:
            parts.append(part)
        elif name in ("module", "name"):
            parts.append("Leads")
        elif name == "related_list":
            parts.append("Notes")
        elif isinstance(id_of, str):
            parts.append(id_of)
        else:
            parts.append(id_of.get(name, id_of["record_id"]))
    return "/".join(parts[1:] if parts[0] in ("bulk", "content") else parts)


def body_of(route: Route, record: str, user: str) -> Any:
    if route.method not in ("POST", "PUT"):
        return None
    named = {"id": record, "Last_Name": "Changed", "Company": "C", "Owner": {"id": user}}
    query = f"select Last_Name from Leads where id = '{record}'"
    return {
        "select_query": query,
        "ids": [record],
        "data": [named if route.method == "PUT" else {**named, "Account_Name": {"id": record}}],
    }


def ask(caller: Caller, route: Route, record: str, user: str, path: str) -> tuple[int, str]:
    """What the route answers; a job of its kind that an earlier call began may end first."""

    def answer() -> tuple[int, str] | None:
        status, text = ask_now(caller, route, record, user, path)
        return None if "ALREADY_SCHEDULED" in text else (status, text)

    return until(answer, what="the job before it has ended")


def ask_now(caller: Caller, route: Route, record: str, user: str, path: str) -> tuple[int, str]:
    params = {"ids": record, "module": "Leads", "criteria": f"(id:equals:{record})"}
    caller.base = base_of(route)
    try:
        answer = caller.send(route.method, path, body_of(route, record, user), params=params)
    finally:
        caller.base = "/crm/v8"
    return answer.status_code, answer.text


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {'/'.join(route.pattern)}")
def test_another_organisations_ids_are_nobodys(orgs: Orgs, route: Route) -> None:
    assert route.scopes, "a route that asks for no scope is open to every token"
    record, user = orgs.ids["record_id"], orgs.ids["user_id"]
    status, text = ask(orgs.asking, route, record, user, path_of(route, orgs.ids))
    expected_status, expected = ask(orgs.asking, route, NOBODYS, NOBODYS, path_of(route, NOBODYS))
    assert not [secret for secret in SECRETS if secret in text]
    for each in orgs.ids.values():
        text = text.replace(each, NOBODYS)
    assert status == expected_status
    if "{" in "/".join(route.pattern[1:]) or route.method in ("PUT", "DELETE"):
        assert text == expected


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {'/'.join(route.pattern)}")
@pytest.mark.parametrize("token", REFUSED_TOKENS)
def test_without_a_token_of_this_api_every_route_says_the_same(orgs: Orgs, route: Route, token: str) -> None:
    fields = {"Authorization": REFUSED_TOKENS[token]} if REFUSED_TOKENS[token] else {}
    base = str(orgs.asking.http.base_url).rstrip("/")
    answers = [
        httpx.request(route.method, f"{base}{base_of(route)}/{path_of(route, ids)}", headers=fields)
        for ids in (orgs.ids, NOBODYS)
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].content == answers[1].content


def test_what_was_tried_changed_nothing_of_the_other_organisation(orgs: Orgs, crm: RunningCrm) -> None:
    for route in ROUTES:
        ask(orgs.asking, route, orgs.ids["record_id"], orgs.ids["user_id"], path_of(route, orgs.ids))
    record = orgs.other.record("Leads", orgs.ids["record_id"])
    assert (record["Last_Name"], record["Company"]) == ("Hidden", "Zebra")
    assert len(orgs.other.get("Leads", fields="Last_Name").json()["data"]) == 1
