"""What is charged: nothing before the upstream was reached; after it everything, whatever follows."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from farebox import cards
from farebox.domain.cards import CompiledCard
from farebox.journal.records import CHARGE, CHARGED, CLOSE, CUT_OFF, REFUSALS, REFUSED, UNANSWERED
from farebox.testing.system import free_port
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Gateway, GatewayMaker, until

CREDIT = 1_000


def reset(caller_socket: socket.socket) -> None:
    """Go away as a killed process does."""
    caller_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller_socket.close()


def used(gateway: Gateway) -> int:
    """Total - left, once nothing is held any more."""
    until(lambda: gateway.held() == 0)
    return sum(entry.credits for entry in gateway.entries())


def test_an_entry_says_everything_about_its_call(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(card="zoho-crm")
    upstream.answer("/crm/v8/Leads", Behaviour(body=b'{"data":[{},{},{}]}', fields=(("ETag", '"1"'),)))
    gateway.caller().ask(
        "GET",
        "/crm/v8/Leads?cvid=1",
        fields={"X-Farebox-Function": "  sync\xe2\x80\xa8 leads ", "baggage": "farebox.task=nightly%20run;x=1,other=2"},
    )
    entry = gateway.entry()
    assert (entry.kind, entry.outcome, entry.status, entry.reason) == (CHARGE, CHARGED, 200, "")
    assert (entry.org, entry.product, entry.pool) == ("acme", "crm", "api")
    assert (entry.module, entry.method, entry.api_version) == ("Leads", "GET", "v8")
    assert entry.path_template == "/crm/{version}/{module}"
    assert (entry.function, entry.task) == ("sync leads", "nightly run")
    assert (entry.quote, entry.credits, entry.calls, entry.records_returned) == (3 * CREDIT, 3 * CREDIT, 1, 3)
    assert (entry.client_ip, entry.conditional, entry.leased) == ("127.0.0.1", 1, True)
    assert (entry.bytes_in, entry.bytes_out) == (0, len(b'{"data":[{},{},{}]}'))
    assert len(entry.call_id) == 16
    assert len(entry.target_hash) == 8
    assert entry.duration > 0


def test_bodies_are_counted_and_forwarded_unchanged(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(card="zoho-crm")
    body = b'{"data":[' + b",".join([b'{"Last_Name":"x"}'] * 20) + b"]}"
    answer = gateway.caller().ask("POST", "/crm/v8/Leads", body=body)
    assert answer.fields["x-farebox-credits-charged"] == "2"
    assert upstream.requests[0].body == body
    assert gateway.entry().quantities == {"records": 20}


def test_a_chunked_body_in_many_pieces_is_counted(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(card="zoho-crm")
    body = b'{"data":[' + b",".join([b"{}"] * 100) + b"]}"
    caller = gateway.caller().say("POST /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in range(0, len(body), 50):
        part = body[start : start + 50]
        caller.say(b"%x\r\n%b\r\n" % (len(part), part))
    answer = caller.say("0\r\n\r\n").hear()
    assert answer.fields["x-farebox-credits-charged"] == "10"
    assert upstream.requests[0].body == body
    assert upstream.requests[0].fields["content-length"] == str(len(body))


def test_an_encoded_body_costs_the_ceiling_and_is_forwarded_unread(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm")
    answer = gateway.caller().ask("POST", "/crm/v8/Leads", body=b"\x1f\x8bzip", fields={"Content-Encoding": "gzip"})
    assert answer.fields["x-farebox-credits-charged"] == "10"
    assert upstream.requests[0].body == b"\x1f\x8bzip"


def test_a_body_above_the_bound_costs_the_ceiling(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(card="zoho-crm", price_body_bytes_max=2_000)
    small = b'{"data":[{"a":"' + b"x" * 1_000 + b'"}]}'
    large = b'{"data":[{"a":"' + b"x" * 4_000 + b'"}]}'
    caller = gateway.caller()
    assert caller.ask("POST", "/crm/v8/Leads", body=small).fields["x-farebox-credits-charged"] == "1"
    assert caller.ask("POST", "/crm/v8/Leads", body=large).fields["x-farebox-credits-charged"] == "10"
    chunked = caller.say(
        "POST /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large),
    ).hear()
    assert chunked.fields["x-farebox-credits-charged"] == "10"
    assert [len(request.body) for request in upstream.requests] == [len(small), len(large), len(large)]


def test_bodies_that_are_read_have_a_bound_together(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(card="zoho-crm", price_bodies_bytes_max=1024 * 1024)
    head = "POST /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nContent-Length: 600000\r\n\r\n"
    first = gateway.caller().say(head, "{")
    until(lambda: gateway.on_loop(lambda: gateway.worker.plane._body_bytes) == 600_000)
    answer = gateway.caller().say(head, "{").hear()
    assert (answer.status, answer.json()["details"]["farebox_code"]) == (503, "GATEWAY_BUSY")
    first.say(b" " * 599_998 + b"}")
    assert first.hear().status == 200
    assert gateway.on_loop(lambda: gateway.worker.plane._body_bytes) == 0
    reset(gateway.caller().say(head, "{").socket)
    until(lambda: gateway.on_loop(lambda: gateway.worker.plane._body_bytes) == 0)


def test_a_body_that_is_waited_for_is_asked_for_with_100(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(card="zoho-crm")
    caller = gateway.caller().say(
        "POST /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 13\r\n\r\n"
    )
    assert caller.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert caller.say('{"data":[{}]}').hear().status == 200
    assert "expect" not in upstream.requests[0].fields


def test_connect_refused_is_free_and_502(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(url=f"http://127.0.0.1:{free_port()}")
    answer = gateway.caller().ask()
    assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_UNREACHABLE")
    assert gateway.held() == 0
    entry = gateway.entry()
    assert (entry.kind, entry.outcome, entry.credits, entry.calls) == (REFUSALS, REFUSED, 0, 0)
    assert (entry.refusals, entry.reason) == (1, "upstream_unreachable")


def test_a_reset_after_sending_is_charged_and_502(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(reset_after=0))
    answer = gateway.caller().ask("POST", body=b"x")
    assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_FAILED")
    entry = gateway.entry()
    assert (entry.credits, entry.outcome, entry.status, entry.reason) == (CREDIT, UNANSWERED, 502, "upstream_failed")
    assert used(gateway) == CREDIT


def test_a_reset_in_the_middle_of_an_answer_is_charged_and_502(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(body=b"x" * 1000, reset_after=300))
    assert gateway.caller().ask().status == 502
    assert gateway.entry().credits == CREDIT


def test_an_answer_that_does_not_come_is_charged_and_504(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(answer_seconds=0.2)
    upstream.answer("/", Behaviour(never_answer=True))
    answer = gateway.caller().ask()
    assert (answer.status, answer.json()["code"]) == (504, "UPSTREAM_TIMEOUT")
    entry = gateway.entry()
    assert (entry.credits, entry.outcome, entry.status) == (CREDIT, UNANSWERED, 504)


def test_a_caller_that_goes_away_is_charged(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(never_answer=True))
    caller = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    upstream.wait_for(1)
    reset(caller.socket)
    entry = gateway.entry()
    assert (entry.credits, entry.outcome, entry.reason, entry.status) == (CREDIT, CUT_OFF, "caller_gone", 0)
    assert used(gateway) == CREDIT


def test_a_caller_that_goes_away_before_the_upstream_is_reached_is_not_charged(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm")
    caller = gateway.caller().say("POST /crm/v8/Leads HTTP/1.1\r\nHost: g\r\nContent-Length: 100\r\n\r\n{")
    reset(caller.socket)
    until(lambda: not gateway.on_loop(lambda: len(gateway.worker.plane.clients)))
    assert gateway.held() == 0
    assert not gateway.entries()
    assert not upstream.requests


@pytest.mark.parametrize("status", [401, 429, 500])
def test_an_upstreams_own_refusal_is_charged_and_passed_on(
    make_gateway: GatewayMaker, upstream: StubUpstream, status: int
) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(status=status, body=b'{"code":"X"}'))
    answer = gateway.caller().ask()
    assert (answer.status, answer.json()) == (status, {"code": "X"})
    entry = gateway.entry()
    assert (entry.credits, entry.status, entry.outcome) == (CREDIT, status, CHARGED)


def test_a_status_the_card_calls_free_costs_nothing(
    make_gateway: GatewayMaker, upstream: StubUpstream, tmp_path: Path
) -> None:
    text = (Path(cards.__file__).parent / "generic.toml").read_text()
    assert "\nfree_statuses = []" in text or "free_statuses" not in text
    text = text.replace("\nfree_statuses = []", "")
    head, mark, rest = text.partition("\n[")
    (tmp_path / "free.toml").write_text(f"{head}\nfree_statuses = [429]{mark}{rest}")
    gateway = make_gateway(compiled=CompiledCard(cards.load(tmp_path / "free.toml")))
    upstream.answer("/", Behaviour(status=429))
    answer = gateway.caller().ask()
    assert (answer.status, answer.fields["x-farebox-credits-charged"]) == (429, "0")
    entry = gateway.entry()
    assert (entry.credits, entry.quote, entry.calls) == (0, CREDIT, 1)


def test_a_composite_costs_2_when_all_of_it_succeeded_and_1_when_it_was_rolled_back(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm")
    path = "/crm/v8/__composite_requests"
    done = b'{"__composite_requests":[{"code":"SUCCESS","details":{"response":{"status_code":200}}}]}'
    failed = b'{"__composite_requests":[{"code":"SUCCESS","details":{"response":{"status_code":400}}}]}'
    upstream.answer(path, Behaviour(body=done), Behaviour(body=failed))
    caller = gateway.caller()
    ask = b'{"rollback_on_fail":true,"__composite_requests":[]}'
    assert caller.ask("POST", path, body=ask).fields["x-farebox-credits-charged"] == "2"
    assert caller.ask("POST", path, body=ask).fields["x-farebox-credits-charged"] == "1"
    until(lambda: [entry.credits for entry in gateway.entries()] == [2 * CREDIT, CREDIT])
    assert gateway.held() == 0


def test_a_large_answer_is_recorded_before_its_first_byte_and_closed_after_its_last(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(stream_bytes=1_000_000))
    caller = gateway.caller()
    answer = caller.ask()
    assert len(answer.body) == 1_000_000
    charge, close = until(lambda: entries if len(entries := gateway.entries()) == 2 else None)
    assert (charge.kind, charge.credits, charge.calls, charge.bytes_out) == (CHARGE, CREDIT, 1, 0)
    assert (close.kind, close.credits, close.calls, close.bytes_out) == (CLOSE, 0, 0, 1_000_000)
    assert close.call_id == charge.call_id
    assert close.stamp == charge.stamp
    assert used(gateway) == CREDIT
    assert caller.ask("GET", "/again").status == 200


def test_a_streamed_answer_whose_price_it_decides_is_charged_at_its_ceiling_and_stands(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm", answer_hold_bytes=100)
    path = "/crm/v8/__composite_requests"
    upstream.answer(path, Behaviour(stream_bytes=200_000))
    answer = gateway.caller().ask("POST", path, body=b'{"rollback_on_fail":true,"__composite_requests":[]}')
    assert answer.fields["x-farebox-credits-charged"] == "2"
    until(lambda: len(gateway.entries()) == 2)
    assert used(gateway) == 2 * CREDIT


def test_a_caller_that_leaves_a_streamed_answer_closes_its_record(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(stream_bytes=50_000_000))
    caller = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    said = 0
    while said < 100_000:
        said += len(caller.socket.recv(65536))
    reset(caller.socket)
    charge, close = until(lambda: entries if len(entries := gateway.entries()) == 2 else None)
    assert (charge.credits, close.kind, close.outcome, close.reason) == (CREDIT, CLOSE, CUT_OFF, "caller_gone")
    assert 0 < close.bytes_out < 50_000_000


def test_an_upstream_that_breaks_off_a_streamed_answer_breaks_it_for_the_caller_too(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    upstream.answer("/", Behaviour(raw=head + b"x" * 500_000))
    said = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n").raw()
    assert len(said.partition(b"\r\n\r\n")[2]) < 1_000_000
    charge, close = until(lambda: entries if len(entries := gateway.entries()) == 2 else None)
    assert (charge.credits, close.outcome, close.reason) == (CREDIT, CUT_OFF, "upstream_failed")


def test_an_answer_that_trickles_is_not_held_back_for_ever(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(answer_hold_seconds=0.1)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    upstream.answer("/", Behaviour(interim=head, never_answer=True))
    caller = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    said = b""
    while b"\r\na\r\n" not in said:
        said += caller.socket.recv(1000)
    assert gateway.entry().credits == CREDIT


def test_events_are_passed_on_as_they_come(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(answer_hold_seconds=3_600)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\n\n\r\n"
    upstream.answer("/", Behaviour(interim=head, never_answer=True))
    caller = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    said = b""
    while b"a\n\n" not in said:
        said += caller.socket.recv(1000)


def test_free_routes_are_identified_and_neither_charged_nor_journalled(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm", identity="key", start=False)
    key = gateway.org(plan="standard")
    gateway.start()
    free = next((o for o in gateway.cards["api"].card.operations if o.kind == "free"), None)
    opened = next(o for o in gateway.cards["api"].card.operations if o.kind == "open")
    path = opened.path.replace("{version}", "v2").replace("{*}", "token")
    caller = gateway.caller()
    assert caller.ask("POST", path, body=b"grant_type=x", fields={"Authorization": "Basic eA=="}).status == 200
    assert upstream.requests[0].fields["authorization"] == "Basic eA=="
    if free is not None:
        target = free.path.replace("{version}", "v8")
        assert caller.ask("GET", target).status == 401
        assert caller.ask("GET", target, fields={"X-Api-Key": key}).status == 200
    assert caller.ask("GET", "/crm/v8/Leads", fields={"X-Api-Key": key}).status == 200
    until(lambda: [e.operation for e in gateway.entries() if e.kind == CHARGE])
    assert len([e for e in gateway.entries() if e.kind == CHARGE]) == 1


def test_the_allowance_is_held_to_the_credit(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(credits=30)
    statuses: list[int] = []

    def hammer() -> None:
        caller = gateway.caller()
        statuses.extend(caller.ask().status for _ in range(20))

    threads = [threading.Thread(target=hammer) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) == 30
    assert statuses.count(429) == 70
    assert len(upstream.requests) == 30
    assert used(gateway) == 30 * CREDIT
    until(lambda: sum(entry.refusals for entry in gateway.entries()) == 70)
    assert all(entry.credits == 0 for entry in gateway.entries() if entry.kind == REFUSALS)


@pytest.mark.slow
def test_a_journal_that_cannot_take_a_call_refuses_it_before_the_upstream(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(journal_segment_bytes=512 * 1024, journal_bytes_max=2 * 1024 * 1024)
    caller = gateway.caller()
    assert caller.ask().status == 200
    # Nobody loads usage here, so segments are never removed and the bound is met.
    for _ in range(30_000):
        answer = caller.ask()
        if answer.status != 200:
            break
    assert (answer.status, answer.json()["code"]) == (503, "JOURNAL_FULL")
    assert len(upstream.requests) == len([e for e in gateway.entries() if e.kind == CHARGE])
    assert gateway.held() == 0


def test_stopping_lets_calls_end_and_commits_them(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(stop_grace_seconds=60.0)
    upstream.answer("/slow", Behaviour(delay_seconds=0.3))
    idle = gateway.caller()
    assert idle.ask().status == 200
    caller = gateway.caller().say("GET /slow HTTP/1.1\r\nHost: g\r\n\r\n")
    upstream.wait_for(2)
    stopping = threading.Thread(target=gateway._loop.call_soon_threadsafe, args=(gateway._stop.set,))
    stopping.start()
    answer = caller.hear()
    assert (answer.status, answer.fields["connection"]) == (200, "close")
    assert idle.is_closed()
    gateway.thread.join(60)
    assert not gateway.thread.is_alive()
    assert len(gateway.entries()) == 2


def test_stopping_cuts_what_does_not_end_and_charges_it(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(stop_grace_seconds=0.2)
    upstream.answer("/", Behaviour(never_answer=True))
    caller = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    upstream.wait_for(1)
    gateway.stop()
    assert [(entry.credits, entry.outcome) for entry in gateway.entries()] == [(CREDIT, CUT_OFF)]
    assert caller.socket.fileno() == -1 or os.fstat(caller.socket.fileno())
