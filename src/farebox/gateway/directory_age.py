"""How old the directory in force is: while its file cannot be read the last image counts, and that is said everywhere.

Refusing every call would be worse for all than a key that is revoked late for one; but nobody may believe it revoked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

UNSEEN_SECONDS: Final = 2.0
"""A change is promised to be in force within one lease time; what could not be read for longer breaks that."""
LOOK_SECONDS_MAX: Final = 1.0
"""What one look adds at most: a worker that stood still itself must not blame the file for it."""

_log = structlog.get_logger("farebox.gateway")


class DirectoryAge:
    """Told of each reading, looked at with every tick; `say` gets words for the health address, "" when all is well.

    A reading that does not come back is noticed like one that fails.
    """

    def __init__(self, *, now: Callable[[], float], say: Callable[[str], None]) -> None:
        self._now = now
        self._say = say
        self._looked_at = now()
        self._seconds = 0.0
        self._why = ""
        self._said = False

    @property
    def seconds(self) -> float:
        """Since the directory was last found readable; under one second when all is well."""
        return self._seconds

    def was_read(self) -> None:
        """Whether it changed or not: what is in force is what the file says."""
        self._seconds, self._why = 0.0, ""

    def failed(self, why: str) -> None:
        """It cannot be read now."""
        self._why = why

    def look(self) -> None:
        """Called with every tick."""
        now = self._now()
        self._seconds += min(now - self._looked_at, LOOK_SECONDS_MAX)
        self._looked_at = now
        if self._seconds >= UNSEEN_SECONDS:
            self._say(
                f"directory.db could not be read for {self._seconds:.0f} s: what was changed since (a revoked key, a "
                "suspended org, an allowance) is not in force"
            )
            if not self._said:
                self._said = True
                _log.error("directory.unreadable", message=self._why or "the disk does not answer", in_force="the last")
        elif self._said:
            self._said = False
            self._say("")
            _log.info("directory.readable_again")
