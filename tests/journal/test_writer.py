"""Writing: released when durable, one wake-up per group, room reserved before the upstream is reached."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from farebox.errors import ConfigInvalidError, DataDirectoryError, JournalError, JournalFullError
from farebox.journal.directory import bytes_used
from farebox.journal.position import START, Position
from farebox.journal.reader import adopt, committed_to, incarnations, orphans
from farebox.journal.records import REFUSALS
from farebox.journal.writer import JournalWriter


async def _writes(root: Path, drive: Any, durability: str) -> Any:
    async with drive(root, durability=durability) as driven:
        assert driven.writer.position == START
        assert await driven.write(1) == [True]
        assert await driven.write(300) == [True] * 300
        return driven


@pytest.mark.parametrize("durability", ["disk", "os"])
def test_released_entries_are_read_back_once_and_in_order(
    root: Path, drive: Any, numbers_in: Any, durability: str
) -> None:
    driven = asyncio.run(_writes(root, drive, durability))
    assert numbers_in(driven.path) == list(range(301))
    assert [e.call_id[-1] for e in driven.groups[0][0]] == [0]


def test_entries_of_one_turn_are_one_group_with_one_position(root: Path, drive: Any) -> None:
    async def run() -> None:
        async with drive(root) as driven:
            await driven.write(50)
            assert [len(entries) for entries, _ in driven.groups] == [50]
            assert driven.groups[-1][1] == driven.writer.position == committed_to(driven.path)

    asyncio.run(run())


def test_a_group_is_told_as_committed_before_any_of_it_is_released(root: Path, drive: Any, entry: Any) -> None:
    async def run() -> None:
        told: list[str] = []
        async with drive(root) as driven:
            driven.writer._on_committed = lambda _entries, _position: told.append("committed")
            driven.writer.append(entry(1), lambda _good: told.append("released"))
            await driven.until(lambda: len(told) >= 2)
        assert told == ["committed", "released"]

    asyncio.run(run())


def test_with_durability_disk_nothing_is_released_before_it_was_synced(root: Path, drive: Any, faulty: Any) -> None:
    async def run() -> None:
        async with drive(root, disk=faulty) as driven:
            faulty.calls.clear()
            await driven.write(1)
            assert faulty.calls[:3] == ["pwrite", "fdatasync", "pwrite"]  # records, sync, mark

    asyncio.run(run())


def test_a_full_segment_is_sealed_and_the_next_one_goes_on(root: Path, drive: Any, numbers_in: Any) -> None:
    async def run() -> Any:
        async with drive(root) as driven:
            for _ in range(30):
                assert all(await driven.write(100))
            assert driven.writer.position.segment > 5
            return driven

    driven = asyncio.run(run())
    assert numbers_in(driven.path) == list(range(3000))


def test_one_group_larger_than_a_segment_is_committed_whole(root: Path, drive: Any, numbers_in: Any) -> None:
    async def run() -> Any:
        async with drive(root) as driven:
            assert all(await driven.write(2000))
            return driven

    driven = asyncio.run(run())
    assert numbers_in(driven.path) == list(range(2000))
    assert [position for _, position in driven.groups] == sorted({position for _, position in driven.groups})


def test_close_commits_what_is_left_seals_and_lets_go_of_the_directory(root: Path, drive: Any, numbers_in: Any) -> None:
    async def run() -> Any:
        async with drive(root) as driven:
            for _ in range(10):
                driven.append()
            assert orphans(root) == []
            driven.writer.close()
            assert driven.released == dict.fromkeys(range(10), True)
            with pytest.raises(JournalError):
                driven.append()
            return driven

    driven = asyncio.run(run())
    assert orphans(root) == ["i1"]
    assert numbers_in(driven.path) == list(range(10))
    assert sum(path.stat().st_size for path in root.rglob("*.seg")) < 4096, "prepared space was not given back"


def test_what_a_callback_appends_while_the_journal_closes_is_committed_too(
    root: Path, drive: Any, numbers_in: Any, entry: Any
) -> None:
    """A streamed answer's promise that becomes durable only then is still followed by its close."""

    async def run() -> Any:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
        async with drive(root) as driven:
            driven.writer.append(entry(0), lambda _: driven.writer.append(entry(1), None))
            driven.writer.close()
            assert reported == []
            return driven

    assert numbers_in(asyncio.run(run()).path) == [0, 1]


def test_a_sealed_journal_stays_owned_until_it_is_released(root: Path, drive: Any) -> None:
    async def run() -> None:
        async with drive(root) as driven:
            await driven.write(1)
            driven.writer.seal()
            with pytest.raises(JournalError, match="closed"):
                driven.append()
            assert adopt(driven.path) is None
            driven.writer.release()
            adopted = adopt(driven.path)
            assert adopted is not None
            assert adopted.end == driven.writer.position
            adopted.release()

    asyncio.run(run())


def test_an_owned_directory_cannot_be_adopted_and_an_incarnation_never_continues(root: Path, drive: Any) -> None:
    async def run() -> None:
        async with drive(root) as driven:
            assert adopt(driven.path) is None
        with pytest.raises(JournalError, match="never continued"):
            async with drive(root):
                pass

    asyncio.run(run())


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "x" * 101, "a b"])
def test_a_name_that_is_no_file_name_is_refused(root: Path, drive: Any, name: str) -> None:
    async def run() -> None:
        with pytest.raises(JournalError, match="cannot name"):
            async with drive(root, name):
                pass

    asyncio.run(run())


