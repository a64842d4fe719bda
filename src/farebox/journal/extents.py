"""Where the records of each segment end: what the next opening says, or else the mark.

An opening is synced before anything that follows it, so it is the stronger witness: the mark of an earlier segment may
be older (power loss) or could not be written (a failing disk).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from farebox.errors import JournalCorruptError
from farebox.journal.directory import read_header, read_mark, read_opening, segment_path, segments
from farebox.journal.losses import Loss, accepted
from farebox.journal.position import Position
from farebox.journal.segment import (
    HEADER_BYTES,
    STATIC_BYTES,
    BadRecordError,
    Header,
    Mark,
    Opening,
    record_at,
)


class Extent(msgspec.Struct, frozen=True):
    """One opened segment. `previous` is the end of all records before it."""

    header: Header
    previous: Position
    end: int
    """Offset up to which it may be read."""
    final: bool
    """Nothing is ever added after `end`."""
    lost: tuple[Loss, ...] = ()
    """What of it was given up, in order."""

    @property
    def position(self) -> Position:
        """The end as a place in the incarnation's journal."""
        return Position(self.header.segment, self.end)

    @property
    def records_end(self) -> int:
        """Where its last record can end: `end`, or where a loss begins that reaches it."""
        end = self.end
        for loss in reversed(self.lost):
            end = loss.start.byte if loss.end.byte >= end else end
        return end


def extents(directory: Path, first: int = 0, *, without: Iterable[int] = ()) -> list[Extent]:
    """The opened segments from number `first` on, in order; prepared, void and given up ones are left out.

    `without`: further numbers to take for given up. Raises `JournalCorruptError` or `DataVersionError` for a header
    that cannot be read.
    """
    losses = accepted(directory)
    gone = {*without, *(number for loss in losses for number in loss.whole_segments())}
    numbers = [number for number in segments(directory) if number >= first and number not in gone]
    found = [opening for number in numbers for opening in opened(directory, number)]
    result = []
    for place, (header, opening) in enumerate(found):
        following = found[place + 1][1] if place + 1 < len(found) else None
        if following is not None and following.previous_segment == header.segment:
            end, final = following.previous_end, True
        elif following is not None and following.previous_segment not in gone:
            end, final = HEADER_BYTES, True
        else:  # the last one, or the one after it that would say where it ends is lost
            mark = _mark_of(directory, header.segment)
            end, final = (mark.durable, mark.sealed) if mark else (HEADER_BYTES, False)
            if following is not None:  # then it is never written again, and its mark may be older than its records
                end, final = whole_until(directory, header, end), True
        lost = tuple(loss for loss in losses if loss.start.segment == loss.end.segment == header.segment)
        previous = Position(opening.previous_segment, opening.previous_end)
        result.append(Extent(header, previous, end, final, lost))
    return result


def whole_until(directory: Path, header: Header, start: int) -> int:
    """Where the whole records that follow each other from offset `start` end."""
    data = memoryview(segment_path(directory, header.segment).read_bytes())
    at = start
    while True:
        try:
            at = record_at(data, at, header=header).end
        except BadRecordError:
            return at


def opened(directory: Path, segment: int) -> list[tuple[Header, Opening]]:
    """Header and opening of a segment, if it was opened. Raises `JournalCorruptError` or `DataVersionError`."""
    try:
        header = read_header(directory, segment)
        opening = read_opening(directory, header)
        if opening is None and _has_records(directory, segment):
            opening = read_opening(directory, header)  # it may have been opened between the two looks
            if opening is None:
                path = str(segment_path(directory, segment))
                raise JournalCorruptError(
                    f"{path}: the opening at offset {STATIC_BYTES} is damaged, though records follow it. "
                    "Check the disk; restore the file from a copy.",
                    path=path,
                    offset=STATIC_BYTES,
                )
    except FileNotFoundError:  # shipped and removed while we looked
        return []
    return [] if opening is None else [(header, opening)]


def _has_records(directory: Path, segment: int) -> bool:
    mark = _mark_of(directory, segment)
    return mark is not None and mark.durable > HEADER_BYTES


def _mark_of(directory: Path, segment: int) -> Mark | None:
    """The mark, if there is a whole one: a file that is gone says no more than a damaged one."""
    try:
        return read_mark(directory, segment)
    except FileNotFoundError:
        return None
