"""A point at which a process ends itself by kill -9: the n-th of the named steps, before or after it, or in its middle.

Nothing of Farebox knows of it: the steps are wrapped from outside, in a child process that lives for one kill.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

from farebox.journal import reader
from farebox.journal.disk import OsDisk
from farebox.usage.duckdb import DuckdbUsage

JOURNAL: Final = ("create", "open", "pwrite", "fdatasync", "fallocate", "rename", "sync_directory", "make_directory")
ADOPTION: Final = ("open", "pwrite", "fdatasync", "truncate", "unlink", "sync_directory")
DELETION: Final = ("unlink", "rename", "remove_directory", "sync_directory")
LOADING: Final = ("begin", "register", "execute", "commit")


class Trap:
    """Counts steps and ends the process at step `at`; `torn` chooses how much of a write is still made."""

    def __init__(self, at: int, seed: object) -> None:
        self._at = at
        self._seen = 0
        self._rng = random.Random(str(seed))

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """`step`, with the end before, after or, for a write, in the middle of the n-th call of all wrapped ones."""

        def stepped(*arguments: Any, **named: Any) -> Any:
            self._seen += 1
            if self._seen != self._at:
                return step(*arguments, **named)
            moment = self._rng.choice(("before", "after", "within"))
            if moment == "after" or (moment == "within" and step.__name__ != "pwrite"):
                step(*arguments, **named)
            elif moment == "within":
                disk, fd, data, offset = arguments
                step(disk, fd, data[: self._rng.randrange(len(data))], offset)
            die()
            raise AssertionError("dead")

        return stepped


def die() -> None:
    """kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_disk(trap: Trap, names: tuple[str, ...]) -> None:
    """The journal's writing, or its removal."""
    for name in names:
        setattr(OsDisk, name, trap.around(getattr(OsDisk, name)))


def in_quota(trap: Trap) -> None:
    """Every statement of every SQLite transaction, BEGIN and COMMIT among them."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    class Trapped(sqlite3.Connection):
        execute = trap.around(sqlite3.Connection.execute)
        executemany = trap.around(sqlite3.Connection.executemany)

    def trapped(*arguments: Any, **named: Any) -> sqlite3.Connection:
        return connect(*arguments, **{**named, "factory": Trapped})

    sqlite3.connect = trapped  # type: ignore[assignment]


def in_loading(trap: Trap) -> None:
    """Every step of a load: begin, rows, offsets, commit."""
    asking = DuckdbUsage._asking

    class Trapped:
        def __init__(self, cursor: Any) -> None:
            self._cursor = cursor

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._cursor, name)
            return trap.around(found) if name in LOADING else found

    @contextlib.contextmanager
    def trapped(self: DuckdbUsage) -> Iterator[Any]:
        with asking(self) as cursor:
            yield Trapped(cursor)

    DuckdbUsage._asking = trapped  # type: ignore[method-assign]


def in_shipping(trap: Trap) -> None:
    """Every entry the shipper reads, and each load as a whole."""
    reader.decode = trap.around(reader.decode)  # type: ignore[attr-defined]
    DuckdbUsage.load = trap.around(DuckdbUsage.load)  # type: ignore[method-assign]


def set_trap(family: str, at: int, seed: object) -> None:
    """Arm the steps of a family of kills in this process."""
    trap = Trap(at, seed)
    match family:
        case "gateway":
            in_disk(trap, JOURNAL)
        case "quota transaction":
            in_quota(trap)
        case "shipper":
            in_shipping(trap)
        case "usage loading":
            in_loading(trap)
        case "segment deletion":
            in_disk(trap, DELETION)
        case "adoption":
            in_disk(trap, ADOPTION)
        case _:
            raise AssertionError(family)
