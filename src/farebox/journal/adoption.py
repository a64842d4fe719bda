"""Taking over the journal of a gateway that is gone: own it, find where it truly ends, seal it there.

kill -9 leaves records that were written and not yet published; power loss leaves marks older than the data and a last
group of which any part may be missing. Both are settled here, once, from the bytes themselves. Whole records beyond the
mark are kept: their calls reached the upstream.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from farebox.errors import JournalCorruptError, JournalError
from farebox.journal.directory import (
    incarnations,
    mark_path,
    read_mark,
    remove_segment,
    segment_path,
    segments,
    try_lock,
)
from farebox.journal.disk import Disk, OsDisk
from farebox.journal.extents import Extent, extents
from farebox.journal.position import START, Position
from farebox.journal.segment import HEADER_BYTES, Header, Mark, Scan, pack_mark, scan
from farebox.journal.tail import boot_id, write_whole


class Cut(msgspec.Struct, frozen=True):
    """A torn tail that was left behind: `dropped` bytes after `end`, which no answer was ever sent for.

    With durability `os` and after the loss of power these may have been released entries: that is what `os` means.
    """

    segment: int
    end: int
    dropped: int


class AdoptedDirectory:
    """A directory we own until `release`: sealed, and readable to `end`."""

    def __init__(
        self, path: Path, lock: int, end: Position, cut: Cut | None, corrupt: JournalCorruptError | None
    ) -> None:
        self.path = path
        self.incarnation = path.name
        self.end = end
        self.cut = cut
        self.corrupt = corrupt
        """Set when the last segment is damaged; `read` raises the like at that place."""
        self._lock: int | None = lock

    def release(self) -> None:
        """Let others have it. Safe to repeat."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def orphans(root: Path) -> list[str]:
    """Incarnations whose directory nobody owns just now."""
    free = []
    for incarnation in incarnations(root):
        lock = try_lock(root / incarnation)
        if lock is not None:
            os.close(lock)
            free.append(incarnation)
    return free


def adopt(directory: Path, disk: Disk | None = None) -> AdoptedDirectory | None:
    """Own the directory and seal it at its true end; None when somebody owns it (or it is gone). Safe to repeat.

    Raises `JournalError` when its files cannot be synced or sealed, `JournalCorruptError` when a header is damaged,
    `DataVersionError` when another version wrote it.
    """
    lock = try_lock(directory)
    if lock is None:
        return None
    try:
        return _settle(directory, lock, disk or OsDisk())
    except OSError as error:
        os.close(lock)
        raise JournalError(f"{directory} cannot be taken over: {error.strerror}. Check the disk.") from error
    except BaseException:
        os.close(lock)
        raise


def _settle(directory: Path, lock: int, disk: Disk) -> AdoptedDirectory:
    opened = extents(directory)
    for extent in opened:
        _sync(segment_path(directory, extent.header.segment), disk)
    if not opened:
        return AdoptedDirectory(directory, lock, START, None, None)
    last = opened[-1]
    if last.final:  # its mark may never have been synced, or its sync failed: what is settled now must not be lost
        _publish_end(directory, last.header.segment, last.end, disk)
        return AdoptedDirectory(directory, lock, last.position, None, None)
    found = _scan(directory, last)
    _seal(directory, last.header, found, disk)
    for unused in segments(directory):
        if unused > last.header.segment:
            remove_segment(directory, unused, disk)
    disk.sync_directory(directory)
    end = Position(last.header.segment, found.end)
    cut = Cut(last.header.segment, found.end, found.dropped) if found.dropped else None
    return AdoptedDirectory(directory, lock, end, cut, _damage(directory, last.header, found))


def _scan(directory: Path, last: Extent) -> Scan:
    """With durability `os` the mark proves nothing in another boot: power may have taken what was only written.

    A mark whose file is gone was lost, which power does not do: whatever stands there may have been promised, so that
    bytes after the last whole record are damage, not a torn tail.
    """
    data = memoryview(segment_path(directory, last.header.segment).read_bytes())
    promised = last.header.durability == "disk" or last.header.boot_id == boot_id()
    try:
        mark = read_mark(directory, last.header.segment)
    except FileNotFoundError:
        found = scan(data, header=last.header, durable=HEADER_BYTES, synced=promised)
        if not (promised and found.dropped):
            return found
        return scan(data, header=last.header, durable=found.end + found.dropped, synced=promised)
    durable = mark.durable if mark and promised else HEADER_BYTES
    return scan(data, header=last.header, durable=durable, synced=promised)


def _seal(directory: Path, header: Header, found: Scan, disk: Disk) -> None:
    """Publish the end, durably; the file itself is cut only where nothing but an unused or torn tail goes."""
    _publish_end(directory, header.segment, found.end, disk)
    if found.corrupt is None:
        fd = disk.open(segment_path(directory, header.segment))
        try:
            disk.truncate(fd, found.end)
        finally:
            disk.close(fd)


def _publish_end(directory: Path, segment: int, end: int, disk: Disk) -> None:
    """Write the sealed mark, also where it says so already: after a failed sync a second one alone writes nothing."""
    path = mark_path(directory, segment)
    fd = disk.open(path) if path.exists() else disk.create(path)
    try:
        write_whole(disk, fd, pack_mark(Mark(segment, end, sealed=True)), 0)
        disk.fdatasync(fd)
    finally:
        disk.close(fd)


def _damage(directory: Path, header: Header, found: Scan) -> JournalCorruptError | None:
    if found.corrupt is None:
        return None
    path = segment_path(directory, header.segment)
    return JournalCorruptError(
        f"{path}: the record at offset {found.corrupt} is damaged and committed records follow it. Nothing was cut.",
        path=str(path),
        offset=found.corrupt,
    )


def _sync(path: Path, disk: Disk) -> None:
    fd = disk.open(path)
    try:
        disk.fdatasync(fd)
    finally:
        disk.close(fd)
