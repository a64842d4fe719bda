"""Runs of the quota model from seeds, and a failing one shrunk to the few steps that matter.

A run is shrunk by replaying fewer and fewer of its steps. Hypothesis would shrink too, but takes longer over each step
than both stores do; here they make half a million steps a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .quota_machine import Machine
from .quota_steps import step

STEPS = 600
"""Of one run: about three days of the simulation."""
TEST = "tests/contracts/test_quota_model.py"


@dataclass
class Tally:
    """What was run, for people."""

    runs: int = 0
    steps: int = 0
    admitted: int = 0
    refused: int = 0

    def __str__(self) -> str:
        return f"{self.steps:,} steps in {self.runs:,} runs, {self.admitted:,} admitted, {self.refused:,} refused"


def hunt(seeds: Iterable[int], folder: Path, *, steps: int = STEPS) -> Iterator[Tally]:
    """Run after run, the tally after each. The first violation is shrunk, and told with the command that replays it."""
    tally = Tally()
    for seed in seeds:
        try:
            machine = run(seed, folder, range(steps))
        except AssertionError as violation:
            violation.add_note(_told(seed, folder, range(steps)))
            raise
        tally.runs += 1
        tally.steps += steps
        tally.admitted += machine.admitted
        tally.refused += machine.refused
        yield tally


def run(seed: int, folder: Path, steps: Iterable[int]) -> Machine:
    """Those steps of that seed, and the end; an AssertionError says what promise broke."""
    path = folder / "quota.db"
    for name in (path, path.with_name("quota.db-wal"), path.with_name("quota.db-shm")):
        name.unlink(missing_ok=True)

    async def simulate() -> Machine:
        machine = Machine(seed, path)
        try:
            for number in steps:
                step(machine, number)
            machine.finish()
        except AssertionError as violation:
            violation.__notes__ = machine.story
            raise
        finally:
            machine.store.close()
        return machine

    return asyncio.run(simulate())


def shrunk(seed: int, folder: Path, steps: Sequence[int], *, tries: int = 400) -> tuple[list[int], AssertionError]:
    """Fewer of the steps that break the same promise, and how: pieces are left out, ever smaller ones."""
    kept = list(steps)
    found = _broken(seed, folder, kept)
    assert found is not None, f"seed {seed} does not break anything when it is replayed"
    size = len(kept) // 2
    while size and tries > 0:
        for start in range(len(kept) - size, -1, -size):
            tries -= 1
            fewer = kept[:start] + kept[start + size :]
            less = _broken(seed, folder, fewer) if tries > 0 else None
            if less is not None and _promise(less) == _promise(found):
                kept, found = fewer, less
        size //= 2
    return kept, found


def _broken(seed: int, folder: Path, steps: Sequence[int]) -> AssertionError | None:
    try:
        run(seed, folder, steps)
    except AssertionError as violation:
        return violation
    return None


def _promise(violation: AssertionError) -> str:
    return str(violation).split(":")[0]


def _told(seed: int, folder: Path, steps: Sequence[int]) -> str:
    kept, found = shrunk(seed, folder, steps)
    return "\n".join(
        [
            f"seed {seed}, shrunk to {len(kept)} of {len(steps)} steps: {found}",
            *found.__notes__,
            f"replay: FAREBOX_SEED={seed} pytest {TEST}",
        ]
    )
