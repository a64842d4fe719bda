"""Calls in flight per org and app: counted in a page that the workers of one machine share, without a lock.

Each worker process has an area of the page (its *seat*) and writes nothing else. To take units it writes its own cell
first, reads everybody's, and takes the units back if the sum is above the limit: so together the workers never go over.
Of two that ask for the last unit within the same few microseconds both may be refused. Who starts the workers clears
the seat of one that died. Several machines do not know of each other's calls: there the limit is per machine.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Final

import structlog

from farebox.domain.cards import Operation, RateCard
from farebox.errors import FareboxError
from farebox.gateway.refuse import Refusal
from farebox.quota.directory_image import DirectoryImage

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

_log = structlog.get_logger("farebox.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan allows in flight per org and app; 0: as many as come. `plan` is its title."""

    plan: str
    calls: int
    heavy: int


LimitsOf = Callable[[DirectoryImage, str, str], Limits | None]
"""(directory, org, product) -> what its plan allows in flight; None: nothing is limited."""


def limits_of(card_of: Callable[[str], RateCard]) -> LimitsOf:
    """Limits by the subscription's plan. `card_of` gives the rate card a subscription names."""

    def of(image: DirectoryImage, org: str, product: str) -> Limits | None:
        subscription = image.subscription(org, product)
        if subscription is None:
            return None
        try:
            plan = card_of(subscription.card).plan(subscription.plan)
        except FareboxError as error:  # this org has no allowance either: its calls are refused for want of credits
            _log.warning("concurrency.plan_unknown", org=org, product=product, code=error.code, message=str(error))
            return None
        if not plan.concurrency and not plan.sub_concurrency:
            return None
        return Limits(plan=plan.title or plan.name, calls=plan.concurrency, heavy=plan.sub_concurrency)

    return of


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
        self._others = [_Peer(page.words, each * SEAT_WORDS) for each in range(page.seats) if each != seat]
        self._fence = Lock()
        self._fence.acquire()
        self._full = False
        page.clear(seat)

    def cell(self, org: str, product: str, app: str) -> int | None:
        """The word that counts what this worker has in flight for the pair; None when it counts as many as it can."""
        key = blake2b(f"{org}\0{product}\0{app}".encode(), digest_size=16).digest()
        at = self._mine.get(key)
        if at is None:
            used = self._words[self._start] & LOW_HALF
            if used >= CELLS_PER_SEAT:
                self._say_full()
                return None
            cell = self._start + CELL_WORDS * (used + 1)
            self._words[cell] = int.from_bytes(key[:8], "little")
            self._words[cell + 1] = int.from_bytes(key[8:], "little")
            at = self._mine[key] = cell + COUNT
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
            key = (words[at - COUNT], words[at - COUNT + 1])
            for peer in self._others:
                total += peer.count(key)
        return total

    def take_back(self, at: int, units: int) -> None:
        """Units are free again."""
        self._words[at] -= units

    def in_flight(self) -> tuple[int, int]:
        """(all units, heavy units) in flight of all orgs on this machine."""
        return self._page.in_flight()

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            _log.warning(
                "concurrency.full",
                message=f"more than {CELLS_PER_SEAT} pairs of org and app called since this worker started: "
                "those that came last are not limited; `farebox restart --rolling` begins anew",
            )


class _Peer:
    """What another seat has in flight, found by the pair's hash."""

    __slots__ = ("_cells", "_seen", "_start", "_words")

    def __init__(self, words: memoryview[int], start: int) -> None:
        self._words = words
        self._start = start
        self._seen = -1
        self._cells: dict[tuple[int, int], int] = {}

    def count(self, key: tuple[int, int]) -> int:
        header = self._words[self._start]
        if header != self._seen:
            self._look(header)
        at = self._cells.get(key)
        return 0 if at is None else self._words[at]

    def _look(self, header: int) -> None:
        """Cells came, or the seat was cleared for another process."""
        known = len(self._cells)
        if self._seen < 0 or header >> HEAVY_SHIFT != self._seen >> HEAVY_SHIFT:
            self._cells.clear()
            known = 0
        for cell in range(known, header & LOW_HALF):
            at = self._start + CELL_WORDS * (cell + 1)
            self._cells[self._words[at], self._words[at + 1]] = at + COUNT
        self._seen = header


class Concurrency:
    """The limits of one org and app, and what it has in flight. One per caller; all of a pair share the counts."""

    __slots__ = ("_at", "_counters", "_limits")

    def __init__(self, counters: Counters, at: int, limits: Limits) -> None:
        self._counters = counters
        self._at = at
        self._limits = limits

    def enter(self, operation: Operation, quantities: dict[str, int], *, from_function: bool) -> int | Refusal:
        """The units the call takes, for `leave`; or the refusal that names the limit it met.

        A call that takes more units than the plan has takes all of them: it runs alone, instead of never.
        """
        limits = self._limits
        calls, heavy = limits.calls, limits.heavy
        units = operation.concurrency if not calls or operation.concurrency <= calls else calls
        if heavy and operation.is_heavy(quantities, from_function=from_function):
            units += HEAVY_UNIT
        total = self._counters.add(self._at, units)
        if calls and total & LOW_HALF > calls:
            self._counters.take_back(self._at, units)
            return _too_many(limits, in_flight=(total - units) & LOW_HALF, units=units & LOW_HALF)
        if units >= HEAVY_UNIT and total >> HEAVY_SHIFT > heavy:
            self._counters.take_back(self._at, units)
            return _too_many_heavy(limits, in_flight=(total - units) >> HEAVY_SHIFT)
        return units

    def leave(self, units: int) -> None:
        """The call is answered, or nobody waits for it any more."""
        self._counters.take_back(self._at, units)


def concurrency_for(
    counters: Counters, limits: LimitsOf, product: str
) -> Callable[[DirectoryImage, str, str], Concurrency | None]:
    """(directory, org, app) -> what holds back the calls of that pair to `product`; None: nothing does."""

    def of(image: DirectoryImage, org: str, app: str) -> Concurrency | None:
        limited = limits(image, org, product)
        if limited is None:
            return None
        at = counters.cell(org, product, app)
        return None if at is None else Concurrency(counters, at, limited)

    return of


def _too_many(limits: Limits, *, in_flight: int, units: int) -> Refusal:
    takes = "" if units == 1 else f" and this one counts as {units}"
    return Refusal(
        status=429,
        code="CONCURRENCY_EXCEEDED",
        text=(
            f"The plan {limits.plan} allows {limits.calls} calls in flight at once per org and app; {in_flight} are"
            f"{takes}. Nothing was charged; repeat when one of them has been answered, or send fewer at a time."
        ),
        retry_after=1,
        details={
            "limit_reached": "calls in flight per org and app",
            "concurrency": limits.calls,
            "in_flight": in_flight,
            "needed": units,
        },
    )


def _too_many_heavy(limits: Limits, *, in_flight: int) -> Refusal:
    return Refusal(
        status=429,
        code="SUB_CONCURRENCY_EXCEEDED",
        text=(
            f"The plan {limits.plan} allows {limits.heavy} resource-heavy calls in flight at once per org and app; "
            f"{in_flight} are. Nothing was charged; repeat when one of them has been answered. Lighter calls go on."
        ),
        retry_after=1,
        details={
            "limit_reached": "resource-heavy calls in flight per org and app",
            "sub_concurrency": limits.heavy,
            "in_flight": in_flight,
            "needed": 1,
        },
    )
