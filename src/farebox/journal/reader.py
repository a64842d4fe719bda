"""Reading an incarnation's journal: every committed entry once, in order, with the position after it.

What is not below the durable mark does not exist for a reader: a gateway may still lose it, and says so to nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from farebox.errors import JournalCorruptError, JournalError
from farebox.journal.adoption import AdoptedDirectory, adopt, orphans
from farebox.journal.directory import incarnations, segment_path
from farebox.journal.extents import Extent, extents
from farebox.journal.losses import accepted, past
from farebox.journal.position import START, Position
from farebox.journal.records import Entry, decode
from farebox.journal.segment import HEADER_BYTES, BadRecordError, records

__all__ = ["AdoptedDirectory", "adopt", "committed_to", "incarnations", "orphans", "read", "read_segment"]

READ_BYTES_MAX: Final = 1 << 22
"""Read at once; a record never spans more than this and one entry."""


def read(directory: Path, from_position: Position = START) -> Iterator[tuple[Entry, Position]]:
    """The committed entries after `from_position`, each with the position after it; ends at the durable mark.

    What an operator has given up is stepped over. Raises `JournalCorruptError` at the damaged record, after everything
    before it; `JournalError` when segments that were not read yet are gone; `DataVersionError`.
    """
    losses = accepted(directory)
    at = from_position
    for extent in extents(directory, at.segment):
        at = past(at, losses)
        if extent.previous > at:
            raise JournalError(
                f"{directory}: the entries from {_text(at)} to {_text(extent.previous)} are gone, their segments were "
                f"removed. Restore them, or give them up: farebox journal accept-loss {directory.name}."
            )
        start = at.byte if at.segment == extent.header.segment else HEADER_BYTES
        yield from _read_segment(directory, extent, max(start, HEADER_BYTES))
        at = max(at, extent.position)


def read_segment(directory: Path, from_position: Position) -> Iterator[tuple[Entry, Position]]:
    """Like `read`, of one segment only: what stands in it after `from_position`."""
    for extent in extents(directory, from_position.segment)[:1]:
        if extent.header.segment == from_position.segment:
            yield from _read_segment(directory, extent, max(from_position.byte, HEADER_BYTES))


def committed_to(directory: Path) -> Position:
    """The end of what may be read now; START when there is nothing."""
    found = extents(directory)
    return found[-1].position if found else START


def _read_segment(directory: Path, extent: Extent, start: int) -> Iterator[tuple[Entry, Position]]:
    header, path = extent.header, segment_path(directory, extent.header.segment)
    if start >= extent.end:
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while start < extent.end:
            piece = memoryview(os.pread(fd, min(READ_BYTES_MAX, extent.end - start), start))
            last = start + len(piece) >= extent.end
            before = start
            if not piece:  # the file is shorter than what was committed
                start = _after_loss(path, extent, start)
                continue
            try:
                for record in records(piece, start, header=header):
                    start = record.end
                    yield _entry(path, record.start, record.payload), Position(header.segment, record.end)
            except BadRecordError as bad:
                if last or bad.offset == before:
                    start = _after_loss(path, extent, bad.offset)
    finally:
        os.close(fd)


def _after_loss(path: Path, extent: Extent, offset: int) -> int:
    """Where to go on after a record that cannot be read; raises where that was not given up."""
    for loss in extent.lost:
        if loss.start.byte <= offset < loss.end.byte:
            return loss.end.byte
    raise _corrupt(path, offset, extent.end)


def _entry(path: Path, offset: int, payload: memoryview) -> Entry:
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        raise JournalCorruptError(
            f"{path}: the record at offset {offset} is whole but holds no entry ({error}). Report this as a bug.",
            path=str(path),
            offset=offset,
        ) from error


def _corrupt(path: Path, offset: int, end: int) -> JournalCorruptError:
    return JournalCorruptError(
        f"{path}: the record at offset {offset} does not match its checksum, though it was committed (durable to "
        f"{end}). Nothing was cut. Check the disk; restore the file from a copy, or give up what cannot be read: "
        f"farebox journal accept-loss {path.parent.name}.",
        path=str(path),
        offset=offset,
    )


def _text(position: Position) -> str:
    return f"segment {position.segment} byte {position.byte}"
