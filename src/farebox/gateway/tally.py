"""What a worker counts about its calls, for /metrics: integers, added to where the numbers are at hand anyway.

Calls are counted once per committed group, from the entries themselves, so that the metrics say what the journal says.
On the way of a call stand one reading of the clock and two additions (0.2 us of 40).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from farebox.journal.records import CHARGE, CLOSE, Entry

BUCKETS: Final = 64
"""A duration of n microseconds is counted in bucket n.bit_length(): doubling bounds, no search."""


class CallKey(NamedTuple):
    """What calls are counted by. All three are bounded: products by the configuration, statuses by HTTP."""

    product: str
    outcome: str
    status: int


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

    __slots__ = ("added", "bytes_in", "bytes_out", "calls", "charged", "closes", "given_back", "unanswered", "unleased")

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str, int], int] = {}
        """By CallKey, for charges."""
        self.unanswered: dict[str, int] = {}
        """Charged calls without a whole answer, by reason."""
        self.charged: dict[str, int] = {}
        """By product."""
        self.given_back: dict[str, int] = {}
        """By product: what closes took off their charges."""
        self.closes = 0
        self.unleased = 0
        """Millicredits spent without a lease."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.added = Durations()
        """What the gateway itself took of each call answered in one piece: the upstream's time is not in it."""

    def entries(self, entries: Iterable[Entry]) -> None:
        """A group of entries is on disk."""
        calls, charged = self.calls, self.charged
        for entry in entries:
            if entry.kind == CHARGE:
                key = (entry.product, entry.outcome, entry.status)
                calls[key] = calls.get(key, 0) + 1
                charged[entry.product] = charged.get(entry.product, 0) + entry.credits
                if entry.reason:
                    self.unanswered[entry.reason] = self.unanswered.get(entry.reason, 0) + 1
                if not entry.leased:
                    self.unleased += entry.credits
            elif entry.kind == CLOSE:
                self.closes += 1
                self.given_back[entry.product] = self.given_back.get(entry.product, 0) - entry.credits
            self.bytes_in += entry.bytes_in
            self.bytes_out += entry.bytes_out

    def answered(self, begun_at: int, sent_at: int, duration: int) -> None:
        """A call was answered now. `begun_at`, `sent_at`: monotonic ns of its turn and of its request going upstream.

        `duration`: microseconds from `begun_at` to the whole answer from the upstream.
        """
        own = (time.monotonic_ns() + sent_at - begun_at - begun_at) // 1_000 - duration
        added = self.added
        added.counts[own.bit_length()] += 1
        added.total += own
