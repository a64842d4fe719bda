"""G2: no byte of a metered answer leaves before its record is committed; where it never is, the answer is withheld."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from farebox.errors import JournalError
from farebox.journal.position import Position
from farebox.journal.records import Entry
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Caller, Gateway, GatewayMaker, until


class SlowJournal:
    """The worker's journal on a disk that commits when the test says so."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.real = gateway.worker.journal
        self.waiting: list[tuple[Entry, Callable[[bool], None] | None]] = []
        self.reserved = 0
        self.committed = 0
        gateway.worker.plane.journal = self

    trouble = None
    warning = False

    def reserve(self) -> None:
        self.reserved += 1

    def unreserve(self) -> None:
        self.reserved -= 1

    def append(self, entry: Entry, released: Callable[[bool], None] | None) -> None:
        self.waiting.append((entry, released))

    def commit(self, *, good: bool) -> None:
        """The oldest entry is on disk, or never will be."""
        entry, released = until(lambda: self.waiting.pop(0) if self.waiting else None)

        def tell() -> None:
            if good:
                self.committed += 1
                self.gateway.worker._committed([entry], Position(1, self.committed))
            if released is not None:
                released(good)

        self.gateway.on_loop(tell)


@pytest.fixture
def gateway(make_gateway: GatewayMaker) -> Any:
    running = make_gateway()
    yield running
    running.on_loop(lambda: setattr(running.worker.plane, "journal", running.worker.journal))


def silent(caller: Caller) -> bool:
    """Nothing was said so far."""
    caller.socket.setblocking(False)
    try:
        caller.socket.recv(1)
    except BlockingIOError:
        return True
    finally:
        caller.socket.settimeout(60)
    return False


def ask(gateway: Gateway) -> Caller:
    return gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")


@pytest.mark.parametrize("size", [10, 500_000])
def test_no_byte_leaves_before_the_record_is_committed(gateway: Gateway, upstream: StubUpstream, size: int) -> None:
    journal = SlowJournal(gateway)
    upstream.default = Behaviour(stream_bytes=size)
    caller = ask(gateway)
    until(lambda: journal.waiting)
    assert silent(caller)
    journal.commit(good=True)
    answer = caller.hear()
    assert (answer.status, len(answer.body)) == (200, size)


@pytest.mark.parametrize("size", [10, 500_000])
def test_an_answer_whose_record_is_lost_is_withheld_and_nothing_is_charged(
    gateway: Gateway, upstream: StubUpstream, size: int
) -> None:
    journal = SlowJournal(gateway)
    upstream.default = Behaviour(stream_bytes=size)
    caller = ask(gateway)
    journal.commit(good=False)
    answer = caller.hear()
    assert (answer.status, answer.json()["code"]) == (503, "NOT_RECORDED")
    assert answer.fields["x-farebox-credits-charged"] == "0"
    assert answer.fields["x-farebox-credits-left"] == "1000000"
    assert (gateway.held(), journal.reserved) == (0, 0)


def test_a_502_waits_for_its_record_too(gateway: Gateway, upstream: StubUpstream) -> None:
    journal = SlowJournal(gateway)
    upstream.default = Behaviour(reset_after=0)
    caller = gateway.caller().say("POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n")
    until(lambda: journal.waiting)
    assert silent(caller)
    journal.commit(good=True)
    assert caller.hear().status == 502
    assert journal.reserved == 0


def test_a_caller_that_leaves_before_a_large_answers_record_is_committed_gets_a_close_after_it(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    journal = SlowJournal(gateway)
    upstream.default = Behaviour(stream_bytes=500_000)
    caller = ask(gateway)
    until(lambda: journal.waiting)
    gateway.on_loop(next(iter(gateway.worker.plane.clients)).abort)
    assert caller.is_closed()
    assert [entry.kind for entry, _ in journal.waiting] == [0]  # no close before its charge is sure to be there
    journal.commit(good=True)
    until(lambda: [entry.kind for entry, _ in journal.waiting] == [1])
    assert journal.reserved == 0


def test_a_lost_record_of_a_caller_that_left_charges_nothing(gateway: Gateway, upstream: StubUpstream) -> None:
    journal = SlowJournal(gateway)
    upstream.default = Behaviour(stream_bytes=500_000)
    caller = ask(gateway)
    until(lambda: journal.waiting)
    gateway.on_loop(next(iter(gateway.worker.plane.clients)).abort)
    assert caller.is_closed()
    journal.commit(good=False)
    assert not journal.waiting
    assert (gateway.held(), journal.reserved) == (0, 0)


def test_a_journal_without_a_working_segment_refuses_before_the_upstream(
    gateway: Gateway, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SlowJournal(gateway)

    def fails() -> None:
        raise JournalError("The journal cannot be written (No space left on device).")

    monkeypatch.setattr(journal, "reserve", fails)
    answer = ask(gateway).hear()
    assert (answer.status, answer.json()["code"]) == (503, "JOURNAL_UNAVAILABLE")
    assert not upstream.requests
    assert gateway.held() == 0
