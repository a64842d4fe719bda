"""Whether an upstream's address is worth trying: one failed connect marks it down, and it is tried again with back-off.

While it is down calls do not wait for it; a connection is tried in their place, first after `BACKOFF_FIRST_SECONDS`,
then twice as long after each failure, and the first that opens brings the address back (rules without I/O).
"""

from __future__ import annotations

from typing import Final

BACKOFF_FIRST_SECONDS: Final = 0.1


class Health:
    """What is known about one address. Instants are the event loop's seconds."""

    __slots__ = ("_backoff", "_down_max", "down_since", "reason", "try_at")

    def __init__(self, *, down_seconds_max: float) -> None:
        self._down_max = down_seconds_max
        self._backoff = 0.0
        self.down_since: float | None = None
        """Since when; None: it is up."""
        self.try_at = 0.0
        self.reason = ""
        """Why it is down, for people."""

    @property
    def is_down(self) -> bool:
        """Whether calls are better off elsewhere."""
        return self.down_since is not None

    def failed(self, reason: str, *, at: float) -> bool:
        """A connection could not be opened; whether that is news.

        >>> health = Health(down_seconds_max=0.3)
        >>> [(health.failed("refused", at=at), round(health.try_at - at, 3)) for at in (0.0, 1.0, 2.0)]
        [(True, 0.1), (False, 0.2), (False, 0.3)]
        >>> health.worked(), health.is_down
        (True, False)
        """
        self.reason = reason
        news = self.down_since is None
        if self.down_since is None:
            self.down_since = at
            self._backoff = BACKOFF_FIRST_SECONDS
        elif at < self.try_at:  # another one that was under way when the first one failed
            return False
        else:
            self._backoff = 2 * self._backoff
        self._backoff = min(self._backoff, self._down_max)
        self.try_at = at + self._backoff
        return news

    def worked(self) -> bool:
        """A connection opened; whether that is news."""
        news = self.is_down
        self.down_since = None
        return news
