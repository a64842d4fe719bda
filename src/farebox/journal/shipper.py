"""Loading the journal into usage: every entry exactly once, then removing what both sides have.

The offsets travel with the entries, in the sink's own transaction. So a shipper that dies anywhere, or a load that
fails, is repeated from the last committed offset. One shipper per sink.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import msgspec

from farebox.errors import FareboxError, JournalCorruptError
from farebox.journal.directory import incarnations, remove, remove_segment, segments, sweep
from farebox.journal.disk import Disk, OsDisk
from farebox.journal.extents import Extent, extents
from farebox.journal.position import START, Position
from farebox.journal.reader import read, read_segment
from farebox.journal.records import Entry
from farebox.journal.segment import HEADER_BYTES

BATCH_ENTRIES: Final = 50_000
"""Entries in one load; about 10 MB."""
FOLLOW_SECONDS: Final = 0.25
RETRY_SECONDS_MAX: Final = 5.0
CLEAN_SECONDS: Final = 2.0
LAST_SECONDS_MAX: Final = 10.0
"""How long the last rounds after `stop` may go on; what is left then is loaded after the next start."""


class Sink(Protocol):
    """Where entries go. `load` commits both arguments or neither, and raises when it did not."""

    def offsets(self) -> dict[str, Position]:
        """What was committed, per key. Keys are the shipper's own: an incarnation, or one of its damaged segments."""
        ...

    def load(self, entries: list[Entry], offsets: Mapping[str, Position]) -> None:
        """Append the entries and replace the offsets of these keys, in one transaction."""
        ...


class ShipReport(msgspec.Struct, frozen=True):
    """How far loading is. Times in microseconds."""

    as_of: int | None
    """Everything committed before this instant is loaded, but for `stopped`; None before the first whole round."""
    oldest_unshipped: int | None
    """The stamp of the oldest entry that waits, as far as seen; None when nothing waits."""
    stopped: tuple[str, ...]
    """Each segment or directory that cannot be shipped, with the reason, for people."""
    failure: str | None
    """Why the last load did not succeed; None when it did."""


