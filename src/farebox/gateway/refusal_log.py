"""Refusals in the log: at most one line per reason and second, with how many it stands for.

A client that hammers on 429 must not fill the disk with lines that say the same. The line tells the last of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import structlog

from farebox.gateway.refuse import Refusal

SECOND: Final = 1.0
SERVER_FAULTS: Final = 500

_log = structlog.get_logger("farebox.gateway")


class Who(Protocol):
    """Who called; `identify.Caller`."""

    @property
    def org(self) -> str: ...  # noqa: D102 - names that explain themselves
    @property
    def product(self) -> str: ...  # noqa: D102
    @property
    def app(self) -> str: ...  # noqa: D102


class RefusalLog:
    """Collects for a second, then writes. Reasons are the codes of docs/errors.md: so many lines and no more."""

    __slots__ = ("_last", "_now", "_numbers", "_since")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since = 0.0
        self._numbers: dict[str, int] = {}
        self._last: dict[str, tuple[Refusal, Who | None, str]] = {}

    def note(self, refusal: Refusal, caller: Who | None = None, operation: str = "") -> None:
        """A call was refused; `caller` is None where it is not known who called."""
        if not self._numbers:
            self._since = self._now()
        code = refusal.code
        self._numbers[code] = self._numbers.get(code, 0) + 1
        self._last[code] = (refusal, caller, operation)

    def write_if_due(self) -> None:
        """Write what was collected a second ago or longer; called with each tick."""
        if self._numbers and self._now() - self._since >= SECOND:
            self.write()

    def write(self) -> None:
        """Write all that was collected."""
        numbers, self._numbers = self._numbers, {}
        last, self._last = self._last, {}
        for code, number in numbers.items():
            refusal, caller, operation = last[code]
            say = _log.warning if refusal.status >= SERVER_FAULTS else _log.info
            who = {} if caller is None else {"org": caller.org, "product": caller.product, "app": caller.app}
            say(
                "refused",
                reason=code,
                status=refusal.status,
                calls=number,
                suppressed=number - 1,
                message=refusal.text,
                **({"operation": operation} if operation else {}),
                **who,
            )
