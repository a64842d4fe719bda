"""G1, G5, G6 at the edge: the last credit can be spent, a refusal costs nothing and says truly when to come again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS, returns_at
from farebox.quota.port import NO_ALLOWANCE, AccountView
from farebox.quota.sqlite_view import SpendFile
from farebox.testing.books import read_books
from farebox.testing.system import Provision, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

BASE = 20
ROUNDING_SECONDS = 2
"""Retry-After is rounded up, plus one so that the caller's clock cannot make it early."""

pytestmark = pytest.mark.slow


def order(lines: int) -> bytes:
    """An order that costs 1 credit per 10 lines."""
    return json.dumps({"lines": [{}] * lines}).encode()


def view_of(data: Path) -> AccountView:
    return SpendFile(data / "quota.db", allowance_of=lambda _: NO_ALLOWANCE).view(Account("acme", "api", "api"))


def settled(farebox: RunningFarebox, credits: int) -> AccountView:  # noqa: A002 - the glossary's word
    """The account once so many credits are booked."""
    return until(
        lambda: view if (view := view_of(farebox.data)).used == credits * 1_000 else None, what=f"{credits} booked"
    )


def assert_true(refused: httpx.Response, *, from_second: int, at: int) -> None:
    """Retry-After leads to the instant at which the rows of `from_second` stop counting."""
    exact = (returns_at(from_second) - at) / MICROSECONDS
    said = int(refused.headers["Retry-After"])
    assert exact <= said <= exact + ROUNDING_SECONDS, f"said {said}, credits return in {exact}"


def test_every_credit_can_be_spent_and_a_refusal_costs_nothing_and_tells_the_truth(
    tmp_path: Path, upstream: StubUpstream, card: str
) -> None:
    orgs = [Provision(org="acme", base=BASE)]
    with RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs, card=card) as farebox:
        with farebox.caller("acme", "ada") as ada:
            _spend_in_two_seconds(farebox, ada)
            dear = ada.post("/orders", content=order(60))
            now = view_of(farebox.data).store_time
            assert (dear.status_code, dear.json()["code"]) == (429, "CREDITS_EXHAUSTED")
            first, second = (each for each, _ in settled(farebox, 18).rows)
            assert second > first
            assert_true(dear, from_second=first, at=now)  # 2 are left and the first second returns 9: enough for 6

            dearest = ada.post("/orders", content=order(150))
            assert dearest.status_code == 429
            assert_true(dearest, from_second=second, at=view_of(farebox.data).store_time)

            never = ada.post("/orders", content=order(210))
            assert (never.status_code, never.json()["code"]) == (429, "CEILING_NEVER_FITS")
            assert "Retry-After" not in never.headers

            last = [ada.get("/things") for _ in range(3)]
            assert [each.status_code for each in last] == [200, 200, 429], "a cheaper call is admitted after a dearer"
            assert last[1].headers["X-Farebox-Credits-Left"] == "0"
            assert last[2].headers["X-Farebox-Credits-Charged"] == "0"
            assert_true(last[2], from_second=first, at=view_of(farebox.data).store_time)
            assert len(upstream.requests) == BASE, "a refused call reached the upstream"
        assert settled(farebox, BASE).unaccounted == 0
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    books = read_books(farebox.data)
    assert books.disagreements() == []
    assert sum(row.credits for row in books.entries) == BASE * 1_000
    assert sum(row.refusals for row in books.entries) == 4


def _spend_in_two_seconds(farebox: RunningFarebox, ada: httpx.Client) -> None:
    """9 credits in each of two seconds of the store's clock."""
    for part in (1, 2):
        began = _start_of_a_second(farebox)
        assert [ada.get("/things").status_code for _ in range(9)] == [200] * 9
        rows = settled(farebox, 9 * part).rows
        assert rows[-1] == (began, 9_000), "the machine was too slow to make nine calls within a second"


def _start_of_a_second(farebox: RunningFarebox) -> int:
    """Waits for the next whole second of the store's clock."""

    here = view_of(farebox.data).store_time // MICROSECONDS
    until(lambda: view_of(farebox.data).store_time // MICROSECONDS > here, what="the next second", every_seconds=0.005)
    return here + 1


def test_callers_that_race_for_the_last_credits_get_each_of_them_once(
    tmp_path: Path, upstream: StubUpstream, card: str
) -> None:
    orgs = [Provision(org="acme", base=BASE)]
    with RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs, card=card) as farebox:

        def call(_: int) -> int:
            with farebox.caller("acme", "ben") as ben:
                return ben.get("/things").status_code

        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(call, range(3 * BASE)))
        assert sorted(statuses) == [200] * BASE + [429] * 2 * BASE
        assert len(upstream.requests) == BASE
