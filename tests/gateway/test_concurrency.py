"""Calls in flight are held to the plan's concurrency per org and app, heavy ones to the smaller limit."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from farebox import cards
from farebox.domain.cards import CompiledCard
from farebox.gateway.concurrency import Concurrency, Limits, concurrency_for, limits_of
from farebox.gateway.counter_page import (
    CELLS_PER_SEAT,
    HEAVY_UNIT,
    SEAT_WORDS,
    CounterPage,
    Counters,
    shared_memory,
)
from farebox.gateway.refuse import Refusal
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Answer, Caller, Gateway, GatewayMaker, until

CARD = """
format = 1
name = "narrow"
product = "api"
title = "Three calls in flight, one of them heavy"
[pools]
api = "API credits"
[dialect]
refusals = "problem"
[default_operation]
name = "call"
price = 1
source = "these tests"
[[plans]]
name = "standard"
title = "Standard"
source = "these tests"
concurrency = 3
sub_concurrency = 1
api = { base = 1_000 }
[[operations]]
name = "query"
method = "GET"
path = "/heavy"
price = 1
heavy = true
source = "these tests"
[[operations]]
name = "insert"
method = "POST"
path = "/things"
price = { per_items = "data", each = 10, max = 100 }
heavy_above = 10
source = "these tests"
[[operations]]
name = "composite"
method = "GET"
path = "/composite"
price = 1
concurrency = 2
source = "these tests"
[[operations]]
name = "giant"
method = "GET"
path = "/giant"
price = 1
concurrency = 9
source = "these tests"
"""
ANSWERING = threading.Event()
"""Set when the upstream of a test may answer."""

NARROW = CompiledCard(cards.parse(CARD, file="narrow.toml"))


@pytest.fixture
def gateway(make_gateway: GatewayMaker, upstream: StubUpstream) -> Gateway:
    for path in ("/held", "/heavy", "/composite", "/giant", "/things"):
        upstream.answer(path, Behaviour(never_answer=True))
    return make_gateway(compiled=NARROW, identity="key", stop_grace_seconds=0.1)


def in_flight(gateway: Gateway) -> tuple[int, int]:
    return gateway.on_loop(gateway.worker.counters.in_flight)  # type: ignore[no-any-return]


class Callers:
    """Callers of one key, each with a connection of its own."""

    def __init__(self, gateway: Gateway, *, app: str = "") -> None:
        if app and gateway.directory.image().app("acme", app) is None:
            gateway.directory.add_app("acme", app, name=app.title())
        self.gateway = gateway
        self.fields = {"X-Api-Key": gateway.directory.add_key("acme", app=app).key}
        until(lambda: gateway.caller().ask("GET", "/known", fields=self.fields).status == 200)

    def ask(self, target: str = "/", *, method: str = "GET", body: bytes = b"") -> Answer:
        return self.gateway.caller().ask(method, target, body=body, fields=self.fields)

    def begin(self, target: str = "/held", *, method: str = "GET", body: bytes = b"") -> Caller:
        """A call that the upstream has and does not answer."""
        caller, before = self.gateway.caller(), in_flight(self.gateway)
        head = f"{method} {target} HTTP/1.1\r\nHost: gateway\r\nX-Api-Key: {self.fields['X-Api-Key']}\r\n"
        caller.say(head, f"Content-Length: {len(body)}\r\n" if body else "", "\r\n", body)
        until(lambda: in_flight(self.gateway) > before)
        return caller


def reset(caller: Caller) -> None:
    """Go away at once: a mere close is a caller that still wants its answer."""
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()


def test_one_call_more_than_the_plan_allows_is_refused_by_name_and_costs_nothing(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    callers = Callers(gateway)
    held = [callers.begin() for _ in range(3)]
    refused = callers.ask("/one-more")
    said = refused.json()
    assert (refused.status, said["code"], refused.fields["retry-after"]) == (429, "CONCURRENCY_EXCEEDED", "1")
    assert (said["concurrency"], said["in_flight"], said["needed"]) == (3, 3, 1)
    assert "Standard allows 3 calls in flight" in said["detail"]
    assert refused.fields["x-farebox-credits-charged"] == "0"
    assert "/one-more" not in [request.target for request in upstream.requests]
    reset(held[0])
    until(lambda: in_flight(gateway) == (2, 0))
    assert callers.ask("/one-more").status == 200
    gateway.stop()
    entry = next(entry for entry in gateway.entries() if entry.reason == "concurrency_exceeded")
    assert (entry.credits, entry.refusals, entry.calls) == (0, 1, 0)


def test_heavy_calls_have_a_smaller_limit_of_their_own_and_lighter_ones_go_on(gateway: Gateway) -> None:
    callers = Callers(gateway)
    callers.begin("/heavy")
    refused = callers.ask("/heavy")
    assert (refused.status, refused.json()["code"]) == (429, "SUB_CONCURRENCY_EXCEEDED")
    assert (refused.json()["sub_concurrency"], refused.json()["in_flight"]) == (1, 1)
    many = b'{"data": [%b]}' % b",".join([b"{}"] * 11)
    assert callers.ask("/things", method="POST", body=many).json()["code"] == "SUB_CONCURRENCY_EXCEEDED"
    callers.begin("/things", method="POST", body=b'{"data": [{}]}')
    assert callers.ask("/light").status == 200
    assert in_flight(gateway) == (2, 1)


def test_a_composite_call_counts_as_many_as_its_row_says_and_one_larger_than_the_plan_runs_alone(
    gateway: Gateway,
) -> None:
    callers = Callers(gateway)
    first = callers.begin("/composite")
    assert in_flight(gateway) == (2, 0)
    refused = callers.ask("/composite").json()
    assert (refused["code"], refused["in_flight"], refused["needed"]) == ("CONCURRENCY_EXCEEDED", 2, 2)
    assert callers.ask("/light").status == 200
    assert callers.ask("/giant").json()["needed"] == 3
    reset(first)
    until(lambda: in_flight(gateway) == (0, 0))
    callers.begin("/giant")
    assert in_flight(gateway) == (3, 0)


def test_apps_of_an_org_are_counted_apart_and_keys_of_one_app_together(gateway: Gateway) -> None:
    one, same, other = Callers(gateway, app="mobile"), Callers(gateway, app="mobile"), Callers(gateway, app="web")
    for _ in range(3):
        one.begin()
    assert same.ask().status == 429
    assert other.ask().status == 200


def test_a_plan_without_limits_holds_nothing_back(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    upstream.answer("/held", Behaviour(delay_seconds=0.2))
    gateway = make_gateway()
    callers = [gateway.caller().say("GET /held HTTP/1.1\r\nHost: g\r\n\r\n") for _ in range(40)]
    assert {caller.hear().status for caller in callers} == {200}


def test_zoho_cards_refuse_as_zoho_does(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    upstream.answer("/crm/v8/coql", Behaviour(never_answer=True))
    gateway = make_gateway(card="zoho-crm", stop_grace_seconds=0.1)
    held = [gateway.caller() for _ in range(10)]  # Standard: 10 per org and app, all of which may be heavy
    body = b'{"select_query": "select id from Leads limit 1"}'
    query = f"POST /crm/v8/coql HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n"
    for caller in held:
        caller.say(query, body)
    until(lambda: in_flight(gateway) == (10, 10))
    said = gateway.caller().ask("GET", "/crm/v8/Leads").json()
    assert (said["code"], said["status"]) == ("TOO_MANY_REQUESTS", "error")
    assert (said["details"]["farebox_code"], said["details"]["concurrency"]) == ("CONCURRENCY_EXCEEDED", 10)
    assert "Standard allows 10 calls in flight" in said["message"]
    assert "limit" not in said["details"], "the official SDK drops the whole answer then"


@pytest.mark.parametrize(
    ("behaviour", "end"),
    [
        pytest.param(Behaviour(after=ANSWERING), None, id="answered"),
        pytest.param(Behaviour(after=ANSWERING, stream_bytes=300_000), None, id="streamed"),
        pytest.param(
            Behaviour(after=ANSWERING, stream_bytes=300_000, chunked=True, reset_after=100_000), None, id="cut"
        ),
        pytest.param(Behaviour(stream_bytes=30_000_000, reset_after=20_000_000), None, id="aborted"),
        pytest.param(Behaviour(after=ANSWERING, reset_after=0), None, id="failed"),
        pytest.param(Behaviour(never_answer=True), None, id="timed-out"),
        pytest.param(Behaviour(never_answer=True), Caller.close, id="left"),
        pytest.param(Behaviour(never_answer=True), reset, id="reset"),
    ],
)
def test_however_a_call_ends_what_it_took_is_free_again(
    make_gateway: GatewayMaker, upstream: StubUpstream, behaviour: Behaviour, end: Callable[[Caller], None] | None
) -> None:
    ANSWERING.clear()
    upstream.answer("/held", behaviour)
    gateway = make_gateway(compiled=NARROW)
    caller = gateway.caller().say("GET /held HTTP/1.1\r\nHost: g\r\n\r\n")
    if behaviour.reset_after <= 0:
        until(lambda: in_flight(gateway) == (1, 0))
    ANSWERING.set()
    if end is not None:
        end(caller)
    if behaviour.never_answer and end is not reset:  # who has merely closed could still want its answer
        until(lambda: gateway.waiting("upstream_answer") == 1)
        gateway.age("upstream_answer", gateway.config.gateway.answer_seconds)
    if end is None:
        caller.hear()
    until(lambda: in_flight(gateway) == (0, 0))
    assert gateway.caller().ask().status == 200


def test_a_call_refused_for_want_of_credits_or_of_an_upstream_leaves_nothing_in_flight(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(compiled=NARROW, credits=1)
    caller = gateway.caller()
    assert [caller.ask().status for _ in range(5)] == [200, 429, 429, 429, 429]
    assert in_flight(gateway) == (0, 0)


# -- the page -------------------------------------------------------------------------------------------------------


@contextmanager
def workers(count: int) -> Iterator[list[Counters]]:
    page = CounterPage(seats=count)
    yield [Counters(page, seat=seat) for seat in range(count)]


def of_plan(counters: Counters, *, calls: int, heavy: int = 0, app: str = "app") -> Concurrency:
    at = counters.cell("acme", "api", app)
    assert at is not None
    return Concurrency(counters, at, Limits(plan="Standard", calls=calls, heavy=heavy))


def enter(concurrency: Concurrency, operation: str = "call") -> int | Refusal:
    found = NARROW.operation(operation) or NARROW.card.default_operation
    return concurrency.enter(found, {}, from_function=False)


def test_workers_count_each_others_calls_also_of_pairs_that_one_of_them_saw_first() -> None:
    with workers(3) as (one, two, three):
        for number in range(5):
            of_plan(one, calls=3, app=f"other {number}")
        first, second, third = (of_plan(each, calls=3, heavy=1) for each in (one, two, three))
        assert enter(first, "query") == 1 + HEAVY_UNIT
        assert enter(second) == 1
        refused = enter(third, "query")
        assert isinstance(refused, Refusal)
        assert (refused.code, refused.details["in_flight"]) == ("SUB_CONCURRENCY_EXCEEDED", 1)
        assert enter(third) == 1
        assert isinstance(enter(first), Refusal)
        third.leave(1)
        assert enter(first) == 1
        assert three.in_flight() == (3, 1)


def test_a_seat_that_was_cleared_counts_nothing_and_its_next_worker_counts_anew() -> None:
    page = CounterPage(seats=2)
    living, dead = Counters(page, seat=0), Counters(page, seat=1)
    mine, theirs = of_plan(living, calls=2), of_plan(dead, calls=2)
    assert enter(theirs) == enter(theirs) == 1
    assert isinstance(enter(mine), Refusal)
    page.clear(1)
    assert enter(mine) == 1
    successor = Counters(page, seat=1)
    of_plan(successor, calls=2, app="came first this time")
    assert enter(of_plan(successor, calls=2)) == 1
    assert isinstance(enter(mine), Refusal)
    assert page.in_flight() == (2, 0)


def test_more_pairs_than_a_seat_has_cells_are_not_limited_and_harm_nobody() -> None:
    page = CounterPage(seats=1)
    counters = Counters(page, seat=0)
    mine = of_plan(counters, calls=1)
    page.words[0] = (page.words[0] & ~0xFFFFFFFF) | CELLS_PER_SEAT
    assert counters.cell("acme", "api", "one too many") is None
    assert enter(mine) == 1
    assert isinstance(enter(mine), Refusal)
    assert len(page.words) == SEAT_WORDS


def test_a_plan_that_cannot_be_found_limits_nothing_and_stops_nobody(gateway: Gateway) -> None:
    image = gateway.directory.image()

    def no_card(name: str) -> Any:
        return cards.load(name + "-that-is-not-there")

    assert limits_of(no_card)(image, "acme", "api") is None
    limits = limits_of(lambda _: NARROW.card)
    assert limits(image, "nobody", "api") is None
    of = concurrency_for(Counters(CounterPage(), seat=0), limits, "api")
    assert of(image, "acme", "") is not None


@pytest.mark.parametrize("limit", [1, 2])
def test_processes_that_race_for_the_last_unit_never_hold_more_than_there_are(limit: int) -> None:
    """Each holder marks a second page while it holds; whoever holds looks whether more than the limit are marked."""
    counts, marks = shared_memory(3), shared_memory(3)
    program = (
        "import sys\n"
        "from farebox.gateway.counter_page import CounterPage, Counters, SEAT_WORDS\n"
        "counts, marks, seat, limit = (int(each) for each in sys.argv[1:])\n"
        "page = CounterPage(marks, seats=3).words\n"
        "counters = Counters(CounterPage(counts, seats=3), seat=seat)\n"
        "at = counters.cell('acme', 'api', 'app')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "taken = most = 0\n"
        "for _ in range(100_000):\n"
        "    if counters.add(at, 1) <= limit:\n"
        "        page[seat * SEAT_WORDS] = 1\n"
        "        taken += 1\n"
        "        most = max(most, page[0] + page[SEAT_WORDS] + page[2 * SEAT_WORDS])\n"
        "        page[seat * SEAT_WORDS] = 0\n"
        "    counters.take_back(at, 1)\n"
        "print(taken, most, flush=True)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(counts), str(marks), str(seat), str(limit)],
            pass_fds=[counts, marks],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seat in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    found = [tuple(int(each) for each in racer.communicate(timeout=60)[0].split()) for racer in racers]
    assert all(racer.returncode == 0 for racer in racers)
    assert max(most for _, most in found) <= limit, found
    assert sum(taken for taken, _ in found) > 1_000, f"nobody got anything: {found}"
    assert CounterPage(counts, seats=3).in_flight() == (0, 0)
