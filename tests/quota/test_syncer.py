"""The syncer on a real event loop, a real thread and a real file: when syncs go out, and what trouble does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from farebox.domain.identity import Account
from farebox.errors import QuotaProtocolError, QuotaUnavailableError
from farebox.quota.clock import SystemClock
from farebox.quota.leases import Hold, LeaseBook, Refusal
from farebox.quota.port import AllowanceInForce, Gateway, Position, QuotaStore, SyncReply, SyncRequest
from farebox.quota.sqlite import SqliteQuotaStore
from farebox.quota.syncer import StoreThread, Syncer

ACCOUNT = Account("acme", "crm", "api")
DEADLINE_SECONDS = 60.0


def allowance_of(_: Account) -> AllowanceInForce:
    return AllowanceInForce(10_000, 10_000, "p", 10_000, 0, 0, 0, None, 1)


class Troubled:
    """A store that fails, loses its answer, or stays silent when told, and remembers what it was asked."""

    def __init__(self, store: SqliteQuotaStore) -> None:
        self.store = store
        self.asked: list[SyncRequest] = []
        self.trouble: Callable[[SyncRequest], None] = lambda _: None
        self.after: Callable[[SyncRequest], None] = lambda _: None

    def sync(self, request: SyncRequest) -> SyncReply:
        self.asked.append(request)
        self.trouble(request)
        reply = self.store.sync(request)
        self.after(request)
        return reply

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


@dataclass
class Running:
    book: LeaseBook
    syncer: Syncer
    thread: StoreThread
    store: Troubled
    faults: list[BaseException]


@asynccontextmanager
async def running(
    path: Path, allowance: Callable[[Account], AllowanceInForce] = allowance_of
) -> AsyncIterator[Running]:
    clock = SystemClock()
    store = Troubled(SqliteQuotaStore(path, allowance_of=allowance))
    thread = StoreThread(lambda: store)  # type: ignore[arg-type,return-value]  # it passes on what it does not have
    book = LeaseBook(Gateway("host", 0, "life-1"), clock.boottime)
    faults: list[BaseException] = []
    syncer = Syncer(book, thread, clock=clock.boottime, on_fault=faults.append)
    syncer.start()
    try:
        yield Running(book, syncer, thread, store, faults)
    finally:
        await syncer.close()
        await thread.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS} s: {what}"
        await asyncio.sleep(0.01)


def fail(_: SyncRequest) -> None:
    raise QuotaUnavailableError("the disk is gone")


def test_a_waiting_call_is_answered_at_once_and_use_is_settled_without_further_calls(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path / "quota.db") as world:
            hold = await world.book.wait(ACCOUNT, 100)
            assert isinstance(hold, Hold)
            world.book.charge(hold, 70)
            world.book.settled(ACCOUNT, hold.stamp // 1_000_000, 70)
            world.book.settled_to(Position(1, 10))
            await until(lambda: world.store.store.settled_to("life-1") == Position(1, 10), "settled")
            assert world.store.store.view(ACCOUNT).used == 70

    asyncio.run(scenario())


def test_a_failed_sync_is_repeated_byte_for_byte_and_callers_are_refused_meanwhile(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path / "quota.db") as world:
            world.store.trouble = fail
            found = await world.book.wait(ACCOUNT, 100)
            assert isinstance(found, Refusal)
            assert found.reason == "quota_unavailable"
            await until(lambda: len(world.store.asked) >= 3, "retries")
            assert not world.book.reachable()
            world.store.trouble = lambda _: None
            await until(world.book.reachable, "the store is back")
            assert len(set(map(repr, world.store.asked[: world.syncer.failures + 1]))) == 1
            assert isinstance(await world.book.wait(ACCOUNT, 100), Hold)

    asyncio.run(scenario())


def test_an_answer_that_got_lost_after_booking_is_not_booked_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path / "quota.db") as world:
            hold = await world.book.wait(ACCOUNT, 100)
            assert isinstance(hold, Hold)
            world.store.after = fail
            world.book.charge(hold, 100)
            world.book.settled(ACCOUNT, hold.stamp // 1_000_000, 100)
            world.book.settled_to(Position(1, 10))
            await until(lambda: not world.book.reachable(), "the answer is lost")
            world.store.after = lambda _: None
            await until(world.book.reachable, "the store is back")
            assert world.store.store.view(ACCOUNT).used == 100

    asyncio.run(scenario())


@pytest.mark.sources
def test_a_lease_is_dated_from_the_first_attempt_since_that_may_be_the_one_that_was_booked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with running(tmp_path / "quota.db") as world:
            times: list[tuple[int, int]] = []
            apply = world.book.apply

            def noted(reply: SyncReply, sent_at: int, received_at: int) -> None:
                times.append((sent_at, received_at))
                apply(reply, sent_at, received_at)

            monkeypatch.setattr(world.book, "apply", noted)
            world.store.after = fail
            world.book.wait(ACCOUNT, 100)
            await until(lambda: len(world.store.asked) >= 3, "it was booked, and the answer lost, three times")
            world.store.after = lambda _: None
            await until(lambda: bool(times), "an answer came")
            sent_at, received_at = times[0]
            assert received_at - sent_at >= 150_000, "two pauses of 50 and 100 ms lie between"

    asyncio.run(scenario())


def test_closing_gives_everything_back_and_closes_the_incarnation(tmp_path: Path) -> None:
    path = tmp_path / "quota.db"

    async def scenario() -> None:
        async with running(path) as world:
            hold = await world.book.wait(ACCOUNT, 100)
            assert isinstance(hold, Hold)
            world.book.release(hold)

    asyncio.run(scenario())
    store = SqliteQuotaStore(path, allowance_of=allowance_of)
    assert (store.is_closed("life-1"), store.view(ACCOUNT).held) == (True, 0)
    store.close()


def test_closing_with_a_call_in_flight_leaves_its_hold_to_the_adopter(tmp_path: Path) -> None:
    path = tmp_path / "quota.db"

    async def scenario() -> None:
        async with running(path) as world:
            assert isinstance(await world.book.wait(ACCOUNT, 100), Hold)

    asyncio.run(scenario())
    store = SqliteQuotaStore(path, allowance_of=allowance_of)
    assert not store.is_closed("life-1")
    assert store.view(ACCOUNT).held + store.view(ACCOUNT).unaccounted >= 100
    store.close()


def test_closing_while_the_store_is_silent_does_not_hang(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path / "quota.db") as world:
            world.store.trouble = fail
            await world.book.wait(ACCOUNT, 100)
            async with asyncio.timeout(DEADLINE_SECONDS):
                await world.syncer.close(within_seconds=0.2)

    asyncio.run(scenario())


def test_a_broken_protocol_is_reported_and_admission_fails_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path / "quota.db") as world:

            def refuse(_: SyncRequest) -> None:
                raise QuotaProtocolError("it does not follow")

            world.store.trouble = refuse
            first = await world.book.wait(ACCOUNT, 100)
            await until(lambda: bool(world.faults), "the fault is reported")
            second = await world.book.wait(ACCOUNT, 100)
            for found in (first, second):
                assert isinstance(found, Refusal)
                assert found.reason == "quota_unavailable"

    asyncio.run(scenario())


def test_jobs_of_the_store_thread_run_in_order_and_give_their_errors_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        attempts = 0

        def open_store() -> QuotaStore:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise QuotaUnavailableError("not yet")
            return SqliteQuotaStore(tmp_path / "quota.db", allowance_of=allowance_of)

        thread = StoreThread(open_store)
        results = await asyncio.gather(
            thread.do(lambda s: s.sequence_of("x")), thread.do(lambda s: s.sequence_of("x")), return_exceptions=True
        )
        assert isinstance(results[0], QuotaUnavailableError)
        assert results[1] == 0, "opening is tried again"
        await thread.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("suspended", [False, True])
def test_a_call_that_costs_nothing_takes_one_sync_where_more_is_out_than_the_allowance(
    tmp_path: Path,
    suspended: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Above a lowered allowance nothing lent may be spent: a ceiling of 0 must not be asked for again and again."""
    totals = [10_000]

    def allowance(_: Account) -> AllowanceInForce:
        total = totals[-1]
        return AllowanceInForce(total, total, "p", total, 0, 0, 0, None, 1, suspended and total < 10_000)

    async def scenario() -> None:
        async with running(tmp_path / "quota.db", allowance) as parts:
            hold = await parts.book.wait(ACCOUNT, 5_000)
            assert isinstance(hold, Hold)
            totals.append(0 if suspended else 100)
            before = len(parts.store.asked)
            answer = await asyncio.wait_for(parts.book.wait(ACCOUNT, 0), DEADLINE_SECONDS)
            assert len(parts.store.asked) - before <= 2, "one may have been under way"
            if suspended:
                assert isinstance(answer, Refusal)
                assert answer.reason == "suspended"
            else:
                assert isinstance(answer, Hold)
                assert parts.book.charge(answer, 0) == 0
            parts.book.release(hold)

    asyncio.run(scenario())
