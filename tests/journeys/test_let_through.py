"""Calls that are let through all the same, and answers that cost nothing: everything agrees on what they came to."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pytest

from farebox.testing.books import read_books
from farebox.testing.system import RunningFarebox, until
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import CARD
from .test_quota_out_of_reach import quota_locked

CREDIT = 1_000

pytestmark = pytest.mark.slow


def alarms(data: Path) -> int:
    with sqlite3.connect(data / "quota.db") as db:
        return int(db.execute("SELECT count(*) FROM alarms").fetchone()[0])


def whole(farebox: RunningFarebox, *, credits: int) -> dict[str, object]:  # noqa: A002 - the word for it
    """What usage says, once it and quota both have all `credits`."""

    def found() -> dict[str, object] | None:
        said = farebox.ask_console("usage", "acme")
        return said if said["millicredits"] == credits * CREDIT and said["organisation_less_sum"] == 0 else None

    return until(found, what=f"{credits} credits are in usage and in quota")


def stopped(farebox: RunningFarebox) -> None:
    """Everything ended, and the books agree."""
    farebox.gateway.stop()
    until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    farebox.console.stop()
    assert read_books(farebox.data).disagreements() == []
    assert alarms(farebox.data) == 0


def test_shadow_mode_refuses_nothing_says_what_it_would_have_and_ends_within_a_lease(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        farebox.set_base("acme", 20)
        with farebox.directory() as directory:
            directory.set_org("acme", shadow=True)
        until(lambda: farebox.ask_console("allowance", "acme")["shadow"], what="shadow mode is known")
        _gateway_knows(farebox)
        with farebox.caller("acme", "ada") as ada:
            said = [answer.headers.get("X-Farebox-Shadow") for _ in range(50) if (answer := ada.get("/x")).is_success]
            assert said == [None] * 20 + ["refused=allowance"] * 30
            usage = whole(farebox, credits=50)
            assert (usage["would_have_been_refused"], usage["would_have_been_refused_millicredits"]) == (
                30,
                30 * CREDIT,
            )
            assert (usage["refusals"], usage["unleased_millicredits"]) == (0, 0)
            allowance = farebox.ask_console("allowance", "acme")
            assert (allowance["total"], allowance["unused"]) == (20 * CREDIT, -30 * CREDIT)
            assert "would have been refused: 30 calls" in allowance["sentence"]
            with farebox.directory() as directory:
                directory.set_org("acme", shadow=False)
            until(lambda: ada.get("/x").status_code == 429, what="calls are refused again")
        stopped(farebox)


def _gateway_knows(farebox: RunningFarebox) -> None:
    """What was changed in the directory before: a key that was made afterwards is known, and all is read at once."""
    with farebox.directory() as directory:
        directory.add_org("later", name="Later")
        directory.subscribe("later", farebox.product, card=farebox.card, plan="standard")
        headers = {"X-Api-Key": directory.add_key("later").key}
    health = farebox.gateway_url + "/later"
    until(lambda: httpx.get(health, headers=headers).status_code == 200, what="the gateway has the directory as it is")


def test_open_gateways_go_on_without_quota_and_what_they_spent_is_booked_when_it_is_back(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    settings = {"quota_out_of_reach": "open"}
    with RunningFarebox(tmp_path, upstream_url=upstream.url, gateway=settings) as farebox:
        farebox.set_base("acme", 20)
        with farebox.caller("acme", "ada") as ada:
            until(lambda: ada.get("/x").headers.get("X-Farebox-Credits-Left") is not None, what="the base is known")
            with quota_locked(farebox.data):
                for _ in range(60):
                    assert ada.get("/x").status_code == 200
            until(lambda: ada.get("/x").status_code == 429, what="quota is back", within_seconds=60)
        usage = whole(farebox, credits=len(upstream.requests))
        assert usage["unleased_millicredits"] >= (len(upstream.requests) - 20) * CREDIT  # type: ignore[operator]
        assert usage["would_have_been_refused"] == 0
        stopped(farebox)


def test_an_answer_with_a_free_status_costs_nothing_anywhere_and_is_counted_as_a_call(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    card = tmp_path / "free.toml"
    card.write_text(CARD.replace("[pools]", "free_statuses = [429]\n[pools]", 1))
    upstream.answer("/x", Behaviour(status=429), Behaviour(status=200))
    with RunningFarebox(tmp_path / "farebox", upstream_url=upstream.url, card=str(card)) as farebox:
        with farebox.caller("acme", "ada") as ada:
            free, charged = ada.get("/x"), ada.get("/x")
        assert (free.status_code, free.headers["X-Farebox-Credits-Charged"]) == (429, "0")
        assert "Retry-After" not in free.headers, "it is the upstream's own answer"
        assert charged.headers["X-Farebox-Credits-Charged"] == "1"
        usage = whole(farebox, credits=1)
        assert (usage["calls"], usage["refusals"]) == (2, 0)
        stopped(farebox)
