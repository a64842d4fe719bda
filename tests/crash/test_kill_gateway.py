"""kill -9 of a loaded gateway, of the console that loads its journal, and of their supervisor: the books hold.

All at random moments. FAREBOX_KILLS (50) is the number of gateways killed, FAREBOX_SUPERVISOR_KILLS (12) that of
supervisors; FAREBOX_SEED replays a run's choices (which calls, when to kill).
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from farebox.domain.identity import Account
from farebox.journal.records import CHARGE
from farebox.testing.books import Books, hash_of, read_books
from farebox.testing.system import GATEWAY_HEALTH, ChildProcess, Provision, RunningFarebox, until
from farebox.testing.upstream import Behaviour, StubUpstream

KILLS = int(os.environ.get("FAREBOX_KILLS", "50"))
SUPERVISOR_KILLS = int(os.environ.get("FAREBOX_SUPERVISOR_KILLS", "12"))
SIDE_BY_SIDE_SHARE = 0.5
WORKERS = 2
PROGRESS_EVERY = 100
CONSOLE_KILLED_EVERY = 5
STARTING_SHARE = 0.2
DEAD_FOR_LONG_SHARE = 0.08
IN_LOADING_SHARE = 0.7
LATE_SHARE = 0.3
LEASE_SECONDS = 2.0
CLIENTS = 8
CALLS_PER_KILL = 10
HOLD_BYTES = 4_096
STREAM_BYTES = 40_000
TIGHT_BASE = 120
TIGHT_RAISE = 60
CLOCK_MARGIN = 100_000
"""Microseconds by which the wall clock here and the quota store's, which is slewed to it, may differ."""

