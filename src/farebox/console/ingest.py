"""The loader: the journal's shipper in a thread of its own, and usage older than the history dropped once an hour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from farebox.console.readings import Loading
from farebox.domain.instants import MICROSECONDS, Instant
from farebox.errors import UsageUnavailableError
from farebox.journal.shipper import Shipper
from farebox.usage.port import UsageStore

TRIM_SECONDS: Final = 3_600.0
LOOK_SECONDS: Final = 1.0
DAY_MICROSECONDS: Final = 24 * 3_600 * MICROSECONDS
STOP_SECONDS_MAX: Final = 30.0
"""A load in the making may end; DuckDB's checkpoint comes after it."""


class Ingest:
    """Runs `shipper` from `start` to `stop`. The shipper follows every 0.25 s and retries on its own."""

    def __init__(self, *, shipper: Shipper, usage: UsageStore, history_days: int, clock: Callable[[], Instant]) -> None:
        self._shipper = shipper
        self._usage = usage
        self._history = history_days * DAY_MICROSECONDS
        self._clock = clock
        self._stop = threading.Event()
        self._threads = (
            threading.Thread(target=shipper.run, args=(self._stop,), name="usage-loader"),
            threading.Thread(target=self._tend, name="usage-history"),
        )

    def start(self) -> None:
        """Begin loading. Once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the load in the making; the usage store may be closed then. Harmless when never started."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(STOP_SECONDS_MAX)

    def loading(self) -> Loading:
        """How far loading is, and what hinders it."""
        report = self._shipper.report
        problem = report.failure or "; ".join(report.stopped)
        return Loading(as_of=None if report.as_of is None else Instant(report.as_of), problem=problem)

    def _tend(self) -> None:
        """Log each new hindrance once; drop what is older than the history, once an hour."""
        said, trimmed_at = "", 0.0
        while not self._stop.is_set():
            problem = self.loading().problem
            if problem != said:
                said = problem
                structlog.get_logger().warning("usage.hindered" if problem else "usage.goes_on", problem=problem)
            if time.monotonic() - trimmed_at >= TRIM_SECONDS or not trimmed_at:
                trimmed_at = time.monotonic()
                self._trim()
            self._stop.wait(LOOK_SECONDS)

    def _trim(self) -> None:
        try:
            self._usage.drop_before(Instant(self._clock() - self._history))
        except UsageUnavailableError as error:
            structlog.get_logger().warning("usage.history_not_trimmed", reason=str(error))
