"""The figures of one process at one moment, and many of them as one text for Prometheus.

A figure without an entry in the catalogue cannot be told: `add` refuses its name, so that every name is documented.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from farebox.metrics.catalogue import BY_NAME, CATALOGUE, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

BUCKET_FIRST: Final = 6
BUCKET_LAST: Final = 23
"""Bounds of histograms: 64 us, doubling to 8.4 s; what is faster is in the first, what is slower in +Inf."""

Sample = tuple[tuple[str, ...], Any]
"""(the labels' values in the catalogue's order, a number or, of a histogram, its [bucket counts, sum in seconds])."""


class Figures:
    """What one process says. `samples` is plain data, to be sent as JSON."""

    def __init__(self, samples: dict[str, list[Sample]] | None = None) -> None:
        self.samples: dict[str, list[Sample]] = {} if samples is None else samples

    def add(self, name: str, value: float, **labels: str) -> None:
        """One sample of `farebox_NAME`; its labels are those of the catalogue, all of them."""
        metric = BY_NAME[f"farebox_{name}"]
        assert set(labels) == set(metric.labels), f"{name} has the labels {metric.labels}"
        self.samples.setdefault(metric.name, []).append((tuple(labels[key] for key in metric.labels), value))

    def add_credits(self, name: str, millicredits: int, **labels: str) -> None:
        """The same in credits."""
        self.add(name, millicredits / 1_000, **labels)

    def add_durations(self, name: str, counts: Sequence[int], microseconds: int) -> None:
        """A histogram: `counts[n]` durations of at least 2^(n-1) and less than 2^n microseconds, and their sum."""
        metric = BY_NAME[f"farebox_{name}"]
        fast, slow = sum(counts[: BUCKET_FIRST + 1]), sum(counts[BUCKET_LAST + 1 :])
        kept = [fast, *counts[BUCKET_FIRST + 1 : BUCKET_LAST + 1], slow]
        self.samples[metric.name] = [((), [kept, microseconds / 1e6])]

    def value(self, name: str, default: float = 0) -> float:
        """The sum over all samples of `farebox_NAME`, for those who show a figure rather than scrape it."""
        found = self.samples.get(f"farebox_{name}")
        return default if not found else sum(value for _, value in found)

    def by_label(self, name: str) -> dict[tuple[str, ...], float]:
        """Each sample of `farebox_NAME` by its labels' values."""
        return {tuple(labels): value for labels, value in self.samples.get(f"farebox_{name}", ())}


def text(readings: Mapping[str, Figures]) -> str:
    """All figures of some processes, by the process's name, in the text format 0.0.4."""
    lines: list[str] = []
    for metric in CATALOGUE:
        found = [(process, reading.samples[metric.name]) for process, reading in readings.items()
                 if reading.samples.get(metric.name)]  # fmt: skip
        if not found:
            continue
        lines += (f"# HELP {metric.name} {_escaped(metric.meaning)}", f"# TYPE {metric.name} {metric.kind}")
        for process, samples in found:
            for values, value in samples:
                labels = [("process", process), *zip(metric.labels, values, strict=True)]
                lines += _lines(metric, labels, value)
    return "\n".join(lines) + "\n"


def _lines(metric: Metric, labels: list[tuple[str, str]], value: Any) -> Iterator[str]:  # noqa: ANN401 - see Sample
    if metric.kind != "histogram":
        yield f"{metric.name}{_labelled(labels)} {_number(value)}"
        return
    counts, total = value
    below = 0
    for power, count in enumerate(counts, start=BUCKET_FIRST):
        below += count
        bound = f"{2**power / 1e6:.6f}" if power <= BUCKET_LAST else "+Inf"
        yield f"{metric.name}_bucket{_labelled([*labels, ('le', bound)])} {below}"
    yield f"{metric.name}_sum{_labelled(labels)} {_number(total)}"
    yield f"{metric.name}_count{_labelled(labels)} {below}"


def _labelled(labels: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels) + "}"


def _escaped(words: str, *, quote: bool = False) -> str:
    words = words.replace("\\", "\\\\").replace("\n", "\\n")
    return words.replace('"', '\\"') if quote else words


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
