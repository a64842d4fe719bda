"""A head that came before is taken as it was: never anything else, never longer than its credential counts."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farebox import cards
from farebox.config import HttpUrl, Introspection, Upstream
from farebox.domain.cards import CompiledCard
from farebox.gateway.http1_answer import answer_head
from farebox.gateway.http1_known import HEADS_WEIGHT_MAX, KEPT_SECONDS, KnownAnswers, KnownHeads
from farebox.gateway.http1_request import RequestHead, request_head
from farebox.gateway.refuse import HeadError
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Caller, Gateway, GatewayMaker, until

ACTIVE_THEN_NOT = ({"active": True, "org": "acme"}, {"active": False})
TARGET_MAX = 16 * 1024
REST = b"HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer t\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n"
TRIES, CACHE_SECONDS = 10, 3.0
KNOWN_AFTER = 3
"""Calls until a head is known and its caller is remembered with it."""
SAME = [name for name in dir(RequestHead) if not name.startswith("_") and name not in ("again", "known")]


class Parsed:
    """A request as the parser and `request_head` read it."""

    def __init__(self, data: bytes) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.head: RequestHead | None = None
        self.body = b""
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the head is read; the field is not followed
        except httptools.HttpParserError:
            self.head = None

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_headers_complete(self) -> None:
        try:
            self.head = request_head(self.parser.get_method(), self.target, self.parser.get_http_version(), self.fields)
        except HeadError:
            self.head = None


def said(head: RequestHead) -> dict[str, Any]:
    return {name: getattr(head, name) for name in SAME}


def knowing(*requests: bytes, now: list[float] | None = None) -> KnownHeads:
    clock = now or [0.0]
    known = KnownHeads(lambda: clock[0])
    for request in requests:
        head = Parsed(request).head
        assert head is not None
        for _ in range(2):
            known.remember(request, head)
    return known


def found(known: KnownHeads, request: bytes) -> RequestHead | None:
    return known.find(request[: request.find(b"\r\n\r\n") + 4], TARGET_MAX)


@given(st.binary(max_size=40), st.sampled_from([b"", b"/", b"/crm/v8/", b"http://gateway/", b"/a?q="]))
def test_whatever_the_target_a_known_head_says_what_parsing_it_says_or_leaves_it_to_the_parser(
    wild: bytes, start: bytes
) -> None:
    known = knowing(b"GET / " + REST)
    request = b"GET " + start + wild + b" " + REST
    head = found(known, request)
    if head is not None:
        parsed = Parsed(request).head
        assert parsed is not None
        assert said(head) == said(parsed)


@pytest.mark.parametrize("target", [b"/crm/v8/Leads/1", b"/crm/v8/%4Ceads?page=2", b"/x?a=/../&b=%2F", b"/a;b=1"])
def test_plain_targets_are_known_without_the_parser(target: bytes) -> None:
    request = b"GET " + target + b" " + REST
    head = found(knowing(b"GET /other " + REST), request)
    parsed = Parsed(request).head
    assert head is not None
    assert parsed is not None
    assert said(head) == said(parsed)


@pytest.mark.parametrize(
    "target",
    [b"", b"*", b"a", b"http://gateway/", b"/a#b", b"/a\tb", b"/a\xff", b"/../a", b"//a", b"/%zz", b"/%2f", b"/a\\b"],
)
def test_a_target_that_is_not_plain_is_left_to_the_parser(target: bytes) -> None:
    assert found(knowing(b"GET / " + REST), b"GET " + target + b" " + REST) is None


def test_another_method_version_or_byte_is_another_head() -> None:
    known = knowing(b"GET / " + REST)
    for request in (
        b"POST / " + REST,
        b"get / " + REST,
        b"GET  / " + REST,
        b"GET / " + REST.replace(b"1.1", b"1.0"),
        b"GET / " + REST.replace(b"Bearer t", b"Bearer u"),
        b"GET / " + REST.replace(b"Host", b"host"),
        b"\r\nGET / " + REST,
        b"GET / x " + REST,
    ):
        assert found(known, request) is None, request


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 5_000 + b"\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_means_more_than_its_bytes_is_not_remembered(request_: bytes) -> None:
    head = Parsed(request_).head or request_head(b"GET", b"/", "1.1", [(b"Host", b"x")])
    known = KnownHeads(lambda: 0.0)
    for _ in range(2):
        known.remember(request_, head)
    assert found(known, request_) is None


def test_a_head_that_does_not_come_again_is_forgotten_and_one_that_does_stays() -> None:
    now = [0.0]
    rest, other = REST, REST.replace(b"Bearer t", b"Bearer u")
    known = knowing(b"GET / " + rest, b"GET / " + other, now=now)
    for _ in range(3):
        now[0] += KEPT_SECONDS
        known.forget_old()
        assert found(known, b"GET / " + rest) is not None
    assert found(known, b"GET / " + other) is None


def test_heads_that_never_come_again_are_not_remembered() -> None:
    known = KnownHeads(lambda: 0.0)
    for number in range(100):
        request = b"GET / HTTP/1.1\r\nHost: x\r\nA: %d\r\n\r\n" % number
        known.remember(request, request_head(b"GET", b"/", "1.1", [(b"Host", b"x"), (b"A", b"%d" % number)]))
        assert found(known, request) is None


def test_however_long_and_many_heads_come_with_whatever_methods_their_memory_is_bounded() -> None:
    known = KnownHeads(lambda: 0.0)
    tracemalloc.start()
    for number in range(4_000):
        method = (b"GET", b"POST", b"PROPFIND", b"LOCK")[number % 4]
        fields = [(b"Host", b"x"), (b"N", b"%d" % number), *((b"Field-%d" % n, b"v" * 15) for n in range(120))]
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        head = request_head(method, b"/", "1.1", fields)
        for _ in range(2):
            known.remember(method + b" / HTTP/1.1\r\n" + lines + b"\r\n", head)
    gc.collect()  # a head and what is known of it know each other
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert known._known
    assert taken <= 2 * HEADS_WEIGHT_MAX


def test_an_answer_is_known_only_with_the_length_it_was_accepted_with() -> None:
    fields = [(b"Content-Length", b"2")]
    answer = answer_head(200, "1.1", fields, to_head=False)
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
    known = KnownAnswers()
    for _ in range(2):
        known.remember(data + b"c", answer)
    assert known.find(data[:-2]) is None
    for _ in range(2):
        known.remember(data, answer)
    assert known.find(data[:-2]) is answer


def test_a_repeated_call_is_forwarded_recorded_and_answered_like_the_first(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm")
    caller = gateway.caller()
    body = json.dumps({"data": [{"Last_Name": "Ward"}] * 20}).encode()
    answers = [caller.ask("POST", "/crm/v8/Leads", body=body) for _ in range(4)]
    answers += [caller.ask("GET", f"/crm/v8/Leads/{number % 3}") for number in range(6)]
    assert {answer.status for answer in answers} == {200}
    posts, gets = upstream.requests[:4], upstream.requests[4:]
    assert {(each.head, each.body) for each in posts} == {(posts[0].head, body)}
    assert [each.target for each in gets] == [f"/crm/v8/Leads/{number % 3}" for number in range(6)]
    assert len({each.head.partition(b"\r\n")[2] for each in gets}) == 1
    until(lambda: len(gateway.entries()) == len(answers))
    entries = gateway.entries()
    assert {(entry.credits, entry.bytes_in, str(entry.quantities)) for entry in entries[:4]} == {
        (2_000, len(body), "{'records': 20}")
    }
    assert len({entry.target_hash for entry in entries[4:]}) == 3


def test_a_token_counts_no_longer_than_it_was_vouched_for_however_often_its_head_comes_again(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    with StubUpstream() as server:
        vouched, gone = (Behaviour(body=json.dumps(said).encode()) for said in ACTIVE_THEN_NOT)
        asked = Introspection(url=HttpUrl(f"{server.url}/oauth/introspect"))
        gateway = make_gateway(
            card="zoho-crm",
            identity="introspection",
            introspection=asked,
            start=False,
            token_cache_seconds=CACHE_SECONDS,
        )
        gateway.org("acme", plan="standard")
        gateway.start()
        caller = gateway.caller()
        for number in range(TRIES):
            server.answer("/oauth/introspect", vouched, gone)
            before, began = len(server.requests), time.monotonic()
            token = {"Authorization": f"Zoho-oauthtoken t{number}"}
            said = [caller.ask(fields=token).status for _ in range(5)]
            if time.monotonic() - began < CACHE_SECONDS:  # else the token's time was over before they were all asked
                break
        assert said == [200] * 5
        assert len(server.requests) - before == 1
        until(lambda: caller.ask(fields=token).status == 401)
        assert len(server.requests) - before == 2
        assert upstream.requests


def revoke(gateway: Gateway) -> None:
    gateway.directory.revoke_key(gateway.directory.keys("acme")[-1].id)


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (revoke, (401, "CREDENTIALS_UNKNOWN")),
        (lambda gateway: gateway.directory.set_user_active("acme", "ann", active=False), (403, "USER_INACTIVE")),
        (lambda gateway: gateway.directory.suspend("acme"), (403, "ORG_SUSPENDED")),
    ],
    ids=["the key revoked", "the user not active", "the org suspended"],
)
def test_the_same_bytes_on_the_same_connection_are_refused_once_the_directory_says_so(
    make_gateway: GatewayMaker, upstream: StubUpstream, change: Callable[[Gateway], None], refused: tuple[int, str]
) -> None:
    gateway = make_gateway(identity="key", start=False)
    gateway.org(plan="standard")
    gateway.directory.add_user("acme", "ann", name="Ann", email="ann@acme.test")
    key = {"X-Api-Key": gateway.directory.add_key("acme", user="ann").key}
    caller = gateway.start().caller()
    assert [caller.ask(fields=key).status for _ in range(KNOWN_AFTER)] == [200] * KNOWN_AFTER
    change(gateway)
    answer = until(lambda: (said := caller.ask(fields=key)).status != 200 and said)
    assert (answer.status, answer.json()["code"]) == refused
    reached = len(upstream.requests)
    assert caller.ask(fields=key).status == answer.status
    assert len(upstream.requests) == reached


def test_a_credential_that_differs_in_one_byte_anywhere_is_another_caller(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(identity="key", start=False)
    key = gateway.org(plan="standard")
    caller = gateway.start().caller()
    for _ in range(KNOWN_AFTER):
        assert caller.ask(fields={"X-Api-Key": key, "X-Trace": "same"}).status == 200
    for place in range(len("fbx_"), len(key)):
        wrong = f"{key[:place]}{'A' if key[place] != 'A' else 'B'}{key[place + 1 :]}"
        assert caller.ask(fields={"X-Api-Key": wrong, "X-Trace": "same"}).status == 401, place
    assert caller.ask(fields={"X-Api-Key": key, "X-Trace": "same"}).status == 200


def test_one_head_at_two_places_is_known_at_each_by_itself(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    """Two upstreams by path, so that all but the target is the same: account and address stay apart."""
    with StubUpstream() as second:
        crm = Upstream(name="crm", url=HttpUrl(second.url), card="zoho-crm", paths=("/crm",), identity="key")
        gateway = make_gateway(identity="key", others=(crm,), start=False)
        key = {"X-Api-Key": gateway.org(plan="standard")}
        gateway.directory.subscribe("acme", "crm", card="zoho-crm", plan="standard", users=1)
        caller = gateway.start().caller()
        for _ in range(KNOWN_AFTER):
            said = [caller.ask("POST", path, body=b"{}", fields=key).status for path in ("/plain", "/crm/v8/coql")]
            assert said == [200, 200]
        places = [(each.target, each.fields["host"]) for each in (*upstream.requests, *second.requests)]
        hosts = [server.url.removeprefix("http://") for server in (upstream, second)]
        assert places == [("/plain", hosts[0])] * KNOWN_AFTER + [("/crm/v8/coql", hosts[1])] * KNOWN_AFTER
        gateway.entry(count=2 * KNOWN_AFTER)
        assert [entry.product for entry in gateway.entries()] == ["api", "crm"] * KNOWN_AFTER


def test_with_another_card_the_same_head_has_another_price(make_gateway: GatewayMaker) -> None:
    """What a reload does: fresh workers with what was prepared, and the same callers again."""
    text = (Path(cards.__file__).parent / "generic.toml").read_text()
    dearer = cards.parse(text.replace("\nprice = 1\n", "\nprice = 7\n"), file="dearer.toml")
    first = make_gateway()
    for _ in range(KNOWN_AFTER):
        assert first.caller().ask().fields["x-farebox-credits-charged"] == "1"
    first.stop()
    again = make_gateway(compiled=CompiledCard(dearer), start=False).start().caller()
    for _ in range(KNOWN_AFTER):
        assert again.ask().fields["x-farebox-credits-charged"] == "7"


def test_one_head_from_two_addresses_goes_upstream_with_each_ones_own(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    """And whole: what of it is the upstream's own credential goes there from both."""
    with StubUpstream() as server:
        server.answer("/oauth/introspect", Behaviour(body=json.dumps(ACTIVE_THEN_NOT[0]).encode()))
        asked = Introspection(url=HttpUrl(f"{server.url}/oauth/introspect"))
        gateway = make_gateway(card="zoho-crm", identity="introspection", introspection=asked, start=False)
        gateway.org("acme", plan="standard")
        gateway.start()
        fields = {"Authorization": "Bearer t", "X-Api-Key": "theirs"}
        callers = [gateway.caller(), Caller(gateway.address, source="127.0.0.2")]
        for caller in callers * KNOWN_AFTER:
            assert caller.ask("GET", "/crm/v8/Leads", fields=fields).status == 200
        callers[1].close()
    said = [(each.fields["x-forwarded-for"], each.fields.get("x-api-key")) for each in upstream.requests]
    assert said == [("127.0.0.1", "theirs"), ("127.0.0.2", "theirs")] * KNOWN_AFTER


