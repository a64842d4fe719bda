"""Settling the journal of a gateway that is gone: on real journal directories and a real spend file."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from farebox.domain.identity import Account
from farebox.errors import JournalCorruptError, QuotaUnavailableError
from farebox.journal import reader
from farebox.journal.position import START, Position
from farebox.journal.records import CHARGE, CHARGED, CLOSE, REFUSALS, Entry
from farebox.journal.writer import JournalWriter
from farebox.quota import adoption
from farebox.quota.adoption import Adopter, rest_of, settle_one
from farebox.quota.clock import ManualClock
from farebox.quota.port import AccountSync, AllowanceInForce, Gateway, SyncReply, SyncRequest
from farebox.quota.sqlite import SqliteQuotaStore
from farebox.quota.syncer import StoreThread

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND
ACCOUNT = Account("acme", "crm", "api")


def allowance_of(_: Account) -> AllowanceInForce:
    return AllowanceInForce(1_000, 1_000, "p", 1_000, 0, 0, 0, None, 1)


def entry(amount: int, *, org: str = "acme", stamp: int = T0, kind: int = CHARGE) -> Entry:
    return Entry(
        kind=kind, call_id=b"0123456789abcdef", stamp=stamp, org=org, product="crm", pool="api", user="", app="",
        function="", task="", module="", operation="", method="GET", path_template="/", api_version="",
        target_hash=b"12345678", client_ip="", status=200, outcome=CHARGED, reason="", quote=amount, credits=amount,
        addon=0, quantities={}, records_returned=-1, conditional=0, duration=1, bytes_in=0, bytes_out=0, calls=1,
    )  # fmt: skip


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(true=T0)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteQuotaStore]:
    made = SqliteQuotaStore(tmp_path / "quota.db", allowance_of=allowance_of, host=clock)
    yield made
    made.close()


def lend(store: SqliteQuotaStore, incarnation: str, amount: int, *orgs: str) -> None:
    parts = tuple(AccountSync(org, "crm", "api", (), 0, (amount,), 0) for org in orgs or ("acme",))
    store.sync(SyncRequest(Gateway("host", 0, incarnation), 1, START, START, parts))


def numbered(*entries: Entry) -> list[tuple[Entry, Position]]:
    return [(each, Position(1, number * 100)) for number, each in enumerate(entries, start=1)]


def settle(store: SqliteQuotaStore, incarnation: str, *entries: Entry, accounts_max: int = 1_000) -> int:
    """How many syncs it took."""
    rest = rest_of(numbered(*entries), accounts_max=accounts_max)
    syncs = 1
    while settle_one(store, incarnation, rest):
        store.check()
        syncs += 1
    store.check()
    return syncs


def test_the_rest_is_settled_in_its_own_seconds_and_the_incarnation_closed(store: SqliteQuotaStore) -> None:
    lend(store, "dead", 900)
    entries = (
        entry(300),
        entry(200, stamp=T0 + SECOND),
        entry(-100, kind=CLOSE),
        entry(0, kind=REFUSALS),
    )
    assert settle(store, "dead", *entries) == 1
    view = store.view(ACCOUNT)
    assert (view.used, view.held, view.rows) == (400, 0, ((T0 // SECOND, 200), (T0 // SECOND + 1, 200)))
    assert (store.is_closed("dead"), store.settled_to("dead")) == (True, Position(1, 400))


def test_what_was_unaccounted_is_replaced(store: SqliteQuotaStore, clock: ManualClock) -> None:
    lend(store, "dead", 900)
    clock.advance(60 * SECOND)
    lend(store, "other", 1)
    assert store.view(ACCOUNT).unaccounted == 900
    settle(store, "dead", entry(300))
    assert (store.view(ACCOUNT).used, store.view(ACCOUNT).unaccounted) == (300, 0)


def test_only_what_lies_beyond_its_last_sync_is_settled(store: SqliteQuotaStore) -> None:
    lend(store, "dead", 900)
    settle_part = SyncRequest(
        Gateway("host", 0, "dead"), 2, START, Position(1, 100),
        (AccountSync("acme", "crm", "api", ((T0 // SECOND, 300),), 600, (), 0),),
    )  # fmt: skip
    store.sync(settle_part)
    rest = rest_of(numbered(entry(300), entry(250))[1:])
    assert not settle_one(store, "dead", rest)
    assert store.view(ACCOUNT).used == 550


def test_between_the_syncs_of_a_long_rest_nothing_is_free(store: SqliteQuotaStore) -> None:
    lend(store, "dead", 900, "acme", "b", "c")
    entries = [entry(100, org=org) for org in ("acme", "b", "c", "acme", "b", "c")]
    rest = rest_of(numbered(*entries), accounts_max=2)
    assert len(rest.chunks) == 3
    while settle_one(store, "dead", rest):
        store.check()
        for org in ("acme", "b", "c"):
            view = store.view(Account(org, "crm", "api"))
            assert view.used + view.held >= 200
    for org in ("acme", "b", "c"):
        view = store.view(Account(org, "crm", "api"))
        assert (view.used, view.held) == (200, 0)
    assert store.alarms() == ()


def test_a_gateway_that_died_before_its_first_entry_is_closed_too(store: SqliteQuotaStore) -> None:
    lend(store, "dead", 900)
    settle(store, "dead")
    assert (store.view(ACCOUNT).held, store.is_closed("dead")) == (0, True)
    settle(store, "never heard of")
    assert store.is_closed("never heard of")


def test_a_damaged_journal_is_settled_to_the_damage_and_not_closed(store: SqliteQuotaStore) -> None:
    lend(store, "dead", 900)

    def damaged() -> Iterator[tuple[Entry, Position]]:
        yield from numbered(entry(300))
        raise JournalCorruptError("a bad sector", path="x", offset=1)

    rest = rest_of(damaged())
    assert rest.damaged is not None
    settle_one(store, "dead", rest)
    assert not store.is_closed("dead")
    assert store.view(ACCOUNT).used == 300


def test_an_adopter_that_dies_between_two_syncs_is_followed_by_another(store: SqliteQuotaStore) -> None:
    lend(store, "dead", 900, "acme", "b", "c")
    entries = numbered(*[entry(100, org=org) for org in ("acme", "b", "c", "acme")])
    first = rest_of(entries, accounts_max=1)
    settle_one(store, "dead", first)
    settle_one(store, "dead", first)
    at = store.settled_to("dead")
    second = rest_of([each for each in entries if each[1] > at], accounts_max=1)
    while settle_one(store, "dead", second):
        pass
    assert store.view(ACCOUNT).used == 200
    assert store.is_closed("dead")


class Once:
    """A store that is unavailable for the first sync."""

    def __init__(self, store: SqliteQuotaStore) -> None:
        self.store = store
        self.failed = False

    def sync(self, request: SyncRequest) -> SyncReply:
        if not self.failed:
            self.failed = True
            raise QuotaUnavailableError("busy")
        return self.store.sync(request)

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


def test_an_orphaned_directory_is_found_settled_and_closed_and_an_owned_one_left_alone(
    tmp_path: Path, store: SqliteQuotaStore
) -> None:
    root = tmp_path / "journal"
    lend(store, "dead", 900)
    lend(store, "alive", 50, "b")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        writers = [
            JournalWriter(root, name, durability="os", loop=loop, on_committed=lambda *_: None)
            for name in ("dead", "alive")
        ]
        for amount in (300, 200):
            done = loop.create_future()
            writers[0].append(entry(amount), done.set_result)
            assert await done
        writers[0].close()
        thread = StoreThread(lambda: Once(store))  # type: ignore[arg-type,return-value]  # passes on what it lacks
        adopter = Adopter(root, thread)
        assert await adopter.adopt_all() == [], "the store is busy: postponed"
        assert await adopter.adopt_all() == ["dead"]
        assert await adopter.adopt_all() == [], "once"
        assert (store.view(ACCOUNT).used, store.is_closed("dead"), store.is_closed("alive")) == (500, True, False)
        writers[1].close()
        assert await adopter.adopt_all() == ["alive"]
        await thread.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("call", ["orphans", "adopt"])
def test_trouble_in_one_round_ends_no_later_round(
    tmp_path: Path, store: SqliteQuotaStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    root = tmp_path / "journal"
    true, rounds = getattr(reader, call), []

    def troubled(path: Path) -> object:
        rounds.append(1)
        if len(rounds) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return true(path)

    monkeypatch.setattr(reader, call, troubled)
    monkeypatch.setattr(adoption, "ADOPT_EVERY_SECONDS", 0.01)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        JournalWriter(root, "dead", durability="os", loop=loop, on_committed=lambda *_: None).close()
        thread = StoreThread(lambda: store)
        adopter = Adopter(root, thread)
        adopter.start()
        async with asyncio.timeout(60):
            while not await thread.do(lambda each: each.is_closed("dead")):  # noqa: ASYNC110 - only the store knows
                await asyncio.sleep(0.01)
        await adopter.close()
        await thread.close()

    asyncio.run(scenario())


def test_a_journal_found_days_later_holds_and_alarms_nothing_whatever_it_charged(
    store: SqliteQuotaStore, clock: ManualClock
) -> None:
    lend(store, "dead", 600)
    for _ in range(3):
        clock.advance(25 * 3_600 * SECOND)
        lend(store, f"other-{clock.true}", 1, "b")
    rest = rest_of(numbered(entry(300), entry(100, org="b"), entry(200)), accounts_max=1)
    assert settle_one(store, "dead", rest)
    assert store.view(ACCOUNT).held == 0, "what has long returned is not held again"
    while settle_one(store, "dead", rest):
        store.check()
    assert store.view(ACCOUNT).used == 0
    assert store.alarms() == ()