CARD = """
format = 1
name = "crash"
product = "api"
title = "A card with every way to charge"
[pools]
api = "API credits"
[dialect]
refusals = "problem"
[default_operation]
name = "call"
price = 1
source = "this test"
[[plans]]
name = "standard"
source = "this test"
api = { base = 10_000_000 }
[[operations]]
name = "create"
method = "POST"
path = "/create"
price = { per_items = "data", each = 10, max = 100 }
source = "this test"
[[operations]]
name = "convert"
method = "GET"
path = "/convert"
price = { by_outcome = "success", credits = 5, otherwise = 1 }
source = "this test"
[[operations]]
name = "convert_missing"
method = "GET"
path = "/missing"
price = { by_outcome = "success", credits = 5, otherwise = 1 }
source = "this test"
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """A call whose answer came back whole."""

    target: str
    org: str
    user: str
    status: int
    charged: int
    """Millicredits by X-Farebox-Credits-Charged; for a streamed answer the ceiling."""
    streamed: bool


@dataclass(slots=True)
class Load:
    """Clients that call on and on over kept connections, whatever happens to the gateway."""

    farebox: RunningFarebox
    seed: int
    answered: list[Answered] = field(default_factory=list)
    refused: int = 0
    cut: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)

    def start(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._client, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads

    def end(self, clients: list[threading.Thread]) -> None:
        """No further call; returns when the last one has ended."""
        self.ended.set()
        for client in clients:
            client.join(60)

    def _client(self, number: int) -> None:
        rng = random.Random(f"{self.seed}/{number}")
        place = urlsplit(self.farebox.gateway_url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        call = 0
        while not self.ended.is_set():
            call += 1
            try:
                self._call(connection, rng, f"{number}-{call}")
            except (OSError, http.client.HTTPException):
                self.cut += 1
                connection.close()
                self.ended.wait(0.01)
            except BaseException as error:
                self.failures.append(repr(error))
                raise

    def _call(self, connection: http.client.HTTPConnection, rng: random.Random, name: str) -> None:
        org, user = rng.choice(["acme", "acme", "tight"]), rng.choice(["ada", "ben"])
        path = rng.choices(["/thing", "/slow", "/create", "/convert", "/missing", "/stream"], [6, 2, 3, 2, 2, 2])[0]
        target = f"{path}?call={name}"
        body = json.dumps({"data": [{}] * rng.choice([1, 10, 11, 25])}).encode() if path == "/create" else None
        connection.request("POST" if body else "GET", target, body, self.farebox.as_caller(org, user))
        answer = connection.getresponse()
        size = len(answer.read())
        said = answer.headers.get("X-Farebox-Credits-Charged")
        if answer.status in (429, 503):
            assert said in (None, "0"), f"{answer.status} charged {said}"
            self.refused += 1
        else:
            assert answer.status in (200, 404), f"{target}: {answer.status}"
            assert said is not None, f"{target}: {answer.status} {answer.getheaders()}"
            charged = int(Decimal(said) * 1_000)
            self.answered.append(Answered(target, org, user, answer.status, charged, size > HOLD_BYTES))


class Tight:
    """An org that has always spent nearly everything; remembers which allowance may have been in force since when."""

    def __init__(self, farebox: RunningFarebox) -> None:
        self._farebox = farebox
        self._base = TIGHT_BASE
        self.allowances = [(0, TIGHT_BASE * 1_000)]

    def raise_allowance(self) -> None:
        """A little more, which callers are waiting for."""
        self._base += TIGHT_RAISE
        self.allowances.append((time.time_ns() // 1_000 - CLOCK_MARGIN, self._base * 1_000))
        self._farebox.set_base("tight", self._base)


class Late:
    """Keeps a dead gateway's journal from being taken over, as a process that hangs on to its lock would."""

    def __init__(self) -> None:
        self._lock: int | None = None

    def keep_from_adoption(self, path: Path) -> None:
        self._lock = os.open(path, os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None


@pytest.fixture
def upstream() -> Iterator[StubUpstream]:
    with StubUpstream(keep_bodies=False) as upstream:
        upstream.answer("/slow", Behaviour(delay_seconds=0.05))
        upstream.answer("/convert", Behaviour(stream_bytes=STREAM_BYTES, chunked=True))
        upstream.answer("/missing", Behaviour(status=404, stream_bytes=STREAM_BYTES))
        upstream.answer("/stream", Behaviour(stream_bytes=STREAM_BYTES))
        yield upstream


@pytest.mark.slow
def test_every_answered_call_is_booked_once_and_nothing_over_whatever_kill_9_hits(
    tmp_path: Path, upstream: StubUpstream, kills: Counter[str]
) -> None:
    seed, rng = _seed(f"FAREBOX_KILLS={KILLS}")
    farebox = _farebox(tmp_path, upstream)
    tight, late = Tight(farebox), Late()
    with farebox:
        load = Load(farebox, seed)
        clients = load.start()
        for kill in range(KILLS):
            _kill(farebox, tight, late, rng)
            kills["gateway"] += 1
            if kill % CONSOLE_KILLED_EVERY == 0:
                _kill_console(farebox, rng)
                kills["console"] += 1
            if kill % PROGRESS_EVERY == PROGRESS_EVERY - 1:
                print(f"{kill + 1} of {KILLS} gateways killed, {len(load.answered)} calls answered", flush=True)
        late.release()
        _enough(load, kills=KILLS)
        load.end(clients)
        _wait_for_the_end(farebox)
    _judge(farebox, load, upstream, tight, kills=KILLS)


@pytest.mark.slow
def test_a_killed_supervisor_takes_its_processes_with_it_and_the_next_one_goes_on_without_losing_anything(
    tmp_path: Path, upstream: StubUpstream, kills: Counter[str]
) -> None:
    seed, rng = _seed(f"FAREBOX_SUPERVISOR_KILLS={SUPERVISOR_KILLS}")
    farebox = _farebox(tmp_path, upstream, workers=WORKERS)
    serve = ChildProcess(
        "serve",
        ["-m", "farebox.cli", "serve", "--config", str(farebox.config_path)],
        health_url=farebox.gateway_url + GATEWAY_HEALTH,
        log=tmp_path / "serve.log",
    )
    tight, load = Tight(farebox), Load(farebox, seed)
    clients = load.start()
    try:
        for _ in range(SUPERVISOR_KILLS):
            serve.launch()
            if rng.random() < STARTING_SHARE:
                time.sleep(rng.uniform(0, 1.0))
            else:
                serve.wait_until_well()
                tight.raise_allowance()
                time.sleep(rng.uniform(0, 0.8))
            serve.kill()
            kills["supervisor"] += 1
            if rng.random() > SIDE_BY_SIDE_SHARE:  # else the next one starts while the workers of this one still end
                until(lambda: not _processes_of(farebox), what="all processes ended with their supervisor")
        serve.start()
        until(lambda: len(list((farebox.data / "journal").iterdir())) <= WORKERS, what="what the dead left is adopted")
        _enough(load, kills=SUPERVISOR_KILLS)
        load.end(clients)
        assert serve.stop() == 0
        until(lambda: not _processes_of(farebox), what="nothing is left behind")
    finally:
        load.end(clients)
        if serve.is_running:
            serve.kill()
    farebox.console.start()
    until(lambda: not list((farebox.data / "journal").iterdir()), what="the last journal loaded and removed")
    assert farebox.console.stop() == 0
    _judge(farebox, load, upstream, tight, kills=SUPERVISOR_KILLS)


def _seed(settings: str) -> tuple[int, random.Random]:
    seed = int(os.environ.get("FAREBOX_SEED", str(random.randrange(1 << 32))))
    print(f"FAREBOX_SEED={seed} {settings}", flush=True)
    return seed, random.Random(seed)


def _farebox(folder: Path, upstream: StubUpstream, *, workers: int = 1) -> RunningFarebox:
    card = folder / "crash.toml"
    card.write_text(CARD)
    return RunningFarebox(
        folder,
        upstream_url=upstream.url,
        orgs=[Provision(org="acme"), Provision(org="tight", base=TIGHT_BASE)],
        card=str(card),
        gateway={"answer_hold_bytes": HOLD_BYTES, "journal_segment_bytes": 256 * 1024, "workers": workers},
    )


def _processes_of(farebox: RunningFarebox) -> list[int]:
    """All that run on this configuration, whoever is their parent."""
    found, path = [], str(farebox.config_path).encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if path in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def _enough(load: Load, *, kills: int) -> None:
    """Calls go on until there were enough to judge by, however slow this machine is."""
    until(lambda: len(load.answered) > kills * CALLS_PER_KILL and load.refused and load.cut, what="enough calls")


def _kill(farebox: RunningFarebox, tight: Tight, late: Late, rng: random.Random) -> None:
    """Under load; now and then in the middle of starting, or of taking over from the one before.

    Shortly before, the tight org gets more: what is spent of it may not be settled yet. Now and then the gateway stays
    dead for longer than its leases, so that what was lent to it is booked as unaccounted first, or its journal cannot
    be taken over before the next one is dead: until then what it spent and did not settle must count as lent.
    """
    if rng.random() < STARTING_SHARE:
        tight.raise_allowance()
        time.sleep(rng.uniform(0, 0.6))
    else:
        farebox.gateway.wait_until_well()
        time.sleep(rng.uniform(0, 0.2))
        tight.raise_allowance()
        time.sleep(rng.uniform(0, 0.8))
    farebox.gateway.kill()
    late.release()
    if rng.random() < LATE_SHARE:
        late.keep_from_adoption(max(farebox.data.glob("journal/*/lock")))
    if rng.random() < DEAD_FOR_LONG_SHARE:
        time.sleep(LEASE_SECONDS + 0.2)
    farebox.gateway.launch()


def _kill_console(farebox: RunningFarebox, rng: random.Random) -> None:
    """At a random moment, or as soon as anything was written into usage: between two steps of a load, if it has two."""
    log = farebox.data / "usage.duckdb.wal"
    if rng.random() < IN_LOADING_SHARE and farebox.console.answers():
        before = _size(log)
        deadline = time.monotonic() + 2
        while _size(log) == before and time.monotonic() < deadline:
            pass  # a load takes some milliseconds: sleeping would miss its middle
    farebox.console.kill()
    farebox.console.launch()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _wait_for_the_end(farebox: RunningFarebox) -> None:
    """The dead are adopted, the living gateway has stopped, and usage has everything: no journal is left."""
    journal = farebox.data / "journal"
    farebox.gateway.wait_until_well()
    until(lambda: len(list(journal.iterdir())) <= 1, what="dead gateways adopted, loaded and removed")
    assert farebox.gateway.stop() == 0
    until(lambda: not list(journal.iterdir()), what="the last journal loaded and removed")


def _judge(farebox: RunningFarebox, load: Load, upstream: StubUpstream, tight: Tight, *, kills: int) -> None:
    assert not load.failures
    books, data = read_books(farebox.data), farebox.data
    reached = {hash_of(data, received.target) for received in upstream.requests}
    print(
        f"{len(load.answered)} answered, {load.refused} refused, {load.cut} cut off, "
        f"{len(upstream.requests)} reached the upstream, {len(books.entries)} entries"
    )
    _judge_calls(books, load, reached, data, kills=kills)
    assert books.over(Account("tight", "api", "api"), tight.allowances) == []
    assert books.over(Account("acme", "api", "api"), [(0, 10_000_000_000)]) == []


def _judge_calls(books: Books, load: Load, reached: set[bytes], data: Path, *, kills: int) -> None:
    assert books.disagreements() == []
    assert books.journals == ()
    charges: dict[bytes, list[int]] = {}
    totals: dict[bytes, int] = {}
    for row in books.entries:
        if row.calls:
            charges.setdefault(row.target_hash, []).append(row.credits)
        totals[row.target_hash] = totals.get(row.target_hash, 0) + row.credits
        if row.kind == CHARGE:
            assert row.target_hash in reached, f"charged and never reached the upstream: {row}"
            assert row.credits <= row.quote
    unclosed = 0
    for call in load.answered:
        hashed = hash_of(data, call.target)
        assert charges.get(hashed) == [call.charged], f"{call} is in usage as {charges.get(hashed)}"
        if not call.streamed:
            assert totals[hashed] == call.charged, f"{call} costs {totals[hashed]}"
        elif call.target.startswith("/missing"):
            assert totals[hashed] in (1_000, 5_000), f"{call} costs {totals[hashed]}: its ceiling, or closed"
            unclosed += totals[hashed] == 5_000
    assert unclosed <= kills * CLIENTS, "only what a kill cut off may stay at its ceiling"
    assert len(load.answered) > kills * CALLS_PER_KILL
    assert load.refused > 0
    assert load.cut > 0