class _Batch:
    """One load in the making."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.offsets: dict[str, Position] = {}
        self.unfinished = False
        """There is more to read that nobody has looked at yet."""


class Shipper:
    """Ships all journals under `root` into `sink`. Used by one thread; `report` may be read by any.

    `settled_to` and `is_closed` are the quota's words on an incarnation: a segment goes when quota and usage are both
    past it, a directory when its incarnation is closed and loaded to its end. `now` is only used for `as_of`.
    """

    def __init__(
        self,
        root: Path,
        sink: Sink,
        settled_to: Callable[[str], Position],
        is_closed: Callable[[str], bool],
        *,
        batch_entries: int = BATCH_ENTRIES,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
        disk: Disk | None = None,
    ) -> None:
        self.report = ShipReport(None, None, (), None)
        self._root, self._sink = root, sink
        self._settled_to, self._is_closed = settled_to, is_closed
        self._batch_entries, self._now, self._disk = batch_entries, now, disk or OsDisk()
        self._turn = 0
        self._stopped: dict[str, str] = {}
        self._cleaned_at = 0.0

    def ship_once(self) -> int:
        """Load at most one batch, fairly from all incarnations; the number of entries loaded. Safe to repeat.

        Raises what `sink` raises, with nothing changed: the next call repeats the same entries. A journal that cannot
        be read does not raise: it is named in `report`, and the others go on.
        """
        began = self._now()
        offsets = self._sink.offsets()
        batch, waiting = self._collect(offsets)
        if batch.offsets:
            self._sink.load(batch.entries, batch.offsets)
        as_of = self.report.as_of if waiting or batch.unfinished else began
        oldest = min((entry.stamp for entry in waiting), default=None)
        self.report = ShipReport(as_of, oldest, tuple(self._stopped.values()), None)
        self._clean({**offsets, **batch.offsets})
        return len(batch.entries)

    def run(self, stop: threading.Event) -> None:
        """Follow until `stop`, at most `FOLLOW_SECONDS` behind; failures are retried with back-off and reported.

        After `stop` what was in the journals by then is still loaded, unless that fails or takes `LAST_SECONDS_MAX`.
        """
        wait = FOLLOW_SECONDS
        while not stop.is_set():
            loaded = self._try_once()
            if loaded is None:
                wait = min(RETRY_SECONDS_MAX, max(FOLLOW_SECONDS, 2 * wait))
            else:
                wait = 0.0 if loaded >= self._batch_entries else FOLLOW_SECONDS
            stop.wait(wait)
        deadline = time.monotonic() + LAST_SECONDS_MAX
        while self._try_once() and time.monotonic() < deadline:
            pass

    def _try_once(self) -> int | None:
        """`ship_once`; None when it failed, which the report tells."""
        try:
            return self.ship_once()
        except Exception as error:  # noqa: BLE001 - whatever the store raised, loading is tried again, visibly
            self.report = msgspec.structs.replace(self.report, failure=f"{type(error).__name__}: {error}")
            return None

    def _collect(self, offsets: Mapping[str, Position]) -> tuple[_Batch, list[Entry]]:
        """A batch, and the next entry of each incarnation that has more than its share of it."""
        names = incarnations(self._root)
        self._turn = (self._turn + 1) % max(1, len(names))
        batch, waiting = _Batch(), []
        self._stopped = {}
        for place, name in enumerate(names[self._turn :] + names[: self._turn]):
            share = (self._batch_entries - len(batch.entries)) // (len(names) - place)
            waiting += self._take(name, offsets, max(1, share), batch)
        return batch, waiting

    def _take(self, name: str, offsets: Mapping[str, Position], share: int, batch: _Batch) -> list[Entry]:
        """Add up to `share` entries of one incarnation; its next entry when it has more."""
        at = offsets.get(name, START)
        directory = self._root / name
        try:
            self._retry_damaged(directory, offsets, share, batch)
            source = read(directory, at)
            for entry, position in islice(source, share):
                batch.entries.append(entry)
                batch.offsets[name] = at = position
            return [entry for entry, _ in islice(source, 1)]
        except JournalCorruptError as error:
            self._stopped[error.path or name] = str(error)
            self._step_over(directory, at, batch)
        except (FareboxError, OSError) as error:
            self._stopped[name] = f"{directory}: {error}"
        return []

    def _step_over(self, directory: Path, at: Position, batch: _Batch) -> None:
        """Leave the rest of a damaged segment to an offset of its own and go on with the segment after it."""
        with contextlib.suppress(FareboxError, OSError):  # a damaged header stops the whole directory
            found = extents(directory, at.segment)
            damaged = next((e for e in found if e.final and _begin(e, at) < e.end), None)
            if damaged is not None:
                number = damaged.header.segment
                batch.offsets[_key(directory.name, number)] = Position(number, _begin(damaged, at))
                batch.offsets[directory.name] = damaged.position
                batch.unfinished = True

    def _retry_damaged(self, directory: Path, offsets: Mapping[str, Position], share: int, batch: _Batch) -> None:
        """Somebody may have put a damaged segment right."""
        for number in segments(directory):
            key = _key(directory.name, number)
            if key not in offsets:
                continue
            try:
                for entry, position in islice(read_segment(directory, offsets[key]), share):
                    batch.entries.append(entry)
                    batch.offsets[key] = position
                    batch.unfinished = True
            except JournalCorruptError as error:
                self._stopped[key] = str(error)

    def _clean(self, offsets: Mapping[str, Position]) -> None:
        """Remove what quota and usage both have; at most every `CLEAN_SECONDS`."""
        if time.monotonic() - self._cleaned_at < CLEAN_SECONDS:
            return
        self._cleaned_at = time.monotonic()
        with self._reporting("rests of removed journals", self._root):
            sweep(self._root, self._disk)
        for name in incarnations(self._root):
            with self._reporting(name, self._root / name):
                self._clean_one(self._root / name, offsets)

    @contextlib.contextmanager
    def _reporting(self, name: str, path: Path) -> Iterator[None]:
        """What cannot be removed is named, is tried again, and holds up nothing else."""
        try:
            yield
        except (FareboxError, OSError) as error:
            self._stopped[f"{name} removal"] = f"{path}: {error}"
            self.report = msgspec.structs.replace(self.report, stopped=tuple(self._stopped.values()))

    def _clean_one(self, directory: Path, offsets: Mapping[str, Position]) -> None:
        name = directory.name
        found = extents(directory)
        shipped = offsets.get(name, START)
        done = [extent.final and self._shipped(name, extent, shipped, offsets) for extent in found]
        if all(done) and self._is_closed(name):
            remove(directory, self._disk)
            return
        settled = self._settled_to(name) if any(done) else START
        for place, extent in enumerate(found[:-1]):
            # One that goes leaves its successor, whose opening proves that nothing is missing; and it is not itself the
            # successor of one that stays, damaged: its opening says where that one ends.
            if done[place] and extent.position <= settled and all(done[max(0, place - 1) : place]):
                remove_segment(directory, extent.header.segment, self._disk)

    def _shipped(self, name: str, extent: Extent, shipped: Position, offsets: Mapping[str, Position]) -> bool:
        """All its entries are loaded; a segment without any counts as loaded with what lies before it."""
        number, last = extent.header.segment, extent.records_end
        end = Position(number, last) if last > HEADER_BYTES else extent.previous
        left = offsets.get(_key(name, number))
        return shipped >= end and (left is None or left.byte >= last)


def _begin(extent: Extent, at: Position) -> int:
    return max(HEADER_BYTES, at.byte) if at.segment == extent.header.segment else HEADER_BYTES


def _key(incarnation: str, segment: int) -> str:
    """The offset of one damaged segment; '#' never stands in an incarnation."""
    return f"{incarnation}#{segment}"
