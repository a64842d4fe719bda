"""Counters of a child that only grow: what the processes before counted is added to what the present one tells.

A process that ends in good order leaves its last figures in a file; of one that died the figures it last told count.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from farebox.metrics.catalogue import BY_NAME
from farebox.metrics.endpoint import left_behind
from farebox.metrics.figures import Figures

START: Final = "process_start_seconds"
"""What tells two processes of one name apart."""
LIVING_MAX: Final = 8
"""Processes of one child that may yet tell more: one that serves, one that comes, one that drains, and room."""
KNOWN_MAX: Final = 64

Counters = dict[str, dict[tuple[str, ...], Any]]
"""By metric and labels: a number or, of a histogram, [bucket counts, sum]."""


class Totals:
    """All children of one supervisor, from its start on. Safe to ask from several threads."""

    def __init__(self, data: Path) -> None:
        """What processes of an earlier supervisor left is none of this one's."""
        self._data = data
        self._guard = threading.Lock()
        self._children: dict[str, _Child] = {}
        for _ in left_behind(data):
            pass

    def of(self, child: str, ask: Callable[[], Figures | None]) -> Figures | None:
        """What `ask` says of the process there is now, its counters with those of all before; None when it says None.

        What was left is looked at first: a process leaves its figures only once it answers no more.
        """
        with self._guard:
            for name, figures in left_behind(self._data):
                self._children.setdefault(name, _Child()).ended(figures)
            told = ask()
            return None if told is None else self._children.setdefault(child, _Child()).with_all_before(told)


class _Child:
    """What the processes of one name counted."""

    def __init__(self) -> None:
        self._ended: Counters = {}
        self._last: dict[float, Counters] = {}
        """By start, what those told last that have not left their figures (yet)."""
        self._known: deque[float] = deque(maxlen=KNOWN_MAX)
        """Starts of those in `_ended`."""

    def ended(self, figures: Figures) -> None:
        start = figures.value(START)
        self._last.pop(start, None)
        self._end(start, _counters(figures))

    def with_all_before(self, told: Figures) -> Figures:
        start = told.value(START)
        if start not in self._known:
            self._last[start] = _counters(told)
        while len(self._last) > LIVING_MAX:  # of the dead, who left nothing
            oldest = min(self._last)
            self._end(oldest, self._last.pop(oldest))
        total: Counters = {}
        for counted in (self._ended, *self._last.values()):
            _add(total, counted)
        kept = {
            name: samples
            for name, samples in told.samples.items()
            if name not in BY_NAME or BY_NAME[name].kind == "gauge"
        }
        return Figures(kept | {name: list(values.items()) for name, values in total.items()})

    def _end(self, start: float, counted: Counters) -> None:
        if start not in self._known:
            self._known.append(start)
            _add(self._ended, counted)


def _counters(figures: Figures) -> Counters:
    return {
        name: {tuple(labels): value for labels, value in samples}
        for name, samples in figures.samples.items()
        if name in BY_NAME and BY_NAME[name].kind != "gauge"
    }


def _add(total: Counters, counted: Counters) -> None:
    for name, values in counted.items():
        into = total.setdefault(name, {})
        for labels, value in values.items():
            into[labels] = _sum(into[labels], value) if labels in into else value


def _sum(one: Any, other: Any) -> Any:  # noqa: ANN401 - a number or a histogram, both of one kind
    if isinstance(one, int | float):
        return one + other
    (buckets, seconds), (more_buckets, more_seconds) = one, other
    if len(buckets) != len(more_buckets):  # of another version, whose buckets are others: they begin anew
        return other
    return [[a + b for a, b in zip(buckets, more_buckets, strict=True)], seconds + more_seconds]
