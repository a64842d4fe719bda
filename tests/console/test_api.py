"""The JSON API: exact integers, sums that agree, every way in, and OpenAPI that describes it."""

from __future__ import annotations

import httpx
import pytest
from tests.console.world import PASSWORD, World, until

ACME = "/api/v1/organisations/acme/crm"


@pytest.fixture
def served(world: World) -> World:
    world.call("ada", credits=5, times=3, app="sync", module="Leads", operation="records-list")
    world.call("ben", credits=1, app="erp", module="Contacts", function="nightly", task="step 1")
    world.call("", credits=2, app="erp")
    world.refuse("ben", refusals=9)
    world.serve()
    world.loaded()
    return world


@pytest.fixture
def client(served: World) -> httpx.Client:
    client = served.client()
    client.headers["Authorization"] = f"Bearer {served.local_token}"
    return client


def test_the_allowance_adds_up_and_says_how_it_is_made(client: httpx.Client) -> None:
    found = client.get(f"{ACME}/allowance").json()
    assert found["total"] == 52_500_000 == found["used"] + found["held"] + found["unused"]
    assert found["used"] == 18_000
    formula = found["formula"]
    assert formula["base"] + formula["users"] * formula["per_user"] == found["total"]
    assert sum(found["returns_by_hour"]) == found["used"]
    assert found["sentence"].startswith("18 of 52,500 used (1 %), 5 calls.")


def test_usage_by_user_has_every_user_and_agrees_with_the_organisation(client: httpx.Client) -> None:
    found = client.get(f"{ACME}/usage").json()
    lines = {line["value"]: line for line in found["lines"]}
    assert lines["ada"] == {"value": "ada", "name": "Ada Brandt", "calls": 3, "millicredits": 15_000, "refusals": 0}
    assert lines["ben"]["refusals"] == 9
    assert lines[""]["millicredits"] == 2_000
    assert lines["farid"]["calls"] == 0
    assert found["millicredits"] == sum(line["millicredits"] for line in found["lines"]) == 18_000
    assert found["organisation_less_sum"] == 0
    assert found["as_of"] is not None


def test_usage_by_app_has_every_app_by_its_name_and_agrees_with_the_organisation(
    served: World, client: httpx.Client
) -> None:
    served.directory.add_app("acme", "erp", name="ERP bridge")
    served.directory.add_app("acme", "idle", name="Old import")

    def lines() -> dict[str, dict[str, object]]:
        found = client.get(f"{ACME}/usage", params={"by": "app"}).json()
        assert found["millicredits"] == sum(line["millicredits"] for line in found["lines"]) == 18_000
        assert (found["organisation_less_sum"], found["others_millicredits"]) == (0, 0)
        return {line["value"]: line for line in found["lines"]}

    until(lambda: "idle" in lines(), what="the applications are known")
    assert lines() == {
        "sync": {"value": "sync", "name": "sync", "calls": 3, "millicredits": 15_000, "refusals": 9},
        "erp": {"value": "erp", "name": "ERP bridge", "calls": 2, "millicredits": 3_000, "refusals": 0},
        "idle": {"value": "idle", "name": "Old import", "calls": 0, "millicredits": 0, "refusals": 0},
    }


@pytest.mark.parametrize(
    ("by", "value", "millicredits"),
    [
        ("app", "erp", 3_000),
        ("module", "Contacts", 1_000),
        ("operation", "records-list", 18_000),
        ("function", "nightly", 1_000),
        ("task", "step 1", 1_000),
    ],
)
def test_usage_by_every_dimension(client: httpx.Client, by: str, value: str, millicredits: int) -> None:
    found = client.get(f"{ACME}/usage", params={"by": by}).json()
    assert {line["value"]: line["millicredits"] for line in found["lines"]}[value] == millicredits
    assert sum(line["millicredits"] for line in found["lines"]) == found["millicredits"] == 18_000
    assert found["organisation_less_sum"] == 0


