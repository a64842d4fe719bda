"""Several workers under one supervisor: reloaded and replaced under load without a failed call, or not at all.

FAREBOX_RELOADS (3) is the number of reloads under load; FAREBOX_SEED replays what the clients do.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from farebox.domain.identity import Account
from farebox.journal import reader
from farebox.testing.books import read_books
from farebox.testing.system import GATEWAY_HEALTH, ChildProcess, Provision, RunningFarebox, until
from farebox.testing.upstream import Behaviour, StubUpstream

pytestmark = pytest.mark.slow

RELOADS = int(os.environ.get("FAREBOX_RELOADS", "3"))
BETWEEN_SECONDS = 0.3


@contextmanager
def served(folder: Path, upstream_url: str, *, workers: int = 2, card: str = "generic") -> Iterator[Serve]:
    gateway = {"workers": workers, "drain_idle_seconds": 60.0, "stop_grace_seconds": 60.0}
    acme = Provision(org="acme", base=1_000_000)
    farebox = RunningFarebox(folder, upstream_url=upstream_url, orgs=[acme], gateway=gateway, card=card)
    serve = Serve(farebox)
    serve.process.start()
    try:
        until(lambda: len(serve.workers()) == workers, what="all workers serve")
        yield serve
    finally:
        if serve.process.is_running:
            serve.process.stop()


def scraped_calls(farebox: RunningFarebox) -> float:
    """`farebox_calls_total` at the machine's address, over all workers, once each has answered in time."""

    def scraped() -> float | None:
        families = text_string_to_metric_families(httpx.get(f"{farebox.metrics_url}/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        if not {sample.labels.get("process") for sample in samples} >= {"gateway-0", "gateway-1"}:
            return None  # on a busy machine one may be left out
        return 1 + sum(sample.value for sample in samples if sample.name == "farebox_calls_total")

    return until(scraped, what="every worker tells its figures") - 1


class Serve:
    """A `farebox serve` and the commands that speak to it."""

    def __init__(self, farebox: RunningFarebox) -> None:
        self.farebox = farebox
        self.process = ChildProcess(
            "serve",
            ["-m", "farebox.cli", "serve", "--config", str(farebox.config_path)],
            health_url=farebox.gateway_url + GATEWAY_HEALTH,
            log=farebox.folder / "serve.log",
        )

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.farebox.data / "run/supervisor.json").read_text())
        return found

    def workers(self, state: str = "serving") -> list[int]:
        """The processes of the gateway in that state."""
        try:
            found = self.state()["processes"]
        except FileNotFoundError:  # it answers already, and has not yet said so
            return []
        return [each["pid"] for each in found if each["name"].startswith("gateway") and each["state"] == state]

    def ask(self, command: str, *arguments: str) -> tuple[int, str]:
        """(exit status, what it printed) of a command to it, found by its data directory."""
        return farebox_says(command, "--data", str(self.farebox.data), *arguments)

    def edit(self, old: str, new: str) -> None:
        text = self.farebox.config_path.read_text()
        assert old in text
        self.farebox.config_path.write_text(text.replace(old, new))


