"""G1 at the edge: a thousand calls at once for the last hundred credits, through two workers, a hundred times over."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from farebox.domain.identity import Account
from farebox.testing.books import read_books
from farebox.testing.crowd import crowd
from farebox.testing.system import GATEWAY_HEALTH, ChildProcess, Provision, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

TOOLS = Path(__file__).resolve().parents[2] / "tools"
ROUNDS = 100
CALLS = 1_000
LAST = 100
PRICES = (1, 3, 7)
WORKERS = 2

pytestmark = pytest.mark.slow


@contextmanager
def served(farebox: RunningFarebox) -> Iterator[list[int]]:
    """`farebox serve`; the process ids of its gateway workers."""
    serve = ChildProcess(
        "serve",
        ["-m", "farebox.cli", "serve", "--config", str(farebox.config_path)],
        health_url=farebox.gateway_url + GATEWAY_HEALTH,
        log=farebox.folder / "serve.log",
    )

    def serving() -> list[int]:
        path = farebox.data / "run/supervisor.json"
        found = json.loads(path.read_text())["processes"] if path.exists() else []
        return [each["pid"] for each in found if each["name"].startswith("gateway") and each["state"] == "serving"]

    serve.start()
    try:
        yield until(lambda: pids if len(pids := serving()) == WORKERS else None, what="both workers serve")
        assert serve.stop() == 0, serve.log
    finally:
        if serve.is_running:
            serve.kill()


def connections_of(worker: int, farebox: RunningFarebox) -> int:
    port = urlsplit(farebox.gateway_url).port
    held = psutil.Process(worker).net_connections("tcp")
    return sum(1 for each in held if each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED)


def request_of(farebox: RunningFarebox, org: str, price: int) -> bytes:
    body = b'{"lines":[' + b",".join([b"{}"] * (10 * price)) + b"]}"
    key = farebox.key(org).key
    head = f"POST /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def race(farebox: RunningFarebox, workers: list[int], orgs: list[str], upstream: StubUpstream) -> None:
    reached = 0
    async with crowd(CALLS, farebox.gateway_url.removeprefix("http://")) as callers:
        for number, org in enumerate(orgs):
            price = PRICES[number % len(PRICES)]
            fit = LAST // price
            statuses = await callers.call(request_of(farebox, org, price))
            assert statuses == {200: fit, 429: CALLS - fit}, f"round {number}, {price} credits a call"
            reached += fit
            assert len(upstream.requests) == reached, f"round {number}: a refused call reached the upstream"
        shares = [connections_of(worker, farebox) for worker in workers]
    print(f"callers by worker: {shares}")
    assert sum(shares) == CALLS
    assert min(shares) > CALLS // 10, "both workers had callers"


def test_a_thousand_calls_at_once_get_exactly_the_last_hundred_credits_a_hundred_times_over(
    tmp_path: Path, upstream: StubUpstream, card: str
) -> None:
    orgs = [f"org{number}" for number in range(ROUNDS)]
    farebox = RunningFarebox(
        tmp_path,
        upstream_url=upstream.url,
        orgs=[Provision(org=org, base=LAST, users=()) for org in orgs],
        card=card,
        gateway={"workers": WORKERS},
    )
    with served(farebox) as workers:
        asyncio.run(race(farebox, workers, orgs, upstream))
    farebox.console.start()
    until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    assert farebox.console.stop() == 0
    books = read_books(farebox.data)
    assert books.disagreements() == []
    spent = [sum(books.spent(Account(org, "api", "api")).values()) for org in orgs]
    assert spent == [LAST // price * price * 1_000 for _, price in zip(orgs, cycle(PRICES), strict=False)]


def test_what_checks_first_and_adds_later_goes_over_and_farebox_under_the_same_load_does_not() -> None:
    """The comparison that docs/benchmarks.md shows, without LiteLLM, which is not installed here."""
    command = [sys.executable, str(TOOLS / "compare_check_then_increment.py"), "--calls", "200", "--credits", "20"]
    environment = {**os.environ, "FAREBOX_PEERS": "/nowhere"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    figures = {line[:44].strip(): line[44:].split() for line in done.stdout.splitlines()[3:]}
    assert figures["check, then increment: the pattern"] == ["20", "200", "20", "180"]
    assert figures["Farebox, a lease in process"] == ["20", "20", "20", "0"]
    assert figures["Farebox, the gateway over HTTP"] == ["20", "20", "20", "0"]
    assert "LiteLLM: not run" in done.stdout
