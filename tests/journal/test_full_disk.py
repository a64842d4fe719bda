"""A file system that is really full (a small tmpfs): calls are refused at admission, nothing recorded is lost."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farebox.errors import JournalFullError


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_refuses_at_admission_keeps_what_it_has_and_recovers(
    small: Path, drive: Any, numbers_in: Any
) -> None:
    async def run() -> Any:
        async with drive(small / "journal") as driven:
            reserved = await driven.reserve_all()
            assert shutil.disk_usage(small).free < 1 << 16
            for _ in range(reserved):
                assert await driven.write(2, padding=700) == [True, True], "a reserved call found no room"
                driven.writer.unreserve()
            again = await driven.reserve_all()
            with pytest.raises(JournalFullError, match="No space left on device"):
                driven.writer.reserve()
            for _ in range(again):
                driven.writer.unreserve()
            kept = numbers_in(driven.path)
            assert kept == list(range(driven.number))
            (driven.path / "00000001.seg").unlink()
            (driven.path / "00000002.seg").unlink()
            await driven.until(lambda: driven.writer.trouble is None)
            driven.writer.reserve()
            assert await driven.write(2) == [True, True]
            driven.writer.unreserve()
            return driven

    driven = asyncio.run(run())
    assert all(driven.released.values())


def test_a_journal_starts_on_a_full_disk_refuses_and_goes_on_once_there_is_room(small: Path, drive: Any) -> None:
    filler = small / "filler"
    filler.write_bytes(bytes((1 << 20) - (1 << 15)))

    async def run() -> None:
        async with drive(small / "journal") as driven:
            with pytest.raises(JournalFullError, match="No space left on device"):
                driven.writer.reserve()
            filler.unlink()
            await driven.until(lambda: driven.writer.healthy)
            driven.writer.reserve()
            assert await driven.write(2) == [True, True]
            driven.writer.unreserve()

    asyncio.run(run())
