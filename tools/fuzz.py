"""`make fuzz`: the fuzzers of tests/fuzz and the calls made up for the CRM API again and again, until one fails.

Each round has a new seed. FUZZ_SECONDS bounds the run (a round that has begun ends), FAREBOX_SEED begins at a seed,
FUZZ_EXAMPLES (5,000) is the size of a round, FAREBOX_MADE_UP_CALLS (30) that of its calls per path. A failure prints
the seed and the smallest input that shows it; the exit status is then 1.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """0 when time was up, 1 after a failure."""
    seconds = float(os.environ.get("FUZZ_SECONDS") or "inf")
    first_seed = int(os.environ.get("FAREBOX_SEED") or random.randrange(1 << 32))
    began, rounds = time.monotonic(), 0
    while not rounds or time.monotonic() - began < seconds:
        seed = (first_seed + rounds) % (1 << 32)
        examples = os.environ.get("FUZZ_EXAMPLES") or "5000"
        print(f"round {rounds + 1}: FAREBOX_SEED={seed} FUZZ_EXAMPLES={examples}", flush=True)
        environment = {
            "FAREBOX_MADE_UP_CALLS": "30",
            **os.environ,
            "FAREBOX_SEED": str(seed),
            "FUZZ_EXAMPLES": examples,
        }
        command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/fuzz", "tests/crm/test_made_up_calls.py"]
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            print(f"failed: replay with FAREBOX_SEED={seed} FUZZ_EXAMPLES={examples} make fuzz", flush=True)
            return 1
        rounds += 1
    print(f"{rounds} rounds, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
