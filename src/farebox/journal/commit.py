"""The commit thread makes durable what the loop hands over. Long because all that may touch the files is here.

It alone touches the files, but for groups that need no disk to be durable (`write_here`): the loop writes those itself
while the thread has nothing to do, because waking it costs as much as writing. The loop reads a few plain attributes
without the lock, so that admission costs a comparison.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from farebox.errors import DataDirectoryError, FareboxError
from farebox.journal.attempt import RETRY_SECONDS_MIN, Attempt
from farebox.journal.commits import Commits
from farebox.journal.directory import bytes_used, create, mark_path, segment_path
from farebox.journal.disk import Disk
from farebox.journal.position import START, Position
from farebox.journal.records import Entry
from farebox.journal.segment import HEADER_BYTES, MARK_BYTES, RECORD_HEAD_BYTES, Header
from farebox.journal.tail import Tail, prepare

GROUP_BYTES_MAX: Final = 1 << 20
"""One write; bounds the buffer and what one failed sync can take with it."""
TICK_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 5.0
"""How often the space in use is looked at; 2 ms with 500 segments."""
SLOW_NS: Final = 20_000_000
APART_SECONDS: Final = 10.0
"""After a write of 20 ms in the loop all are left to the thread for so long: a slow disk must not hold up the loop."""
NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
"""Troubles that end by themselves once somebody makes room."""

Released = Callable[[bool], None]
Pending = tuple[bytes, Entry, Released | None]


class Group(msgspec.Struct, frozen=True):
    """What became of a group: `position` is its end, or None when it failed and its answers must not be sent."""

    pending: list[Pending]
    position: Position | None


class Limits(msgspec.Struct, frozen=True):
    """Sizes in bytes."""

    segment: int
    journal: int
    entry: int

    @property
    def segment_room(self) -> int:
        """What a fresh segment surely takes: the last record may not fit by almost a whole record."""
        return self.segment - HEADER_BYTES - self.record

    @property
    def record(self) -> int:
        """The longest record."""
        return self.entry + RECORD_HEAD_BYTES


class Committer:
    """The thread and its segments. `hand_over`, `appended` and `reserved` belong to the loop thread, all else here."""

    def __init__(self, root: Path, first: Header, limits: Limits, disk: Disk, done: Callable[[Group], None]) -> None:
        self.appended = 0
        """Record bytes handed over since the start."""
        self.reserved = 0
        """Record bytes that calls in flight may still hand over."""
        self.capacity = -1
        """`appended + reserved` may grow up to here; -1 while there is no working segment."""
        self.used = 0
        """Bytes of all journals under the root, when last looked at."""
        self.commits = Commits()
        self.position = START
        self.lock: int | None = None
        """What owns the directory; the thread's until it ended. None while the directory could not be made."""
        self.opening, self.preparing = Attempt(), Attempt()
        self._root, self._directory = root, root / first.incarnation
        self._first, self._limits, self._disk, self._done = first, limits, disk, done
        self._queue: queue.SimpleQueue[list[Pending] | threading.Event | None] = queue.SimpleQueue()
        self._in_hand: list[Pending] = []
        self._done_in_hand = 0
        self._awaited: list[threading.Event] = []
        self._tail: Tail | None = None
        self._ready: deque[int] = deque()
        self._next_segment = 1
        self._end = START
        self._processed = 0
        self._looked_at = 0.0
        self._apart_until = 0.0
        self._files = threading.Lock()
        """Who holds it may touch segments and write the attributes above."""
        self._committing = threading.Thread(target=self._run, name="farebox-journal", daemon=True)

    @property
    def trouble(self) -> str | None:
        """Why there is no working segment, or else no further one; None when all is well."""
        return self.opening.trouble or self.preparing.trouble

    # -- the loop's side -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the directory and open the first segment in the calling thread, then start.

        Without space it starts all the same, with no capacity, and goes on trying. Raises `OSError` and FareboxErrors
        for any other reason why the directory cannot be written.
        """
        try:
            self._prepare()
            self._tail = self._open(self._ready.popleft())
        except OSError as error:
            if error.errno not in NO_SPACE:
                self.release()
                raise
            self._not_prepared(error)
        except BaseException:
            self.release()
            raise
        self._try_prepare()
        self._keep_ready()
        self._committing.start()

    def release(self) -> None:
        """Let others have the directory. Only before the thread starts or after it ended; safe to repeat."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def hand_over(self, pending: list[Pending]) -> None:
        """Give a list away for good; an empty one just wakes the thread."""
        self._queue.put(pending)

    def write_here(self, pending: list[Pending]) -> Group | None:
        """Write a group in the calling loop; None: it is to be handed over.

        Only for durability "os", and only what fits while the thread has nothing to do and writing was quick of late.
        """
        if time.monotonic() < self._apart_until or not self._files.acquire(blocking=False):
            return None
        try:
            tail, size = self._tail, _record_bytes(pending)
            if tail is None or self.lag != size or size > min(tail.room, GROUP_BYTES_MAX):
                return None
            began = time.monotonic_ns()
            group = self._written(tail, pending)
            if group.position is None:
                self.hand_over([])  # for another segment
            if time.monotonic_ns() - began > SLOW_NS:
                self._apart_until = time.monotonic() + APART_SECONDS
        except Exception:  # noqa: BLE001 - a bug: the thread meets it again and refuses for good
            return None
        finally:
            self._files.release()
        return group

    def settle(self) -> bool:
        """Return when all that was handed over before is done with; False: there is no thread. Not after `finish`."""
        committed = threading.Event()
        self._queue.put(committed)
        while not committed.wait(TICK_SECONDS):
            if not self._committing.is_alive():
                return False
        return True

    def finish(self) -> None:
        """Commit what is left, seal, and return when the thread has ended."""
        self._queue.put(None)
        self._committing.join()

    # -- the thread's side -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        stopping = False
        try:
            while not stopping:
                self._in_hand, stopping = self._take()
                self._done_in_hand = 0
                with self._files:
                    if self._in_hand:
                        self._commit(self._in_hand)
                    self._tell_awaited()
                    self._keep_ready()
            with self._files:
                self._seal_for_good()
        except BaseException as error:  # a bug must refuse calls, not leave them waiting
            self.opening.failed(f"the commit thread ended: {error!r}")
            self._refuse_for_good(stopping=stopping)
            raise

    def _take(self) -> tuple[list[Pending], bool]:
        """All that was handed over since, waiting for the first up to a tick; and whether to stop."""
        taken: list[Pending] = []
        wait = TICK_SECONDS if self.trouble is None else RETRY_SECONDS_MIN
        try:
            item = self._queue.get(timeout=wait)
            while item is not None:
                if isinstance(item, threading.Event):
                    self._awaited.append(item)
                else:
                    taken = taken + item if taken else item
                item = self._queue.get_nowait()
        except queue.Empty:
            return taken, False
        return taken, True

    def _tell_awaited(self) -> None:
        while self._awaited:
            self._awaited.pop().set()

    def _commit(self, pending: list[Pending]) -> None:
        start = 0
        while start < len(pending):
            if self._tail is None:
                self._open_next()
            if self._tail is None:
                self._tell(self._finished(pending[start:], None))
                return
            count = self._fitting(pending, start, self._tail.room)
            if count == 0:
                self._roll(self._tail)
                continue
            self._tell(self._written(self._tail, pending[start : start + count]))
            start += count

    def _fitting(self, pending: list[Pending], start: int, room: int) -> int:
        room = min(room, GROUP_BYTES_MAX)
        count = 0
        for payload, _, _ in pending[start:] if start else pending:
            room -= len(payload) + RECORD_HEAD_BYTES
            if room < 0:
                break
            count += 1
        return count

    def _written(self, tail: Tail, group: list[Pending]) -> Group:
        began = time.monotonic_ns()
        try:
            tail.append([payload for payload, _, _ in group])
        except OSError as error:
            self.commits.failed += 1
            self._abandon(tail, error)
            return self._finished(group, None)
        self.commits.written(len(group), began)
        self.position = self._end = tail.position
        return self._finished(group, tail.position)

    def _finished(self, group: list[Pending], position: Position | None) -> Group:
        self._processed += _record_bytes(group)
        self._count()
        return Group(group, position)

    def _tell(self, group: Group) -> None:
        self._done_in_hand += len(group.pending)
        self._done(group)

    def _abandon(self, tail: Tail, error: OSError) -> None:
        """After any failure: seal at the durable offset; the file is never written or synced again."""
        self._tail = None
        self.capacity = -1
        self.opening.trouble = f"writing segment {tail.header.segment} failed: {error.strerror or error}"
        with contextlib.suppress(OSError):  # the next segment's opening says the same, durably
            tail.seal()
        tail.close()

    def _roll(self, tail: Tail) -> None:
        """The segment is full: seal it and go on in the next one."""
        self._tail = None
        with contextlib.suppress(OSError):  # all of it was released before, and the next opening says where it ends
            tail.finish()
        tail.close()
        self._open_next()

    def _open_next(self) -> None:
        """Have a working segment if one can be had now; keeps to the back-off after failures.

        A prepared one is opened whatever preparing another came to: that is the room calls have reserved.
        """
        if not self.opening.due() or not (self._ready or self._try_prepare()):
            return
        try:
            self._tail = self._open(self._ready.popleft())
        except OSError as error:
            self.opening.failed(f"opening a segment failed: {error.strerror or error}")
        else:
            self.opening.worked()
        self._count()

    def _open(self, segment: int) -> Tail:
        return Tail(self._directory, self._header(segment), self._end, self._disk)

    def _prepare(self) -> None:
        """One more segment. Raises `OSError`; ENOSPC also when `journal_bytes_max` says so."""
        size = self._limits.segment + MARK_BYTES
        if self.lock is None:
            self.lock = self._create()
        self._look()
        if self.used + size > self._limits.journal:
            raise OSError(errno.ENOSPC, f"journal_bytes_max ({self._limits.journal}) is reached")
        segment = self._next_segment
        self._next_segment += 1
        prepare(self._directory, self._header(segment), self._disk)
        self._ready.append(segment)
        self.used += size

    def _create(self) -> int:
        try:
            return create(self._root, self._first.incarnation, self._disk)
        except DataDirectoryError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_SPACE:
                raise error.__cause__ from None
            raise

    def _keep_ready(self) -> None:
        """A working segment, and beyond what is asked for one whole segment more."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            with contextlib.suppress(OSError):  # the last look stands; preparing looks again and says what is wrong
                self._look()
        if self._tail is None:
            self._open_next()
        while self._room() - self._asked() < self._limits.segment_room:
            if not self._try_prepare():
                break
        else:
            self.preparing.worked()
        self._count()

    def _try_prepare(self) -> bool:
        if not self.preparing.due():
            return False
        try:
            self._prepare()
        except (OSError, FareboxError) as error:
            self._not_prepared(error)
            return False
        self.preparing.worked()
        return True

    def _not_prepared(self, error: OSError | FareboxError) -> None:
        reason = error.strerror if isinstance(error, OSError) else None
        self.preparing.failed(f"preparing a segment failed: {reason or error}")

    @property
    def lag(self) -> int:
        """Record bytes handed over and not yet durable (or failed)."""
        return self.appended - self._processed

    def _asked(self) -> int:
        return self.lag + self.reserved

    def _room(self) -> int:
        tail = max(0, self._tail.room - self._limits.record) if self._tail else 0
        return tail + len(self._ready) * self._limits.segment_room

    def _count(self) -> None:
        self.capacity = self._processed + self._room() if self._tail else -1

    def _look(self) -> None:
        self.used = bytes_used(self._root)
        self._looked_at = time.monotonic()

    def _header(self, segment: int) -> Header:
        return msgspec.structs.replace(self._first, segment=segment)

    def _seal_for_good(self) -> None:
        """Nothing follows: seal, give back what was prepared. Adoption does the same should this fail."""
        self.capacity = -1
        tail, self._tail = self._tail, None
        if tail is not None:
            with contextlib.suppress(OSError):
                tail.seal_for_good()
                tail.trim()
            tail.close()
        for segment in self._ready:
            with contextlib.suppress(OSError):
                self._disk.unlink(segment_path(self._directory, segment))
                self._disk.unlink(mark_path(self._directory, segment))

    def _refuse_for_good(self, *, stopping: bool) -> None:
        """After a bug: nothing is written any more, and whatever was or is handed over fails, until told to stop."""
        with self._files:
            self.capacity = -1
            tail, self._tail = self._tail, None
            if tail is not None:
                with contextlib.suppress(Exception):  # it may still be so; adoption seals where this could not
                    tail.seal()
                tail.close()
        if failed := self._in_hand[self._done_in_hand :]:
            self._done(Group(failed, None))
        self._tell_awaited()
        while not stopping:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
            elif item is None:
                stopping = True
            elif item:
                self._done(Group(item, None))


def _record_bytes(group: list[Pending]) -> int:
    return sum(len(payload) for payload, _, _ in group) + len(group) * RECORD_HEAD_BYTES


def no_space(trouble: str | None) -> bool:
    """Whether the trouble is one that space would end."""
    return trouble is not None and (
        any(os.strerror(code) in trouble for code in NO_SPACE) or "journal_bytes_max" in trouble
    )
