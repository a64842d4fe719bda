"""What quota takes: admitting and charging in a gateway (us), and one sync of 1,000 accounts in SQLite (ms)."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from farebox.domain.identity import Account
from farebox.quota.leases import Hold, LeaseBook
from farebox.quota.port import START, AccountSync, AllowanceInForce, Gateway, Position, SyncRequest
from farebox.quota.sqlite import SqliteQuotaStore

ACCOUNTS = 1_000
SYNCS = 15
CALLS = 200_000
SECOND = 1_000_000


def allowance_of(_: Account) -> AllowanceInForce:
    """Plenty for everybody."""
    plenty = 10**12
    return AllowanceInForce(plenty, plenty, "ultimate", plenty, 0, 0, 0, None, 1)


def admit_and_charge_us(store: SqliteQuotaStore) -> float:
    """Microseconds of one admission with its charge, from a lease that holds them all."""
    account = Account("acme", "crm", "api")
    book = LeaseBook(Gateway("bench", 1, "bench-book"), lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000)

    async def run() -> float:
        waiting = book.wait(account, CALLS * 1_000 * 2)
        request = book.build_sync()
        assert request is not None
        sent = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000
        book.apply(store.sync(request), sent, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000)
        hold = await waiting
        assert isinstance(hold, Hold)
        book.release(hold)
        before = time.perf_counter()
        for _ in range(CALLS):
            admitted = book.admit(account, 1_000)
            assert isinstance(admitted, Hold)
            book.charge(admitted, 1_000)
        return (time.perf_counter() - before) / CALLS * 1e6

    return asyncio.run(run())


def sync_ms(store: SqliteQuotaStore) -> float:
    """Milliseconds of one sync of ACCOUNTS accounts, each with two settled seconds, a need and a like; the median."""
    now = store.now() // SECOND
    spans = []
    for sequence in range(1, SYNCS + 2):
        settled = ((now - 1, 5), (now, 5)) if sequence > 1 else ()
        parts = tuple(
            AccountSync(f"org{n}", "crm", "api", settled, 0 if sequence == 1 else 40, (10,), 40)
            for n in range(ACCOUNTS)
        )
        begin = START if sequence <= 2 else Position(1, sequence - 1)  # noqa: PLR2004 - the first sync settles nothing
        end = Position(1, sequence) if sequence > 1 else START
        before = time.perf_counter()
        store.sync(SyncRequest(Gateway("bench", 0, "bench-sync"), sequence, begin, end, parts))
        spans.append(time.perf_counter() - before)
    return sorted(spans[1:])[SYNCS // 2] * 1_000


def main() -> None:
    """Print two lines."""
    with tempfile.TemporaryDirectory() as name:
        store = SqliteQuotaStore(Path(name) / "quota.db", allowance_of=allowance_of)
        print(f"admit + charge: {admit_and_charge_us(store):.2f} us")
        print(f"sync of {ACCOUNTS:,} accounts: {sync_ms(store):.0f} ms (median of {SYNCS})")
        store.close()


if __name__ == "__main__":
    main()
