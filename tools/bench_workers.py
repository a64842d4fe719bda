"""What a second gateway worker adds: two workers beside one, paired, in the same run.

With four cores or more each worker has a core of its own, the load has the others, and the figure is a ratio of
rates. With fewer there is no core to carry both workers and the load; then the figure is what two cores would carry
by the CPU time each call takes: twice the time with one worker, divided by that with two. That is hard on two workers
where the rate is low: each syncs every account in use twice a second, however few calls share a sync.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
from pathlib import Path
from typing import Final

import psutil

import bench

GOAL: Final = 1.6
CORES_NEEDED: Final = 4
LOADS: Final = (("plain GET", "plain.lua"), ("shipped default", "default.lua"))
NAME: Final = "two workers / one worker"

Measured = tuple[float, float]
"""Calls a second, and microseconds of CPU that the workers took for each."""


def measure(folder: Path, upstream: int, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """A figure for each load, printed beside its goal, with every round."""
    by_rate = (os.cpu_count() or 1) >= CORES_NEEDED
    places = [folder / "one-worker", folder / "two-workers"]
    for place in places:
        place.mkdir()
    with (
        bench.gateway_running(places[0], upstream, "disk", workers=1) as one,
        bench.gateway_running(places[1], upstream, "disk", workers=2) as two,
    ):
        served = [(port, _workers(place)) for port, place in zip((one, two), places, strict=True)]
        for wanted, (_, workers) in enumerate(served, start=1):
            if len(workers) != wanted:
                raise SystemExit(f"{wanted} gateway workers expected, {len(workers)} found (build/bench.log)")
            _spread(workers, by_rate=by_rate)
        return [_figure(name, folder / script, served, arguments, by_rate=by_rate) for name, script in LOADS]


def _figure(
    load: str,
    script: Path,
    served: list[tuple[int, list[psutil.Process]]],
    arguments: argparse.Namespace,
    *,
    by_rate: bool,
) -> dict[str, object]:
    for port, _ in served:
        _warm_up(port, script, arguments.connections)
    rounds = [[_load(port, script, workers, arguments) for port, workers in served] for _ in range(arguments.rounds)]
    ratio = statistics.median(two[0] / one[0] if by_rate else 2 * one[1] / two[1] for one, two in rounds)
    met = ratio >= GOAL
    cores = os.cpu_count()
    how = "rates" if by_rate else f"CPU a call: {cores} cores"
    name = f"{NAME}, {load}"
    print(f"{f'{name} (by {how})':60} {ratio:6.2f} {GOAL:5.2f}  {'yes' if met else 'no'}")
    figure = {"name": name, "by": how, "cores": cores, "ratio": round(ratio, 3), "goal": GOAL, "met": met}
    return {**figure, "rounds": rounds}


def _warm_up(port: int, script: Path, connections: int) -> None:
    """Until every worker has asked for each of the 1,000 tokens, of which it asks for 8 at a time."""
    for _ in range(10):
        if not bench.wrk(port, script, 2, connections).failed:
            return


def _workers(place: Path) -> list[psutil.Process]:
    """The gateway workers that `farebox serve` with this folder's configuration has started."""
    children = psutil.Process().children(recursive=True)
    gateways = [each for each in children if {"gateway", "farebox.app"} <= set(each.cmdline())]
    return [each for each in gateways if any(str(place) in word for word in _parents_words(each))]


def _parents_words(process: psutil.Process) -> list[str]:
    parent = process.parent()
    return [] if parent is None else parent.cmdline()


def _spread(workers: list[psutil.Process], *, by_rate: bool) -> None:
    """A core for each worker, or all cores for all."""
    everywhere = f"0-{(os.cpu_count() or 1) - 1}"
    for core, process in enumerate(workers):
        command = ["taskset", "-a", "-c", "-p", str(core) if by_rate else everywhere, str(process.pid)]
        subprocess.run(command, capture_output=True, check=True)


def _load(port: int, script: Path, workers: list[psutil.Process], arguments: argparse.Namespace) -> Measured:
    before = _busy(workers)
    run = bench.wrk(port, script, arguments.seconds, arguments.connections)
    if run.failed:
        raise SystemExit(f"{NAME}: {run.failed} answers were not 2xx (build/bench.log); the figure means nothing")
    return round(run.rate, 1), round((_busy(workers) - before) * 1e6 / (run.rate * arguments.seconds), 2)


def _busy(workers: list[psutil.Process]) -> float:
    return sum(process.cpu_times().user + process.cpu_times().system for process in workers)
