"""Shadow mode and failing open: judged and recorded, not refused; marked as such, to the caller and in the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farebox.testing.system import in_time, seconds_until
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Answer, Gateway, GatewayMaker, until

CREDIT = 1_000
LEASE_SECONDS = 2.0


@contextmanager
def quota_locked(gateway: Gateway) -> Iterator[None]:
    """Nobody else can write the spend file meanwhile."""
    other = sqlite3.connect(gateway.folder / "spend.db", isolation_level=None, timeout=60)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def in_shadow(make_gateway: GatewayMaker, *, credits: int, shadow: bool = True) -> Gateway:  # noqa: A002 - the word
    gateway = make_gateway(credits=credits)
    if shadow:
        set_shadow(gateway, shadow=True)
    return gateway


def set_shadow(gateway: Gateway, *, shadow: bool) -> None:
    gateway.directory.set_org("acme", shadow=shadow)
    until(lambda: _image_says(gateway, shadow=shadow))


def _image_says(gateway: Gateway, *, shadow: bool) -> bool:
    return gateway.worker._watch.image.in_shadow("acme") is shadow


def spend(path: Path) -> tuple[int, int, int]:
    """(used, lent, alarms) as the store has them."""
    with sqlite3.connect(path) as db:
        used, lent = db.execute("SELECT used, lent FROM accounts").fetchone()
        return used, lent, db.execute("SELECT count(*) FROM alarms").fetchone()[0]


def ask(gateway: Gateway, count: int) -> list[Answer]:
    caller = gateway.caller()
    return [caller.ask() for _ in range(count)]


def test_in_shadow_mode_nothing_is_refused_and_every_call_that_would_have_been_is_marked(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = in_shadow(make_gateway, credits=3)
    answers = ask(gateway, 5)
    assert [answer.status for answer in answers] == [200] * 5
    assert [answer.fields.get("x-farebox-shadow") for answer in answers] == [None] * 3 + ["refused=allowance"] * 2
    assert {answer.fields["x-farebox-credits-charged"] for answer in answers} == {"1"}
    assert answers[-1].fields["x-farebox-credits-left"] == "0"
    assert len(upstream.requests) == 5
    entries = until(lambda: found if len(found := gateway.entries()) == 5 else None)
    assert [(entry.shadow, entry.leased) for entry in entries] == [("", True)] * 3 + [("allowance", False)] * 2
    assert not any(entry.refusals for entry in entries), "none was refused"


def test_spend_beyond_the_allowance_is_booked_without_alarm_and_leaving_shadow_mode_is_in_force_within_a_lease(
    make_gateway: GatewayMaker,
) -> None:
    gateway = in_shadow(make_gateway, credits=3)
    assert {answer.status for answer in ask(gateway, 5)} == {200}
    until(lambda: spend(gateway.folder / "spend.db") == (5 * CREDIT, 0, 0))
    caller = gateway.caller()

    def left() -> float:
        set_shadow(gateway, shadow=True)
        assert caller.ask().status == 200
        gateway.directory.set_org("acme", shadow=False)
        return seconds_until(lambda: caller.ask().status == 429, what="calls are refused")

    in_time(left, seconds=LEASE_SECONDS)
    refused = caller.ask()
    assert (refused.status, refused.json()["code"]) == (429, "CREDITS_EXHAUSTED")
    assert "x-farebox-shadow" not in refused.fields
    calls = sum(entry.calls for entry in gateway.entries())
    until(lambda: spend(gateway.folder / "spend.db") == (calls * CREDIT, 0, 0))


def test_a_call_that_could_never_fit_is_let_through_in_shadow_mode_and_says_why_it_would_not_have_been(
    make_gateway: GatewayMaker,
) -> None:
    gateway = in_shadow(make_gateway, credits=0)
    (answer,) = ask(gateway, 1)
    assert (answer.status, answer.fields["x-farebox-shadow"]) == (200, "refused=never_fits")
    assert gateway.entry().shadow == "never_fits"


def test_a_shadow_call_that_fails_upstream_says_so_too_and_one_that_never_got_there_costs_nothing(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = in_shadow(make_gateway, credits=0)
    upstream.answer("/", Behaviour(reset_after=0))
    (answer,) = ask(gateway, 1)
    assert (answer.status, answer.fields["x-farebox-shadow"]) == (502, "refused=never_fits")
    assert gateway.entry().credits == CREDIT
    upstream.close()
    (answer,) = ask(gateway, 1)
    assert answer.status == 502
    assert answer.fields["x-farebox-credits-charged"] == "0"
    assert gateway.held() == 0


def test_a_suspended_org_is_refused_in_shadow_mode_too(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = in_shadow(make_gateway, credits=3)
    gateway.directory.suspend("acme")
    caller = gateway.caller()
    answer = until(lambda: found if (found := caller.ask()).status == 403 else None)
    assert answer.json()["code"] == "ORG_SUSPENDED"
    reached = len(upstream.requests)
    assert caller.ask().status == 403
    assert len(upstream.requests) == reached


def test_a_suspension_that_quota_knows_first_refuses_in_shadow_mode_too(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = in_shadow(make_gateway, credits=1_000)
    before = gateway.worker._watch.image
    gateway.worker.plane.routes[0].identifier._directory = lambda: before
    gateway.directory.suspend("acme")
    caller = gateway.caller()
    answer = until(lambda: found if (found := caller.ask()).status == 403 else None)
    assert answer.json()["code"] == "ORG_SUSPENDED"
    assert all(entry.shadow == "" for entry in gateway.entries())


def test_with_quota_out_of_reach_a_shadow_org_goes_on_and_others_are_refused(make_gateway: GatewayMaker) -> None:
    gateway = in_shadow(make_gateway, credits=1_000)
    plain = gateway.org("plain", base=1_000 * CREDIT)
    assert ask(gateway, 1)[0].status == 200
    with quota_locked(gateway):
        caller = gateway.caller()
        lapsed = until(
            lambda: found if "x-farebox-shadow" in (found := caller.ask()).fields else None, within_seconds=60
        )
        assert (lapsed.status, lapsed.fields["x-farebox-shadow"]) == (200, "refused=quota_unavailable")
        assert plain
    until(lambda: "x-farebox-shadow" not in caller.ask().fields)
    calls = sum(entry.calls for entry in gateway.entries())
    until(lambda: spend(gateway.folder / "spend.db")[0] == calls * CREDIT)
    assert spend(gateway.folder / "spend.db")[2] == 0


def test_open_calls_go_on_without_a_lease_while_quota_is_out_of_reach_and_are_booked_without_an_alarm(
    make_gateway: GatewayMaker,
) -> None:
    gateway = make_gateway(credits=1_000, quota_out_of_reach="open", quota_wait_seconds=0.2)
    assert ask(gateway, 1)[0].status == 200
    with quota_locked(gateway):
        caller = gateway.caller()

        def unleased() -> bool:
            assert caller.ask().status == 200
            return not gateway.entries()[-1].leased

        until(unleased)
        assert [caller.ask().status for _ in range(20)] == [200] * 20
    entries = gateway.entries()
    assert all(entry.shadow == "" for entry in entries)
    until(lambda: spend(gateway.folder / "spend.db")[0] == len(entries) * CREDIT)
    assert spend(gateway.folder / "spend.db")[2] == 0
    until(lambda: (caller.ask().status, gateway.entries()[-1].leased) == (200, True))


def test_more_calls_in_flight_than_the_plan_allows_are_let_through_in_shadow_mode_and_marked(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    upstream.answer("/crm/v8/Leads", Behaviour(never_answer=True))
    gateway = make_gateway(card="zoho-crm", stop_grace_seconds=0.1)
    set_shadow(gateway, shadow=True)
    for _ in range(10):
        gateway.caller().say("GET /crm/v8/Leads HTTP/1.1\r\nHost: g\r\n\r\n")
    until(lambda: gateway.on_loop(gateway.worker.counters.in_flight) == (10, 0))
    answer = gateway.caller().ask("GET", "/crm/v8/Contacts")
    assert (answer.status, answer.fields["x-farebox-shadow"]) == (200, "refused=concurrency_exceeded")
    assert gateway.entry().shadow == "concurrency_exceeded"
