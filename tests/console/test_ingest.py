"""The loader over a real journal: what was committed is in usage within a second, once, and old history goes."""

from __future__ import annotations

import time

from tests.console.world import World, entry_of, until, wall_clock

from farebox.console.ingest import Ingest
from farebox.domain.instants import Instant
from farebox.usage.duckdb import DuckdbUsage

DAY = 86_400_000_000


def calls(world: World, *, at: Instant | None = None) -> int:
    return world.usage.totals(world.account(), at=at or wall_clock()).calls


def until_loaded_after(ingest: Ingest, instant: int) -> None:
    until(lambda: (ingest.loading().as_of or 0) > instant, what="a whole round of loading")


def test_an_entry_is_in_usage_soon_after_its_commit_without_anybody_asking(world: World) -> None:
    world.ingest.start()
    world.loaded()
    for number in range(1, 6):
        world.append([entry_of(stamp=wall_clock())])
        began = time.monotonic()
        until(lambda number=number: calls(world) >= number, what="the entry in usage")  # type: ignore[misc]
        print(f"in usage after {time.monotonic() - began:.3f} s")


def test_everything_is_loaded_once_across_restarts(world: World) -> None:
    for round_ in range(1, 4):
        world.append([entry_of(stamp=wall_clock())] * 40)
        ingest = Ingest(shipper=world.shipper, usage=world.usage, history_days=400, clock=wall_clock)
        ingest.start()
        until_loaded_after(ingest, wall_clock())
        ingest.stop()
        world.usage.close()
        world.usage = DuckdbUsage(world.folder / "usage.duckdb", memory="64MB")
        world.shipper._sink = world.usage
        assert calls(world) == 40 * round_


def test_a_usage_store_that_fails_is_said_and_loading_goes_on_when_it_works(world: World) -> None:
    world.ingest.start()
    world.loaded()
    working = world.usage.load

    def broken(*_: object) -> None:
        raise OSError("no room on the disk")

    world.usage.load = broken  # type: ignore[method-assign,assignment]
    world.append([entry_of(stamp=wall_clock())])
    until(lambda: "no room on the disk" in world.ingest.loading().problem, what="the failure is said")
    stood_still = world.ingest.loading().as_of
    world.usage.load = working  # type: ignore[method-assign]
    until_loaded_after(world.ingest, stood_still or 0)
    assert calls(world) == 1


def test_entries_older_than_the_history_are_forgotten(world: World) -> None:
    old = Instant(wall_clock() - 400 * DAY - 60_000_000)
    world.usage.load([entry_of(stamp=old), entry_of(stamp=wall_clock())], {})
    world.ingest.start()
    until(lambda: calls(world, at=old) == 1, what="the old entry is gone")
    assert calls(world) == 1
