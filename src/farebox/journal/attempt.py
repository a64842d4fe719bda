"""Trying again what failed, with back-off."""

from __future__ import annotations

import time
from typing import Final

RETRY_SECONDS_MIN: Final = 0.05
RETRY_SECONDS_MAX: Final = 2.0


class Attempt:
    """Something that may fail, tried again with back-off; `trouble` says why it last did."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._at = 0.0
        self._wait = RETRY_SECONDS_MIN

    def due(self) -> bool:
        """Whether it may be tried now."""
        return time.monotonic() >= self._at

    def failed(self, trouble: str) -> None:
        """Not again before the back-off is over."""
        self.trouble = trouble
        self._at = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, RETRY_SECONDS_MAX)

    def worked(self) -> None:
        """All is well."""
        self.trouble, self._at, self._wait = None, 0.0, RETRY_SECONDS_MIN