def test_what_was_let_through_is_told_apart_and_shadow_mode_is_said(served: World, client: httpx.Client) -> None:
    assert client.get(f"{ACME}/allowance").json()["shadow"] is False
    served.directory.set_org("acme", shadow=True)
    served.call("ada", credits=3, times=2, shadow="allowance", leased=False)
    served.call("farebox", app="farebox", credits=4, leased=False)
    served.loaded()
    until(lambda: client.get(f"{ACME}/allowance").json()["shadow"] is True, what="shadow mode is known")
    found = client.get(f"{ACME}/usage", params={"by": "app"}).json()
    assert (found["would_have_been_refused"], found["would_have_been_refused_millicredits"]) == (2, 6_000)
    assert found["unleased_millicredits"] == 4_000
    assert found["organisation_less_sum"] == 0
    assert {line["value"]: line["name"] for line in found["lines"]}["farebox"] == "Farebox itself"


def test_login_and_password_token_and_key_are_ways_in_and_nothing_else_is(served: World) -> None:
    client = served.client()
    assert client.get("/api/v1/organisations").status_code == 401
    assert client.get("/api/v1/organisations", auth=("ada@acme.example", PASSWORD)).status_code == 200
    assert client.get("/api/v1/organisations", auth=("ada@acme.example", "not this one")).status_code == 401
    token = served.logins.make_token("ada@acme.example")
    assert client.get("/api/v1/organisations", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    for wrong in (f"Bearer {token}x", "Bearer fbc_", "Bearer fbx_nothing", "Bearer", "Basic !!!", "Digest x"):
        answer = client.get("/api/v1/organisations", headers={"Authorization": wrong})
        assert answer.status_code == 401, wrong
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "NOT_SIGNED_IN"


def test_wrong_passwords_are_throttled_here_as_on_the_page(served: World) -> None:
    client = served.client()
    for _ in range(5):
        assert client.get("/api/v1/organisations", auth=("ada@acme.example", "not this one")).status_code == 401
    refusal = client.get("/api/v1/organisations", auth=("ada@acme.example", PASSWORD))
    assert refusal.status_code == 429
    assert refusal.json()["code"] == "SIGN_IN_THROTTLED"
    assert int(refusal.headers["retry-after"]) > 0


def test_a_revoked_key_is_no_way_in_any_more(served: World) -> None:
    made = served.directory.add_key("acme")
    client = served.client()
    client.headers["Authorization"] = f"Bearer {made.key}"
    until(lambda: client.get("/api/v1/organisations").status_code == 200, what="the key is known")
    served.directory.revoke_key(made.id)
    until(lambda: client.get("/api/v1/organisations").status_code == 401, what="the key is revoked")


@pytest.mark.parametrize(
    "path", [f"{ACME}/usage?by=colour", f"{ACME}x/allowance", f"{ACME}/allowance?pool=none", "/api/v1/nothing"]
)
def test_what_cannot_be_is_a_problem_with_a_code(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code"} <= answer.json().keys()


def test_quota_out_of_reach_is_said_and_the_last_figures_keep_their_time(served: World, client: httpx.Client) -> None:
    assert client.get(f"{ACME}/allowance").json()["quota_lost_at"] is None
    (served.folder / "quota.db").rename(served.folder / "away.db")
    lost = client.get(f"{ACME}/allowance").json()
    assert lost["quota_lost_at"] is not None
    assert lost["used"] == 18_000
    assert client.get(f"{ACME}/usage").json()["organisation_less_sum"] is None
    never_read = client.get("/api/v1/organisations/acme/bigin/allowance")
    assert never_read.status_code == 503
    assert never_read.json()["code"] == "QUOTA_UNAVAILABLE"
    (served.folder / "away.db").rename(served.folder / "quota.db")
    assert client.get(f"{ACME}/allowance").json()["quota_lost_at"] is None


def test_openapi_describes_every_path_with_typed_answers(client: httpx.Client) -> None:
    document = client.get("/api/v1/openapi.json").json()
    assert set(document["paths"]) == {
        "/api/v1/organisations",
        "/api/v1/organisations/{org}/{product}/allowance",
        "/api/v1/organisations/{org}/{product}/usage",
    }
    for path in document["paths"].values():
        answers = path["get"]["responses"]
        assert "schema" in answers["200"]["content"]["application/json"]
        assert {"401", "404", "503"} <= answers.keys()