def test_sizes_that_cannot_work_are_refused_together(root: Path) -> None:
    async def run() -> None:
        with pytest.raises(ConfigInvalidError) as caught:
            JournalWriter(
                root,
                "i1",
                durability="disk",
                loop=asyncio.get_running_loop(),
                on_committed=lambda _e, _p: None,
                segment_bytes=15,
                journal_bytes_max=10,
                entry_bytes_max=1,
            )
        assert len(caught.value.problems) == 3

    asyncio.run(run())


def test_an_entry_that_is_too_long_is_refused_and_leaves_no_trace(root: Path, drive: Any, numbers_in: Any) -> None:
    async def run() -> Any:
        async with drive(root) as driven:
            with pytest.raises(JournalError, match="entry_bytes_max"):
                driven.append(padding=2000)
            await driven.write(1)
            return driven

    assert numbers_in(asyncio.run(run()).path) == [1]


def test_reserved_calls_always_find_room_and_the_next_one_is_refused_before_it_starts(
    root: Path, drive: Any, numbers_in: Any
) -> None:
    """All of journal_bytes_max is promised to calls in flight; each then writes two entries of nearly full size."""

    async def run() -> Any:
        async with drive(root, journal_bytes_max=4 << 16) as driven:
            reserved = await driven.reserve_all()
            for _ in range(reserved):
                assert await driven.write(2, padding=750) == [True, True]
                driven.writer.unreserve()
            assert reserved > 20
            return driven

    driven = asyncio.run(run())
    assert numbers_in(driven.path) == list(range(driven.number))


def test_at_journal_bytes_max_admission_stops_with_a_warning_before_and_recovers_when_segments_go(
    root: Path, drive: Any
) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), drive(root, journal_bytes_max=8 << 16) as driven:
            assert not driven.writer.warning
            warned_at = None
            with pytest.raises(JournalFullError, match="no room for another call"):  # noqa: PT012 - until it does
                while True:
                    driven.writer.reserve()
                    await driven.write(1, padding=700)
                    driven.writer.unreserve()
                    if warned_at is None and driven.writer.warning:
                        warned_at = driven.writer.position.segment
            await driven.until(lambda: driven.writer.trouble is not None)
            assert "journal_bytes_max" in driven.writer.trouble
            assert warned_at is not None
            assert warned_at < driven.writer.position.segment
            assert bytes_used(root) <= 8 << 16
            for number in (1, 2, 3):
                (driven.path / f"{number:08d}.seg").unlink()
            await driven.until(lambda: driven.writer.trouble is None)
            driven.writer.reserve()
            driven.writer.unreserve()

    asyncio.run(run())


def test_a_full_journal_starts_refuses_and_goes_on_by_itself_once_segments_go(root: Path, drive: Any) -> None:
    """What a restart finds when usage was not loaded for long: nothing is left of `journal_bytes_max`."""
    left = root / "i0"

    async def run() -> None:
        left.mkdir(parents=True)
        for number in range(1, 5):
            (left / f"{number:08d}.seg").write_bytes(bytes(1 << 16))
        async with asyncio.timeout(60), drive(root, journal_bytes_max=4 << 16) as driven:
            with pytest.raises(JournalFullError, match="journal_bytes_max"):
                driven.writer.reserve()
            assert (driven.writer.healthy, driven.writer.warning) == (False, True)
            for number in (1, 2):
                (left / f"{number:08d}.seg").unlink()
            await driven.until(lambda: driven.writer.healthy)
            driven.writer.reserve()
            assert await driven.write(2) == [True, True]
            driven.writer.unreserve()

    asyncio.run(run())


def test_room_for_one_segment_is_enough_to_start(root: Path, drive: Any) -> None:
    async def run() -> None:
        (root / "i0").mkdir(parents=True)
        (root / "i0" / "00000001.seg").write_bytes(bytes((5 << 16) // 2))
        async with drive(root, journal_bytes_max=4 << 16) as driven:
            driven.writer.reserve()
            assert await driven.write(2) == [True, True]
            driven.writer.unreserve()

    asyncio.run(run())


def test_refusals_never_take_room_that_calls_have_reserved(root: Path, drive: Any) -> None:
    async def run() -> None:
        async with drive(root, journal_bytes_max=4 << 16) as driven:
            await driven.reserve_all()
            with pytest.raises(JournalFullError):  # noqa: PT012 - one of them
                for _ in range(100):
                    driven.append(kind=REFUSALS, padding=700)

    asyncio.run(run())


def test_a_bug_in_one_callback_does_not_keep_the_others_waiting(root: Path, drive: Any, entry: Any) -> None:
    async def run() -> None:
        reported: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
        async with drive(root) as driven:
            done = loop.create_future()
            driven.writer.append(entry(1), lambda good: {}[good])
            driven.writer.append(entry(2), done.set_result)
            assert await asyncio.wait_for(done, 60) is True
        assert [type(error) for error in reported] == [KeyError]

    asyncio.run(run())


def test_a_directory_that_cannot_be_written_is_said_plainly(tmp_path: Path, drive: Any) -> None:
    (tmp_path / "journal").write_text("a file stands where the directory should be")

    async def run() -> None:
        with pytest.raises(DataDirectoryError, match="local disk"):
            async with drive(tmp_path / "journal"):
                pass

    asyncio.run(run())


def test_what_is_not_a_journal_under_the_root_is_passed_over(root: Path, drive: Any) -> None:
    async def run() -> None:
        async with drive(root):
            pass
        (root / "notes.txt").write_text("hello")
        (root / "lost+found").mkdir()
        (root / "backup").mkdir()
        assert incarnations(root) == ["i1"]

    asyncio.run(run())


def test_positions_are_ordered_by_segment_then_byte() -> None:
    assert START < Position(1, 256) < Position(1, 300) < Position(2, 256)
