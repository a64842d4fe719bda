"""What quota takes: an admission beside `limits`, a sync by how full the window is, and the memory of an account.

`limits` (moving window in memory) keeps every call of the window; Farebox keeps a lease in the gateway and a row per
second in the store. Each round measures all sides in turn, so that a machine that drifts drifts for all; a figure is
the median of the rounds' ratios. An admission is what a caller waits for, admitting and charging, in CPU time. The line
after it is all that a call costs, with settling and its share of the durable syncs with a real SQLite file, one every
500 calls, in elapsed time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limits import RateLimitItemPerDay
from limits.storage import MemoryStorage
from limits.storage.memory import Entry
from limits.strategies import MovingWindowRateLimiter

from farebox.domain.identity import Account
from farebox.quota.clock import ManualClock
from farebox.quota.leases import Hold, LeaseBook
from farebox.quota.port import START, AccountSync, AllowanceInForce, Gateway, Position, SyncRequest
from farebox.quota.sqlite import SqliteQuotaStore

SECOND = 1_000_000
DAY_SECONDS = 86_400
CALL = 1_000
"""Millicredits of one call: one credit."""

T0 = 1_800_000_000 * SECOND
ACCOUNT = Account("acme", "crm", "api")
CALLS = 5_000
CALLS_PER_SYNC = 500
SYNCS = 100
WIDE_SYNCS = 15
ACCOUNTS = 1_000
SMALL, LARGE = 52_500, 5_000_000
ADMISSION_GOAL, FLAT_GOAL = 10.0, 1.2


def allowance_of(_: Account) -> AllowanceInForce:
    """Plenty for everybody."""
    plenty = 10**13
    return AllowanceInForce(plenty, plenty, "ultimate", plenty, 0, 0, 0, None, 1)


class Farebox:
    """A gateway's lease book and a store whose window holds `calls` calls of one account, spread over the day."""

    def __init__(self, path: Path, *, calls: int) -> None:
        self.clock = ManualClock(true=T0)
        self.store = SqliteQuotaStore(path, allowance_of=allowance_of, host=self.clock)
        fill(self.store, ACCOUNT, calls)
        self.book = LeaseBook(Gateway("bench", 1, "book"), self.clock.boottime)
        self._journal = 0
        self._sequence = 0
        self._to = START

    def admissions(self) -> tuple[float, float]:
        """Microseconds of one call of CALLS: admitting and charging it; and with settling and its share of syncs."""
        return asyncio.run(self._admissions())

    async def _admissions(self) -> tuple[float, float]:
        spans: list[tuple[float, float]] = []
        for _ in range(CALLS // CALLS_PER_SYNC):
            waiting = self.book.wait(ACCOUNT, CALL * CALLS_PER_SYNC)
            self.sync()
            self.book.release(await waiting)  # type: ignore[arg-type]  # granted: there is plenty
            began, began_cpu = time.perf_counter(), time.process_time()
            second = self._admit_and_charge()
            admitted = time.process_time() - began_cpu
            self._settle(second)
            self.sync()
            spans.append((admitted, time.perf_counter() - began))
        admit, whole = _medians(spans)
        return admit / CALLS_PER_SYNC * 1e6, whole / CALLS_PER_SYNC * 1e6

    def _admit_and_charge(self) -> int:
        """CALLS_PER_SYNC calls within one second, which comes back."""
        book, account = self.book, ACCOUNT
        for _ in range(CALLS_PER_SYNC):
            hold = book.admit(account, CALL)
            assert isinstance(hold, Hold), "the lease holds enough"
            book.charge(hold, CALL)
        return book.stamp() // SECOND

    def _settle(self, second: int) -> None:
        for _ in range(CALLS_PER_SYNC):
            self.book.settled(ACCOUNT, second, CALL)
        self._journal += 1
        self.book.settled_to(Position(1, self._journal))
        self.clock.advance(SECOND // 2)

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def sync(self) -> None:
        """What the syncer does, without its thread."""
        request = self.book.build_sync()
        assert request is not None
        sent_at = self.clock.boottime()
        self.book.apply(self.store.sync(request), sent_at, self.clock.boottime())

    def sync_ms(self) -> float:
        """Milliseconds of one sync: two seconds settled, a need, a like; half a second after the one before."""
        self.clock.advance(SECOND // 2)
        now = self.store.now() // SECOND
        settled = ((now - 1, 5 * CALL), (now, 5 * CALL)) if self._sequence else ()
        part = AccountSync(*ACCOUNT, settled, 0, (CALL * 10,), CALL * 30)
        begin, self._sequence = self._to, self._sequence + 1
        self._to = Position(1, self._sequence) if settled else START
        request = SyncRequest(Gateway("bench", 2, "syncs"), self._sequence, begin, self._to, (part,))
        before = time.perf_counter()
        self.store.sync(request)
        return (time.perf_counter() - before) * 1_000


class Limits:
    """A moving window that holds `calls` calls, the most of half a day, as the library keeps them; as many more fit."""

    def __init__(self, *, calls: int) -> None:
        self.storage = MemoryStorage()
        self._item = RateLimitItemPerDay(2 * calls)
        self._limiter = MovingWindowRateLimiter(self.storage)
        self._calls = calls
        self.fill()

    def fill(self) -> None:
        """Those calls, evenly over half a day."""
        key = self._item.key_for("acme")
        self.storage.events[key] = entries = [Entry(DAY_SECONDS) for _ in range(self._calls)]
        for number, entry in enumerate(entries):
            entry.atime -= number * DAY_SECONDS / (2 * self._calls)
            entry.expiry = entry.atime + DAY_SECONDS

    def admissions(self) -> float:
        """Microseconds of one call of CALLS."""
        self.fill()
        hit, item = self._limiter.hit, self._item
        before = time.process_time()
        for _ in range(CALLS):
            assert hit(item, "acme")
        return (time.process_time() - before) / CALLS * 1e6

    def close(self) -> None:
        """End its timer."""
        self.storage.reset()
        self.storage.timer.cancel()


def fill(store: SqliteQuotaStore, account: Account, calls: int) -> int:
    """Book `calls` calls of one credit, evenly over the last 24 hours; how many rows that made."""
    rows: dict[int, int] = {}
    now = store.now() // SECOND
    for number in range(calls):
        second = now - number * DAY_SECONDS // calls
        rows[second] = rows.get(second, 0) + CALL
    part = AccountSync(*account, tuple(rows.items()), 0, (), 0, 0, calls * CALL)
    gateway = Gateway("bench", 0, f"filler of {account}")
    store.sync(SyncRequest(gateway, 1, START, Position(1, 1), (part,), closing=True))
    return len(rows)


@dataclass(frozen=True)
class Goal:
    """A ratio and when it counts as reached."""

    name: str
    goal: float
    at_least: bool
    ratios: list[float]
    sides: dict[str, list[float]]
    unit: str

    def told(self) -> dict[str, object]:
        """Print the line; return what goes into build/bench.json."""
        ratio = statistics.median(self.ratios)
        met = ratio >= self.goal if self.at_least else ratio <= self.goal
        sides = {name: round(statistics.median(values), 3) for name, values in self.sides.items()}
        shown = ", ".join(f"{name} {value:g} {self.unit}" for name, value in sides.items())
        goal = f"{'>=' if self.at_least else '<='}{self.goal:g}"
        print(f"{self.name:60} {ratio:6.2f} {goal:>6}  {'yes' if met else 'no':3}  {shown}")
        rounds = [round(each, 3) for each in self.ratios]
        return {"name": self.name, "ratio": round(ratio, 3), "goal": self.goal, "met": met, **sides, "rounds": rounds}


def measure(folder: Path, *, rounds: int = 5) -> list[dict[str, object]]:
    """Every figure of quota, printed beside its goal, as it goes into build/bench.json."""
    print(f"\n{'quota, median of ' + str(rounds) + ' paired rounds':60} {'ratio':>6} {'goal':>6}  met")
    return [*admission(folder, rounds), *syncs(folder, rounds), *wide_sync(folder), *memory(folder)]


def admission(folder: Path, rounds: int) -> list[dict[str, object]]:
    """One admission against `limits`, and by how full the window is."""
    half, whole = Limits(calls=SMALL // 2), Limits(calls=SMALL)
    small, large = Farebox(folder / "small.db", calls=SMALL), Farebox(folder / "large.db", calls=LARGE // 2)
    sides = (half, whole, small, large)
    runs = [(half.admissions(), whole.admissions(), small.admissions(), large.admissions()) for _ in range(rounds + 1)]
    for side in sides:
        side.close()
    half_us, whole_us = [run[0] for run in runs[1:]], [run[1] for run in runs[1:]]
    admit_us, settled_us = [run[2][0] for run in runs[1:]], [run[2][1] for run in runs[1:]]
    admit_large_us, settled_large_us = [run[3][0] for run in runs[1:]], [run[3][1] for run in runs[1:]]
    return [
        _times("one admission, 52,500 calls in the window: limits / farebox", whole_us, admit_us),
        _times("one admission, 52,500 half full: limits / farebox", half_us, admit_us),
        _flat("one admission: 5,000,000 half full / 52,500", admit_us, admit_large_us),
        _flat("with settling and its share of syncs: 5,000,000 / 52,500", settled_us, settled_large_us),
    ]


def _times(name: str, theirs: list[float], ours: list[float]) -> dict[str, object]:
    sides = {"limits": theirs, "farebox": ours}
    return Goal(name, ADMISSION_GOAL, at_least=True, ratios=_ratios(theirs, ours), sides=sides, unit="us").told()


def _flat(name: str, small: list[float], large: list[float]) -> dict[str, object]:
    sides = {"52,500": small, "5,000,000": large}
    return Goal(name, FLAT_GOAL, at_least=False, ratios=_ratios(large, small), sides=sides, unit="us").told()


def _ratios(above: list[float], below: list[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]


def syncs(folder: Path, rounds: int) -> list[dict[str, object]]:
    """One sync by how many calls its window holds."""
    few, many = (Farebox(folder / f"sync-{calls}.db", calls=calls) for calls in (10, 1_000_000))
    runs = [_medians([(few.sync_ms(), many.sync_ms()) for _ in range(SYNCS)]) for _ in range(rounds + 1)][1:]
    for side in (few, many):
        side.close()
    return [
        Goal(
            "one sync: 1,000,000 calls in the window / 10 calls",
            FLAT_GOAL,
            at_least=False,
            ratios=[big / small for small, big in runs],
            sides={"10": [small for small, _ in runs], "1,000,000": [big for _, big in runs]},
            unit="ms",
        ).told()
    ]


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs)


def wide_sync(folder: Path) -> list[dict[str, object]]:
    """One sync of ACCOUNTS accounts, each with two settled seconds, a need and a like."""
    clock = ManualClock(true=T0)
    store = SqliteQuotaStore(folder / "wide.db", allowance_of=allowance_of, host=clock)
    spans, to = [], START
    for sequence in range(1, WIDE_SYNCS + 2):
        now = store.now() // SECOND
        settled = ((now - 1, 5), (now, 5)) if sequence > 1 else ()
        keeps = 40 if sequence > 1 else 0
        parts = tuple(AccountSync(f"org{n}", "crm", "api", settled, keeps, (10,), 40) for n in range(ACCOUNTS))
        begin, to = to, Position(1, sequence) if settled else START
        before = time.perf_counter()
        store.sync(SyncRequest(Gateway("bench", 0, "wide"), sequence, begin, to, parts))
        spans.append((time.perf_counter() - before) * 1_000)
        clock.advance(SECOND // 2)
    store.close()
    median = round(statistics.median(spans[1:]), 1)
    print(f"one sync of {ACCOUNTS:,} accounts: {median} ms")
    return [{"name": f"one sync of {ACCOUNTS:,} accounts", "ms": median}]


def memory(folder: Path) -> list[dict[str, object]]:
    """Bytes of one active account whose window holds a million calls: in a gateway, in the store's process, on disk."""
    gateway = gateway_bytes(folder)
    path = folder / "memory.db"
    store = SqliteQuotaStore(path, allowance_of=allowance_of, host=ManualClock(true=T0))
    accounts = [Account(f"org{number}", "crm", "api") for number in range(5)]
    process = allocated(lambda: [fill(store, account, 1_000_000) for account in accounts]) // len(accounts)
    store.close()
    disk = path.stat().st_size // len(accounts)
    theirs = allocated(lambda: Limits(calls=1_000_000))
    name = "memory of an active account, 1,000,000 calls in the window"
    print(f"{name}: gateway {gateway:,} bytes, store {process:,} bytes and {disk:,} on disk; limits {theirs:,}")
    figures = {"gateway_bytes": gateway, "store_bytes": process, "disk_bytes": disk}
    return [{"name": name, **figures, "limits_bytes": theirs}]


def gateway_bytes(folder: Path) -> int:
    """Of one account in a lease book with ACCOUNTS in use, after a few syncs; the window's size does not reach it."""
    clock = ManualClock(true=T0)
    store = SqliteQuotaStore(folder / "gateway.db", allowance_of=allowance_of, host=clock)
    fill(store, Account("org0", "crm", "api"), 1_000_000)
    book = LeaseBook(Gateway("bench", 1, "memory"), clock.boottime)

    async def use() -> None:
        for _ in range(3):
            for number in range(ACCOUNTS):
                account = Account(f"org{number}", "crm", "api")
                hold = book.admit(account, CALL) or book.wait(account, CALL)
                if isinstance(hold, Hold):
                    book.charge(hold, CALL)
            clock.advance(SECOND // 2)
            while (request := book.build_sync()) is not None:
                book.apply(store.sync(request), clock.boottime(), clock.boottime())

    size = allocated(lambda: asyncio.run(use())) // ACCOUNTS
    store.close()
    return size


def allocated(work: Callable[[], object]) -> int:
    """Bytes of Python's objects that `work` leaves behind, its result included."""
    gc.collect()
    tracemalloc.start()
    kept = work()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    if isinstance(kept, Limits):
        kept.close()
    return size


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds per figure (default 5)")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), rounds=parser.parse_args().rounds)


if __name__ == "__main__":
    main()
