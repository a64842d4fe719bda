"""The store's time: it follows CLOCK_BOOTTIME, never steps back, and only drifts towards the wall clock.

The wall clock of a machine may be stepped by an hour; the store's time may not, or everybody's credits came back an
hour early. It is anchored once per boot and slewed towards the wall by at most 0.5 ms per second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

SLEW_DIVISOR: Final = 2_000
"""At most one microsecond of slew in 2,000: 0.5 ms per second."""


class HostClock(Protocol):
    """What a machine knows of time. All values are microseconds."""

    def boot_id(self) -> str:
        """Changes with every boot: CLOCK_BOOTTIME starts again."""
        ...

    def boottime(self) -> int:
        """CLOCK_BOOTTIME: never steps, counts through suspend."""
        ...

    def wall(self) -> int:
        """CLOCK_REALTIME since 1970: may step either way."""
        ...


class SystemClock:
    """This machine's clocks."""

    def __init__(self) -> None:
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def boot_id(self) -> str:
        """The kernel's boot id."""
        return self._boot_id

    def boottime(self) -> int:
        """Microseconds since boot, suspend included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000

    def wall(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000


class ManualClock:
    """A machine whose time passes only when told: for tests. `true` is the time a judge would read."""

    def __init__(self, *, true: int, boottime: int = 1_000_000_000) -> None:
        self.true = true
        self.wall_error = 0
        self._boottime = boottime
        self._boot = 1

    def advance(self, microseconds: int) -> None:
        """Let time pass."""
        assert microseconds >= 0
        self.true += microseconds
        self._boottime += microseconds

    def step_wall(self, microseconds: int) -> None:
        """What NTP or an operator does to the wall clock."""
        self.wall_error += microseconds

    def reboot(self, *, down_for: int) -> None:
        """A new boot id; CLOCK_BOOTTIME starts again."""
        self.true += down_for
        self._boot += 1
        self._boottime = 5_000_000

    def boot_id(self) -> str:
        """One id per `reboot`."""
        return f"boot-{self._boot}"

    def boottime(self) -> int:
        """As advanced."""
        return self._boottime

    def wall(self) -> int:
        """True time plus the error of the wall clock."""
        return self.true + self.wall_error


@dataclass(frozen=True, slots=True)
class Anchor:
    """Ties the store's time to one boot's CLOCK_BOOTTIME. `wall_ahead` is how far the wall was ahead of it then."""

    boot_id: str
    boottime: int
    store_time: int
    wall_ahead: int


def time_at(anchor: Anchor, boottime: int) -> int:
    """The store's time at `boottime` of the anchor's boot: continuous, never decreasing, the same for every reader.

    >>> hour_ahead = Anchor("b", 0, 1_000_000, 3_600_000_000)
    >>> time_at(hour_ahead, 1_000_000)
    2000500
    """
    elapsed = boottime - anchor.boottime
    slew_max = elapsed // SLEW_DIVISOR
    return anchor.store_time + elapsed + max(-slew_max, min(slew_max, anchor.wall_ahead))


def read(anchor: Anchor | None, high_water: int, host: HostClock) -> Anchor:
    """The anchor to go on from now; its `store_time` is the store's time now, never below `high_water`.

    A boot not seen before is anchored at the wall clock, or at the high-water mark where the wall is behind it.
    """
    boot_id, boottime, wall = host.boot_id(), host.boottime(), host.wall()
    if anchor is None or anchor.boot_id != boot_id or boottime < anchor.boottime:
        store_time = max(high_water, wall)
    else:
        store_time = max(high_water, time_at(anchor, boottime))
    return Anchor(boot_id, boottime, store_time, wall - store_time)
