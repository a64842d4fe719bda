"""The journal as the gateway's event loop sees it: reserve, append, be told.

`append` encodes and puts on a list. The list is given to the commit thread, whole, when the thread has none; once per
group the thread wakes the loop. Two lists, no lock: a list belongs to one side at a time. With durability "os" the loop
writes a list itself while the thread has nothing to do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from farebox.errors import ConfigInvalidError, JournalError, JournalFullError
from farebox.journal.commit import Committer, Group, Limits, Pending, Released, no_space
from farebox.journal.commits import Commits
from farebox.journal.directory import check_incarnation
from farebox.journal.disk import Disk, OsDisk
from farebox.journal.position import Position
from farebox.journal.records import REFUSALS, Entry
from farebox.journal.segment import RECORD_HEAD_BYTES, SEGMENT_BYTES_MAX, Durability, Header
from farebox.journal.tail import boot_id

SEGMENT_BYTES: Final = 8 << 20
JOURNAL_BYTES_MAX: Final = 4 << 30
ENTRY_BYTES_MAX: Final = 4096
"""An entry of an ordinary call has about 200 bytes; names from callers are bounded where they come in."""
ENTRY_BYTES_MIN: Final = 512
ASK_SECONDS: Final = 0.01
ENTRIES_PER_CALL: Final = 2
"""A charge and its close."""

OnCommitted = Callable[[list[Entry], Position], None]


class JournalWriter:
    """One incarnation's journal, written by one event loop. All methods are for the loop's thread.

    Durability `disk`: an entry is released once fdatasync returned; `os`: once written (survives kill -9, not the loss
    of power). `on_committed` gets each group in order, before any of its `released` is called. After a failure entries
    are released with False: their answers must not be sent. Such an entry is in the journal only if it is appended
    again; the journal never brings it back by itself once a later entry was released.

    Without space, or with `journal_bytes_max` reached, it starts all the same: calls are refused until there is room.
    Raises `JournalError`, `DataDirectoryError` when it cannot start.
    """

    def __init__(
        self,
        root: Path,
        incarnation: str,
        *,
        durability: Durability,
        loop: asyncio.AbstractEventLoop,
        on_committed: OnCommitted,
        segment_bytes: int = SEGMENT_BYTES,
        journal_bytes_max: int = JOURNAL_BYTES_MAX,
        entry_bytes_max: int = ENTRY_BYTES_MAX,
        disk: Disk | None = None,
    ) -> None:
        _check_sizes(segment_bytes, journal_bytes_max, entry_bytes_max)
        disk = disk or OsDisk()
        self._limits = Limits(segment_bytes, journal_bytes_max, entry_bytes_max)
        self._call_bytes = ENTRIES_PER_CALL * self._limits.record
        self._loop, self._on_committed = loop, on_committed
        self._encode = msgspec.msgpack.Encoder().encode
        self._filling: list[Pending] = []
        self._groups: deque[Group] = deque()
        self._told = False
        self._handed = 0
        """Entries the thread has; more are handed over when it is done with them."""
        self._writes_here = durability == "os"
        self._asked_for_more = False
        self._closed = False
        check_incarnation(incarnation)
        first = Header(incarnation, 1, segment_bytes, durability, entry_bytes_max, boot_id())
        self._committer = Committer(root, first, self._limits, disk, self._group_done)
        try:
            self._committer.start()
        except OSError as error:
            raise _cannot_start(root, error) from error

    def reserve(self) -> None:
        """Room for one call's entries, kept until `unreserve`; called at admission, before the upstream is reached.

        Raises `JournalFullError` when the space is not there, `JournalError` while no segment works.
        """
        committer = self._committer
        reserved = committer.reserved + self._call_bytes
        wanted = committer.appended + reserved
        if wanted > committer.capacity - self._limits.segment_room // 2:
            self._ask_for_more()
            if wanted > committer.capacity:
                self._refuse()
        committer.reserved = reserved

    def unreserve(self) -> None:
        """The call appends nothing more: its last entry was appended, or it never reached the upstream."""
        self._committer.reserved -= self._call_bytes
        assert self._committer.reserved >= 0, "unreserve without reserve"

    def append(self, entry: Entry, released: Released | None) -> None:
        """Hand in an entry; `released(True)` once it is durable, `released(False)` when its group failed.

        Refusals need no reservation and yield to calls: raises `JournalFullError` where they would take reserved room.
        Raises `JournalError` when the entry is longer than `entry_bytes_max` or the journal is closed.
        """
        payload = self._encode(entry)
        committer = self._committer
        size = len(payload) + RECORD_HEAD_BYTES
        if size > self._limits.record:
            raise JournalError(
                f"An entry of {len(payload)} bytes is longer than entry_bytes_max ({self._limits.entry}); "
                "shorten what the caller may send."
            )
        if self._closed:
            raise JournalError("The journal is closed: this gateway is stopping. Ask another one.")
        if entry.kind == REFUSALS and committer.appended + size + committer.reserved > committer.capacity:
            self._refuse()
        committer.appended += size
        filling = self._filling
        if not filling:
            self._loop.call_soon(self._flush)
        filling.append((payload, entry, released))

    def close(self) -> None:
        """`seal` and `release`. Safe to repeat."""
        self.seal()
        self.release()

    def seal(self) -> None:
        """Commit what is left, what callbacks append when it is released included, and seal the journal's end.

        All callbacks have run when it returns, and nothing can be appended any more. The directory stays owned, so that
        nobody adopts it before the last sync. Safe to repeat.
        """
        if self._closed:
            return
        while self._filling or self._handed:
            self._flush()
            if not self._committer.settle():
                break
            self._deliver()
        self._closed = True
        self._committer.finish()
        self._deliver()

    def release(self) -> None:
        """After `seal`: let others have the directory. Safe to repeat."""
        assert self._closed, "a journal is sealed before others may have it"
        self._committer.release()

    @property
    def healthy(self) -> bool:
        """Whether there is a working segment. A healthy journal may still be short of space: see `trouble`."""
        return self._committer.capacity >= 0

    @property
    def trouble(self) -> str | None:
        """What is wrong now, for people; None when nothing is."""
        return self._committer.trouble

    @property
    def position(self) -> Position:
        """The end of what is committed; START before the first group."""
        return self._committer.position

    @property
    def bytes_used(self) -> int:
        """Bytes of all incarnations under the root, preallocated space included, at most some five seconds old."""
        return self._committer.used

    @property
    def calls_in_flight(self) -> int:
        """Calls that have room reserved: admitted, and their last entry not handed in yet."""
        return self._committer.reserved // self._call_bytes

    @property
    def commits(self) -> Commits:
        """What the commit thread counts."""
        return self._committer.commits

    @property
    def lag(self) -> int:
        """Record bytes handed in and not durable yet."""
        return self._committer.lag

    @property
    def warning(self) -> bool:
        """Half of `journal_bytes_max` is in use: quota or usage does not keep up, or is down."""
        return self.bytes_used * 2 > self._limits.journal

    def _ask_for_more(self) -> None:
        """Wake the thread for another segment, at most every `ASK_SECONDS`."""
        if not self._asked_for_more:
            self._asked_for_more = True
            self._committer.hand_over([])
            self._loop.call_later(ASK_SECONDS, self._may_ask_again)

    def _may_ask_again(self) -> None:
        self._asked_for_more = False

    def _refuse(self) -> None:
        trouble = self._committer.trouble
        if self._committer.capacity >= 0 or no_space(trouble):
            raise JournalFullError(
                f"The journal has no room for another call ({trouble or 'the next segment is being prepared'}). "
                "See that usage is being loaded and that the disk has space; calls go on by themselves then."
            )
        raise JournalError(
            f"The journal cannot be written ({trouble}). Check the disk; calls go on by themselves when it works."
        )

    def _flush(self) -> None:
        """Write what was appended, or have it written, unless the thread has a group: what comes meanwhile is the next.

        So the thread is woken once for all that gathers meanwhile, and a busy loop writes itself again afterwards.
        """
        if not self._filling or self._handed:
            return
        if self._writes_here:
            group = self._committer.write_here(self._filling)
            if group is not None:  # the thread was not woken: 5 to 21 % less CPU for a call of 24 callers
                self._filling = []
                self._conclude(group)
                return
        self._hand_over()

    def _hand_over(self) -> None:
        full, self._filling = self._filling, []
        self._handed = len(full)
        self._committer.hand_over(full)

    def _group_done(self, group: Group) -> None:
        """In the commit thread: keep the result, wake the loop unless it is already told."""
        self._groups.append(group)
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: close() delivers
                self._told = False

    def _deliver(self) -> None:
        self._told = False
        groups = self._groups
        while groups:
            group = groups.popleft()
            self._handed -= len(group.pending)
            if self._filling and not self._handed and not self._writes_here:
                self._hand_over()  # before the callbacks: the disk need not wait for them
            self._conclude(group)
        self._flush()

    def _conclude(self, group: Group) -> None:
        """Tell what became of a group. One callback's bug must not keep the others' answers back."""
        good = group.position is not None
        if group.position is not None:
            try:
                self._on_committed([entry for _, entry, _ in group.pending], group.position)
            except Exception as error:  # noqa: BLE001 - reported to the loop, like any callback's
                self._report(error)
        for _, _, released in group.pending:
            if released is not None:
                try:
                    released(good)
                except Exception as error:  # noqa: BLE001 - the same
                    self._report(error)

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "journal callback failed", "exception": error})


def _check_sizes(segment_bytes: int, journal_bytes_max: int, entry_bytes_max: int) -> None:
    problems = []
    if not ENTRY_BYTES_MIN <= entry_bytes_max <= SEGMENT_BYTES_MAX // 16:
        problems.append(f"entry_bytes_max is {entry_bytes_max}: give {ENTRY_BYTES_MIN} to {SEGMENT_BYTES_MAX // 16}.")
    if not 16 * entry_bytes_max <= segment_bytes <= SEGMENT_BYTES_MAX:
        problems.append(f"segment_bytes is {segment_bytes}: give at least 16 entries' worth, at most 64 MiB.")
    if journal_bytes_max < 4 * segment_bytes:
        problems.append(f"journal_bytes_max is {journal_bytes_max}: give at least four segments' worth.")
    if problems:
        raise ConfigInvalidError(tuple(problems))


def _cannot_start(root: Path, error: OSError) -> JournalError:
    reason = error.strerror or str(error)
    return JournalError(f"The journal in {root} cannot start: {reason}. Check the disk and its permissions.")
