"""Where the records of each segment end: what the next opening says, or else the mark.

An opening is synced before anything that follows it, so it is the stronger witness: the mark of an earlier segment may
be older (power loss) or could not be written (a failing disk).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from farebox.errors import JournalCorruptError
from farebox.journal.directory import read_header, read_mark, read_opening, segment_path, segments
from farebox.journal.position import Position
from farebox.journal.segment import HEADER_BYTES, STATIC_BYTES, Header, Opening


class Extent(msgspec.Struct, frozen=True):
    """One opened segment. `previous` is the end of all records before it."""

    header: Header
    previous: Position
    end: int
    """Offset up to which it may be read."""
    final: bool
    """Nothing is ever added after `end`."""

    @property
    def position(self) -> Position:
        """The end as a place in the incarnation's journal."""
        return Position(self.header.segment, self.end)


def extents(directory: Path, first: int = 0) -> list[Extent]:
    """The opened segments from number `first` on, in order; prepared and void ones are left out.

    Raises `JournalCorruptError` or `DataVersionError` for a header that cannot be read.
    """
    opened = [found for number in segments(directory) if number >= first for found in _opened(directory, number)]
    result = []
    for place, (header, opening) in enumerate(opened):
        previous = Position(opening.previous_segment, opening.previous_end)
        if place + 1 < len(opened):
            following = opened[place + 1][1]
            end = following.previous_end if following.previous_segment == header.segment else HEADER_BYTES
            result.append(Extent(header, previous, end, final=True))
        else:
            mark = read_mark(directory, header.segment)
            end, final = (mark.durable, mark.sealed) if mark else (HEADER_BYTES, False)
            result.append(Extent(header, previous, end, final))
    return result


def _opened(directory: Path, segment: int) -> list[tuple[Header, Opening]]:
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
    mark = read_mark(directory, segment)
    return mark is not None and mark.durable > HEADER_BYTES
