"""What a caller names is bounded where it arises, so that every call can be recorded."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from farebox.config import HttpUrl, Introspection
from farebox.gateway.meter import Call, unnamed
from farebox.gateway.proxies import TrustedProxies
from farebox.journal.records import CHARGE, Entry, encode
from farebox.journal.writer import ENTRY_BYTES_MAX
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import GatewayMaker, until

CREDIT = 1_000
COQL = json.dumps({"select_query": f"select x from {'A' * 5000} limit 5"}).encode()


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/crm/v8/coql", COQL),
        ("GET", f"/crm/v{'8' * 5000}/Leads", b""),
        ("GET", f"/crm/v8.{'8' * 5000}/Leads", b""),
        ("GET", f"/crm/v8/{'L' * 5000}", b""),
        ("GET", f"/crm/v8/settings/fields?module={'%E2%82%AC' * 1500}", b""),
    ],
)
def test_a_call_with_an_endless_name_is_answered_charged_and_recorded(
    make_gateway: GatewayMaker, upstream: StubUpstream, method: str, target: str, body: bytes
) -> None:
    gateway = make_gateway(card="zoho-crm")
    answer = gateway.caller().ask(method, target, body=body)
    assert answer.status == 200
    assert len(upstream.requests) == 1
    entry = gateway.entry()
    assert entry.credits >= CREDIT
    assert (entry.module, len(entry.api_version) <= 8) == ("", True)
    assert gateway.held() == 0


def test_a_caller_that_leaves_a_call_with_an_endless_name_frees_its_connection(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm", client_connections_max=2)
    upstream.default = Behaviour(never_answer=True)
    for number in range(3):
        caller = gateway.caller().say(f"GET /crm/v{'8' * 5000}/Leads HTTP/1.1\r\nHost: g\r\n\r\n")
        upstream.wait_for(number + 1)
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        caller.close()
        until(lambda: not gateway.on_loop(lambda: len(gateway.worker.plane.clients)))
    assert gateway.entry(count=3).credits >= CREDIT
    assert gateway.held() == 0


def test_a_refusal_of_a_call_with_an_endless_name_is_counted(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(card="zoho-crm", credits=1)
    caller = gateway.caller()
    assert caller.ask("GET", "/crm/v8/Leads").status == 200
    assert caller.ask("POST", "/crm/v8/coql", body=COQL).status == 429
    until(lambda: sum(entry.refusals for entry in gateway.entries()) == 1)


def test_an_entry_without_names_always_fits() -> None:
    longest = "\U0001f600" * 5000
    largest = 2**63 - 1
    hostile = Entry(
        CHARGE,
        b"x" * 16,
        largest,
        "\U0001f600" * 100,
        "p" * 100,
        "q" * 100,
        longest,
        longest,
        longest,
        longest,
        longest,
        "o" * 100,
        "M" * 100,
        longest,
        longest,
        b"h" * 8,
        longest,
        599,
        "unanswered",
        "r" * 100,
        largest,
        largest,
        largest,
        {f"{number}" * 100: largest for number in range(3)},
        largest,
        3,
        largest,
        largest,
        largest,
        1,
        largest,
        True,
    )
    assert len(encode(hostile)) > ENTRY_BYTES_MAX
    assert len(encode(unnamed(hostile))) < ENTRY_BYTES_MAX // 2


@pytest.mark.sources
def test_an_entry_that_is_too_long_is_recorded_without_its_names(
    make_gateway: GatewayMaker, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = make_gateway()
    monkeypatch.setattr("farebox.gateway.meter.function_and_task", lambda _: ("f" * 5000, "t"))
    caller = gateway.caller()
    assert caller.ask(fields={"X-Farebox-Function": "f"}).status == 200
    entry = gateway.entry()
    assert (entry.credits, entry.function, entry.task, entry.operation) == (CREDIT, "", "", "call")
    upstream.answer("/large", Behaviour(body=b"x" * 3_000_000))
    assert len(caller.ask("GET", "/large", fields={"X-Farebox-Function": "f"}).body) == 3_000_000
    assert gateway.entry(2, count=3).function == ""
    assert gateway.held() == 0


def test_a_module_is_recorded_without_control_characters(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(card="zoho-crm")
    gateway.caller().ask("GET", "/crm/v8/settings/fields?module=%1b[2J%00Le%7fads%0A")
    assert gateway.entry().module == "[2JLeads"


@pytest.mark.parametrize(
    ("peer", "hops", "client"),
    [
        ("::ffff:10.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", b"1.2.3.4, ::ffff:10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", b"fe80::1%" + b"z" * 5000, "fe80::1"),
        ("10.0.0.1", b"1.2.3.4" + b"0" * 5000, "10.0.0.1"),
        ("::ffff:11.0.0.1", b"1.2.3.4", "::ffff:11.0.0.1"),
    ],
)
def test_trusted_proxies_are_known_on_dual_stack_sockets_and_name_plain_addresses(
    peer: str, hops: bytes, client: str
) -> None:
    assert TrustedProxies(("10.0.0.0/8",)).client_ip(peer, hops) == client


def test_a_token_with_endless_claims_is_a_caller_like_any_other(make_gateway: GatewayMaker) -> None:
    with StubUpstream() as server:
        claims = {"active": True, "org": "acme", "user": "\U0001f600" * 5000, "client_id": "\x1b" + "a" * 5000}
        server.answer("/introspect", Behaviour(body=json.dumps(claims).encode()))
        gateway = make_gateway(
            card="zoho-crm",
            identity="introspection",
            introspection=Introspection(url=HttpUrl(f"{server.url}/introspect"), client_id="i", client_secret="s"),
        )
        names = {"X-Farebox-Function": "f" * 5000, "X-Farebox-Task": "t" * 5000}
        fields = {"Authorization": "Bearer t", **names}
        assert gateway.caller().ask("GET", f"/crm/v8/{'M' * 100}", fields=fields).status == 200
        entry = gateway.entry()
        assert max(map(len, (entry.user, entry.app, entry.function, entry.task, entry.module))) == 100


def test_a_call_that_fails_while_its_caller_leaves_keeps_no_connection(
    make_gateway: GatewayMaker, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Call) -> None:
        raise RuntimeError("a bug")

    gateway = make_gateway()
    upstream.default = Behaviour(never_answer=True)
    caller = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    until(lambda: upstream.requests)
    with monkeypatch.context() as patched:
        patched.setattr(Call, "_give_up_waiting", broken)
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()
        until(lambda: not gateway.on_loop(lambda: len(gateway.worker.plane.clients)))
