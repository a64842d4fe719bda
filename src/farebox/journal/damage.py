"""What of a journal cannot be read, found by looking at all of it, and giving it up when an operator says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from farebox.errors import JournalCorruptError, JournalError
from farebox.journal import losses
from farebox.journal.adoption import adopt
from farebox.journal.directory import read_mark, segment_path, segments
from farebox.journal.disk import Disk, OsDisk
from farebox.journal.extents import Extent, extents, opened, whole_until
from farebox.journal.losses import Loss
from farebox.journal.position import START, Position
from farebox.journal.segment import HEADER_BYTES, BadRecordError, next_whole_record, record_at


class Damage(msgspec.Struct, frozen=True):
    """A loss that nobody has accepted: `bytes` of records at most, `calls` about (by the mean of those around it)."""

    loss: Loss
    path: str
    bytes: int
    calls: int


class _Gap(msgspec.Struct, frozen=True):
    """Segments one after the other whose head cannot be read or whose file is gone."""

    numbers: tuple[int, ...]
    reasons: tuple[str, ...]


def find(directory: Path, *, needed_from: Callable[[], Position] = lambda: START) -> list[Damage]:
    """What cannot be read and was not given up, in order. The end of a journal somebody writes to is not looked at.

    Segments gone from the beginning count from `needed_from` on: what quota has settled may go. It is asked after the
    directory was listed, so that one that goes meanwhile is not missed. Raises `JournalError` when the journal is of
    another version, `OSError` when the disk cannot be read.
    """
    unreadable = dict(_unreadable(directory))
    readable = extents(directory, without=unreadable)
    needed = needed_from()
    missing = {
        extent.previous.segment: "the file is gone"
        for extent in readable
        if extent.previous > needed and not segment_path(directory, extent.previous.segment).exists()
    }
    gone = {**missing, **unreadable}
    known = {number for loss in losses.accepted(directory) for number in loss.whole_segments()}
    gone = {number: reason for number, reason in gone.items() if number not in known}
    found = [_of_gap(directory, loss) for loss in _gaps(directory, gone, needed)]
    for extent in extents(directory, without=gone):
        if extent.final:
            found += _of_records(directory, extent)
    return sorted(found, key=lambda damage: damage.loss)


def give_up(
    directory: Path,
    disk: Disk | None = None,
    *,
    needed_from: Callable[[], Position] = lambda: START,
    confirm: Callable[[list[Damage]], bool] = lambda _: True,
) -> list[Damage]:
    """Accept the loss of what cannot be read, exactly as `confirm` was shown it; what was accepted. Safe to repeat.

    An orphan is sealed first, as adoption does, so that its last segment is looked at too; where a lost head keeps that
    from being done, it is done once the head was given up, and what is found then is shown by itself. Quota's adopter
    and usage's shipper go on by themselves.

    Raises `JournalError` when the journal is no longer as it was shown (nothing more is accepted then), or when what
    was accepted cannot be written down.
    """
    disk = disk or OsDisk()
    accepted: list[Damage] = []
    try:
        while True:
            _seal_orphan(directory, disk)
            shown = find(directory, needed_from=needed_from)
            if {damage.loss for damage in shown} & {damage.loss for damage in accepted}:
                raise JournalError(
                    f"{directory} shows what was given up as damaged again. Nothing more is given up; keep a copy "
                    "of it and report this."
                )
            if not shown or not confirm(shown):
                break
            _require_still(directory, shown, find(directory, needed_from=needed_from))
            losses.accept(directory, [damage.loss for damage in shown], disk)
            accepted += shown
        disk.sync_directory(directory)  # also for what an earlier attempt accepted and could not make durable
    except OSError as error:
        raise JournalError(f"{directory} cannot be looked at or written: {error.strerror}. Check the disk.") from error
    return accepted


def _seal_orphan(directory: Path, disk: Disk) -> None:
    try:
        adopted = adopt(directory, disk)
    except JournalCorruptError:  # a head that cannot be read, which `find` says
        return
    if adopted is not None:
        adopted.release()


def _require_still(directory: Path, shown: list[Damage], now: list[Damage]) -> None:
    """The places that were shown are damaged as they were: neither restored meanwhile, nor grown, nor joined."""
    if not {damage.loss for damage in shown} <= {damage.loss for damage in now}:
        raise JournalError(
            f"{directory} is no longer as it was shown: a file was restored, removed or damaged further meanwhile. "
            "Nothing was given up; look again with `farebox journal check`."
        )


def _unreadable(directory: Path) -> Iterator[tuple[int, str]]:
    known = {number for loss in losses.accepted(directory) for number in loss.whole_segments()}
    for number in segments(directory):
        if number not in known:
            try:
                opened(directory, number)
            except JournalCorruptError as error:
                yield number, str(error)


def _gaps(directory: Path, gone: dict[int, str], needed: Position) -> Iterator[Loss]:
    """Runs of segments that are gone or unreadable, each from the end of what is before it to what follows."""
    at, reasons, last = START, list[str](), 0
    extent: Extent | None = None
    for extent in extents(directory, without=gone):
        run = sorted(number for number in gone if last < number < extent.header.segment)
        if run:
            reasons = [gone[number] for number in run]
            start = at
            if at == START and run[0] != 1:  # what was before it is gone; quota may have settled into the run itself
                start = needed if needed.segment < run[0] else Position(run[0] - 1, HEADER_BYTES)
            yield Loss(start, max(extent.previous, Position(run[-1], HEADER_BYTES)), "; ".join(reasons))
        at, last = extent.position, extent.header.segment
    run = sorted(number for number in gone if number > last)
    if run:
        if extent is not None:  # its mark may be older than its records
            at = Position(last, whole_until(directory, extent.header, extent.end))
        yield Loss(at, _end_of(directory, run[-1]), "; ".join(gone[number] for number in run))


def _end_of(directory: Path, segment: int) -> Position:
    """As far as a segment without a readable head can have been committed."""
    try:
        mark = read_mark(directory, segment)
    except FileNotFoundError:  # lost with the head: the whole file may have been committed
        mark = None
    size = segment_path(directory, segment).stat().st_size
    return Position(segment, max(HEADER_BYTES, mark.durable if mark else size))


def _of_gap(directory: Path, loss: Loss) -> Damage:
    size = loss.end.byte - HEADER_BYTES
    for number in loss.whole_segments()[:-1]:
        path = segment_path(directory, number)
        size += path.stat().st_size - HEADER_BYTES if path.exists() else 0
    return Damage(loss, str(segment_path(directory, loss.end.segment)), size, size // _MEAN_BYTES)


_MEAN_BYTES = 200
"""An entry of an ordinary call, where there are no others to go by."""


def _of_records(directory: Path, extent: Extent) -> Iterable[Damage]:
    path = segment_path(directory, extent.header.segment)
    data = memoryview(path.read_bytes())[: extent.end]
    damaged, at, whole, whole_bytes = [], HEADER_BYTES, 0, 0
    while at < extent.end:
        try:
            record = record_at(data, at, header=extent.header)
        except BadRecordError:
            following = next_whole_record(data, at + 1, header=extent.header)
            end = following.start if following else extent.end
            damaged.append((at, end))
            at = end
        else:
            whole, whole_bytes, at = whole + 1, whole_bytes + record.end - record.start, record.end
    mean = max(1, whole_bytes // whole if whole else _MEAN_BYTES)
    number, known = extent.header.segment, extent.lost
    return [
        Damage(
            Loss(Position(number, start), Position(number, end), f"the record at offset {start} is damaged"),
            str(path),
            end - start,
            max(1, (end - start) // mean),
        )
        for start, end in damaged
        if not any(loss.start.byte <= start and end <= loss.end.byte for loss in known)
    ]
