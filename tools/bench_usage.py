"""What the usage store takes: loading entries, a breakdown of the window, bytes per entry on disk."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS, Instant
from farebox.journal.position import Position
from farebox.journal.records import CHARGE, CHARGED, Entry
from farebox.usage.duckdb import DuckdbUsage
from farebox.usage.port import Dimension

BATCH = 50_000
NOW = 1_800_000_000
REPEATS = 7


def entry(number: int) -> Entry:
    """One of many ordinary calls: 1,000 users, 20 modules, a day of stamps."""
    stamp = (NOW - number % 86_000) * MICROSECONDS + number % MICROSECONDS
    return Entry(
        kind=CHARGE,
        call_id=number.to_bytes(16, "big"),
        stamp=stamp,
        org="acme",
        product="crm",
        pool="api",
        user=f"user{number * 7919 % 1000}",
        app=f"app{number % 7}",
        function="",
        task="",
        module=f"Module{number % 20}",
        operation="get_records" if number % 5 else "insert_records",
        method="GET" if number % 5 else "POST",
        path_template="/crm/{version}/{module}",
        api_version="v8",
        target_hash=(number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big"),
        client_ip=f"10.0.{number % 256}.{number % 199}",
        status=200,
        outcome=CHARGED,
        reason="",
        quote=1_000,
        credits=1_000,
        addon=0,
        quantities={} if number % 5 else {"records": 10},
        records_returned=number % 200,
        conditional=0,
        duration=1_000 + number % 30_000,
        bytes_in=0 if number % 5 else 900,
        bytes_out=4_000,
        calls=1,
    )


def main() -> None:
    """Print a few lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    count = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "usage.duckdb"
        store = DuckdbUsage(path)
        spans = []
        for start in range(0, count, BATCH):
            batch = [entry(number) for number in range(start, min(start + BATCH, count))]
            before = time.perf_counter()
            store.load(batch, {"bench": Position(1, start + len(batch))})
            spans.append(time.perf_counter() - before)
        print(f"load of {BATCH:,} entries: {sorted(spans)[len(spans) // 2]:.2f} s (median of {len(spans)})")
        account = Account("acme", "crm", "api")
        for dimension in (Dimension.USER, Dimension.MODULE, Dimension.OPERATION):
            times = []
            for _ in range(REPEATS):
                before = time.perf_counter()
                found = store.breakdown(account, dimension, at=Instant(NOW * MICROSECONDS))
                times.append(time.perf_counter() - before)
            middle = sorted(times)[REPEATS // 2] * 1_000
            print(f"{dimension:9} of {found.totals.calls:,} calls: {middle:.0f} ms (median of {REPEATS})")
        store.close()
        print(f"{path.stat().st_size / count:.0f} bytes per entry on disk")


if __name__ == "__main__":
    main()
