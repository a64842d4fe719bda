"""G8: nobody sees another organisation, not its numbers, not its names, not that it exists."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from tests.console.world import World, form_token, until

PATHS = (
    "/setup/storage/api-dashboard?org={org}",
    "/setup/storage/api-dashboard?org={org}&product=crm",
    "/setup/storage/api-dashboard?org={org}&product=crm&pool=functions",
    "/setup/storage/api-dashboard/live?org={org}&product=crm",
    "/setup/storage/how-credits-are-calculated?org={org}&product=crm",
    "/api/v1/organisations/{org}/crm/allowance",
    "/api/v1/organisations/{org}/crm/usage",
    "/api/v1/organisations/{org}/crm/usage?by=app",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("orgs"))
    world.call("olga", org="other", credits=7, times=3)
    world.serve()
    world.loaded()
    yield world
    world.close()


def without_ids(answer: httpx.Response, org: str) -> tuple[int, str]:
    return answer.status_code, re.sub(re.escape(org), "ORG", answer.text)


@pytest.mark.parametrize("path", PATHS)
def test_another_org_answers_like_one_that_does_not_exist(served: World, path: str) -> None:
    client = served.client("ada@acme.example")
    theirs = without_ids(client.get(path.format(org="other")), "other")
    nobodys = without_ids(client.get(path.format(org="no-such-org")), "no-such-org")
    assert theirs == nobodys
    assert theirs[0] == 404


@pytest.mark.parametrize("path", PATHS[:3] + PATHS[4:])
def test_ones_own_org_and_every_org_for_the_operator(served: World, path: str) -> None:
    expected = 404 if "functions" in path else 200  # the free plan has no function credits
    assert served.client("olga@other.example").get(path.format(org="other")).status_code == expected
    assert served.client("ops").get(path.format(org="acme")).status_code == 200


def test_no_page_names_another_org(served: World) -> None:
    client = served.client("ada@acme.example")
    for path in ("/", "/api/v1/organisations", "/setup/storage/how-credits-are-calculated"):
        text = client.get(path, follow_redirects=True).text
        assert "Other Ltd" not in text
        assert "Olga" not in text
    assert [each["id"] for each in client.get("/api/v1/organisations").json()] == ["acme"]


def test_a_key_sees_its_own_org_only(served: World) -> None:
    key = served.directory.add_key("acme").key
    client = served.client()
    client.headers["Authorization"] = f"Bearer {key}"
    until(lambda: client.get("/api/v1/organisations").status_code == 200, what="the key is known")
    assert [each["id"] for each in client.get("/api/v1/organisations").json()] == ["acme"]
    assert client.get("/api/v1/organisations/other/crm/allowance").status_code == 404


def test_signing_out_in_another_window_ends_live_updates(served: World) -> None:
    client = served.client("ada@acme.example")
    token = form_token(client.get("/", follow_redirects=True).text)
    with client.stream("GET", "/setup/storage/api-dashboard/live?org=acme&product=crm") as stream:
        lines = stream.iter_lines()
        assert any(line == "event: fragments" for line in lines)
        assert next(lines).startswith("data: ")
        assert client.post("/sign-out", data={"form_token": token}).status_code == 303
        served.call("ada", credits=5)
        assert "event: fragments" not in list(lines)
