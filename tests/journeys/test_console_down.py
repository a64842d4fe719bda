"""G7: the gateway does not notice what happens to the console; usage catches up, each entry once (G3)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from farebox.testing.books import read_books
from farebox.testing.system import RunningFarebox, until
from farebox.testing.upstream import StubUpstream

CALLS = 100

pytestmark = pytest.mark.slow


def test_with_the_console_stopped_killed_or_gone_every_call_is_answered_and_usage_catches_up(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        with farebox.caller("acme", "ada") as ada:
            farebox.console.pause()
            _call(ada, CALLS)
            farebox.console.kill()
            _call(ada, CALLS)
            farebox.console.start()
            _call(ada, CALLS)
        until(lambda: farebox.ask_console("usage", "acme")["calls"] == 3 * CALLS, what="usage has caught up")
        usage = farebox.ask_console("usage", "acme")
        assert usage["millicredits"] == 3 * CALLS * 1_000
        assert {line["value"]: line["calls"] for line in usage["lines"]} == {"ada": 3 * CALLS, "ben": 0}
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    books = read_books(farebox.data)
    assert books.disagreements() == []
    assert len({row.call_id for row in books.entries}) == 3 * CALLS == len(upstream.requests)


def _call(client: httpx.Client, times: int) -> None:
    for _ in range(times):
        assert client.get("/things").status_code == 200


def test_a_gateway_that_recorded_nothing_leaves_no_journal_behind(tmp_path: Path, upstream: StubUpstream) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        for _ in range(2):
            assert farebox.gateway.stop() == 0
            farebox.gateway.start()
        farebox.gateway.kill()
        farebox.gateway.start()
        until(
            lambda: len(list((farebox.data / "journal").iterdir())) == 1, what="only the living one's journal is left"
        )