def test_a_known_head_whose_body_is_not_whole_yet_waits_for_the_rest(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway()
    caller = gateway.caller()
    head = "POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 6\r\n\r\n"
    for _ in range(KNOWN_AFTER):
        assert caller.say(head + "abcdef").hear().status == 200
    caller.say(head + "ab")
    assert gateway.caller().ask().status == 200  # so that what was said before was read by itself
    assert caller.say("cdef").hear().status == 200
    assert caller.say(head + "abcdef" + head + "ghijkl").hear().status == 200
    assert caller.hear().status == 200
    bodies = [each.body for each in upstream.requests if each.method == "POST"]
    assert bodies == [b"abcdef"] * (KNOWN_AFTER + 2) + [b"ghijkl"]


def test_another_credential_for_the_upstream_goes_with_the_same_head(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(identity="key", start=False)
    key = {"X-Api-Key": gateway.org(plan="standard")}
    gateway.directory.set_upstream_credential("acme", upstream="api", authorization="Bearer old")
    caller = gateway.start().caller()
    for _ in range(KNOWN_AFTER):
        assert caller.ask(fields=key).status == 200
    gateway.directory.set_upstream_credential("acme", upstream="api", authorization="Bearer new")

    def said() -> str:
        assert caller.ask(fields=key).status == 200
        return upstream.requests[-1].fields["authorization"]

    assert upstream.requests[-1].fields["authorization"] == "Bearer old"
    until(lambda: said() == "Bearer new")
