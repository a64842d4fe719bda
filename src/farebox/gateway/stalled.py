"""A disk that does not answer: noticed by what the journal counts, so that no call is sent that cannot be recorded.

A sync that hangs fails nothing; the commit thread just waits in the kernel, and with it every answer whose record is
under way. The worker stays: a fresh one would wait for the same disk, and the answers that wait here would be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import structlog

from farebox.errors import JournalError
from farebox.gateway.plane import Journal
from farebox.journal.commits import Commits
from farebox.journal.records import Entry

STALLED_SECONDS: Final = 5.0
"""A sync may take long under load, half a second on a poor disk; one that takes so long is no longer merely slow."""
LOOK_SECONDS_MAX: Final = 1.0
"""What one look adds at most: a worker that stood still itself must not blame the disk for it."""

_log = structlog.get_logger("farebox.gateway")


class Watched(Protocol):
    """What is looked at: a `Journal` that counts, `farebox.journal.writer.JournalWriter`.

    Written out, because a Protocol of a compiled module cannot be inherited from.
    """

    def reserve(self) -> None:
        """As `Journal`."""
        ...

    def unreserve(self) -> None:
        """As `Journal`."""
        ...

    def append(self, entry: Entry, released: Callable[[bool], None] | None) -> None:
        """As `Journal`."""
        ...

    @property
    def trouble(self) -> str | None:
        """As `Journal`."""
        ...

    @property
    def warning(self) -> bool:
        """As `Journal`."""
        ...

    @property
    def healthy(self) -> bool:
        """Whether there is a working segment."""
        ...

    @property
    def lag(self) -> int:
        """Record bytes handed in and not durable yet."""
        ...

    @property
    def commits(self) -> Commits:
        """What became of groups so far."""
        ...


class StallWatch:
    """Looks with every tick; while nothing becomes durable, `use` gets a journal that takes no further call."""

    def __init__(
        self, journal: Watched, *, folder: str, now: Callable[[], float], use: Callable[[Journal], None]
    ) -> None:
        self._journal = journal
        self._folder = folder
        self._now = now
        self._use = use
        self._done = -1
        self._looked_at = now()
        self._seconds = 0.0
        self._stalled: StalledJournal | None = None

    @property
    def seconds(self) -> float:
        """For how long records have waited while nothing at all became durable; 0.0 when nothing waits."""
        return self._seconds

    @property
    def stalled(self) -> bool:
        """Whether that is so long that no further call is taken."""
        return self._stalled is not None

    def look(self) -> None:
        """Called with every tick."""
        journal, now = self._journal, self._now()
        since, self._looked_at = now - self._looked_at, now
        done = journal.commits.groups + journal.commits.failed
        # Without a working segment calls are refused anyway, with the reason.
        waits = journal.lag > 0 and journal.healthy and done == self._done
        self._done = done
        self._seconds = self._seconds + min(since, LOOK_SECONDS_MAX) if waits else 0.0
        if self._stalled is None and self._seconds >= STALLED_SECONDS:
            self._stalled = StalledJournal(journal, self._trouble)
            self._use(self._stalled)
            _log.error("journal.stalled", message=self._trouble(), waiting_bytes=journal.lag)
        elif self._stalled is not None and not waits:
            self._stalled = None
            self._use(journal)
            _log.info("journal.moves_again", folder=self._folder)

    def _trouble(self) -> str:
        return f"the disk of {self._folder} has not answered for {self._seconds:.0f} s"


class StalledJournal:
    """Stands before a journal whose disk does not answer: nothing new is taken, what is under way goes on."""

    def __init__(self, journal: Journal, trouble: Callable[[], str]) -> None:
        self._journal = journal
        self._trouble = trouble

    def reserve(self) -> None:
        """Raises `JournalError`: the call could be neither answered nor recorded."""
        raise JournalError(
            f"The journal cannot be written ({self._trouble()}). Check the disk; calls go on by themselves when it "
            "answers."
        )

    def unreserve(self) -> None:
        """Of a call from before."""
        self._journal.unreserve()

    def append(self, entry: Entry, released: Callable[[bool], None] | None) -> None:
        """Of a call from before: it has its room."""
        self._journal.append(entry, released)

    @property
    def trouble(self) -> str:
        """That the disk does not answer, which disk, and for how long."""
        return self._trouble()

    @property
    def warning(self) -> bool:
        """As before."""
        return self._journal.warning
