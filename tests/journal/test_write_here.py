"""With durability "os" the loop writes what it can itself: nothing is lost, doubled or late for it."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from farebox.journal.commit import SLOW_NS

from .conftest import FaultyDisk, make_entry

COMMIT_THREAD = "farebox-journal"


class Watched(FaultyDisk):
    """Notes which thread writes; while `slow`, as slowly as makes the loop leave writing to the other one."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[str] = []
        self.slow = False

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self.writers.append(threading.current_thread().name)
        if self.slow:
            time.sleep(SLOW_NS / 1e9)
        return super().pwrite(fd, data, offset)


async def wrote(driven: Any, disk: Watched) -> bool:
    """Whether the commit thread wrote a group that was appended now."""
    disk.writers.clear()
    assert await driven.write(3) == [True] * 3
    return COMMIT_THREAD in disk.writers


async def wrote_itself(driven: Any, disk: Watched) -> None:
    """Returns when the loop wrote a group; the thread may be at work by chance, once a second."""
    async with asyncio.timeout(10):
        while await wrote(driven, disk):
            pass


def test_what_needs_no_disk_is_written_in_the_loop(root: Path, drive: Any, numbers_in: Any) -> None:
    disk = Watched()

    async def act() -> Any:
        async with drive(root, durability="os", disk=disk) as driven:
            await wrote_itself(driven, disk)
        return driven

    driven = asyncio.run(act())
    assert numbers_in(driven.path) == list(range(driven.number))


def test_what_waits_for_a_disk_is_never_written_in_the_loop(root: Path, drive: Any) -> None:
    disk = Watched()

    async def act() -> None:
        async with drive(root, durability="disk", disk=disk) as driven:
            disk.writers.clear()
            for _ in range(20):
                await driven.write()
            assert set(disk.writers) == {COMMIT_THREAD}

    asyncio.run(act())


def test_after_one_slow_write_the_loop_leaves_writing_to_the_thread(root: Path, drive: Any, numbers_in: Any) -> None:
    disk = Watched()

    async def act() -> Any:
        async with drive(root, durability="os", disk=disk) as driven:
            disk.slow = True
            await wrote_itself(driven, disk)
            disk.slow = False
            assert await wrote(driven, disk)
        return driven

    driven = asyncio.run(act())
    assert numbers_in(driven.path) == list(range(driven.number))


def test_a_write_that_fails_in_the_loop_withholds_its_answers_and_the_next_segment_goes_on(
    root: Path, drive: Any, numbers_in: Any
) -> None:
    disk = Watched()

    async def act() -> Any:
        async with drive(root, durability="os", disk=disk) as driven:
            assert await driven.write(2) == [True] * 2
            disk.fail("pwrite")
            assert await driven.write(3) == [False] * 3
            assert await driven.write(2) == [True] * 2
        return driven

    driven = asyncio.run(act())
    assert numbers_in(driven.path) == [0, 1, 5, 6]


def test_entries_keep_their_order_whoever_writes_them(root: Path, drive: Any, numbers_in: Any) -> None:
    """Small segments fill up meanwhile, which is the thread's work, and both take turns."""

    async def act() -> Any:
        async with drive(root, durability="os", disk=Watched()) as driven:
            for turn in range(300):
                await driven.write(1 + turn % 7, padding=500)
        return driven

    driven = asyncio.run(act())
    released = [entry.call_id for entries, _ in driven.groups for entry in entries]
    assert released == sorted(released)
    assert numbers_in(driven.path) == [int.from_bytes(each, "big") for each in released]
    positions = [position for _, position in driven.groups]
    assert positions == sorted(positions, key=lambda each: (each.segment, each.byte))


def test_the_loop_writes_nothing_while_something_waits_for_the_thread(root: Path, drive: Any, numbers_in: Any) -> None:
    async def act() -> Any:
        async with drive(root, durability="os", disk=Watched()) as driven:
            files = driven.writer._committer._files
            for _ in range(100):
                files.acquire()  # the thread is at work
                first = driven.append()
                await asyncio.sleep(0)
                files.release()
                second = driven.append()
                await asyncio.wait_for(asyncio.gather(first, second), 20)
        return driven

    driven = asyncio.run(act())
    assert numbers_in(driven.path) == list(range(200))


@pytest.mark.sources
@pytest.mark.parametrize("durability", ["disk", "os"])
def test_what_comes_while_the_thread_writes_is_one_group_after_it_and_wakes_it_once(
    root: Path, drive: Any, numbers_in: Any, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    handed: list[int] = []

    async def act() -> Any:
        async with drive(root, durability=durability) as driven:
            committer = driven.writer._committer
            hand_over = committer.hand_over

            def noted(some: list[Any]) -> None:
                handed.append(len(some))
                hand_over(some)

            monkeypatch.setattr(committer, "hand_over", noted)
            with committer._files:  # the thread is at work, also with "os"
                first = [driven.append()]
                for _ in range(9):
                    await asyncio.sleep(0)
                    first.append(driven.append())
            await asyncio.wait_for(asyncio.gather(*first), 60)
        return driven

    driven = asyncio.run(act())
    assert [len(entries) for entries, _ in driven.groups] == [1, 9]
    assert handed == [1, 9] or (durability == "os" and handed == [1]), "with os the loop writes them, where it may"
    assert numbers_in(driven.path) == list(range(10))


def test_sealing_concludes_what_waits_behind_the_thread_and_what_its_callbacks_append(
    root: Path, drive: Any, numbers_in: Any
) -> None:
    async def act() -> Any:
        async with drive(root) as driven:
            released: list[bool] = []
            with driven.writer._committer._files:
                driven.append()
                await asyncio.sleep(0)
                last = driven.append()
                last.add_done_callback(lambda _: released.append(True))
                driven.writer.append(make_entry(100), lambda _: driven.writer.append(make_entry(101), None))
            driven.writer.seal()
            assert last.result() is True
        return driven

    driven = asyncio.run(act())
    assert numbers_in(driven.path) == [0, 1, 100, 101]
