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


def now(farebox: RunningFarebox) -> int:
    """The store's time."""
    return view_of(farebox.data).store_time


def returning(from_second: int, *, since: int, until: int) -> tuple[float, float]:
    """The seconds until the rows of `from_second` stop counting, at the later and at the earlier of two instants."""
    return (returns_at(from_second) - until) / MICROSECONDS, (returns_at(from_second) - since) / MICROSECONDS


def assert_true(refused: httpx.Response, *, from_second: int, since: int, until: int) -> None:
    """Retry-After, said between two instants, leads to that at which the rows of `from_second` stop counting."""
    least, most = returning(from_second, since=since, until=until)
    said = int(refused.headers["Retry-After"])
    assert least <= said <= most + ROUNDING_SECONDS, f"said {said}, credits return in {least} to {most}"


def test_every_credit_can_be_spent_and_a_refusal_costs_nothing_and_tells_the_truth(
    tmp_path: Path, upstream: StubUpstream, card: str
) -> None:
    orgs = [Provision(org="acme", base=BASE)]
    with RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs, card=card) as farebox:
        with farebox.caller("acme", "ada") as ada:
            _spend_in_two_seconds(farebox, ada)
            began, dear = now(farebox), ada.post("/orders", content=order(60))
            assert (dear.status_code, dear.json()["code"]) == (429, "CREDITS_EXHAUSTED")
            first, second = (each for each, _ in settled(farebox, 18).rows)
            assert second > first
            assert_true(
                dear, from_second=first, since=began, until=now(farebox)
            )  # 2 are left and the first second returns 9: enough for 6

            dearest = 0

            def is_exact() -> bool:
                """From the next sync on; until then a call dearer than any before is sent too late, never too early."""
                nonlocal dearest
                began, refused = now(farebox), ada.post("/orders", content=order(150))
                dearest += 1
                assert refused.status_code == 429
                least, most = returning(second, since=began, until=now(farebox))
                said = int(refused.headers["Retry-After"])
                assert said >= least, f"said {said}, credits return in {least}"
                return said <= most + ROUNDING_SECONDS

            until(is_exact, what="it is said when the last of them return")

            never = ada.post("/orders", content=order(210))
            assert (never.status_code, never.json()["code"]) == (429, "CEILING_NEVER_FITS")
            assert "Retry-After" not in never.headers

            began, last = now(farebox), [ada.get("/things") for _ in range(3)]
            assert [each.status_code for each in last] == [200, 200, 429], "a cheaper call is admitted after a dearer"
            assert last[1].headers["X-Farebox-Credits-Left"] == "0"
            assert last[2].headers["X-Farebox-Credits-Charged"] == "0"
            assert_true(last[2], from_second=first, since=began, until=now(farebox))
            assert len(upstream.requests) == 4, "a refused call reached the upstream"
        assert settled(farebox, BASE).unaccounted == 0
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    books = read_books(farebox.data)
    assert books.disagreements() == []
    assert sum(row.credits for row in books.entries) == BASE * 1_000
    assert sum(row.refusals for row in books.entries) == 3 + dearest


def _spend_in_two_seconds(farebox: RunningFarebox, ada: httpx.Client) -> None:
    """9 credits in each of two seconds of the store's clock."""
    for part in (1, 2):
        assert ada.post("/orders", content=order(90)).status_code == 200
        rows = settled(farebox, 9 * part).rows
        assert rows[-1][1] == 9_000
        until(lambda: now(farebox) // MICROSECONDS > rows[-1][0] + 1, what="the next second")  # noqa: B023 - asked now


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
