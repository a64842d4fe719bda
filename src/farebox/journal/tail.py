"""The segment being written: prepared under another name, opened once, appended to, sealed once.

Everything here raises `OSError` as it comes and keeps nothing back: what a failure means is decided in commit.py.
"""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from farebox.journal.directory import mark_path, prepared_path, segment_path
from farebox.journal.disk import Disk
from farebox.journal.position import Position
from farebox.journal.segment import (
    HEADER_BYTES,
    STATIC_BYTES,
    Header,
    Mark,
    Opening,
    pack_header,
    pack_mark,
    pack_opening,
    pack_records,
)


def write_whole(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """Write all of `data`; a short write is an error, for half a group is none."""
    written = disk.pwrite(fd, data, offset)
    if written != len(data):
        raise OSError(errno.EIO, f"short write: {written} of {len(data)} bytes")


def prepare(directory: Path, header: Header, disk: Disk) -> None:
    """Make a segment and its mark: whole, with all its space, and durable, before its name ends in .seg.

    On failure nothing of it is left, as far as the disk allows.
    """
    fresh = prepared_path(directory, header.segment)
    try:
        _write_file(fresh, pack_header(header), header.segment_bytes, disk)
        mark = pack_mark(Mark(header.segment, HEADER_BYTES, sealed=False))
        _write_file(mark_path(directory, header.segment), mark, len(mark), disk)
        disk.rename(fresh, segment_path(directory, header.segment))
        disk.sync_directory(directory)
    except OSError:
        for path in (fresh, segment_path(directory, header.segment), mark_path(directory, header.segment)):
            with contextlib.suppress(OSError):  # the first error is the one that is reported
                disk.unlink(path)
        raise


def _write_file(path: Path, data: bytes, length: int, disk: Disk) -> None:
    fd = disk.create(path)
    try:
        disk.fallocate(fd, length)
        write_whole(disk, fd, data, 0)
        disk.fdatasync(fd)
    finally:
        disk.close(fd)


class Tail:
    """One segment from its opening to its seal. Used by one thread."""

    def __init__(self, directory: Path, header: Header, previous: Position, disk: Disk) -> None:
        self.header = header
        self.durable = HEADER_BYTES
        self._disk = disk
        self._directory = directory
        self._seed = header.seed
        self._syncs = header.durability == "disk"
        self._fd = disk.open(segment_path(directory, header.segment))
        try:
            self._mark_fd = disk.open(mark_path(directory, header.segment))
            try:
                opening = pack_opening(Opening(previous.segment, previous.byte), self._seed)
                write_whole(disk, self._fd, opening, STATIC_BYTES)
                # Also with durability "os": where the earlier segment ends must not be older than what follows it.
                disk.fdatasync(self._fd)
            except BaseException:
                disk.close(self._mark_fd)
                raise
        except BaseException:
            disk.close(self._fd)
            raise

    @property
    def position(self) -> Position:
        """The end of what is durable (by this segment's policy) and published."""
        return Position(self.header.segment, self.durable)

    @property
    def room(self) -> int:
        """Bytes left for records."""
        return self.header.segment_bytes - self.durable

    def append(self, payloads: list[bytes]) -> None:
        """Write, sync by policy and publish one group, or raise with the mark where it was."""
        data = pack_records(payloads, seed=self._seed, segment=self.header.segment, offset=self.durable)
        assert len(data) <= self.room
        write_whole(self._disk, self._fd, data, self.durable)
        if self._syncs:
            self._disk.fdatasync(self._fd)
        end = self.durable + len(data)
        self._publish(Mark(self.header.segment, end, sealed=False))
        self.durable = end

    def finish(self) -> None:
        """Seal a segment in good order; with durability "os" synced first, so that every seal of its kind is true."""
        if not self._syncs:
            self._disk.fdatasync(self._fd)
        self.seal()

    def seal(self) -> None:
        """Publish that nothing follows. The file itself is not touched: after a failure it never is again."""
        self._publish(Mark(self.header.segment, self.durable, sealed=True))

    def seal_for_good(self) -> None:
        """`finish`, and nothing follows: no opening will say where this segment ends, so its mark must not be lost."""
        self.finish()
        self._disk.fdatasync(self._mark_fd)

    def trim(self) -> None:
        """Give back the space after the end of a sealed segment that never failed."""
        self._disk.truncate(self._fd, self.durable)

    def close(self) -> None:
        """Let go of both files; an error says nothing new about what was promised before."""
        for fd in (self._fd, self._mark_fd):
            with contextlib.suppress(OSError):
                self._disk.close(fd)

    def _publish(self, mark: Mark) -> None:
        write_whole(self._disk, self._mark_fd, pack_mark(mark), 0)


def boot_id() -> bytes:
    """16 bytes that are the same until the machine starts again (Linux: random/boot_id)."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return bytes.fromhex(text.strip().replace("-", ""))
