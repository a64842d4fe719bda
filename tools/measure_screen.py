"""Charge to screen: from the end of a call's answer until page and API show it, on a system of real processes.

Each sample makes one call at a random moment and waits until the open page (server-sent events: the organisation's
total and the users' table) and /api/v1 usage show it. Prints the percentiles and writes build/screen.json.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from farebox.testing.screen import Screen, signed_in
from farebox.testing.system import RunningFarebox
from farebox.testing.upstream import StubUpstream

ROOT = Path(__file__).resolve().parents[1]
GOAL_SECONDS = 1.5
DEADLINE_SECONDS = 10.0
PAUSE_SECONDS_MAX = 1.0
"""Calls come at any moment of the loader's, the page's and the quota's own rhythm."""

API_POLL_SECONDS = 0.03


def main() -> int:
    """Measure, print, write; exit status 0 whether or not the goal is met: a figure that falls short is a result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="farebox-screen-") as folder:
        samples = measured(Path(folder), arguments.samples, random.Random(arguments.seed))
    report = {
        "goal": f"p99 < {GOAL_SECONDS} s",
        "samples": arguments.samples,
        "seed": arguments.seed,
        **{name: summary(values) for name, values in samples.items()},
    }
    report["met"] = all(summary(values)["p99_seconds"] < GOAL_SECONDS for values in samples.values())
    print(f"Charge to screen, {arguments.samples} calls, seed {arguments.seed}; goal {report['goal']}:")
    for name, values in samples.items():
        print(
            f"  {name:34}"
            + "  ".join(f"{key.removesuffix('_seconds')} {v:.2f} s" for key, v in summary(values).items())
        )
    print(f"  met: {report['met']}")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    build.joinpath("screen.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def measured(folder: Path, samples: int, rng: random.Random) -> dict[str, list[float]]:
    """Seconds by place, one per call."""
    took: dict[str, list[float]] = {"page, organisation": [], "page, users": [], "api, usage": []}
    with (
        StubUpstream() as upstream,
        RunningFarebox(folder, upstream_url=upstream.url) as farebox,
        farebox.caller("acme", "ada") as ada,
        signed_in(farebox, "acme") as person,
        Screen(person, "acme", "api") as screen,
    ):
        for call in range(1, samples + 1):
            time.sleep(rng.uniform(0, PAUSE_SECONDS_MAX))
            answer = ada.get("/things")
            assert answer.is_success, answer.text
            api = ApiWatch(farebox, call)
            api.start()
            page = screen.wait_for(used=f"{call:,}", users_sum=f"{call:,}", within_seconds=DEADLINE_SECONDS)
            api.join()
            for name, seconds in zip(took, (*page, api.seconds), strict=True):
                took[name].append(seconds)
    return took


class ApiWatch(threading.Thread):
    """Asks the API until it shows so many calls."""

    def __init__(self, farebox: RunningFarebox, calls: int) -> None:
        super().__init__(daemon=True)
        self.seconds = DEADLINE_SECONDS
        self._farebox, self._calls = farebox, calls

    def run(self) -> None:
        """Until it does, at most DEADLINE_SECONDS."""
        began = time.monotonic()
        while time.monotonic() - began < DEADLINE_SECONDS:
            if self._farebox.ask_console("usage", "acme")["calls"] >= self._calls:
                self.seconds = time.monotonic() - began
                return
            time.sleep(API_POLL_SECONDS)


def summary(values: list[float]) -> dict[str, float]:
    """Percentiles by rank, rounded up: p99 of 100 samples is the second longest."""
    ranked = sorted(values)

    def at(percent: int) -> float:
        return round(ranked[max(0, -(-len(ranked) * percent // 100) - 1)], 3)

    return {"p50_seconds": at(50), "p90_seconds": at(90), "p99_seconds": at(99), "max_seconds": round(ranked[-1], 3)}


if __name__ == "__main__":
    sys.exit(main())
