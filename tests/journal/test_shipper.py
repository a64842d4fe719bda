"""Shipping: every entry once, fairly, with its offset; what both sides have goes; damage stops one segment only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from farebox.journal.directory import remove
from farebox.journal.disk import OsDisk
from farebox.journal.extents import extents
from farebox.journal.position import START, Position
from farebox.journal.reader import read
from farebox.journal.records import Entry
from farebox.journal.shipper import Shipper

EVERYTHING = Position(1 << 30, 0)


class MemorySink:
    """Entries and offsets together; fails when told to."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.kept: dict[str, Position] = {}
        self.fails = False
        self.loads: list[int] = []

    def offsets(self) -> dict[str, Position]:
        return dict(self.kept)

    def load(self, entries: list[Entry], offsets: Mapping[str, Position]) -> None:
        if self.fails:
            raise ConnectionError("the store is away")
        self.entries += entries
        self.kept.update(offsets)
        self.loads.append(len(entries))

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(entry.call_id, "big") for entry in self.entries]


class Quota:
    """What the quota says of incarnations."""

    def __init__(self) -> None:
        self.settled: dict[str, Position] = {}
        self.closed: set[str] = set()

    def shipper(self, root: Path, sink: MemorySink, **options: Any) -> Shipper:
        return Shipper(root, sink, lambda name: self.settled.get(name, START), self.closed.__contains__, **options)


def clean(shipper: Shipper) -> None:
    shipper._cleaned_at = -100.0
    shipper.ship_once()


async def fill(drive: Any, root: Path, name: str, *, groups: int = 3, size: int = 10) -> Path:
    async with drive(root, name) as driven:
        for _ in range(groups):
            await driven.write(size)
        return Path(driven.path)


def test_a_live_journal_is_followed_and_every_entry_is_loaded_once(root: Path, drive: Any) -> None:
    async def run() -> None:
        sink = MemorySink()
        shipper = Quota().shipper(root, sink)
        async with drive(root) as driven:
            for _ in range(40):
                await driven.write(30)
                assert shipper.ship_once() == 30
            assert shipper.ship_once() == 0
        assert sink.numbers == list(range(1200))

    asyncio.run(run())


def test_following_is_at_most_a_quarter_second_behind_and_stops_when_told(root: Path, drive: Any) -> None:
    async def run() -> None:
        sink, stop = MemorySink(), threading.Event()
        shipper = Quota().shipper(root, sink)
        thread = threading.Thread(target=shipper.run, args=(stop,))
        async with drive(root) as driven:
            thread.start()
            loop = asyncio.get_running_loop()
            took: list[float] = []
            while not took or took[-1] >= 1.0:  # a busy machine makes some tries late, a broken promise all of them
                assert len(took) < 10, took
                await driven.write(30)
                began = loop.time()
                await driven.until(lambda: len(sink.entries) == driven.number)
                took.append(loop.time() - began)
            stop.set()
            thread.join(60)
            assert not thread.is_alive()

    asyncio.run(run())


def test_what_was_committed_before_it_is_told_to_stop_is_loaded_before_it_ends(root: Path, drive: Any) -> None:
    asyncio.run(fill(drive, root, "i1"))
    sink, stop = MemorySink(), threading.Event()
    stop.set()
    Quota().shipper(root, sink, batch_entries=10).run(stop)
    assert sink.numbers == list(range(30))


def test_a_store_that_is_away_does_not_keep_it_from_ending(root: Path, drive: Any) -> None:
    asyncio.run(fill(drive, root, "i1"))
    sink, stop = MemorySink(), threading.Event()
    sink.fails = True
    stop.set()
    shipper = Quota().shipper(root, sink)
    shipper.run(stop)
    assert "the store is away" in str(shipper.report.failure)


def test_a_failed_load_is_repeated_with_the_same_entries(root: Path, drive: Any) -> None:
    asyncio.run(fill(drive, root, "i1"))
    sink = MemorySink()
    shipper = Quota().shipper(root, sink)
    sink.fails = True
    with pytest.raises(ConnectionError):
        shipper.ship_once()
    sink.fails = False
    assert shipper.ship_once() == 30
    assert sink.numbers == list(range(30))


