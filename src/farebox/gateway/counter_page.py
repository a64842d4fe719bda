"""The counter page: memory in which the workers of one machine count what they have in flight, without a lock.

Each worker process has an area of the page (its *seat*) and writes nothing else. To take units it writes its own cell
first, reads everybody's, and takes the units back if the sum is above the limit: so together the workers never go over.
Of two that ask for the last unit within the same few microseconds both may be refused. Who starts the workers clears
the seat of one that died. Imports next to nothing: the supervisor holds a page as well.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b
from threading import Lock
from typing import Final

CELLS_PER_SEAT: Final = 65_536
"""Pairs of org and app that one worker process counts in its life: 2 MiB of memory when all are used."""

WORD_BYTES: Final = 8
CELL_WORDS: Final = 4
"""Two words of the pair's hash, one of units in flight (all calls below, heavy ones above), one spare."""
SEAT_WORDS: Final = CELL_WORDS * (CELLS_PER_SEAT + 1)
SEAT_BYTES: Final = SEAT_WORDS * WORD_BYTES
COUNT: Final = 2

HEAVY_SHIFT: Final = 32
LOW_HALF: Final = (1 << HEAVY_SHIFT) - 1
HEAVY_UNIT: Final = 1 << HEAVY_SHIFT


class CounterPage:
    """The shared memory. A seat: one word (its age and how many cells it uses), then cells, of which only more come.

    Bytes of a word are written at once (an aligned store of 8 bytes), so that readers never see half a number.
    """

    def __init__(self, descriptor: int | None = None, *, seats: int = 1) -> None:
        """Over the memory `descriptor` names (`shared_memory` made it), or of this process alone without one."""
        size = seats * SEAT_BYTES
        self.seats: Final = seats
        self._memory = mmap.mmap(-1 if descriptor is None else descriptor, size)
        self.words: Final = memoryview(self._memory).cast("Q")

    def clear(self, seat: int) -> None:
        """Nothing is in flight there any more: its process is gone. Whoever read its cells looks them up again."""
        start = seat * SEAT_WORDS
        age, used = divmod(self.words[start], HEAVY_UNIT)
        for cell in range(used):
            self.words[start + CELL_WORDS * (cell + 1) + COUNT] = 0
        self.words[start] = ((age + 1) & LOW_HALF) << HEAVY_SHIFT

    def in_flight(self) -> tuple[int, int]:
        """(all units, heavy units) in flight of all orgs on this machine."""
        total = 0
        for seat in range(self.seats):
            start = seat * SEAT_WORDS
            for cell in range(self.words[start] & LOW_HALF):
                total += self.words[start + CELL_WORDS * (cell + 1) + COUNT]
        return total & LOW_HALF, total >> HEAVY_SHIFT

    def close(self) -> None:
        """Let go of the memory."""
        self.words.release()
        self._memory.close()


def shared_memory(seats: int) -> int:
    """Memory for a page of so many seats, as a descriptor that child processes inherit; gone with the last of them."""
    descriptor = os.memfd_create("farebox-concurrency")
    os.ftruncate(descriptor, seats * SEAT_BYTES)
    return descriptor


class Counters:
    """One worker's view of the page: it writes its own seat and reads the others'."""

    def __init__(self, page: CounterPage, *, seat: int) -> None:
        self._page = page
        self._words = page.words
        self._start = seat * SEAT_WORDS
        self._mine: dict[bytes, int] = {}
        self._keys: dict[int, tuple[int, int]] = {}
        self._others = [_Peer(page.words, each * SEAT_WORDS) for each in range(page.seats) if each != seat]
        self._fence = Lock()
        self._fence.acquire()
        page.clear(seat)

    def cell(self, org: str, product: str, app: str) -> int | None:
        """The word that counts what this worker has in flight for the pair; None when it counts as many as it can."""
        key = blake2b(f"{org}\0{product}\0{app}".encode(), digest_size=16).digest()
        at = self._mine.get(key)
        if at is None:
            used = self._words[self._start] & LOW_HALF
            if used >= CELLS_PER_SEAT:
                return None
            cell = self._start + CELL_WORDS * (used + 1)
            first, second = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
            self._words[cell], self._words[cell + 1] = first, second
            at = self._mine[key] = cell + COUNT
            self._keys[at] = (first, second)
            self._words[self._start] += 1  # last: who sees the cell sees its key
        return at

    def add(self, at: int, units: int) -> int:
        """Count `units` more (heavy ones in the upper half) of this worker's; the sum over all workers, with them.

        Written before the others are read, and so does everybody: of two workers at least one sees both.
        """
        words = self._words
        words[at] = total = words[at] + units
        if self._others:
            self._fence.release()  # a full memory barrier: the store above is seen before the loads below are made
            self._fence.acquire()
            key = self._keys[at]
            for peer in self._others:  # in place: a method's frame per peer doubles what a peer costs
                header = words[peer.start]
                if header != peer.seen:
                    peer.look(header)
                theirs = peer.cells.get(key)
                if theirs is not None:
                    total += words[theirs]
        return total

    def take_back(self, at: int, units: int) -> None:
        """Units are free again."""
        self._words[at] -= units

    def in_flight(self) -> tuple[int, int]:
        """(all units, heavy units) in flight of all orgs on this machine."""
        return self._page.in_flight()


class _Peer:
    """What another seat has in flight, found by the pair's hash. `seen`: its first word when `cells` were read."""

    __slots__ = ("_words", "cells", "seen", "start")

    def __init__(self, words: memoryview[int], start: int) -> None:
        self._words = words
        self.start = start
        self.seen = -1
        self.cells: dict[tuple[int, int], int] = {}

    def look(self, header: int) -> None:
        """Cells came, or the seat was cleared for another process."""
        known = len(self.cells)
        if self.seen < 0 or header >> HEAVY_SHIFT != self.seen >> HEAVY_SHIFT:
            self.cells.clear()
            known = 0
        for cell in range(known, header & LOW_HALF):
            at = self.start + CELL_WORDS * (cell + 1)
            self.cells[self._words[at], self._words[at + 1]] = at + COUNT
        self.seen = header
