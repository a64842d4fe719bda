"""G7: with quota out of reach calls go on within what is lent, are then refused in clear words, and recover.

What keeps the file from being written is real: another process' connection holds SQLite's write lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from farebox.testing.books import read_books
from farebox.testing.system import RunningFarebox, until
from farebox.testing.upstream import StubUpstream

LEASE_SECONDS = 2.0
TRIES = 10

pytestmark = pytest.mark.slow


@contextmanager
def quota_locked(data: Path) -> Iterator[None]:
    """Nobody else can write quota.db meanwhile."""
    other = sqlite3.connect(data / "quota.db", isolation_level=None, timeout=60)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def locked_with_a_lease_held(data: Path, ada: httpx.Client) -> Iterator[float]:
    """As above, since when, while the gateway has credits on loan: a call has gone through already.

    A machine that stands still for longer than a lease lasts makes it lapse before the first call: then once more.
    """
    for _ in range(TRIES):
        for _ in range(40):  # a rate, so that more is lent than is held
            until(lambda: ada.get("/things").status_code == 200, what="calls go on")
        with quota_locked(data):
            locked_at = time.monotonic()
            if ada.get("/things").status_code == 200:
                yield locked_at
                return
    raise AssertionError("no call went on within a lease")


def test_quota_unwritable_calls_go_on_within_leases_then_503_and_recover_without_a_restart(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        pid = farebox.gateway.pid
        with farebox.caller("acme", "ada") as ada:
            with locked_with_a_lease_held(farebox.data, ada) as locked_at:
                while True:
                    sent_at = time.monotonic()
                    if (answer := ada.get("/things")).status_code != 200:
                        break
                    assert sent_at - locked_at < LEASE_SECONDS, "calls went on without any lease"
                reached = len(upstream.requests)
                assert answer.status_code == 503
                assert answer.json()["code"] == "QUOTA_UNAVAILABLE"
                assert "Nothing was charged" in answer.json()["detail"]
                assert int(answer.headers["Retry-After"]) >= 1
                assert ada.get("/things").status_code == 503
                assert len(upstream.requests) == reached, "a refused call reached the upstream"
                assert farebox.gateway.answers(), "the gateway is well: its health says what is wrong"
            until(lambda: ada.get("/things").status_code == 200, what="calls go on", within_seconds=60)
        assert farebox.gateway.pid == pid
        assert farebox.gateway.is_running
        assert "Another process has held it" in farebox.gateway.log
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    books = read_books(farebox.data)
    assert books.disagreements() == []
    assert sum(row.calls for row in books.entries) == len(upstream.requests)


def test_the_console_shows_the_last_figures_while_quota_cannot_be_read_and_says_since_when(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        with farebox.caller("acme", "ada") as ada:
            assert ada.get("/things").status_code == 200
        until(lambda: farebox.ask_console("allowance", "acme")["used"] == 1_000, what="the charge is settled")
        away = farebox.data / "quota.db.away"
        (farebox.data / "quota.db").rename(away)
        lost = farebox.ask_console("allowance", "acme")
        assert lost["quota_lost_at"] is not None
        assert lost["used"] == 1_000
        away.rename(farebox.data / "quota.db")
        assert farebox.ask_console("allowance", "acme")["quota_lost_at"] is None
