"""Who calls: keys, tokens and places; two that disagree are nobody; a credential of ours never leaves."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from hashlib import sha256
from threading import Event
from typing import Any, ClassVar

import pytest

from farebox import cards
from farebox.config import HttpUrl, Introspection
from farebox.domain.cards import CompiledCard
from farebox.gateway import tokens as tokens_module
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.tokens import ASKING_MAX, INACTIVE, Claims, TokenBook
from farebox.testing.system import in_time, seconds_until
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Caller, Gateway, GatewayMaker, until

LEASE_SECONDS = 2.0


@pytest.fixture
def by_key(make_gateway: GatewayMaker) -> Gateway:
    return make_gateway(identity="key", start=False)


class ByToken:
    """A gateway whose callers are known by introspection at a second stub."""

    def __init__(self, make_gateway: GatewayMaker, server: StubUpstream, **settings: Any) -> None:
        asked = Introspection(url=HttpUrl(f"{server.url}/oauth/introspect"), client_id="farebox", client_secret="s:x")
        self.server = server
        self.asked = asked
        self.gateway = make_gateway(
            card="zoho-crm", identity="introspection", introspection=asked, start=False, **settings
        )
        self.key = self.gateway.org("acme", plan="standard")

    def says(self, **claims: object) -> None:
        self.server.answer("/oauth/introspect", Behaviour(body=json.dumps(claims).encode()))

    def start(self) -> Gateway:
        return self.gateway.start()


@pytest.fixture
def by_token(make_gateway: GatewayMaker) -> object:
    with StubUpstream() as server:
        by = ByToken(make_gateway, server)
        by.says(active=True, org="acme", user="ann", client_id="sync", exp=time.time() + 3600)
        yield by


@pytest.mark.parametrize("field", ["Authorization: Bearer ", "X-Api-Key: ", "X-Farebox-Key: "])
def test_a_key_names_its_org_and_never_reaches_the_upstream(
    by_key: Gateway, upstream: StubUpstream, field: str
) -> None:
    key = by_key.org(plan="standard")
    by_key.start()
    assert by_key.caller().say(f"GET / HTTP/1.1\r\nHost: g\r\n{field}{key}\r\n\r\n").hear().status == 200
    assert key.encode() not in upstream.requests[0].head
    assert by_key.entry().org == "acme"


@pytest.mark.parametrize("credentials", ["{key}:", "{key}:x", "anyone:{key}"])
@pytest.mark.parametrize("form", ["Basic {}", "basic  {}", "BASIC\t{}"])
def test_a_key_within_basic_names_its_org_and_never_reaches_the_upstream(
    by_key: Gateway, upstream: StubUpstream, credentials: str, form: str
) -> None:
    key = by_key.org(plan="standard")
    by_key.start()
    said = base64.b64encode(credentials.format(key=key).encode()).decode()
    for spelled in (said, said.rstrip("="), said.replace("+", "-").replace("/", "_")):
        assert by_key.caller().ask(fields={"Authorization": form.format(spelled)}).status == 200
    for request in upstream.requests:
        assert "authorization" not in request.fields
        assert said.rstrip("=").encode() not in request.head
    assert by_key.entry(2, count=3).org == "acme"


def test_an_unknown_key_within_basic_is_refused(by_key: Gateway, upstream: StubUpstream) -> None:
    said = base64.b64encode(b"fbx_unknown:").decode()
    answer = by_key.start().caller().ask(fields={"Authorization": f"Basic {said}"})
    assert (answer.status, answer.json()["code"]) == (401, "CREDENTIALS_UNKNOWN")
    assert not upstream.requests


def test_the_orgs_own_credential_takes_the_place_of_the_key(by_key: Gateway, upstream: StubUpstream) -> None:
    key = by_key.org(plan="standard")
    by_key.directory.set_upstream_credential("acme", upstream="api", authorization="Bearer upstream-secret")
    by_key.start()
    caller = by_key.caller()
    caller.ask(fields={"Authorization": f"Bearer {key}"})
    caller.ask(fields={"X-Api-Key": key})
    assert [r.fields["authorization"] for r in upstream.requests] == ["Bearer upstream-secret"] * 2
    assert "x-api-key" not in upstream.requests[1].fields


def test_a_key_beside_the_upstreams_own_authorization_leaves_that_alone(
    by_key: Gateway, upstream: StubUpstream
) -> None:
    key = by_key.org(plan="standard")
    by_key.directory.set_upstream_credential("acme", upstream="api", authorization="Bearer upstream-secret")
    by_key.start()
    caller = by_key.caller()
    for _ in range(2):
        caller.ask(fields={"X-Farebox-Key": key, "Authorization": "Bearer theirs", "X-Farebox-Anything": "x"})
    for request in upstream.requests:
        assert request.fields["authorization"] == "Bearer theirs"
        assert not [name for name in request.fields if name.startswith("x-farebox")]


def test_a_key_names_user_and_app(by_key: Gateway) -> None:
    by_key.org(plan="standard")
    by_key.directory.add_user("acme", "ann", name="Ann", email="ann@acme.test")
    by_key.directory.add_app("acme", "sync", name="Sync")
    key = by_key.directory.add_key("acme", user="ann", app="sync").key
    by_key.start().caller().ask(fields={"X-Api-Key": key})
    entry = by_key.entry()
    assert (entry.user, entry.app) == ("ann", "sync")


REFUSALS = {
    "nothing sent": ({}, 401, "CREDENTIALS_MISSING"),
    "an unknown key": ({"X-Api-Key": "fbx_unknown"}, 401, "CREDENTIALS_UNKNOWN"),
    "an unknown bearer key": ({"Authorization": "Bearer fbx_unknown"}, 401, "CREDENTIALS_UNKNOWN"),
    "a key that is not ours": ({"X-Api-Key": "whatever"}, 401, "CREDENTIALS_UNKNOWN"),
    "two keys in one field": ({"X-Api-Key": "KEY,KEY"}, 401, "CREDENTIALS_UNKNOWN"),
    "keys of two orgs": ({"X-Api-Key": "KEY", "X-Farebox-Key": "OTHER"}, 401, "CREDENTIALS_CONTRADICT"),
    "a key of a suspended org": ({"X-Api-Key": "SUSPENDED"}, 403, "ORG_SUSPENDED"),
    "a key without a subscription": ({"X-Api-Key": "POOR"}, 403, "NO_SUBSCRIPTION"),
    "a key of a user who left": ({"X-Api-Key": "LEFT"}, 403, "USER_INACTIVE"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_who_is_not_known_is_told_so_and_nothing_is_forwarded(
    by_key: Gateway, upstream: StubUpstream, case: str
) -> None:
    fields, status, code = REFUSALS[case]
    keys = {
        name: by_key.org(org, plan="standard") for name, org in (("KEY", "acme"), ("OTHER", "b"), ("SUSPENDED", "c"))
    }
    by_key.directory.suspend("c")
    by_key.directory.add_org("poor", name="Poor")
    keys["POOR"] = by_key.directory.add_key("poor").key
    by_key.directory.add_user("acme", "left", name="Left")
    keys["LEFT"] = by_key.directory.add_key("acme", user="left").key
    by_key.directory.set_user_active("acme", "left", active=False)
    by_key.start()
    said = {}
    for name, value in fields.items():
        filled = value
        for word, key in keys.items():
            filled = filled.replace(word, key)
        said[name] = filled
    answer = by_key.caller().ask(fields=said)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.fields["content-type"] == "application/problem+json"
    assert ("www-authenticate" in answer.fields) == (status == 401)
    assert not upstream.requests


def test_a_revoked_key_and_a_suspended_org_are_refused_within_a_lease_time(by_key: Gateway) -> None:
    key = by_key.org(plan="standard")
    by_key.start()
    caller = by_key.caller()

    def is_told(status: int) -> float:
        return seconds_until(lambda: caller.ask(fields={"X-Api-Key": key}).status == status, what=f"status {status}")

    def suspended() -> float:
        by_key.directory.suspend("acme", suspended=False)
        until(lambda: caller.ask(fields={"X-Api-Key": key}).status == 200)
        by_key.directory.suspend("acme")
        return is_told(403)

    def suspended_no_longer() -> float:
        by_key.directory.suspend("acme")
        until(lambda: caller.ask(fields={"X-Api-Key": key}).status == 403)
        by_key.directory.suspend("acme", suspended=False)
        return is_told(200)

    def revoked() -> float:
        nonlocal key
        key = by_key.directory.add_key("acme").key
        until(lambda: caller.ask(fields={"X-Api-Key": key}).status == 200)
        by_key.directory.revoke_key(by_key.directory.keys("acme")[-1].id)
        return is_told(401)

    in_time(suspended, seconds=LEASE_SECONDS)
    in_time(suspended_no_longer, seconds=LEASE_SECONDS)
    in_time(revoked, seconds=LEASE_SECONDS)


def test_a_place_can_have_one_org_fixed(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(identity="fixed")
    other = gateway.org("other", plan="standard")
    caller = gateway.caller()
    caller.ask(fields={"Authorization": "Basic dGhlaXJz", "X-Api-Key": "theirs"})
    assert upstream.requests[0].fields["authorization"] == "Basic dGhlaXJz"
    assert upstream.requests[0].fields["x-api-key"] == "theirs"
    assert gateway.entry().org == "acme"
    until(lambda: caller.ask(fields={"X-Farebox-Key": other}).json()["code"] == "CREDENTIALS_CONTRADICT")


def test_a_fixed_caller_is_one_object_until_the_directory_changes(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(identity="fixed")
    identifier = gateway.worker.plane.routes[0].identifier

    def who(*, authorization: bytes | None = None) -> Any:
        head = RequestHead(b"GET", b"/", version_11=True)
        head.authorization = authorization
        return gateway.on_loop(lambda: identifier.identify(head))

    first = who()
    assert who() is first
    theirs = who(authorization=b"Basic dGhlaXJz")
    assert theirs is who(authorization=b"Basic b3RoZXJz")
    assert (first.replaces or bool(first.authorization), theirs.authorization) == (False, b"")
    gateway.directory.set_upstream_credential("acme", upstream="api", authorization="Bearer ours")
    after = until(lambda: found if (found := who()) is not first else None)
    assert (after.authorization, who(authorization=b"Basic dGhlaXJz").authorization) == (b"Bearer ours", b"")
    gateway.directory.suspend("acme")
    until(lambda: getattr(who(), "code", "") == "ORG_SUSPENDED")


@pytest.mark.parametrize("scheme", ["Zoho-oauthtoken", "Bearer", "bearer"])
def test_a_token_is_introspected_once_and_forwarded(by_token: ByToken, upstream: StubUpstream, scheme: str) -> None:
    caller = by_token.start().caller()
    for _ in range(3):
        answer = caller.ask("GET", "/crm/v8/Leads", fields={"Authorization": f"{scheme} to/k+en="})
        assert answer.status == 200
    assert upstream.requests[0].fields["authorization"] == f"{scheme} to/k+en="
    assert len(by_token.server.requests) == 1
    asked = by_token.server.requests[0]
    assert asked.body == b"token=to%2Fk%2Ben%3D&token_type_hint=access_token"
    assert asked.fields["authorization"] == "Basic ZmFyZWJveDpzJTNBeA=="
    entry = by_token.gateway.entry(count=3)
    assert (entry.org, entry.user, entry.app) == ("acme", "ann", "sync")


def test_a_users_claim_is_mapped_to_the_directorys_user(by_token: ByToken) -> None:
    by_token.gateway.directory.add_user("acme", "u1", name="Ann", email="Ann@acme.test")
    by_token.says(active=True, org="acme", user="ann@ACME.test", client_id=1234)
    by_token.start().caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"})
    entry = by_token.gateway.entry()
    assert (entry.user, entry.app) == ("u1", "1234")


def test_an_inactive_token_is_401_in_the_cards_dialect_and_remembered(
    by_token: ByToken, upstream: StubUpstream
) -> None:
    by_token.says(active=False)
    caller = by_token.start().caller()
    for _ in range(3):
        answer = caller.ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"})
        assert (answer.status, answer.json()["code"]) == (401, "INVALID_TOKEN")
        assert answer.json()["details"]["farebox_code"] == "CREDENTIALS_UNKNOWN"
        assert answer.fields["content-type"] == "application/json"
    assert len(by_token.server.requests) == 1
    assert not upstream.requests


def test_an_expired_token_is_not_believed(by_token: ByToken) -> None:
    by_token.says(active=True, org="acme", exp=time.time() - 1)
    answer = by_token.start().caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"})
    assert answer.status == 401


def test_a_token_is_asked_about_again_when_its_time_is_over(make_gateway: GatewayMaker) -> None:
    with StubUpstream() as server:
        by = ByToken(make_gateway, server, token_cache_seconds=1.0)
        by.says(active=True, org="acme")
        caller = by.start().caller()
        assert caller.ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"}).status == 200
        by.says(active=False)
        until(lambda: caller.ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"}).status == 401)
        assert len(server.requests) == 2


FAILURES = {
    "an error": Behaviour(status=500),
    "no answer": Behaviour(raw=b""),
    "not JSON": Behaviour(body=b"<html>"),
    "JSON of another shape": Behaviour(body=b"[1]"),
    "an endless answer": Behaviour(stream_bytes=10_000_000),
    "no org": Behaviour(body=b'{"active":true}'),
    "unauthorized": Behaviour(status=401, body=b'{"active":true,"org":"acme"}'),
}


@pytest.mark.parametrize("case", FAILURES)
def test_an_identity_source_that_fails_is_503_and_never_a_pass(
    by_token: ByToken, upstream: StubUpstream, case: str
) -> None:
    by_token.server.answer("/oauth/introspect", FAILURES[case])
    caller = by_token.start().caller()
    answer = caller.ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"})
    assert (answer.status, answer.json()["details"]["farebox_code"]) == (503, "IDENTITY_UNAVAILABLE")
    assert not upstream.requests
    by_token.says(active=True, org="acme")
    assert caller.ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"}).status == 200


def test_an_identity_source_that_is_down_is_503(by_token: ByToken, upstream: StubUpstream) -> None:
    by_token.server.close()
    answer = by_token.start().caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"})
    assert answer.status == 503
    assert not upstream.requests


def test_callers_with_one_token_wait_for_one_question_and_at_most_8_are_under_way(
    make_gateway: GatewayMaker, by_token: ByToken
) -> None:
    by_token.server.answer("/oauth/introspect", Behaviour(body=b'{"active":true,"org":"acme"}', delay_seconds=0.1))
    unlimited = CompiledCard(cards.load("generic"))  # as many calls in flight as come
    by_token.gateway = make_gateway(
        compiled=unlimited,
        identity="introspection",
        introspection=by_token.asked,
        quota_wait_seconds=20,
        identity_wait_seconds=60,
        start=False,
    )
    by_token.gateway.directory.subscribe("acme", unlimited.card.product, card="generic", plan="standard")
    gateway = by_token.start()
    callers = [
        gateway.caller().say(f"GET /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer t{n % 20}\r\n\r\n")
        for n in range(60)
    ]
    assert [caller.hear().status for caller in callers] == [200] * 60
    assert len(by_token.server.requests) == 20
    assert by_token.server.connections <= 8


def test_nobody_waits_longer_for_a_token_than_the_gateway_is_told(
    make_gateway: GatewayMaker, by_token: ByToken
) -> None:
    by_token.server.answer("/oauth/introspect", Behaviour(never_answer=True))
    by_token.gateway = make_gateway(
        identity="introspection", introspection=by_token.asked, identity_wait_seconds=0.2, start=False
    )
    gateway = by_token.start()
    callers = [
        gateway.caller().say(f"GET /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer t{n}\r\n\r\n")
        for n in range(24)
    ]
    answers = [caller.hear() for caller in callers]
    assert {answer.status for answer in answers} == {503}
    assert b"longer than 0.2 s" in answers[-1].body
    assert len(by_token.server.requests) <= 8, "those who gave up while they waited are not asked about"


ANSWERED = (200, 429)
"""The caller is known; so many calls of one org may be too many at once."""
STRANGERS = 150
"""Made-up tokens of one address: more than the 8 questions under way by far."""


def made_up(gateway: Gateway, *, source: str) -> list[Caller]:
    """One address asks with many tokens nobody ever vouched for, and waits."""
    callers = [Caller(gateway.address, source=source) for _ in range(STRANGERS)]
    for number, caller in enumerate(callers):
        caller.say(f"GET /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer made-up-{number}\r\n\r\n")
    return callers


def asked_before(server: StubUpstream, token: str) -> int:
    """How many questions the authorization server got before that about a token."""
    return next(n for n, request in enumerate(server.requests) if f"token={token}&".encode() in request.body + b"&")


def waiting(gateway: Gateway) -> int:
    tokens = gateway.worker.plane.routes[0].identifier.tokens
    assert tokens is not None
    return len(tokens._waiting)


def test_an_address_with_made_up_tokens_holds_up_no_other_one(by_token: ByToken) -> None:
    go_on = Event()
    by_token.server.answer("/oauth/introspect", Behaviour(body=b'{"active":true,"org":"acme"}', after=go_on))
    gateway = by_token.start()
    strangers = made_up(gateway, source="127.0.0.2")
    until(lambda: waiting(gateway) == STRANGERS - ASKING_MAX and len(by_token.server.requests) == ASKING_MAX)
    honest = gateway.caller().say("GET /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer honest\r\n\r\n")
    until(lambda: waiting(gateway) == STRANGERS - ASKING_MAX + 1)
    began = len(by_token.server.requests)
    go_on.set()
    assert honest.hear().status in ANSWERED
    assert asked_before(by_token.server, "honest") <= began + ASKING_MAX + 2, "behind those under way, and one turn"
    for caller in strangers:
        caller.close()


def test_a_token_that_was_vouched_for_is_asked_about_again_before_unknown_ones(make_gateway: GatewayMaker) -> None:
    with StubUpstream() as server:
        by = ByToken(make_gateway, server, token_cache_seconds=1.0)
        server.answer("/oauth/introspect", Behaviour(body=b'{"active":true,"org":"acme"}', delay_seconds=0.1))
        gateway = by.start()
        ask = "GET /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer vouched\r\n\r\n"
        assert gateway.caller().say(ask).hear().status == 200
        tokens = gateway.worker.plane.routes[0].identifier.tokens
        assert tokens is not None
        digest = sha256(b"vouched").digest()
        until(lambda: gateway.on_loop(lambda: tokens.believed_until(digest) < tokens.now()))
        server.requests.clear()
        go_on = Event()
        server.answer("/oauth/introspect", Behaviour(body=b'{"active":true,"org":"acme"}', after=go_on))
        strangers = made_up(gateway, source="127.0.0.1")
        until(lambda: waiting(gateway) == STRANGERS - ASKING_MAX and len(server.requests) == ASKING_MAX)
        vouched = gateway.caller().say(ask)
        until(lambda: len(tokens._again) == 1)
        began = len(server.requests)
        go_on.set()
        assert vouched.hear().status in ANSWERED
        assert asked_before(server, "vouched") <= began + ASKING_MAX + 2, "from the very address that floods"
        for caller in strangers:
            caller.close()


@pytest.mark.sources
def test_the_queue_of_tokens_is_bounded_and_whoever_has_most_waiting_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "WAITING_MAX", 4)

    class Silent:
        pool = None
        asked: ClassVar[list[bytes]] = []

        def ask(self, token: bytes, _tell: Any) -> None:
            self.asked.append(token)

    async def run() -> None:
        book = TokenBook(Silent(), entries_max=16, wait_seconds=60, loop=asyncio.get_running_loop())  # type: ignore[arg-type]

        def ask(token: bytes, address: str) -> asyncio.Future[Any]:
            return book.ask(token, sha256(token).digest(), address=address)

        flood = [ask(b"%d" % n, "stranger") for n in range(ASKING_MAX + 6)]
        assert [future.done() for future in flood] == [False] * (ASKING_MAX + 4) + [True] * 2
        honest = ask(b"honest", "elsewhere")
        assert not honest.done()
        assert flood[ASKING_MAX + 3].done(), "the stranger's newest made room"
        assert flood[ASKING_MAX + 3].result().code == "IDENTITY_UNAVAILABLE"
        book._told(sha256(b"0").digest(), INACTIVE, 10.0)
        book._told(sha256(b"1").digest(), INACTIVE, 10.0)
        assert b"honest" in Silent.asked
        for number in range(100):
            book._asked[bytes([number])] = []
            book._told(bytes([number]), Claims("acme", "", "") if number < 8 else INACTIVE, 60.0)
        assert all(isinstance(book.known(bytes([number])), Claims) for number in range(8)), "vouched ones stay"
        assert len(book) == 16
        for future in (*flood, honest):
            future.cancel()

    asyncio.run(run())


def test_a_caller_that_leaves_while_its_token_is_asked_about_changes_nothing(
    by_token: ByToken, upstream: StubUpstream
) -> None:
    by_token.server.answer("/oauth/introspect", Behaviour(body=b'{"active":true,"org":"acme"}', delay_seconds=0.1))
    gateway = by_token.start()
    gone = gateway.caller().say("GET /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer t\r\n\r\n")
    by_token.server.wait_for(1)
    gone.close()
    answer = gateway.caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"})
    assert answer.status == 200
    assert gateway.held() == 0


def test_a_key_of_ours_is_never_introspected(by_token: ByToken, upstream: StubUpstream) -> None:
    caller = by_token.start().caller()
    assert caller.ask("GET", "/crm/v8/Leads", fields={"Authorization": f"Bearer {by_token.key}"}).status == 200
    assert caller.ask("GET", "/crm/v8/Leads", fields={"X-Api-Key": by_token.key}).status == 200
    assert not by_token.server.requests
    assert "authorization" not in upstream.requests[0].fields


def test_a_token_and_a_key_must_name_the_same_org(by_token: ByToken) -> None:
    other = by_token.gateway.org("other", plan="standard")
    caller = by_token.start().caller()
    fields = {"Authorization": "Bearer t", "X-Farebox-Key": by_token.key}
    assert caller.ask("GET", "/crm/v8/Leads", fields=fields).status == 200
    answer = caller.ask("GET", "/crm/v8/Leads", fields={**fields, "X-Farebox-Key": other})
    assert (answer.status, answer.json()["details"]["farebox_code"]) == (401, "CREDENTIALS_CONTRADICT")


def test_a_key_of_ours_does_not_leave_by_an_open_route_and_what_is_not_ours_does(
    by_token: ByToken, upstream: StubUpstream
) -> None:
    caller = by_token.start().caller()
    caller.ask("POST", "/oauth/v2/token", body=b"a=b", fields={"Authorization": f"Bearer {by_token.key}"})
    caller.ask("POST", "/oauth/v2/token", body=b"a=b", fields={"Authorization": "Basic x", "X-Api-Key": "theirs"})
    assert "authorization" not in upstream.requests[0].fields
    assert (upstream.requests[1].fields["authorization"], upstream.requests[1].fields["x-api-key"]) == (
        "Basic x",
        "theirs",
    )


WRITTEN = [
    "Authorization: Bearer  {key}",
    "Authorization: Bearer\t{key}",
    "Authorization: bearer \t {key}",
    "Authorization: Zoho-oauthtoken {key}",
    "Authorization: Zoho-oauthtoken  {key}",
    "Authorization: Token {key}",
    'Authorization: Bearer "{key}"',
    "Authorization: Token token={key}",
    "Authorization: {key}",
    "X-Api-Key: theirs, {key}",
    "X-Api-Key: Bearer {key}",
    "X-Api-Key:\t{key}",
]


@pytest.mark.parametrize("field", WRITTEN)
@pytest.mark.parametrize("path", ["/crm/v8/Leads", "/crm/v8/settings/modules", "/oauth/v2/token"])
@pytest.mark.parametrize("identity", ["introspection", "key"])
def test_a_key_of_ours_never_leaves_however_it_is_written(
    by_token: ByToken, make_gateway: GatewayMaker, upstream: StubUpstream, *, field: str, path: str, identity: str
) -> None:
    if identity == "introspection":
        gateway, key = by_token.gateway, by_token.key
    else:
        gateway = make_gateway(card="zoho-crm", identity=identity, start=False)
        key = by_token.key  # the directory is the same
    answer = gateway.start().caller().say(f"GET {path} HTTP/1.1\r\nHost: g\r\n{field.format(key=key)}\r\n\r\n").hear()
    assert answer.status == 200
    assert key.encode() not in upstream.requests[0].head
    assert not by_token.server.requests


@pytest.mark.parametrize("path", ["/crm/v8/Leads", "/oauth/v2/token"])
def test_an_api_key_given_twice_is_refused(by_token: ByToken, upstream: StubUpstream, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: g\r\nX-Api-Key: theirs\r\nX-Api-Key: {by_token.key}\r\n\r\n"
    answer = by_token.start().caller().say(head).hear()
    assert (answer.status, answer.json()["code"]) == (400, "FIELD_REPEATED")
    assert not upstream.requests


def test_a_token_that_happens_to_hold_the_letters_of_a_key_is_a_token(
    by_token: ByToken, upstream: StubUpstream
) -> None:
    said = "Bearer eyJhfbx_a.b-fbx_c.d"
    assert by_token.start().caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": said}).status == 200
    assert upstream.requests[0].fields["authorization"] == said


def test_an_org_nobody_added_is_told_what_to_do(by_token: ByToken) -> None:
    by_token.says(active=True, org="stranger")
    answer = by_token.start().caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"})
    assert (answer.status, answer.json()["code"]) == (403, "NO_PERMISSION")
    assert "farebox org add" in answer.json()["message"]


@pytest.mark.parametrize(
    ("trusted", "sent", "client", "forwarded"),
    [
        ((), "1.2.3.4", "127.0.0.1", "127.0.0.1"),
        (("127.0.0.0/8",), "1.2.3.4", "1.2.3.4", "1.2.3.4, 127.0.0.1"),
        (("127.0.0.0/8",), "6.6.6.6, 1.2.3.4", "1.2.3.4", "6.6.6.6, 1.2.3.4, 127.0.0.1"),
        (("127.0.0.0/8", "10.0.0.0/8"), "1.2.3.4, 10.1.1.1", "1.2.3.4", "1.2.3.4, 10.1.1.1, 127.0.0.1"),
        (("127.0.0.0/8",), "nonsense", "127.0.0.1", "nonsense, 127.0.0.1"),
        (("10.0.0.0/8",), "1.2.3.4", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_forwarding_fields_are_believed_only_from_trusted_proxies(
    make_gateway: GatewayMaker,
    upstream: StubUpstream,
    *,
    trusted: tuple[str, ...],
    sent: str,
    client: str,
    forwarded: str,
) -> None:
    gateway = make_gateway(trusted_proxies=trusted)
    gateway.caller().ask(fields={"X-Forwarded-For": sent, "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6"})
    assert gateway.entry().client_ip == client
    fields = upstream.requests[0].fields
    assert fields["x-forwarded-for"] == forwarded
    assert "x-real-ip" not in fields
    assert ("forwarded" in fields) == (forwarded != "127.0.0.1")


@pytest.mark.parametrize("expires", ["9" * 400, "1e308", "9" * 30])
def test_a_token_that_expires_beyond_all_numbers_is_active(by_token: ByToken, expires: str) -> None:
    said = b'{"active": true, "org": "acme", "exp": %s}' % expires.encode()
    by_token.server.answer("/oauth/introspect", Behaviour(body=said))
    gateway = by_token.start()
    assert gateway.caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer t"}).status == 200
    tokens = gateway.worker.plane.routes[0].identifier._tokens
    assert tokens is not None
    assert tokens._asking == 0


@pytest.mark.parametrize(
    "said",
    [
        b'{"active": true, "exp": -' + b"9" * 400 + b"}",
        b'{"active": true, "org": ' + b"9" * 5000 + b"}",
        b'{"active": true, "org": 1e999}',
        b'{"active": true, "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
)
def test_an_answer_nobody_can_read_ends_the_question(by_token: ByToken, said: bytes) -> None:
    by_token.server.answer("/oauth/introspect", Behaviour(body=said))
    gateway = by_token.start()
    for number in range(10):
        answer = gateway.caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": f"Bearer t{number}"})
        assert answer.status in (401, 403, 503)
    by_token.says(active=True, org="acme")
    assert gateway.caller().ask("GET", "/crm/v8/Leads", fields={"Authorization": "Bearer good"}).status == 200
