"""kill -9 at random moments: every released entry is read back exactly once, every entry is loaded exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from farebox.journal.reader import adopt, orphans

HERE = Path(__file__).parent


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def kill_after(child: subprocess.Popen[bytes], seconds: float) -> bytes:
    """All the child wrote until it was killed `seconds` after its first output."""
    assert child.stdout is not None
    assert child.stderr is not None
    os.set_blocking(child.stdout.fileno(), True)
    written = os.read(child.stdout.fileno(), 1 << 16)
    assert written, child.stderr.read().decode()
    until = time.monotonic() + seconds
    os.set_blocking(child.stdout.fileno(), False)
    while time.monotonic() < until:
        with contextlib.suppress(BlockingIOError):
            written += os.read(child.stdout.fileno(), 1 << 16)
        time.sleep(0.0005)
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    os.set_blocking(child.stdout.fileno(), True)
    written += child.stdout.read()
    child.stdout.close()
    child.stderr.close()
    return written


@pytest.mark.slow
def test_every_entry_released_by_a_killed_writer_is_read_back_exactly_once(root: Path, numbers_in: Any) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for kill in range(30):
        incarnation = f"killed-{kill:03d}"
        durability = rng.choice(["disk", "os"])
        child = start("writing_child.py", root, incarnation, durability, rng.choice([1, 3, 40]))
        told = kill_after(child, rng.random() * 0.15)
        released = [int.from_bytes(told[at : at + 8], "big") for at in range(0, len(told), 8)]
        assert incarnation in orphans(root)
        adopted = adopt(root / incarnation)
        assert adopted is not None
        assert adopted.corrupt is None  # a tail may be cut: SIGKILL can end a write between two pages
        got = numbers_in(root / incarnation)
        assert got == list(range(len(got))), "lost, doubled or out of order"
        assert released == list(range(len(released)))
        assert len(got) >= len(released), f"{len(released) - len(got)} answered calls are not in the journal"
        adopted.release()
        shutil.rmtree(root / incarnation)


@pytest.mark.slow
def test_a_shipper_killed_while_loading_and_removing_loads_every_entry_exactly_once(
    root: Path, drive: Any, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)

    async def write(incarnation: str) -> int:
        async with drive(root, incarnation, segment_bytes=1 << 15) as driven:
            for _ in range(rng.randrange(1, 10)):
                await driven.write(rng.randrange(1, 120))
            return int(driven.number)

    written: list[int] = []
    database = tmp_path / "usage.sqlite"
    for kill in range(15):
        written += [number for n in range(3) for number in range(asyncio.run(write(f"i{kill:03d}-{n}")))]
        child = start("shipping_child.py", root, database)
        kill_after(child, rng.random() * 0.03)
    child = start("shipping_child.py", root, database)
    until = time.monotonic() + 60
    while list(root.iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    child.kill()
    child.wait(60)
    assert list(root.iterdir()) == [], "what is shipped was not removed"
    rows = sqlite3.connect(database).execute("SELECT number FROM entries")
    assert sorted(number for (number,) in rows) == sorted(written)
