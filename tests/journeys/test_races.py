"""G1 at the edge: a thousand calls at once for the last hundred credits, through two workers, a hundred times over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farebox.domain.identity import Account
from farebox.journal import reader
from farebox.quota.port import NO_ALLOWANCE
from farebox.quota.sqlite_view import SpendFile
from farebox.testing.crowd import crowd
from farebox.testing.system import GATEWAY_HEALTH, ChildProcess, Provision, RunningFarebox, free_port
from farebox.testing.upstream import StubUpstream

TOOLS = Path(__file__).resolve().parents[2] / "tools"
ROUNDS = 100
CALLS = 1_000
LAST = 100
PRICES = (1, 3, 7)

pytestmark = pytest.mark.slow


@contextmanager
def two_workers(farebox: RunningFarebox) -> Iterator[list[str]]:
    """The gateway's worker and one more on an address of its own, both on the same files; their addresses."""
    address = farebox.gateway_url.removeprefix("http://")
    other = f"127.0.0.1:{free_port()}"
    config = farebox.config_path.with_name("second.toml")
    config.write_text(farebox.config_path.read_text().replace(address, other))
    second = ChildProcess(
        "second",
        ["-m", "farebox.app", "gateway", str(config), "1"],
        health_url=f"http://{other}{GATEWAY_HEALTH}",
        log=farebox.folder / "second.log",
    )
    workers = (farebox.gateway, second)
    try:
        for worker in workers:
            worker.start()
        yield [address, other]
        assert [worker.stop() for worker in workers] == [0, 0], farebox.gateway.log + second.log
    finally:
        for worker in workers:
            if worker.is_running:
                worker.kill()


def request_of(farebox: RunningFarebox, org: str, price: int) -> bytes:
    body = b'{"lines":[' + b",".join([b"{}"] * (10 * price)) + b"]}"
    key = farebox.key(org).key
    head = f"POST /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def race(farebox: RunningFarebox, addresses: list[str], orgs: list[str], upstream: StubUpstream) -> None:
    reached = 0
    async with crowd(CALLS, *addresses) as callers:
        for number, org in enumerate(orgs):
            price = PRICES[number % len(PRICES)]
            fit = LAST // price
            statuses = await callers.call(request_of(farebox, org, price))
            assert statuses == {200: fit, 429: CALLS - fit}, f"round {number}, {price} credits a call"
            reached += fit
            assert len(upstream.requests) == reached, f"round {number}: a refused call reached the upstream"


def test_a_thousand_calls_at_once_get_exactly_the_last_hundred_credits_a_hundred_times_over(
    tmp_path: Path, upstream: StubUpstream, card: str
) -> None:
    orgs = [f"org{number}" for number in range(ROUNDS)]
    provisions = [Provision(org=org, base=LAST, users=()) for org in orgs]
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=provisions, card=card)
    with two_workers(farebox) as addresses:
        asyncio.run(race(farebox, addresses, orgs, upstream))
    spent: Counter[str] = Counter()
    for journal in (farebox.data / "journal").iterdir():
        entries = [entry for entry, _ in reader.read(journal)]
        assert any(entry.credits for entry in entries), "a worker that took no call"
        for entry in entries:
            spent[entry.org] += entry.credits
    spend = SpendFile(farebox.data / "quota.db", allowance_of=lambda _: NO_ALLOWANCE)
    for number, org in enumerate(orgs):
        price = PRICES[number % len(PRICES)]
        view = spend.view(Account(org, "api", "api"))
        assert spent[org] == view.used == LAST // price * price * 1_000
        assert (view.held, view.unaccounted) == (0, 0)
    assert spend.alarms() == ()


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
