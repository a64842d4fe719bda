"""The spend file under several processes, and under kill -9 at any moment."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from farebox.domain.identity import Account
from farebox.quota.port import AllowanceInForce
from farebox.quota.sqlite import SqliteQuotaStore

ACCOUNT = Account("acme", "crm", "api")
CHILD = Path(__file__).with_name("syncing_child.py")


def start(path: Path, incarnation: str, total: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(path), incarnation, str(total)], stdout=subprocess.PIPE, text=True
    )


def store_of(path: Path, total: int) -> SqliteQuotaStore:
    allowance = AllowanceInForce(total, total, "p", total, 0, 0, 0, None, 1)
    return SqliteQuotaStore(path, allowance_of=lambda _: allowance)


def lines(child: subprocess.Popen[str], count: int) -> tuple[int, int, int]:
    """Read `count` lines; the last one's figures."""
    assert child.stdout is not None
    sequence = spent = granted = 0
    for _ in range(count):
        sequence, spent, granted = map(int, child.stdout.readline().split())
    return sequence, spent, granted


def kill(child: subprocess.Popen[str]) -> str:
    """kill -9; what it still had said."""
    child.kill()
    assert child.stdout is not None
    with child.stdout:
        rest = child.stdout.read()
    child.wait(timeout=60)
    return rest


@pytest.mark.slow
def test_kill_9_in_any_transaction_loses_nothing_that_was_answered_and_books_nothing_twice(tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    path, total = tmp_path / "quota.db", 10**9
    settled = 0
    for life in range(10):
        child = start(path, f"life-{life}", total)
        sequence, spent, _ = lines(child, chance.randrange(1, 60))
        for line in kill(child).splitlines():
            if len(fields := line.split()) == 3:
                sequence, spent, _ = map(int, fields)
        store = store_of(path, total)
        store.check()
        assert store.sequence_of(f"life-{life}") in (sequence, sequence + 1)
        used = store.view(ACCOUNT).used - store.view(ACCOUNT).unaccounted
        assert used - settled in (spent, spent + 7), "what was answered, and at most the one sync under way"
        settled = used
        assert store.alarms() == ()
        store.close()


@pytest.mark.slow
def test_two_processes_never_get_more_than_the_allowance_together(tmp_path: Path) -> None:
    path, total = tmp_path / "quota.db", 1_000
    children = [start(path, f"life-{number}", total) for number in range(2)]
    ends = [lines(child, 150) for child in children]
    for child in children:
        kill(child)
    store = store_of(path, total)
    store.check()
    view = store.view(ACCOUNT)
    assert sum(spent for _, spent, _ in ends) <= total
    assert total - 7 < view.used + view.held <= total, "to the last credit that could be spent, and not one more"
    assert store.alarms() == ()
    store.close()
