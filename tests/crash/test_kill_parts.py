"""kill -9 inside every step that matters: journal writes, quota transactions, shipping, loading, removal, adoption.

Small processes play their part over one data directory and end themselves at the n-th step (before it, after it, or in
the middle of a write), or are killed at a random moment. After each round everything is brought to its end and the
books XX the number of kills, FAREBOX_SEED replays the choices.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pytest

from farebox.domain.identity import Account
from farebox.journal.records import CHARGE
from farebox.testing.books import Books, read_books

CRASHES: Final = int(os.environ.get("FAREBOX_CRASHES", "190"))
KILLS_PER_ROUND: Final = 4
ROUNDS_PER_WORLD: Final = 8
WORLDS_PER_NURSERY: Final = 20
PROGRESS_EVERY: Final = 500
RANDOM_SHARE: Final = 0.25
TIGHT_BASE: Final = 60_000
TIGHT_RAISE: Final = 40_000
CLOCK_MARGIN: Final = 100_000
TOLD: Final = struct.Struct("<B16sq")
TIGHT: Final = Account("tight", "api", "api")
ROLE_SECONDS_MAX: Final = 30.0

FAMILIES: Final = {
    # what is killed: (role, share of the kills, steps among which the last one is drawn, seconds to a random moment)
    "gateway": ("gateway", 35, 160, 0.25),
    "quota transaction": ("gateway", 50, 160, 0.25),
    "shipper": ("ship", 30, 40, 0.15),
    "usage loading": ("ship", 40, 25, 0.15),
    "segment deletion": ("ship", 40, 9, 0.2),
    "adoption": ("adopt", 15, 9, 0.05),
}


class Nursery:
    """The process that forks the children; one at a time."""

    def __init__(self, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def ask(self, command: dict[str, object]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


class World:
    """One data directory through several rounds of kills, and what was promised in it."""

    def __init__(self, data: Path, nursery: Nursery, rng: random.Random, kills: Counter[str]) -> None:
        data.mkdir()
        self.data, self._nursery, self._rng, self._kills = data, nursery, rng, kills
        self._lives = 0
        self.tight = TIGHT_BASE
        self.allowances = [(0, TIGHT_BASE)]

    def play(self, role: str, *, family: str = "", at: int = 0, after: float | None = None) -> int:
        """A child in a role, with a trap or killed `after` so many seconds; its exit status, -9 when it was killed."""
        self._lives += 1
        child = self._nursery.ask(
            {
                "run": {
                    "role": role,
                    "family": family,
                    "at": at,
                    "data": str(self.data),
                    "tight": self.tight,
                    "name": f"life-{self._lives:04d}",
                    "seed": str(self._rng.getrandbits(64)),
                }
            }
        )
        if after is not None:
            time.sleep(after)  # the moment of death is what is random here
            os.kill(child, signal.SIGKILL)  # not reaped before `wait`: the id is still its own
        status = self._nursery.ask({"wait": child})
        assert status in (0, -signal.SIGKILL), f"{role} failed: see its log"
        return status

    def kill(self, family: str) -> None:
        """One kill of that family; a life that came to its end before its trap is followed by another one."""
        role, _, steps, seconds = FAMILIES[family]
        while True:
            if role != "gateway" and not self._left_behind():
                self._something_to_do(role)
            if self._rng.random() < RANDOM_SHARE:
                status = self.play(role, after=self._rng.uniform(0, seconds))
            else:
                status = self.play(role, family=family, at=self._rng.randrange(1, steps))
            if status:
                self._kills[family] += 1
                return

    def _something_to_do(self, role: str) -> None:
        """A gateway that is gone; for the shipper also settled and closed, so that it may remove."""
        self._kills["gateway"] += bool(self.play("gateway", after=self._rng.uniform(0.1, 0.25)))
        if role == "ship":
            self.play("adopt")

    def _left_behind(self) -> list[Path]:
        return list((self.data / "journal").glob("[!.]*"))

    def raise_allowance(self) -> None:
        self.tight += TIGHT_RAISE
        self.allowances.append((time.time_ns() // 1_000 - CLOCK_MARGIN, self.tight))

    def judge(self) -> None:
        """Everything brought to its end: answered = charged = in quota = in usage, each once, and nothing over."""
        assert self.play("recover") == 0
        books = read_books(self.data, check_sums=False)  # `recover` has proved them
        assert books.disagreements() == []
        assert books.journals == ()
        assert books.over(TIGHT, self.allowances) == []
        begun, answered = self._told()
        charges = _charges(books)
        assert {call: charges.get(call) for call in answered} == answered, "answered and not charged as answered"
        assert {call: begun.get(call) for call in charges} == charges, "charged and never asked for"
        totals: Counter[bytes] = Counter()
        for row in books.entries:
            totals[row.call_id] += row.credits
        assert min(totals.values(), default=0) >= 0

    def _told(self) -> tuple[dict[bytes, int], dict[bytes, int]]:
        begun: dict[bytes, int] = {}
        answered: dict[bytes, int] = {}
        path = self.data / "told"
        if path.exists():
            for what, call, amount in TOLD.iter_unpack(path.read_bytes()):
                (answered if what else begun)[call] = amount
        return begun, answered


def _charges(books: Books) -> dict[bytes, int]:
    return {row.call_id: row.credits for row in books.entries if row.kind == CHARGE}


def _plan(rng: random.Random) -> list[list[str]]:
    """The kills by round, in any order: what one leaves behind the next ones meet."""
    total = sum(share for _, share, _, _ in FAMILIES.values())
    deaths = [f for f, (_, share, _, _) in FAMILIES.items() for _ in range(max(1, round(CRASHES * share / total)))]
    rng.shuffle(deaths)
    return [deaths[first : first + KILLS_PER_ROUND] for first in range(0, len(deaths), KILLS_PER_ROUND)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[IO[bytes]]:
    with (tmp_path / "children.log").open("ab") as file:
        yield file


@pytest.mark.slow
def test_what_was_answered_is_charged_once_in_quota_and_usage_whichever_step_kill_9_hits(
    tmp_path: Path, log: IO[bytes], kills: Counter[str]
) -> None:
    seed = int(os.environ.get("FAREBOX_SEED", str(random.randrange(1 << 32))))
    print(f"FAREBOX_SEED={seed} FAREBOX_CRASHES={CRASHES}")
    rng = random.Random(seed)
    counted: Counter[str] = Counter()
    nursery, told = Nursery(log), 0
    for number, deaths in enumerate(_plan(rng)):
        if number % ROUNDS_PER_WORLD == 0:
            if number % (ROUNDS_PER_WORLD * WORLDS_PER_NURSERY) == 0 and number:
                nursery.close()
                nursery = Nursery(log)
            shutil.rmtree(tmp_path / "data", ignore_errors=True)
            world = World(tmp_path / "data", nursery, rng, counted)
        for family in deaths:
            world.kill(family)
        try:
            world.judge()
        except AssertionError as error:
            raise AssertionError(f"round {number}, kills {deaths}, seed {seed}: {error}\n{_end(tmp_path)}") from error
        world.raise_allowance()
        if counted.total() // PROGRESS_EVERY > told:
            told = counted.total() // PROGRESS_EVERY
            print(f"{counted.total()} of {CRASHES} kills: {dict(counted)}", flush=True)
    nursery.close()
    kills.update(counted)
    print(f"{counted.total()} kills: {dict(counted)}")
    assert counted.total() >= CRASHES - len(FAMILIES)


def _end(folder: Path) -> str:
    return "\n".join((folder / "children.log").read_text(errors="replace").splitlines()[-15:])
