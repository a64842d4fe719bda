"""What a process gets from its supervisor, by number in its environment; each is absent without a supervisor."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import Final

from farebox.gateway.counter_page import CounterPage

HEARTBEAT_VARIABLE: Final = "FAREBOX_HEARTBEAT_FD"
LIFELINE_VARIABLE: Final = "FAREBOX_LIFELINE_FD"
LISTENER_VARIABLE: Final = "FAREBOX_LISTENER_FD"
IN_FORCE_VARIABLE: Final = "FAREBOX_IN_FORCE_FD"
PREPARED_VARIABLE: Final = "FAREBOX_PREPARED_FD"
COUNTERS_VARIABLE: Final = "FAREBOX_COUNTERS_FD"
SEATS_VARIABLE: Final = "FAREBOX_SEATS"
SEAT_VARIABLE: Final = "FAREBOX_SEAT"

READ_BYTES: Final = 1 << 20


def follow_supervisor(*, stop_seconds: float = 20.0) -> None:
    """End by SIGTERM when the supervisor ends, even by kill -9; by SIGKILL `stop_seconds` later, as it would have done.

    A process that hangs would otherwise keep its journal and its place in the callers' queue, with nobody to see it.
    """
    lifeline = _number(LIFELINE_VARIABLE)
    if lifeline is None:
        return

    def wait() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(stop_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="farebox-lifeline", daemon=True).start()


def heartbeat_fd() -> int | None:
    """Where to write a byte every second."""
    return _number(HEARTBEAT_VARIABLE)


def inherited_listener() -> socket.socket | None:
    """The listening socket the supervisor opened for this process."""
    number = _number(LISTENER_VARIABLE)
    if number is None:
        return None
    listener = socket.socket(fileno=number)
    listener.setblocking(False)
    return listener


def counters() -> tuple[CounterPage, int] | None:
    """The page in which the workers of this machine count what is in flight, and this one's seat."""
    number, seats, seat = _number(COUNTERS_VARIABLE), _number(SEATS_VARIABLE), _number(SEAT_VARIABLE)
    if number is None or seats is None or seat is None:
        return None
    return CounterPage(number, seats=seats), seat


def in_force() -> bytes | None:
    """The configuration in force, as the supervisor keeps it."""
    number = _number(IN_FORCE_VARIABLE)
    return None if number is None else read_all(number)


def prepared_fd() -> int | None:
    """Where who prepares a reload writes its answer."""
    return _number(PREPARED_VARIABLE)


def read_all(descriptor: int) -> bytes:
    """All bytes of a file from its beginning, wherever another process with the same descriptor stands."""
    pieces, at = [], 0
    while piece := os.pread(descriptor, READ_BYTES, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _number(variable: str) -> int | None:
    number = os.environ.get(variable)
    return None if number is None else int(number)
