"""Identity by look-up: the user asked once per token, booked to Farebox itself, and never a pass without an answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farebox import cards
from farebox.config import Address, GatewayConfig, HttpUrl, Lookup, Upstream
from farebox.domain.cards import CompiledCard
from farebox.domain.identity import Account
from farebox.domain.names import FAREBOX
from farebox.errors import UnknownNameError
from farebox.journal.records import CUT_OFF, UNANSWERED, Entry
from farebox.testing.upstream import Behaviour, Received, StubUpstream

from .conftest import Answer, Gateway, GatewayMaker, until

CREDIT = 1_000
USERS = "/crm/v8/users"
LEADS = "/crm/v8/Leads"


def users(*found: dict[str, object]) -> Behaviour:
    return Behaviour(body=json.dumps({"users": list(found)}).encode())


def generic_in_crm() -> CompiledCard:
    """The generic card: as many calls in flight as come, every call 1 credit."""
    return CompiledCard(cards.load("generic"))


@pytest.fixture
def gateway(make_gateway: GatewayMaker, upstream: StubUpstream) -> Gateway:
    upstream.answer(USERS, users({"id": "7001", "email": "ann@acme.test"}))
    made = make_gateway(
        compiled=generic_in_crm(), identity="lookup", lookup=Lookup(org="acme", app="sync"), start=False
    )
    made.org(base=100 * CREDIT, users=0)
    return made


def ask(gateway: Gateway, token: str = "t1", *, path: str = LEADS, **fields: str) -> Answer:
    return gateway.caller().ask("GET", path, fields={"Authorization": f"Zoho-oauthtoken {token}", **fields})


def looked_up(upstream: StubUpstream) -> list[Received]:
    return [request for request in upstream.requests if request.target == f"{USERS}?type=CurrentUser"]


def entries(gateway: Gateway, count: int) -> list[Entry]:
    return list(until(lambda: found if len(found := gateway.entries()) >= count else None))


def spent(gateway: Gateway) -> int:
    return sum(entry.credits for entry in gateway.entries())


def test_the_user_is_asked_once_per_token_and_the_credit_is_booked_to_farebox_itself(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    gateway.start()
    assert [ask(gateway).status for _ in range(3)] == [200] * 3
    (question,) = looked_up(upstream)
    assert question.fields["authorization"] == "Zoho-oauthtoken t1"
    own, *calls = entries(gateway, 4)
    assert (own.user, own.app, own.credits, own.calls, own.status) == (FAREBOX, FAREBOX, CREDIT, 1, 200)
    assert (own.operation, own.path_template, own.method, own.leased) == ("call", "", "GET", True)
    assert [(call.org, call.user, call.app, call.credits) for call in calls] == [("acme", "7001", "sync", CREDIT)] * 3
    assert spent(gateway) == len(upstream.requests) * CREDIT, "what the API counts"
    assert gateway.held() == 0


def test_a_user_the_directory_knows_by_email_is_counted_under_the_directorys_id(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    upstream.answer(USERS, users({"id": 7001, "email": "Ann@acme.test"}))
    asked = Lookup(org="acme", user_claim="email")
    gateway = make_gateway(compiled=generic_in_crm(), identity="lookup", lookup=asked, start=False)
    gateway.org()
    gateway.directory.add_user("acme", "ann", name="Ann", email="ann@acme.test")
    gateway.start()
    assert ask(gateway).status == 200
    assert entries(gateway, 2)[1].user == "ann"


FAILURES = {
    "an error": Behaviour(status=500),
    "no answer": Behaviour(raw=b""),
    "a reset": Behaviour(reset_after=0),
    "not JSON": Behaviour(body=b"<html>"),
    "JSON of another shape": Behaviour(body=b"[1]"),
    "no users": users(),
    "a user without a name": users({"email": "a@b.c"}),
    "an endless answer": Behaviour(stream_bytes=10_000_000),
    "a compressed answer": Behaviour(fields=(("Content-Encoding", "gzip"),), body=b"x"),
    "too many requests": Behaviour(status=429),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_look_up_that_fails_is_503_never_a_pass_and_charged_because_the_api_was_reached(
    gateway: Gateway, upstream: StubUpstream, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    upstream.answer(USERS, FAILURES[case])
    gateway.start()
    answer = ask(gateway)
    assert (answer.status, answer.json()["code"]) == (503, "IDENTITY_UNAVAILABLE")
    assert ask(gateway).status == 503
    assert len(looked_up(upstream)) == len(upstream.requests) == 1, "not asked again at once: each may cost a credit"
    (own,) = entries(gateway, 1)
    assert (own.user, own.credits) == (FAREBOX, CREDIT)
    assert gateway.held() == 0
    assert caplog.text == "", "nothing broke on the way"


def test_a_look_up_that_failed_is_made_again_after_a_second(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer(USERS, Behaviour(status=500), users({"id": "7001"}))
    gateway.start()
    assert ask(gateway).status == 503
    until(lambda: ask(gateway).status == 200)
    assert len(looked_up(upstream)) == 2


def test_a_free_status_of_a_look_up_costs_nothing(
    make_gateway: GatewayMaker, upstream: StubUpstream, tmp_path: Path
) -> None:
    text = (Path(cards.__file__).parent / "generic.toml").read_text().replace("\nfree_statuses = []", "")
    head, mark, rest = text.partition("\n[")
    (tmp_path / "free.toml").write_text(f"{head}\nfree_statuses = [429]{mark}{rest}")
    card = CompiledCard(cards.load(tmp_path / "free.toml"))
    gateway = make_gateway(compiled=card, identity="lookup", lookup=Lookup(org="acme"), start=False)
    gateway.org()
    upstream.answer(USERS, Behaviour(status=429))
    gateway.start()
    assert ask(gateway).status == 503
    (own,) = entries(gateway, 1)
    assert (own.credits, own.status, own.calls) == (0, 429, 1)


def test_an_api_that_is_down_is_503_and_costs_nothing(gateway: Gateway, upstream: StubUpstream) -> None:
    gateway.start()
    upstream.close()
    assert ask(gateway).status == 503
    assert gateway.held() == 0
    assert gateway.entries() == []


def test_a_token_the_api_does_not_know_is_401_and_is_not_asked_about_again_for_a_while(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    upstream.answer(USERS, Behaviour(status=401, body=b'{"code":"INVALID_TOKEN","details":{},"status":"error"}'))
    gateway.start()
    for _ in range(3):
        answer = ask(gateway)
        assert (answer.status, answer.json()["code"]) == (401, "CREDENTIALS_UNKNOWN")
    assert len(upstream.requests) == 1
    (own,) = entries(gateway, 1)
    assert (own.user, own.credits, own.status, own.calls) == (FAREBOX, 0, 401, 1), "strangers cost the org nothing"
    assert gateway.held() == 0


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_may_not_read_users_is_told_which_scope_it_lacks(
    gateway: Gateway, upstream: StubUpstream, status: int
) -> None:
    code = b"OAUTH_SCOPE_MISMATCH" if status == 401 else b"NO_PERMISSION"
    upstream.answer(USERS, Behaviour(status=status, body=b'{"code":"' + code + b'","details":{},"status":"error"}'))
    gateway.start()
    for _ in range(3):
        answer = ask(gateway)
        assert (answer.status, answer.json()["code"]) == (403, "TOKEN_SCOPE_MISSING")
        assert "ZohoCRM.users.READ" in answer.json()["detail"]
    assert len(upstream.requests) == 1


def test_where_only_listed_users_may_call_a_stranger_is_refused_and_costs_nothing(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    upstream.answer(USERS, users({"id": "stranger"}))
    lookup = Lookup(org="acme", app="sync", users="listed")
    gateway = make_gateway(compiled=generic_in_crm(), identity="lookup", lookup=lookup, start=False)
    gateway.org(base=100 * CREDIT, users=0)
    gateway.directory.add_user("acme", "7001", name="Ann")
    gateway.start()
    refused = [ask(gateway, "foreign") for _ in range(2)]
    assert [(answer.status, b"USER_NOT_LISTED" in answer.body) for answer in refused] == [(403, True)] * 2
    assert len(looked_up(upstream)) == 1
    upstream.answer(USERS, users({"id": "7001"}))
    assert ask(gateway, "own").status == 200
    until(lambda: spent(gateway) == 2 * CREDIT)
    assert {entry.user for entry in gateway.entries() if entry.credits} == {FAREBOX, "7001"}


def test_nobody_without_a_token_passes_and_a_key_of_the_org_needs_no_look_up(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    key = gateway.directory.add_key("acme").key
    gateway.start()
    assert gateway.caller().ask("GET", LEADS).status == 401
    assert gateway.caller().ask("GET", LEADS, fields={"X-Api-Key": key}).status == 200
    assert looked_up(upstream) == []


def test_a_key_beside_the_token_says_who_calls_and_nothing_is_looked_up(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    gateway.directory.add_app("acme", "erp", name="ERP")
    key = gateway.directory.add_key("acme", app="erp").key
    other = gateway.org("other")
    gateway.start()
    assert ask(gateway, **{"X-Farebox-Key": key}).status == 200
    assert ask(gateway, **{"X-Farebox-Key": other}).json()["code"] == "CREDENTIALS_CONTRADICT"
    assert ask(gateway, **{"X-Farebox-Key": "fbx_unknown"}).status == 401
    (call,) = upstream.requests
    assert (call.target, call.fields["authorization"]) == (LEADS, "Zoho-oauthtoken t1")
    (entry,) = entries(gateway, 1)
    assert (entry.org, entry.user, entry.app) == ("acme", "", "erp")


def test_callers_with_one_token_wait_for_one_look_up_and_at_most_8_are_under_way(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    answering = threading.Event()
    upstream.answer(USERS, Behaviour(body=b'{"users":[{"id":"7001"}]}', after=answering))
    gateway.start()
    lookups: Any = gateway.worker._token_books._lookups[0]
    callers = [
        gateway.caller().say(f"GET {LEADS} HTTP/1.1\r\nHost: g\r\nAuthorization: Zoho-oauthtoken t{n % 20}\r\n\r\n")
        for n in range(60)
    ]
    most = until(lambda: found if (found := gateway.on_loop(lambda: len(lookups.under_way))) >= 8 else None)
    answering.set()
    for caller in callers:
        most = max(most, gateway.on_loop(lambda: len(lookups.under_way)))
        assert caller.hear().status == 200
    assert len(looked_up(upstream)) == 20
    assert most == 8
    assert spent(gateway) == 80 * CREDIT


def test_without_credits_not_even_the_user_is_looked_up(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(compiled=generic_in_crm(), identity="lookup", lookup=Lookup(org="acme"), start=False)
    gateway.org(base=0, users=0)
    gateway.start()
    answer = ask(gateway)
    assert (answer.status, answer.json()["code"]) == (429, "CEILING_NEVER_FITS")
    assert not upstream.requests
    gateway.directory.set_org("acme", shadow=True)
    upstream.answer(USERS, users({"id": "7001"}))
    answer = until(lambda: found if (found := ask(gateway)).status == 200 else None)
    assert answer.fields["x-farebox-shadow"] == "refused=never_fits"
    own, call = entries(gateway, 2)
    assert (own.user, own.shadow, own.leased) == (FAREBOX, "never_fits", False)
    assert (call.user, call.shadow) == ("7001", "never_fits")


class FailingJournal:
    """A journal whose every group fails."""

    trouble = "the disk is gone"
    warning = False

    def reserve(self) -> None:
        """There is room."""

    def unreserve(self) -> None:
        """Nothing to give back."""

    def append(self, entry: Entry, released: Callable[[bool], None] | None) -> None:
        assert entry.user == FAREBOX, "no caller's call is made"
        if released is not None:
            asyncio.get_running_loop().call_soon(released, False)


def test_a_look_up_that_cannot_be_recorded_tells_nothing_and_is_charged_nowhere(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    gateway.start()
    gateway.worker.plane.journal = FailingJournal()
    answer = ask(gateway)
    assert (answer.status, answer.json()["code"]) == (503, "IDENTITY_UNAVAILABLE")
    assert "could not be recorded" in answer.json()["detail"]
    assert len(upstream.requests) == 1
    account = Account("acme", "api", "api")
    assert gateway.on_loop(lambda: gateway.worker.book.left(account)) == 100 * CREDIT
    assert gateway.held() == 0


def test_for_an_org_nobody_added_nobody_is_looked_up(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    asked = Lookup(org="stranger")
    gateway = make_gateway(compiled=generic_in_crm(), identity="lookup", lookup=asked, start=False)
    gateway.start()
    answer = ask(gateway)
    assert (answer.status, answer.json()["code"]) == (403, "ORG_UNKNOWN")
    assert not upstream.requests


def test_a_suspended_org_has_nobody_looked_up(gateway: Gateway, upstream: StubUpstream) -> None:
    gateway.directory.suspend("acme")
    gateway.start()
    assert ask(gateway).json()["code"] == "ORG_SUSPENDED"
    assert not upstream.requests


def test_a_look_up_under_way_when_the_gateway_stops_is_charged_because_it_was_sent(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    upstream.answer(USERS, Behaviour(never_answer=True))
    asked, card = Lookup(org="acme"), generic_in_crm()
    gateway = make_gateway(compiled=card, identity="lookup", lookup=asked, start=False, stop_grace_seconds=0.1)
    gateway.org()
    gateway.start()
    gateway.caller().say(f"GET {LEADS} HTTP/1.1\r\nHost: g\r\nAuthorization: Zoho-oauthtoken t\r\n\r\n")
    upstream.wait_for(1)
    gateway.stop()
    (own,) = gateway.entries()
    assert (own.user, own.credits, own.outcome) == (FAREBOX, CREDIT, CUT_OFF)


def test_an_unanswered_look_up_says_so_in_the_journal(gateway: Gateway, upstream: StubUpstream) -> None:
    upstream.answer(USERS, Behaviour(raw=b""))
    gateway.start()
    ask(gateway)
    assert entries(gateway, 1)[0].outcome == UNANSWERED


def test_one_token_is_looked_up_once_for_all_hosts_of_the_api(tmp_path: Path, upstream: StubUpstream) -> None:
    upstream.answer(USERS, users({"id": "7001"}))
    with StubUpstream() as content:
        asked = Lookup(org="acme")
        api = Upstream(name="api", url=HttpUrl(upstream.url), card="zoho-crm", identity="lookup", lookup=asked)
        files = replace(
            api, name="files", url=HttpUrl(content.url), paths=("/crm/v8/upload",),
            lookup=replace(asked, url=HttpUrl(upstream.url)),
        )  # fmt: skip
        settings = replace(GatewayConfig(), listen=Address("127.0.0.1:0"), durability="os", stop_grace_seconds=3.0)
        gateway = Gateway(tmp_path, (api, files), settings, None)
        try:
            gateway.org()
            gateway.start()
            assert ask(gateway).status == 200
            assert ask(gateway, path="/crm/v8/upload").status == 200
            assert len(looked_up(upstream)) == 1
            assert [request.target for request in content.requests] == ["/crm/v8/upload"]
        finally:
            gateway.stop()


def test_no_user_or_app_can_be_given_the_name_of_farebox_itself(gateway: Gateway) -> None:
    with pytest.raises(UnknownNameError, match="own calls"):
        gateway.directory.add_user("acme", FAREBOX, name="x")
    with pytest.raises(UnknownNameError, match="own calls"):
        gateway.directory.add_app("acme", FAREBOX, name="x")