def test_a_store_that_is_away_is_reported_and_tried_again(root: Path, drive: Any) -> None:
    async def run() -> None:
        sink, stop = MemorySink(), threading.Event()
        sink.fails = True
        shipper = Quota().shipper(root, sink)
        async with drive(root) as driven:
            await driven.write(3)
            thread = threading.Thread(target=shipper.run, args=(stop,))
            thread.start()
            await driven.until(lambda: shipper.report.failure is not None)
            assert "the store is away" in str(shipper.report.failure)
            sink.fails = False
            await driven.until(lambda: sink.numbers == [0, 1, 2])
            await driven.until(lambda: shipper.report.failure is None)
            stop.set()
            thread.join(60)

    asyncio.run(run())


def test_batches_are_bounded_and_shared_fairly_among_incarnations(root: Path, drive: Any) -> None:
    async def run() -> None:
        for name in ("i1", "i2", "i3"):
            await fill(drive, root, name, groups=10, size=30)

    asyncio.run(run())
    sink = MemorySink()
    shipper = Quota().shipper(root, sink, batch_entries=90)
    assert shipper.ship_once() == 90
    assert {
        name: len(list(read(root / name))) - len(list(read(root / name, at))) for name, at in sink.kept.items()
    } == {
        "i1": 30,
        "i2": 30,
        "i3": 30,
    }
    while shipper.ship_once():
        pass
    assert sorted(sink.numbers) == sorted(list(range(300)) * 3)
    assert max(sink.loads) <= 90


def test_as_of_moves_only_when_nothing_waits_and_the_oldest_waiting_stamp_is_told(root: Path, drive: Any) -> None:
    asyncio.run(fill(drive, root, "i1"))
    clock = iter(range(100, 200))
    sink = MemorySink()
    shipper = Quota().shipper(root, sink, batch_entries=20, now=lambda: next(clock))
    shipper.ship_once()
    assert shipper.report.as_of is None
    assert shipper.report.oldest_unshipped == 1_700_000_000_000_020
    shipper.ship_once()
    after = shipper.report
    assert (after.as_of, after.oldest_unshipped) == (101, None)


def test_a_segment_goes_when_quota_and_usage_are_both_past_it_and_not_before(root: Path, drive: Any) -> None:
    async def run() -> None:
        sink, quota = MemorySink(), Quota()
        shipper = quota.shipper(root, sink)
        async with drive(root) as driven:
            for _ in range(10):
                await driven.write(150)
            numbers = [extent.header.segment for extent in extents(driven.path)]
            assert len(numbers) >= 4
            quota.settled["i1"] = EVERYTHING
            shipper._cleaned_at = float("inf")  # ship without removing
            sink.fails = True
            with pytest.raises(ConnectionError):
                shipper.ship_once()
            sink.fails = False
            quota.settled["i1"] = extents(driven.path)[1].position
            clean(shipper)
            left = [extent.header.segment for extent in extents(driven.path)]
            assert left == numbers[2:], "settled up to the second: these and no others go"
            quota.settled["i1"] = EVERYTHING
            clean(shipper)
            assert [extent.header.segment for extent in extents(driven.path)] == numbers[-1:]
            await driven.write(5)
            shipper.ship_once()
        assert sink.numbers == list(range(1505))

    asyncio.run(run())


def test_segments_go_while_loading_is_behind_so_that_the_journal_does_not_fill(root: Path, drive: Any) -> None:
    directory = asyncio.run(fill(drive, root, "i1", groups=10, size=150))
    before = len(extents(directory))
    sink, quota = MemorySink(), Quota()
    quota.settled["i1"] = EVERYTHING
    shipper = quota.shipper(root, sink, batch_entries=1000)
    clean(shipper)
    assert shipper.report.oldest_unshipped is not None
    assert len(extents(directory)) < before


def test_a_directory_goes_when_its_incarnation_is_closed_and_loaded(root: Path, drive: Any) -> None:
    asyncio.run(fill(drive, root, "i1"))
    sink, quota = MemorySink(), Quota()
    shipper = quota.shipper(root, sink)
    clean(shipper)
    clean(shipper)
    assert (root / "i1").exists(), "not closed yet"
    quota.closed.add("i1")
    clean(shipper)
    assert list(root.iterdir()) == []
    assert sink.numbers == list(range(30))


