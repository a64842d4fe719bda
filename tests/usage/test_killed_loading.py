"""kill -9 of a loading process, again and again: rows and offset never part."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farebox.usage.duckdb import DuckdbUsage

KILLS = 8


@pytest.mark.slow
def test_every_entry_is_loaded_once_whenever_the_loader_is_killed(path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    loaded = kills = 0
    while kills < KILLS or not loaded:
        assert kills < 2 * KILLS, "nothing was loaded at all"
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("loading_child.py")), str(path)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"loading\n"
        slow = max(1, 4 * (kills - KILLS + 1))  # a machine on which nothing was loaded so far has longer
        time.sleep(slow * rng.uniform(0.02, 0.4))  # the moment of death is what is random here
        kills += 1
        child.kill()
        child.wait(60)
        child.stdout.close()
        store = DuckdbUsage(path, memory="64MB")
        offset = store.offsets()["i1"].byte if store.offsets() else 0
        found = store._root.execute("SELECT count(*), count(DISTINCT call_id) FROM entries").fetchone()
        assert found == (offset, offset), f"seed {seed}"
        assert offset >= loaded, f"seed {seed}"
        loaded = offset
        store.close()
