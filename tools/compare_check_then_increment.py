"""What a thousand calls at once do to a budget for a hundred: checked first and added to later, or held before.

Check, then increment, is what https://github.com/BerriAI/litellm/issues/34732 describes: the budget is read before a
call, its cost is added after it, and whoever reads in between passes. Side by side, the same calls against: that
pattern in a dozen lines, LiteLLM's own session budget (in .venv-peers, `tools/setup-peers` makes it), and Farebox, its
lease in process and its gateway over HTTP. Prints a table; says what could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from farebox.domain.identity import Account
from farebox.quota.leases import Hold, LeaseBook
from farebox.quota.port import AllowanceInForce, Gateway
from farebox.quota.sqlite import SqliteQuotaStore
from farebox.testing.crowd import crowd
from farebox.testing.system import Provision, RunningFarebox
from farebox.testing.upstream import Behaviour, StubUpstream

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers"
ACCOUNT = Account("acme", "api", "api")
MILLI = 1_000


@dataclass(frozen=True)
class Load:
    """So many calls of one credit, each taking so long upstream, for so many credits."""

    calls: int
    credits: int
    call_ms: int


@dataclass(frozen=True)
class Outcome:
    """How many calls were let through, one after the other and at once."""

    name: str
    in_order: int
    at_once: int


def main() -> int:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--credits", type=int, default=100)
    parser.add_argument("--call-ms", type=int, default=20, help="what a call takes upstream (default 20)")
    load = Load(**vars(parser.parse_args()))
    print(f"{load.calls} calls of 1 credit, {load.credits} credits, {load.call_ms} ms a call upstream\n")
    print(f"{'':44} {'in order':>9} {'at once':>8} {'should be':>10} {'over by':>8}")
    for measure in (check_then_increment, litellm_session_budget, farebox_lease, farebox_gateway):
        outcome = measure(load)
        if isinstance(outcome, str):
            print(outcome)
            continue
        fits = min(load.calls, load.credits)
        figures = f"{outcome.in_order:9} {outcome.at_once:8} {fits:10} {outcome.at_once - fits:8}"
        print(f"{outcome.name:44} {figures}")
    return 0


def check_then_increment(load: Load) -> Outcome:
    """The pattern itself: the increment is exact, and it does not help."""
    spent: dict[str, int] = {}

    async def call(budget: str, seconds: float) -> bool:
        if spent.get(budget, 0) >= load.credits:
            return False
        await asyncio.sleep(seconds)
        spent[budget] = spent.get(budget, 0) + 1
        return True

    async def run() -> Outcome:
        in_order = [await call("in order", 0) for _ in range(load.calls)]
        at_once = await asyncio.gather(*[call("at once", load.call_ms / 1000) for _ in range(load.calls)])
        return Outcome("check, then increment: the pattern", sum(in_order), sum(at_once))

    return asyncio.run(run())


def litellm_session_budget(load: Load) -> Outcome | str:
    """LiteLLM's `max_budget_per_session`, by its own hooks, in its own virtual environment."""
    python = Path(os.environ.get("FAREBOX_PEERS", PEERS)) / "bin" / "python"
    if not python.exists():
        return f"LiteLLM: not run, there is no {python}; `tools/setup-peers` makes it"
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    environment.pop("PYTHONPATH", None)
    command = [str(python), str(ROOT / "tools/compare_litellm_budget.py"), *map(str, vars(load).values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return f"LiteLLM: not run, {done.stderr.strip().splitlines()[-1:]}"
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return Outcome(f"LiteLLM {said['version']}, max_budget_per_session", said["in_order"], said["at_once"])


def farebox_lease(load: Load) -> Outcome:
    """A gateway's lease over the SQLite store, in process: held before the call, charged after it."""
    total = load.credits * MILLI
    allowance = AllowanceInForce(total, total, "any", total, 0, 0, 0, None, 1)

    async def run(folder: Path) -> Outcome:
        counts = []
        for seconds in (0, load.call_ms / 1000):
            store = SqliteQuotaStore(folder / f"{seconds}.db", allowance_of=lambda _: allowance)
            book = LeaseBook(Gateway("here", 0, "compare"), _boottime)
            if seconds:
                counts.append(await _at_once(book, store, load, seconds))
            else:
                counts.append(await _in_order(book, store, load))
            store.close()
        return Outcome("Farebox, a lease in process", counts[0], counts[1])

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder)))


async def _in_order(book: LeaseBook, store: SqliteQuotaStore, load: Load) -> int:
    admitted = 0
    for _ in range(load.calls):
        found = book.admit(ACCOUNT, MILLI)
        if found is None:
            waiting = book.wait(ACCOUNT, MILLI)
            _sync(book, store)
            found = await waiting
        if isinstance(found, Hold):
            admitted += 1
            book.charge(found, MILLI)
    return admitted


async def _at_once(book: LeaseBook, store: SqliteQuotaStore, load: Load, seconds: float) -> int:
    async def call() -> bool:
        found = book.admit(ACCOUNT, MILLI) or await book.wait(ACCOUNT, MILLI)
        if not isinstance(found, Hold):
            return False
        await asyncio.sleep(seconds)
        book.charge(found, MILLI)
        return True

    calls = asyncio.gather(*[call() for _ in range(load.calls)])
    while not calls.done():
        await asyncio.sleep(0)
        _sync(book, store)
    return sum(await calls)


def _sync(book: LeaseBook, store: SqliteQuotaStore) -> None:
    if book.due_in() != 0:
        return
    request = book.build_sync()
    if request is not None:
        sent_at = _boottime()
        book.apply(store.sync(request), sent_at, _boottime())


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000


def farebox_gateway(load: Load) -> Outcome:
    """The gateway over HTTP, every caller on a connection of its own; what reached the upstream is counted there."""
    with tempfile.TemporaryDirectory() as folder, StubUpstream() as upstream:
        upstream.default = Behaviour(delay_seconds=load.call_ms / 1000)
        orgs = [Provision(org=org, base=load.credits, users=()) for org in ("in-order", "at-once")]
        farebox = RunningFarebox(Path(folder), upstream_url=upstream.url, orgs=orgs)
        farebox.gateway.start()
        try:
            in_order = asyncio.run(_through(farebox, "in-order", 1, load))
            at_once = asyncio.run(_through(farebox, "at-once", load.calls, load))
        finally:
            farebox.gateway.stop()
        assert len(upstream.requests) == in_order + at_once, "the upstream saw other calls than were answered"
    return Outcome("Farebox, the gateway over HTTP", in_order, at_once)


async def _through(farebox: RunningFarebox, org: str, callers: int, load: Load) -> int:
    request = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {farebox.key(org).key}\r\n\r\n".encode()
    answered = 0
    async with crowd(callers, farebox.gateway_url.removeprefix("http://")) as everybody:
        for _ in range(load.calls // callers):
            answered += (await everybody.call(request))[200]
    return answered


if __name__ == "__main__":
    sys.exit(main())