def test_a_directory_in_use_stays_even_when_closed_and_loaded(root: Path, drive: Any) -> None:
    async def run() -> None:
        sink, quota = MemorySink(), Quota()
        quota.closed.add("i1")
        async with drive(root) as driven:
            await driven.write(5)
            clean(quota.shipper(root, sink))
            await driven.write(5)
            assert len(list(read(driven.path))) == 10

    asyncio.run(run())


def test_files_of_somebody_else_are_never_removed_and_are_reported(root: Path, drive: Any) -> None:
    directory = asyncio.run(fill(drive, root, "i1"))
    (directory / "notes.txt").write_text("mine")
    sink, quota = MemorySink(), Quota()
    quota.closed.add("i1")
    shipper = quota.shipper(root, sink)
    clean(shipper)
    assert (directory / "notes.txt").read_text() == "mine"
    assert "notes.txt" in shipper.report.stopped[0]


@pytest.mark.parametrize("step", range(8))
def test_a_removal_that_dies_at_any_step_is_finished_by_the_next_round(root: Path, drive: Any, step: int) -> None:
    directory = asyncio.run(fill(drive, root, "i1", groups=5, size=150))

    class DyingDisk(OsDisk):
        def __init__(self) -> None:
            self.left = step

        def _live(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

        def rename(self, old: Path, new: Path) -> None:
            self._live()
            super().rename(old, new)

        def sync_directory(self, path: Path) -> None:
            self._live()
            super().sync_directory(path)

        def unlink(self, path: Path) -> None:
            self._live()
            super().unlink(path)

    with pytest.raises(KeyboardInterrupt):
        remove(directory, DyingDisk())
    sink, quota = MemorySink(), Quota()
    quota.closed.add("i1")
    sink.kept["i1"] = EVERYTHING
    clean(quota.shipper(root, sink))
    assert list(root.iterdir()) == []
    assert sink.entries == []


def test_a_damaged_segment_stops_alone_and_visibly_and_is_finished_once_it_is_repaired(root: Path, drive: Any) -> None:
    directory = asyncio.run(fill(drive, root, "i1", groups=10, size=150))
    asyncio.run(fill(drive, root, "i2"))
    places = [position for _, position in read(directory)]
    second = [at for at in places if at.segment == 2]
    path = directory / "00000002.seg"
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[second[10].byte + 40] ^= 1
    path.write_bytes(broken)
    sink, quota = MemorySink(), Quota()
    quota.closed |= {"i1", "i2"}
    quota.settled["i1"] = EVERYTHING
    clock = iter(range(100))
    shipper = quota.shipper(root, sink, now=lambda: next(clock))
    clean(shipper)
    assert shipper.report.as_of is None, "what follows the damaged segment was not looked at yet"
    for _ in range(4):
        clean(shipper)
    assert shipper.report.as_of == 4
    lost = len(second) - 11
    assert len(sink.entries) == 1500 + 30 - lost, "entries outside the damaged segment are loaded"
    assert len(shipper.report.stopped) == 1
    assert str(path) in shipper.report.stopped[0]
    assert path.read_bytes() == bytes(broken), "nothing was cut"
    assert sorted(p.name for p in root.iterdir()) == ["i1"]
    path.write_bytes(whole)
    for _ in range(3):
        clean(shipper)
    assert sorted(sink.numbers) == sorted([*range(1500), *range(30)])
    assert not shipper.report.stopped
    assert list(root.iterdir()) == []


def test_a_damaged_tail_of_a_live_journal_stops_there_and_says_so(root: Path, drive: Any) -> None:
    async def run() -> None:
        sink = MemorySink()
        shipper = Quota().shipper(root, sink)
        async with drive(root) as driven:
            await driven.write(10)
            ends = [position.byte for _, position in read(driven.path)]
            with (driven.path / "00000001.seg").open("r+b") as file:
                file.seek(ends[4] + 40)
                file.write(b"\xff")
            assert shipper.ship_once() == 5
            assert shipper.ship_once() == 0
            assert f"offset {ends[4]}" in shipper.report.stopped[0]

    asyncio.run(run())


def test_an_empty_root_or_none_at_all_ships_nothing(root: Path) -> None:
    shipper = Quota().shipper(root, MemorySink(), now=lambda: 7)
    assert shipper.ship_once() == 0
    assert shipper.report.as_of == 7
