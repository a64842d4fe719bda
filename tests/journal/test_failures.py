"""A disk that fails: what is released is durable, no failed file is touched again, admission stops and recovers."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from farebox.errors import DataDirectoryError, JournalError, JournalFullError
from farebox.journal import commit
from farebox.journal.reader import adopt

BREAKS = [
    pytest.param("pwrite", errno.EIO, id="write EIO"),
    pytest.param("pwrite", errno.ENOSPC, id="write ENOSPC"),
    pytest.param("pwrite", 0, id="short write"),
    pytest.param("fdatasync", errno.EIO, id="sync EIO"),
    pytest.param("fdatasync", errno.ENOSPC, id="sync ENOSPC"),
]


@pytest.mark.parametrize(("call", "code"), BREAKS)
def test_a_failed_group_is_not_released_and_the_next_one_goes_to_a_new_segment(  # noqa: PLR0917 - fixtures
    root: Path, drive: Any, faulty: Any, numbers_in: Any, call: str, code: int
) -> None:
    async def run() -> Any:
        async with drive(root, disk=faulty) as driven:
            assert await driven.write(3) == [True] * 3
            before = driven.writer.position
            faulty.fail(call, code)
            assert await driven.write(3) == [False] * 3
            assert driven.writer.position == before, "a failed group moved the durable end"
            await driven.until(lambda: driven.writer.healthy)
            assert await driven.write(3) == [True] * 3
            assert driven.writer.position.segment == before.segment + 1
            return driven

    driven = asyncio.run(run())
    assert numbers_in(driven.path) == [0, 1, 2, 6, 7, 8]


@pytest.mark.parametrize(("call", "code"), BREAKS)
def test_entries_of_a_failed_group_stay_out_after_kill_and_adoption(  # noqa: PLR0917 - fixtures
    root: Path, drive: Any, faulty: Any, numbers_in: Any, tmp_path: Path, call: str, code: int
) -> None:
    """The failed segment may hold them whole; the next opening says where it really ends, even without its mark."""

    async def run() -> Any:
        async with drive(root, disk=faulty) as driven:
            await driven.write(3)
            faulty.fail(call, code)
            await driven.write(3)
            await driven.until(lambda: driven.writer.healthy)
            await driven.write(3)
            driven.path.rename(tmp_path / "i1")  # as if killed here: close() finds nothing to seal
            (tmp_path / "i1" / "00000001.mark").write_bytes(b"\x00" * 64)
        return driven

    asyncio.run(run())
    adopted = adopt(tmp_path / "i1")
    assert adopted is not None
    assert adopted.corrupt is None
    assert numbers_in(tmp_path / "i1") == [0, 1, 2, 6, 7, 8]


def test_a_failed_segment_is_never_written_or_synced_again(root: Path, drive: Any, faulty: Any) -> None:
    async def run() -> None:
        async with drive(root, disk=faulty) as driven:
            await driven.write(3)
            faulty.fail("fdatasync", times=10_000)
            await driven.write(3)
            size = driven.path.joinpath("00000001.seg").read_bytes()
            faulty.heal()
            await driven.until(lambda: driven.writer.healthy)
            await driven.write(3)
            driven.writer.close()
            assert driven.path.joinpath("00000001.seg").read_bytes() == size

    asyncio.run(run())


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "create", "open", "fallocate", "rename", "sync_directory"])
def test_admission_stops_while_no_segment_works_and_goes_on_by_itself(
    root: Path, drive: Any, faulty: Any, numbers_in: Any, call: str
) -> None:
    async def run() -> Any:
        async with drive(root, disk=faulty) as driven:
            await driven.write(3)
            faulty.fail(call, times=10_000)
            while all(await driven.write(1, padding=700)):
                pass
            await driven.until(lambda: not driven.writer.healthy)
            with pytest.raises(JournalError, match="calls go on by themselves"):
                driven.writer.reserve()
            assert await driven.write(2) == [False] * 2
            faulty.heal()
            await driven.until(lambda: driven.writer.healthy)
            driven.writer.reserve()
            assert await driven.write(2) == [True] * 2
            driven.writer.unreserve()
            return driven

    driven = asyncio.run(run())
    assert numbers_in(driven.path) == sorted(n for n, good in driven.released.items() if good)


def test_a_disk_without_space_refuses_at_admission_while_reserved_calls_still_end_well(
    root: Path, drive: Any, faulty: Any
) -> None:
    async def run() -> None:
        async with drive(root, disk=faulty) as driven:
            faulty.fail("fallocate", errno.ENOSPC, times=10_000)
            reserved = await driven.reserve_all()
            assert driven.writer.healthy
            for _ in range(reserved):
                assert await driven.write(2, padding=700) == [True, True]
                driven.writer.unreserve()
            faulty.heal()
            await driven.until(lambda: driven.writer.trouble is None)
            driven.writer.reserve()
            driven.writer.unreserve()

    asyncio.run(run())


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "create", "open", "fallocate", "rename", "sync_directory"])
def test_a_journal_that_cannot_start_says_why(root: Path, drive: Any, faulty: Any, call: str) -> None:
    async def run() -> None:
        faulty.fail(call, errno.EIO, times=10_000)
        with pytest.raises((JournalError, DataDirectoryError), match="journal"):
            async with drive(root, disk=faulty):
                pass

    asyncio.run(run())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    "call",
    ["make_directory", "pwrite", "fdatasync", "create", "open", "fallocate", "rename", "sync_directory"],
)
def test_without_space_it_starts_refuses_and_goes_on_by_itself(  # noqa: PLR0917 - fixtures
    root: Path, drive: Any, faulty: Any, numbers_in: Any, call: str, code: int
) -> None:
    async def run() -> Any:
        faulty.fail(call, code, times=10_000)
        async with drive(root, disk=faulty) as driven:
            assert not driven.writer.healthy
            with pytest.raises(JournalFullError, match="calls go on by themselves"):
                driven.writer.reserve()
            assert os.strerror(code) in driven.writer.trouble
            assert await driven.write(1) == [False]
            faulty.heal()
            await driven.until(lambda: driven.writer.healthy and driven.writer.trouble is None)
            driven.writer.reserve()
            assert await driven.write(2) == [True, True]
            driven.writer.unreserve()
            return driven

    assert numbers_in(asyncio.run(run()).path) == [1, 2]


def test_without_space_from_start_to_end_closing_leaves_nothing_waiting(root: Path, drive: Any, faulty: Any) -> None:
    async def run() -> None:
        faulty.fail("fallocate", errno.ENOSPC, times=10_000)
        async with drive(root, disk=faulty) as driven:
            released = driven.append()
            driven.writer.close()
            assert await released is False

    asyncio.run(run())


def test_too_many_open_files_while_looking_at_the_space_in_use_end_nothing(
    root: Path, drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with drive(root) as driven:
            looks = []

            def look(_root: Path) -> int:
                looks.append(1)
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

            monkeypatch.setattr(commit, "LOOK_SECONDS", 0.0)
            monkeypatch.setattr(commit, "bytes_used", look)
            assert await driven.write(3) == [True] * 3
            await driven.until(lambda: len(looks) > 1)
            assert driven.writer.healthy

    asyncio.run(run())


def test_a_bug_in_the_commit_thread_refuses_calls_instead_of_leaving_them_waiting(
    root: Path, drive: Any, faulty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _arguments: None)

    async def run() -> None:
        async with drive(root, disk=faulty) as driven:
            await driven.write(1)
            monkeypatch.setattr(faulty, "pwrite", lambda *_: 1 // 0)
            driven.append()
            await driven.until(lambda: not driven.writer.healthy)
            assert await driven.write(1) == [False]
            with pytest.raises(JournalError, match="commit thread ended"):
                driven.writer.reserve()

    asyncio.run(run())


@pytest.mark.parametrize("bug", [RuntimeError, MemoryError])
@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_bug_in_the_commit_thread_fails_the_group_it_had_in_hand_and_closing_does_not_hang(  # noqa: PLR0917 - fixtures
    root: Path, drive: Any, faulty: Any, monkeypatch: pytest.MonkeyPatch, call: str, bug: type[Exception]
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _arguments: None)

    async def run() -> Any:
        async with drive(root, disk=faulty) as driven:
            assert await driven.write(2) == [True] * 2

            def broken(*_: object) -> None:
                raise bug("broken")

            monkeypatch.setattr(faulty, call, broken)
            assert await driven.write(3) == [False] * 3
            assert not driven.writer.healthy
            assert "commit thread ended" in driven.writer.trouble
            last = driven.append()
            driven.writer.close()
            assert await last is False
            return driven

    driven = asyncio.run(run())
    assert driven.released == {0: True, 1: True, 2: False, 3: False, 4: False, 5: False}


def test_a_bug_while_closing_fails_what_was_left_and_does_not_hang(
    root: Path, drive: Any, faulty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _arguments: None)

    async def run() -> None:
        async with drive(root, disk=faulty) as driven:
            assert await driven.write(1) == [True]
            monkeypatch.setattr(faulty, "pwrite", lambda *_: 1 // 0)
            last = driven.append()
            driven.writer.close()
            assert await last is False

    asyncio.run(run())
