"""What the journal's tests share: numbered entries, a writer to drive, and a disk that fails."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from farebox.errors import JournalFullError
from farebox.journal.disk import OsDisk
from farebox.journal.position import Position
from farebox.journal.reader import read
from farebox.journal.records import CHARGE, CHARGED, Entry
from farebox.journal.writer import JournalWriter


def make_entry(number: int, *, kind: int = CHARGE, padding: int = 0, stamp: int | None = None) -> Entry:
    """An entry that can be recognised: its call id is its number."""
    return Entry(
        kind=kind,
        call_id=number.to_bytes(16, "big"),
        stamp=1_700_000_000_000_000 + number if stamp is None else stamp,
        org="acme",
        product="crm",
        pool="api",
        user="u17",
        app="sync",
        function="",
        task="nightly" + "x" * padding,
        module="Leads",
        operation="records.insert",
        method="POST",
        path_template="/crm/v8/{module}",
        api_version="v8",
        target_hash=b"12345678",
        client_ip="192.0.2.7",
        status=201,
        outcome=CHARGED,
        reason="",
        quote=2000,
        credits=1000,
        addon=0,
        quantities={"records": 10},
        records_returned=10,
        conditional=0,
        duration=12_345,
        bytes_in=1_000,
        bytes_out=2_000,
        calls=1,
    )


class FaultyDisk(OsDisk):
    """Fails the calls it is told to, and counts all."""

    def __init__(self) -> None:
        self.faults: dict[str, tuple[int, int]] = {}
        self.calls: list[str] = []

    def fail(self, call: str, code: int = errno.EIO, *, times: int = 1) -> None:
        """The next `times` calls of that name fail; code 0 makes a pwrite short instead."""
        self.faults[call] = (code, times)

    def heal(self) -> None:
        self.faults.clear()

    def _meet(self, call: str) -> int | None:
        self.calls.append(call)
        code, times = self.faults.get(call, (0, 0))
        if times == 0:
            return None
        self.faults[call] = (code, times - 1)
        if code:
            raise OSError(code, os.strerror(code))
        return 0

    def make_directory(self, path: Path) -> None:
        self._meet("make_directory")
        super().make_directory(path)

    def create(self, path: Path) -> int:
        self._meet("create")
        return super().create(path)

    def open(self, path: Path) -> int:
        self._meet("open")
        return super().open(path)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        short = self._meet("pwrite") is not None
        return super().pwrite(fd, data[: len(data) // 2] if short else data, offset)

    def fdatasync(self, fd: int) -> None:
        self._meet("fdatasync")
        super().fdatasync(fd)

    def fallocate(self, fd: int, length: int) -> None:
        self._meet("fallocate")
        super().fallocate(fd, length)

    def rename(self, old: Path, new: Path) -> None:
        self._meet("rename")
        super().rename(old, new)

    def sync_directory(self, path: Path) -> None:
        self._meet("sync_directory")
        super().sync_directory(path)

    def unlink(self, path: Path) -> None:
        self._meet("unlink")
        super().unlink(path)


class Driven:
    """A writer in a running loop, with all it told."""

    def __init__(self, root: Path, incarnation: str, **options: Any) -> None:
        self.groups: list[tuple[list[Entry], Position]] = []
        self.released: dict[int, bool] = {}
        self.number = 0
        self.path = root / incarnation
        settings = {"durability": "disk", "segment_bytes": 1 << 16, "entry_bytes_max": 1024}
        self.writer = JournalWriter(
            root,
            incarnation,
            loop=asyncio.get_running_loop(),
            on_committed=lambda entries, position: self.groups.append((entries, position)),
            **{**settings, **options},
        )

    async def write(self, count: int = 1, *, padding: int = 0) -> list[bool]:
        """Append `count` entries in one turn of the loop and wait until each is released."""
        futures = [self.append(padding=padding) for _ in range(count)]
        return list(await asyncio.wait_for(asyncio.gather(*futures), 60))

    def append(self, *, padding: int = 0, kind: int = CHARGE) -> asyncio.Future[bool]:
        number, self.number = self.number, self.number + 1
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def released(good: bool) -> None:  # noqa: FBT001 - the journal's signature
            assert number not in self.released, "released twice"
            self.released[number] = good
            future.set_result(good)

        self.writer.append(make_entry(number, padding=padding, kind=kind), released)
        return future

    async def reserve_all(self) -> int:
        """Reserve for calls until not one more fits, the next segment included: how many."""
        reserved = 0
        async with asyncio.timeout(60):
            while True:
                try:
                    self.writer.reserve()
                    reserved += 1
                except JournalFullError:
                    if self.writer.trouble is not None:
                        return reserved
                    await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something the commit thread does, at most 20 seconds."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - a thread makes it true, which knows no events
                await asyncio.sleep(0.005)


def numbers(directory: Path, at: Position = Position(0, 0)) -> list[int]:  # noqa: B008 - frozen
    """The numbers of the entries that a reader gets."""
    return [int.from_bytes(entry.call_id, "big") for entry, _ in read(directory, at)]


@asynccontextmanager
async def driving(root: Path, incarnation: str = "i1", **options: Any) -> AsyncIterator[Driven]:
    driven = Driven(root, incarnation, **options)
    try:
        yield driven
    finally:
        driven.writer.close()


@pytest.fixture
def entry() -> Callable[..., Entry]:
    return make_entry


@pytest.fixture
def drive() -> Callable[..., Any]:
    return driving


@pytest.fixture
def numbers_in() -> Callable[..., list[int]]:
    return numbers


@pytest.fixture
def faulty() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"
