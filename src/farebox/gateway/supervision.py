"""How a running `farebox serve` is found and asked: a locked file in its data directory that says what it does.

The lock is the truth about whether it runs; the file says who it is and how the last request ended. Requests are
signals: SIGHUP reloads, SIGUSR1 replaces the workers.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Final

from farebox.errors import DataDirectoryError, NotRunningError

STATE_FILE: Final = "run/supervisor.json"
LOCK_FILE: Final = "run/supervisor.lock"
"""In the data directory."""
RELOAD: Final = "reload"
RESTART: Final = "restart"
SIGNALS: Final = {RELOAD: signal.SIGHUP, RESTART: signal.SIGUSR1}

POLL_SECONDS: Final = 0.05

State = dict[str, Any]
"""pid, configuration, since (unix seconds), doing (a request under way, or ""), waiting (requests after it), done
(requests ended so far), last (the request, whether it went well, what there is to say), restarts (after a death, by
name), processes (name, pid, since, and state: starting, serving, coming, draining or down)."""


class StateFile:
    """The supervisor's side: it holds the lock as long as it lives."""

    def __init__(self, data: Path) -> None:
        """Raises DataDirectoryError when another supervisor has this data directory, or it cannot be written."""
        self._path = data / STATE_FILE
        self._written: State = {}
        self._failed = False
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirectoryError(f"{data} cannot be used: {error}; give `data` a writable directory") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise DataDirectoryError(
                f"another farebox serve runs on {data}. Stop it, or give this one a data directory of its own; "
                "more gateway processes on one are gateway.workers"
            ) from None

    def write(self, state: State) -> OSError | None:
        """Say what is so now; nothing is written when nothing changed. The error when it begins to fail."""
        if state == self._written:
            return None
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            failed, self._failed = self._failed, True
            return None if failed else error
        self._written = json.loads(json.dumps(state))
        self._failed = False
        return None

    def close(self) -> None:
        """Nobody runs here any more."""
        self._path.unlink(missing_ok=True)
        os.close(self._lock)


def running(data: Path) -> State:
    """What the supervisor of a data directory says; NotRunningError when there is none."""
    nobody = NotRunningError(
        f"no farebox serve runs on {data}. Start one, or name the data directory of the one that runs with --data"
    )
    try:
        lock = os.open(data / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise nobody from None
    except OSError as error:
        raise DataDirectoryError(f"{data / LOCK_FILE} cannot be read: {error.strerror}; run as its owner") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        raise nobody
    finally:
        os.close(lock)
    try:
        found: State = json.loads((data / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotRunningError(f"farebox serve on {data} is just starting; try again shortly") from None
    return found


def ask(data: Path, request: str, *, within_seconds: float) -> tuple[bool, str]:
    """Have a request (RELOAD or RESTART) done; (whether it went well, what the supervisor says about it).

    Raises NotRunningError when there is no supervisor, or it ended meanwhile, or does not come to an end in time.
    """
    before = running(data)
    # One that is under way may have begun before what is asked for was so: the next one counts.
    waiting = before["waiting"]
    ahead = waiting.index(request) if request in waiting else len(waiting)
    wanted = before["done"] + bool(before["doing"]) + ahead + 1
    try:
        os.kill(before["pid"], SIGNALS[request])
    except PermissionError:
        raise NotRunningError(
            f"farebox serve (pid {before['pid']}) belongs to another user; ask as that user or as root"
        ) from None
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        now = running(data)
        if now["pid"] != before["pid"]:
            raise NotRunningError("farebox serve was started anew meanwhile; look at its log and repeat")
        if now["done"] >= wanted:
            return bool(now["last"]["ok"]), str(now["last"]["text"])
    raise NotRunningError(
        f"farebox serve (pid {before['pid']}) has not ended the {request} within {within_seconds:.0f} s; "
        "its log says what it does"
    )
