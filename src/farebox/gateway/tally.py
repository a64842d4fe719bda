"""What a worker counts about its calls, for /metrics: integers, added to where the numbers are at hand anyway.

Calls are counted once per committed group, from the entries themselves, so that the metrics say what the journal says.
On the way of a call stand one reading of the clock and one look at a flag.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from farebox.journal.records import CHARGE, CLOSE, Entry

BUCKETS: Final = 64
"""A duration of n microseconds is counted in bucket n.bit_length(): doubling bounds, no search."""


class Durations:
    """How long something took, in doubling buckets of microseconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.total = 0

    def add(self, microseconds: int) -> None:
        """One more."""
        self.counts[microseconds.bit_length()] += 1
        self.total += microseconds


class Tally:
    """The counts of one worker since its start, touched by its event loop only. Credits are millicredits."""

    __slots__ = ("added", "sampling", "sums", "unanswered", "unleased")

    def __init__(self) -> None:
        self.sums: dict[tuple[int, str, str, int], list[int]] = {}
        """(kind, product, outcome, status) -> [entries, credits, bytes in, bytes out]. The keys are bounded: products
        by the configuration, statuses by HTTP."""
        self.unanswered: dict[str, int] = {}
        """Charged calls without a whole answer, by reason."""
        self.unleased = 0
        """Millicredits spent without a lease."""
        self.added = Durations()
        """What the gateway itself took of a call answered in one piece, the upstream's time left out: of one call in
        each commit group, since a group's calls share most of it and a look at each would cost 0.4 us of 25."""
        self.sampling = False
        """The next call that is answered is looked at."""

    def entries(self, entries: Iterable[Entry]) -> None:
        """A group of entries is on disk."""
        sums = self.sums
        self.sampling = True
        for entry in entries:
            key = (entry.kind, entry.product, entry.outcome, entry.status)
            row = sums.get(key)
            if row is None:
                row = sums[key] = [0, 0, 0, 0]
            row[0] += 1
            row[1] += entry.credits
            row[2] += entry.bytes_in
            row[3] += entry.bytes_out
            if entry.reason and entry.kind == CHARGE:
                self.unanswered[entry.reason] = self.unanswered.get(entry.reason, 0) + 1
            if not entry.leased:
                self.unleased += entry.credits

    def answered(self, begun_at: int, sent_at: int, duration: int) -> None:
        """A call was answered now. `begun_at`, `sent_at`: monotonic ns of its turn and of its request going upstream.

        `duration`: microseconds from `begun_at` to the whole answer from the upstream.
        """
        self.sampling = False
        self.added.add((time.monotonic_ns() + sent_at - begun_at - begun_at) // 1_000 - duration)

    def calls(self) -> dict[tuple[str, str, int], int]:
        """Calls charged, by product, outcome and status."""
        return {key[1:]: row[0] for key, row in self.sums.items() if key[0] == CHARGE}

    def credits(self, kind: int) -> dict[str, int]:
        """By product, what entries of a kind say: above zero for charges, below or zero for closes."""
        found: dict[str, int] = {}
        for (of_kind, product, _, _), row in self.sums.items():
            if of_kind == kind:
                found[product] = found.get(product, 0) + row[1]
        return found

    @property
    def closes(self) -> int:
        """Streamed answers that came to their end."""
        return sum(row[0] for key, row in self.sums.items() if key[0] == CLOSE)

    @property
    def bytes_in(self) -> int:
        """Bytes of request bodies."""
        return sum(row[2] for row in self.sums.values())

    @property
    def bytes_out(self) -> int:
        """Bytes of answer bodies."""
        return sum(row[3] for row in self.sums.values())
