"""`farebox serve`: one command runs everything, replaces what dies, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from farebox.testing.books import read_books
from farebox.testing.system import GATEWAY_HEALTH, ChildProcess, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

pytestmark = pytest.mark.slow


def serve_of(farebox: RunningFarebox) -> ChildProcess:
    return ChildProcess(
        "serve",
        ["-m", "farebox.cli", "serve", "--config", str(farebox.config_path)],
        health_url=farebox.gateway_url + GATEWAY_HEALTH,
        log=farebox.folder / "serve.log",
    )


def children(pid: int) -> dict[str, int]:
    """The processes a process started, by role."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            command = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        except FileNotFoundError:
            continue  # it has just ended
        if "farebox.app" in command:
            found[command[command.index("farebox.app") + 1]] = int(child)
    return found


def test_a_killed_worker_and_a_killed_console_are_replaced_and_every_call_is_answered_and_counted_once(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url)
    serve = serve_of(farebox)
    serve.start()
    try:
        until(farebox.console.answers, what="the console answers")
        first = children(serve.pid)
        assert set(first) == {"gateway", "console"}
        with farebox.caller("acme", "ada") as ada:
            assert ada.get("/").status_code == 200
        for role in ("gateway", "console"):
            os.kill(first[role], signal.SIGKILL)
        until(lambda: set(children(serve.pid).values()).isdisjoint(first.values()), what="both are replaced")
        with farebox.caller("acme", "ada") as ada:
            assert ada.get("/").status_code == 200, "it waited in the socket's queue until the new worker took it"
        until(farebox.console.answers, what="the console answers again")
        until(lambda: farebox.ask_console("usage", "acme")["calls"] == 2, what="both calls are in usage")
        until(lambda: farebox.ask_console("allowance", "acme")["used"] == 2_000, what="both calls are in quota")
        last = children(serve.pid)
    finally:
        status = serve.stop()
    assert status == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in last.values()), "a process was left behind"
    books = read_books(farebox.data)
    assert [row.credits for row in books.entries] == [1_000, 1_000]
    assert books.quota.open_incarnations == ()


def test_serve_starts_nothing_when_a_port_is_taken_and_says_which(tmp_path: Path, upstream: StubUpstream) -> None:
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url)
    parts = urlsplit(farebox.console_url)
    serve = serve_of(farebox)
    with socket.create_server((parts.hostname or "", parts.port or 0)):
        serve.launch()
        assert serve.wait_until_ended() == 1
    assert f"cannot listen on {parts.netloc}" in serve.log
    assert "Nothing was started" in serve.log
    assert "Traceback" not in serve.log


def test_the_children_end_with_a_supervisor_that_was_killed(tmp_path: Path, upstream: StubUpstream) -> None:
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url)
    serve = serve_of(farebox)
    serve.start()
    until(lambda: len(children(serve.pid)) == 2 and farebox.console.answers(), what="both run")
    left = children(serve.pid)
    serve.kill()
    until(lambda: not any(_runs(pid) for pid in left.values()), what="gateway and console have ended")
    with farebox:
        pass


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
