"""A process that loads batch after batch into a usage file until it is killed: argv is the file's path.

Batch n has n % 7 + 1 entries and moves the offset to (1, entries so far): offset and rows can be compared.
"""

from __future__ import annotations

import sys
from pathlib import Path

from farebox.journal.position import Position
from farebox.journal.records import Entry
from farebox.usage.duckdb import DuckdbUsage


def main() -> None:
    """Load for ever, going on from the committed offset."""
    store = DuckdbUsage(Path(sys.argv[1]), memory="64MB")
    at = store.offsets().get("i1", Position(1, 0)).byte
    print("loading", flush=True)
    number = 0
    while True:
        number += 1
        entries = [entry(at + index) for index in range(number % 7 + 1)]
        at += len(entries)
        store.load(entries, {"i1": Position(1, at)})


def entry(number: int) -> Entry:
    """The entry of that number: one credit, its number in the call id."""
    return Entry(
        kind=0,
        call_id=number.to_bytes(16, "big"),
        stamp=1_700_000_000_000_000,
        org="acme",
        product="crm",
        pool="api",
        user="u1",
        app="",
        function="",
        task="",
        module="",
        operation="other",
        method="GET",
        path_template="",
        api_version="",
        target_hash=bytes(8),
        client_ip="",
        status=200,
        outcome="charged",
        reason="",
        quote=1_000,
        credits=1_000,
        addon=0,
        quantities={},
        records_returned=-1,
        conditional=0,
        duration=1,
        bytes_in=0,
        bytes_out=0,
        calls=1,
    )


if __name__ == "__main__":
    main()
