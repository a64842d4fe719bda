"""A gateway process for tests: syncs as fast as it can and prints what it was granted, until it is killed.

Arguments: the spend file, the incarnation, the allowance. Each line: sequence, granted so far and kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

from farebox.errors import QuotaUnavailableError
from farebox.quota.port import START, AccountSync, AllowanceInForce, Gateway, Position, SyncRequest
from farebox.quota.sqlite import SqliteQuotaStore


def main(path: str, incarnation: str, total: int) -> None:
    allowance = AllowanceInForce(total, total, "p", total, 0, 0, 0, None, 1)
    store = opened(Path(path), allowance)
    spent, granted, position = 0, 0, START
    for sequence in range(1, 1_000_000):
        settled = ((store.now() // 1_000_000, granted),) if granted else ()
        to = Position(1, sequence) if granted else position
        part = AccountSync("acme", "crm", "api", settled, 0, (7,), 20)
        request = SyncRequest(Gateway("host", 0, incarnation), sequence, position, to, (part,))
        while True:
            try:
                reply = store.sync(request)
                break
            except QuotaUnavailableError:
                continue
        spent += granted
        position, granted = to, 7 if reply.accounts[0].needs_granted == (True,) else 0
        print(sequence, spent, granted, flush=True)


def opened(path: Path, allowance: AllowanceInForce) -> SqliteQuotaStore:
    """As a worker does: again while another process holds the file."""
    while True:
        try:
            return SqliteQuotaStore(path, allowance_of=lambda _: allowance)
        except QuotaUnavailableError:
            continue


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
