"""What an operator has given up: stretches of a damaged journal that readers step over, written beside its segments.

Nothing is cut and nothing overwritten: the damaged file stays as it is until its directory goes. A loss is a file
`NNNNNNNN.lost`, named after the segment it ends in, so that quota and usage step over exactly the same bytes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from farebox.errors import DataVersionError, JournalCorruptError
from farebox.journal.disk import Disk
from farebox.journal.position import Position
from farebox.journal.tail import write_whole

FORMAT: Final = 1
_LOST: Final = re.compile(r"\d{8,}\.lost")


class Loss(msgspec.Struct, frozen=True, order=True):
    """Everything from `start` to `end`; segments that begin and end in between are lost whole, head and all."""

    start: Position
    end: Position
    reason: str = ""

    def whole_segments(self) -> range:
        """Numbers of the segments of which nothing is read."""
        return range(self.start.segment + 1, self.end.segment + 1)


class _File(msgspec.Struct, frozen=True):
    format: int
    losses: list[Loss]


def accepted(directory: Path) -> list[Loss]:
    """The losses accepted in a directory, in order; none when it has just gone.

    Raises `JournalCorruptError` or `DataVersionError`, naming the file.
    """
    try:
        paths = [path for path in directory.iterdir() if _LOST.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    return sorted(loss for path in paths for loss in _read(path))


def accept(directory: Path, losses: Iterable[Loss], disk: Disk) -> None:
    """Give these up; for good once the directory is synced, too. Safe to repeat. Raises `OSError`."""
    by_segment: dict[int, set[Loss]] = {}
    for loss in losses:
        by_segment.setdefault(loss.end.segment, set()).add(loss)
    for segment, given_up in sorted(by_segment.items()):
        path = directory / f"{segment:08d}.lost"
        known = _read(path) if path.exists() else []
        _write(path, sorted({*known, *given_up}), disk)


def past(at: Position, losses: Iterable[Loss]) -> Position:
    """The place after whatever is lost at `at`; `losses` in order."""
    for loss in losses:
        if loss.start <= at < loss.end:
            at = loss.end
    return at


def _read(path: Path) -> list[Loss]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:  # removed with its directory while we looked
        return []
    except msgspec.DecodeError as error:
        raise JournalCorruptError(
            f"{path} does not say which entries were given up ({error}). Remove it and run `farebox journal check`.",
            path=str(path),
        ) from error
    if found.format != FORMAT:
        raise DataVersionError(f"{path} has format {found.format}, this Farebox reads format {FORMAT}.")
    return found.losses


def _write(path: Path, losses: list[Loss], disk: Disk) -> None:
    fresh = path.with_suffix(".lost-new")
    with contextlib.suppress(FileNotFoundError):  # of an attempt that was interrupted
        disk.unlink(fresh)
    fd = disk.create(fresh)
    try:
        write_whole(disk, fd, msgspec.json.encode(_File(FORMAT, losses)), 0)
        disk.fdatasync(fd)
    finally:
        disk.close(fd)
    disk.rename(fresh, path)
