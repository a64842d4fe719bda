"""What the commit thread counts: written by that thread only, read by whoever shows it."""

from __future__ import annotations

import time


class Commits:
    """Groups since the start; `entries / groups` is how many calls share one write and sync."""

    def __init__(self) -> None:
        self.groups = 0
        self.entries = 0
        self.failed = 0
        """Groups that did not become durable: their answers were withheld."""
        self.write_ns = 0
        """Nanoseconds spent writing and syncing groups."""

    def written(self, entries: int, began_ns: int) -> None:
        """A group is durable; `began_ns`: monotonic, when its write began."""
        self.groups += 1
        self.entries += entries
        self.write_ns += time.monotonic_ns() - began_ns