def farebox_says(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "farebox.cli", *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


class Load:
    """Clients of every habit. A connection that ends where an answer is due is a failure; Connection: close is not."""

    def __init__(self, farebox: RunningFarebox, seed: int) -> None:
        self.answers: Counter[int] = Counter()
        self.failures: list[str] = []
        self._farebox = farebox
        self._seed = seed
        self._ended = threading.Event()
        self._counting = threading.Lock()
        habits = ["busy", "busy", "pausing", "pausing", "fresh", "slow", "stream"]
        self._threads = [threading.Thread(target=self._client, args=each) for each in enumerate(habits)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _client(self, number: int, habit: str) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        place = urlsplit(self._farebox.gateway_url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        headers = self._farebox.as_caller("acme", rng.choice(["ada", "ben"]))
        call = 0
        while not self._ended.is_set():
            call += 1
            path = {"slow": "/slow", "stream": "/stream"}.get(habit, "/thing")
            try:
                connection.request("GET", f"{path}?{number}-{call}", headers=headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{habit}, call {call}, at {time.time():.3f}: {error!r}")
                connection.close()
                continue
            with self._counting:
                self.answers[answer.status] += 1
            if habit == "fresh":
                connection.close()
            self._ended.wait(rng.uniform(0, 0.4) if habit == "pausing" else 0.005)
        connection.close()


def test_reloads_and_a_rolling_restart_under_load_fail_no_call(tmp_path: Path, upstream: StubUpstream) -> None:
    seed = int(os.environ.get("FAREBOX_SEED", random.SystemRandom().randrange(2**31)))
    print(f"FAREBOX_SEED={seed}")
    upstream.answer("/slow", Behaviour(delay_seconds=0.4))
    upstream.answer("/stream", Behaviour(stream_bytes=400_000))
    with served(tmp_path, upstream.url) as serve:
        seen = set(serve.workers())
        scrapes = [scraped_calls(serve.farebox)]
        with Load(serve.farebox, seed) as load:
            until(lambda: load.answers[200] > 50, what="the load runs")
            for number in range(RELOADS):
                serve.edit("[gateway]", f"[gateway]\n# reload {number}")
                assert serve.ask("reload") == (0, "reloaded: 2 workers with the new configuration\n")
                assert seen.isdisjoint(serve.workers()), "each reload has fresh workers"
                seen.update(serve.workers())
                scrapes.append(scraped_calls(serve.farebox))
                time.sleep(BETWEEN_SECONDS)  # calls on the new ones alone, before the next reload
            assert serve.ask("restart") == (0, "restarted: 2 workers, one after another\n")
            assert seen.isdisjoint(serve.workers())
            answered = sum(load.answers.values())
            until(lambda: sum(load.answers.values()) > answered + 50, what="calls go on afterwards")
        print(f"{dict(load.answers)} answered, {len(load.failures)} failed, {len(seen) + 2} workers")
        assert load.failures == []
        assert set(load.answers) == {200}
        until(lambda: not serve.workers("draining"), what="the last old worker has ended")
        until(serve.farebox.console.answers, what="the console answers, which was started anew")
        calls = load.answers[200]
        until(lambda: scraped_calls(serve.farebox) == calls, what="what draining workers counted is told")
        scrapes.append(scraped_calls(serve.farebox))
        assert scrapes == sorted(scrapes), "counters go on over reloads"
        assert scrapes[-1] == calls, "what draining workers counted is in them"
        until(lambda: serve.farebox.ask_console("usage", "acme")["calls"] == calls, what="all calls are in usage")
        assert serve.process.stop() == 0
        assert "sign of life" not in serve.process.log
        assert "Traceback" not in serve.process.log
    books = read_books(serve.farebox.data)
    assert books.disagreements() == []
    assert sum(books.spent(Account("acme", "api", "api")).values()) == calls * 1_000


def test_a_reload_puts_cards_upstreams_and_time_outs_in_force_and_says_what_it_cannot_change(
    tmp_path: Path, upstream: StubUpstream, card: str
) -> None:
    upstream.answer("/never", Behaviour(never_answer=True))
    with StubUpstream() as other, served(tmp_path, upstream.url, card=card) as serve:
        with serve.farebox.caller("acme", "ada") as ada:
            assert ada.get("/thing").headers["X-Farebox-Credits-Charged"] == "1"
        Path(card).write_text(Path(card).read_text().replace("price = 1\n", "price = 7\n"))
        serve.edit(upstream.url, other.url)
        serve.edit("workers = 2", "workers = 3\nanswer_seconds = 2.0")
        status, said = serve.ask("reload")
        assert status == 0
        assert "gateway.workers: there are 2 as before; 3 takes a full restart" in said
        other.answer("/never", Behaviour(never_answer=True))
        with serve.farebox.caller("acme", "ada") as ada:
            assert ada.get("/thing").headers["X-Farebox-Credits-Charged"] == "7"
            assert ada.get("/never").status_code == 504
        assert [request.target for request in other.requests] == ["/thing", "/never"]
        assert len(serve.workers()) == 2
        serve.edit('data = "data"', 'data = "elsewhere"')
        status, said = serve.ask("reload")
        assert status == 1
        assert "another directory takes a full restart" in said
    status, said = serve.ask("restart")
    assert (status, "NOT_RUNNING" in said) == (1, True)


def test_what_does_not_work_changes_nothing_and_says_so_also_for_a_worker_replaced_afterwards(
    tmp_path: Path, upstream: StubUpstream, card: str
) -> None:
    def works() -> None:
        with serve.farebox.caller("acme", "ada") as ada:
            answer = ada.get("/thing")
            assert (answer.status_code, answer.headers["X-Farebox-Credits-Charged"]) == (200, "1")

    with served(tmp_path, upstream.url, card=card) as serve:
        before, right = serve.workers(), serve.farebox.config_path.read_text()
        serve.edit("workers = 2", 'workers = "two"\ndurabilty = "os"')
        status, said = serve.ask("reload")
        assert status == 1
        assert said.startswith("not reloaded, the old configuration stays in force\n")
        assert "gateway.workers must be a whole number" in said
        assert "did you mean durability?" in said
        assert farebox_says("reload", "--config", str(serve.farebox.config_path))[0] == 1
        Path(card).write_text(Path(card).read_text().replace("price = 1\n", "price = -1\n"))
        assert serve.workers() == before
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(serve.workers()) == 2 and serve.workers() != before, what="the worker is replaced")
        for _ in range(8):  # whichever worker has it
            works()

        serve.farebox.config_path.write_text(right)
        status, said = serve.ask("reload", "--json")
        assert (status, json.loads(said)["ok"]) == (1, False)
        assert "card" in json.loads(said)["text"]
        Path(card).write_text(Path(card).read_text().replace("price = -1\n", "price = 1\n"))

        salt = serve.farebox.data / "target.salt"
        good, before = salt.read_bytes(), serve.workers()
        salt.write_bytes(b"short")
        status, said = serve.ask("reload")
        assert status == 1
        assert "the old configuration stays in force: the fresh gateway-" in said
        assert "ended with status 1" in said
        assert "restarted 0 of 2 workers, then stopped" in serve.ask("restart")[1]
        assert serve.workers() == before
        salt.write_bytes(good)
        works()
        assert serve.ask("reload")[0] == 0
        works()


def test_the_journal_of_a_dead_worker_is_settled_by_the_other_one_while_nobody_replaces_it(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with served(tmp_path, upstream.url) as serve:
        journal, calls = serve.farebox.data / "journal", 0
        while calls < 4 or not all(entries_in(journal / each) for each in reader.incarnations(journal)):
            with serve.farebox.caller("acme", "ada") as ada:  # each connection to whichever worker has it
                assert ada.get("/").status_code == 200
            calls += 1
        serve.process.pause()
        dead = serve.workers()[0]
        name = next(each for each in reader.incarnations(journal) if each.split("-")[1] == "0")
        os.kill(dead, signal.SIGKILL)
        until(lambda: is_closed(serve.farebox.data, name), what="the other worker has settled and closed it")
        serve.process.resume()
        until(lambda: len(serve.workers()) == 2 and dead not in serve.workers(), what="it is replaced")
        until(serve.farebox.console.answers, what="the console answers")
        until(lambda: serve.farebox.ask_console("usage", "acme")["calls"] == calls, what="all calls are in usage")
        assert serve.process.stop() == 0
    books = read_books(serve.farebox.data)
    assert books.disagreements() == []
    assert sum(books.spent(Account("acme", "api", "api")).values()) == calls * 1_000


def entries_in(journal: Path) -> int:
    return sum(1 for _ in reader.read(journal))


def is_closed(data: Path, incarnation: str) -> bool:
    with sqlite3.connect(f"{(data / 'quota.db').as_uri()}?mode=ro", uri=True) as db:
        row = db.execute("SELECT closed FROM incarnations WHERE incarnation = ?", (incarnation,)).fetchone()
    return bool(row and row[0])
