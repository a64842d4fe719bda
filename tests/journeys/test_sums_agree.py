"""G4: every number on page and API is the sum of the entries, to the credit; G8: nobody sees another organisation."""

from __future__ import annotations

import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from farebox.testing.books import read_books
from farebox.testing.screen import signed_in
from farebox.testing.system import Provision, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

pytestmark = pytest.mark.slow


def test_what_answers_page_api_quota_and_entries_say_is_one_and_the_same_sum(
    tmp_path: Path, upstream: StubUpstream, card: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    orgs = [Provision(org="acme", base=1_000), Provision(org="other", base=30)]
    charged: Counter[tuple[str, str]] = Counter()
    with RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs, card=card) as farebox:
        for _ in range(120):
            org, user = rng.choice(["acme", "other"]), rng.choice(["ada", "ben", ""])
            charged[org, user] += _one_call(farebox, rng, org, user)
        for org in ("acme", "other"):
            total = sum(amount for (owner, _), amount in charged.items() if owner == org)
            _wait_until_shown(farebox, org, total)
            lines = {line["value"]: line["millicredits"] for line in farebox.ask_console("usage", org)["lines"]}
            assert {user: charged[org, user] for user in lines} == lines
            allowance = farebox.ask_console("allowance", org)
            assert allowance["total"] == allowance["used"] + allowance["held"] + allowance["unused"]
            with signed_in(farebox, org) as person:
                page = person.get("/").text
            assert f"{total // 1_000:,} of {allowance['total'] // 1_000:,} used" in page
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    books = read_books(farebox.data)
    assert books.disagreements() == []
    entries: Counter[tuple[str, str]] = Counter()
    for row in books.entries:
        entries[row.account.org, row.user] += row.credits
    assert +entries == +charged


def _one_call(farebox: RunningFarebox, rng: random.Random, org: str, user: str) -> int:
    """Millicredits of a call as its answer says."""
    with farebox.caller(org, user) as caller:
        if rng.random() < 0.3:
            body = json.dumps({"lines": [{}] * rng.choice([1, 10, 11, 45])}).encode()
            answer = caller.post("/orders", content=body)
        else:
            answer = caller.get(f"/things/{rng.randrange(10)}")
    assert answer.status_code in (200, 429)
    return int(Decimal(answer.headers["X-Farebox-Credits-Charged"]) * 1_000)


def _wait_until_shown(farebox: RunningFarebox, org: str, total: int) -> None:
    until(lambda: _shown(farebox, org) == (total, total), what=f"all of {org} on screen")


def _shown(farebox: RunningFarebox, org: str) -> tuple[int, int]:
    """(used by quota, sum by usage) as the API says them."""
    used: int = farebox.ask_console("allowance", org)["used"]
    spent: int = farebox.ask_console("usage", org)["millicredits"]
    return used, spent


def test_another_organisation_is_not_there_whatever_way_one_asks(tmp_path: Path, upstream: StubUpstream) -> None:
    orgs = [Provision(org="acme"), Provision(org="secret")]
    with RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs) as farebox:
        with farebox.caller("secret", "ada") as ada:
            assert ada.get("/").status_code == 200
        key = farebox.as_caller("acme", "ada")
        with signed_in(farebox, "acme") as person:
            for path in ("/api/v1/organisations/{}/api/usage", "/api/v1/organisations/{}/api/allowance"):
                theirs = httpx.get(farebox.console_url + path.format("secret"), headers=key)
                nobody = httpx.get(farebox.console_url + path.format("nobody"), headers=key)
                assert theirs.status_code == 404
                assert theirs.text.replace("secret", "") == nobody.text.replace("nobody", "")
                assert person.get(path.format("secret")).status_code == 404
            for path in ("/setup/storage/api-dashboard", "/setup/storage/api-dashboard/live"):
                assert person.get(path, params={"org": "secret"}).status_code == 404
            assert "ecret" not in person.get("/").text
        listed = httpx.get(f"{farebox.console_url}/api/v1/organisations", headers=key).json()
        assert [org["id"] for org in listed] == ["acme"]
