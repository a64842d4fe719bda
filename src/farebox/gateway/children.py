"""The supervisor's children: what to run, and one process of it from its start to its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import Final

from farebox.gateway.inheritance import (
    COUNTERS_VARIABLE,
    HEARTBEAT_VARIABLE,
    IN_FORCE_VARIABLE,
    LIFELINE_VARIABLE,
    LISTENER_VARIABLE,
    SEAT_VARIABLE,
    SEATS_VARIABLE,
)

SILENCE_SECONDS_MAX: Final = 5.0
STARTING_SECONDS_MAX: Final = 30.0
"""A child that beats may take so long until its first beat: it may have a journal to take over."""

BACKOFF_FIRST_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep running. `stop_seconds`: from SIGTERM to SIGKILL.

    `essential`: without it the service is none, so that one that cannot start at all ends everything. `seats`: two, one
    for it and one for the process that takes its place: a gateway worker, replaced without anybody waiting.
    """

    name: str
    argv: tuple[str, ...]
    heartbeat: bool = False
    listener: socket.socket | None = None
    essential: bool = True
    stop_seconds: float = 20.0
    seats: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What every child gets, by descriptor. `counters`: (memory, number of seats)."""

    lifeline: int
    in_force: int | None
    counters: tuple[int, int] | None


class Process:
    """One process of a child. Its heartbeat is read from `beats`; None without one, and at its end."""

    def __init__(self, child: Child, inherited: Inherited, *, seat: int | None) -> None:
        """Start it; OSError when the machine has no process or descriptor left."""
        self.child = child
        self.seat = seat
        self.started_at = self.beaten_at = time.monotonic()
        self.since = int(time.time())
        self.kill_at: float | None = None
        """When it was asked to end and has not: SIGKILL."""
        self.beats: int | None = None
        writing: int | None = None
        try:
            if child.heartbeat:
                self.beats, writing = os.pipe()
                os.set_blocking(self.beats, False)
            self._process = _start(child, inherited, writing=writing, seat=seat)
        except OSError:
            self.forget_beats()
            raise
        finally:
            if writing is not None:
                os.close(writing)

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it does its work: it has beaten, or is one that does not."""
        return not self.child.heartbeat or self.beaten_at > self.started_at

    @property
    def silent_at(self) -> float:
        """When it counts as hanging, unless it beats before."""
        return self.beaten_at + (SILENCE_SECONDS_MAX if self.is_ready else STARTING_SECONDS_MAX)

    def ended(self) -> int | None:
        """Its exit status once it has ended; minus the signal's number when one ended it."""
        return self._process.poll()

    def ask_to_end(self, *, within_seconds: float) -> None:
        """SIGTERM, and SIGKILL when it is still there then."""
        self.kill_at = time.monotonic() + within_seconds
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def forget_beats(self) -> None:
        """Its end of the pipe is closed, or it has ended."""
        if self.beats is not None:
            os.close(self.beats)
            self.beats = None


class Place:
    """A child and its processes: the present one, one that comes to take its place, and one that ends its calls."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.current: Process | None = None
        self.coming: Process | None = None
        self.leaving: Process | None = None
        self.stop_seconds = child.stop_seconds
        self.restart_at = 0.0
        self.restarts = 0
        self.backoff = BACKOFF_FIRST_SECONDS
        self.was_steady = False
        self.was_started = False
        self.renewing = False
        """It was asked to end because it is to start anew: its end is no accident."""

    def living(self) -> list[Process]:
        """Its processes that have not ended."""
        return [process for process in (self.current, self.coming, self.leaving) if process is not None]

    def free_seat(self) -> int | None:
        """A seat that no living process of it has; None where it has none at all."""
        taken = {process.seat for process in self.living()}
        return next((seat for seat in self.child.seats if seat not in taken), None)


def how_it_ended(status: int) -> str:
    """An exit status in words."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _start(child: Child, inherited: Inherited, *, writing: int | None, seat: int | None) -> subprocess.Popen[bytes]:
    numbers = {LIFELINE_VARIABLE: inherited.lifeline}
    if writing is not None:
        numbers[HEARTBEAT_VARIABLE] = writing
    if child.listener is not None:
        numbers[LISTENER_VARIABLE] = child.listener.fileno()
    if inherited.in_force is not None:
        numbers[IN_FORCE_VARIABLE] = inherited.in_force
    if inherited.counters is not None and seat is not None:
        numbers[COUNTERS_VARIABLE] = inherited.counters[0]
    descriptors = list(numbers.values())
    if inherited.counters is not None and seat is not None:
        numbers |= {SEATS_VARIABLE: inherited.counters[1], SEAT_VARIABLE: seat}
    return subprocess.Popen(  # noqa: S603 - argv comes from our own code
        child.argv,
        env={**os.environ, **{name: str(number) for name, number in numbers.items()}},
        pass_fds=descriptors,
        # Ctrl-C in a terminal reaches the whole group: only the supervisor is to act on it.
        start_new_session=True,
    )
