"""How fast the journal takes entries: per append in the loop thread, and entries per second end to end.

Run: python tools/bench_journal.py [--directory DIR] [--entries N]. `in flight` is how many callers wait at once, as
requests do: each appends its next entry when its last one is released. Figures depend on the disk under DIR.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from farebox.journal.reader import read
from farebox.journal.records import CHARGE, CHARGED, Entry
from farebox.journal.segment import Durability
from farebox.journal.writer import JournalWriter

SAMPLE = Entry(
    kind=CHARGE,
    call_id=os.urandom(16),
    stamp=1_700_000_000_000_000,
    org="acme",
    product="crm",
    pool="api",
    user="u17",
    app="sync",
    function="",
    task="nightly",
    module="Leads",
    operation="records.insert",
    method="POST",
    path_template="/crm/v8/{module}",
    api_version="v8",
    target_hash=os.urandom(8),
    client_ip="192.0.2.7",
    status=201,
    outcome=CHARGED,
    reason="",
    quote=1000,
    credits=1000,
    addon=0,
    quantities={"records": 10},
    records_returned=10,
    conditional=0,
    duration=12_345,
    bytes_in=1_000,
    bytes_out=2_000,
    calls=1,
)


async def in_flight(root: Path, durability: Durability, *, callers: int, entries: int) -> str:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    groups: list[int] = []
    left = entries
    spent = 0

    def released(_good: bool) -> None:  # noqa: FBT001 - the journal's signature
        nonlocal left, spent
        left -= 1
        if left <= 0:
            if not done.done():
                done.set_result(None)
        else:
            began = time.perf_counter_ns()
            writer.append(SAMPLE, released)
            spent += time.perf_counter_ns() - began

    writer = JournalWriter(
        root,
        f"{durability}-{callers}",
        durability=durability,
        loop=loop,
        on_committed=lambda group, _position: groups.append(len(group)),
        journal_bytes_max=1 << 32,
    )
    began = time.perf_counter()
    for _ in range(callers):
        writer.append(SAMPLE, released)
    await done
    seconds = time.perf_counter() - began
    writer.close()
    return (
        f"{durability:>5} {callers:>9} {entries / seconds:>12,.0f} {len(groups) / seconds:>10,.0f}"
        f" {statistics.median(groups):>12.0f} {spent / entries / 1000:>10.2f} {seconds / entries * 1e6:>14.2f}"
    )


def reading(root: Path) -> str:
    began = time.perf_counter()
    count = sum(1 for directory in root.iterdir() for _ in read(directory))
    seconds = time.perf_counter() - began
    return f"read back {count:,} entries, {count / seconds:,.0f} per second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("build"))
    parser.add_argument("--entries", type=int, default=200_000)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="bench-journal-", dir=options.directory))
    durabilities: tuple[Durability, ...] = ("disk", "os")
    try:
        print("        in flight    entries/s   groups/s median group  us/append  us/entry whole")
        for durability in durabilities:
            for callers in (1, 16, 64, 256):
                count = options.entries if callers > 1 else options.entries // 20
                print(uvloop.run(in_flight(root, durability, callers=callers, entries=count)))
        print(reading(root))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
