"""Runs of functions: each in a process of its own, bounded in time, memory, output and number, gone with all it left.

The process is `farebox.crm.function_process`; it gets its order as a file and leaves its report in another. A thread
per run waits for it, and that thread started it: the kernel ends the process when its parent thread is gone, so a
killed API leaves no run behind. What a run might have left in its process group is killed with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import IO, Any, Final

import msgspec

from farebox.crm.settings import FunctionSettings

logger = logging.getLogger("farebox.crm")

REPORT_BYTES_BESIDES: Final = 1024 * 1024
"""Room in a report beside the output: at most 100 messages of 1,000 characters and one traceback."""
STDERR_BYTES_SHOWN: Final = 4_096
MAIN: Final = "farebox.crm.function_process"


class Ending(StrEnum):
    """How a run came to its end."""

    DONE = "done"
    WRONG_ARGUMENTS = "wrong_arguments"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_TOO_LARGE = "output_too_large"
    TIMED_OUT = "timed_out"
    KILLED = "killed"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run. `output` is text; `messages` are the lines it printed.

    `reason` says why it is not DONE, `line` where in the function's file; `trace` is for the log.
    """

    ending: Ending
    output: str = ""
    messages: list[str] = []
    reason: str = ""
    line: int | None = None
    trace: str = ""


class BusyError(Exception):
    """As many functions run as may run at once."""


class Runs:
    """The runs in hand of one API. `start` is for the event loop; `stop` ends all of them."""

    def __init__(self, settings: FunctionSettings) -> None:
        self._settings = settings
        self._beside = ThreadPoolExecutor(settings.at_once, thread_name_prefix="crm-function")
        self._lock = threading.Lock()
        self._in_hand = 0
        self._groups: set[int] = set()
        self._stopped = False

    async def run(self, order: Mapping[str, Any]) -> Outcome:
        """Run what the order says (see function_process) to its end; raises BusyError instead of waiting for room."""
        with self._lock:
            if self._stopped or self._in_hand >= self._settings.at_once:
                raise BusyError
            self._in_hand += 1
        # whoever waits here may give up; the run goes on to its own end and keeps its place till then
        return await asyncio.get_running_loop().run_in_executor(self._beside, self._to_its_end, order)

    def stop(self) -> None:
        """Kill every run, and let none begin; safe to repeat."""
        with self._lock:
            self._stopped = True
            for group in self._groups:
                _kill(group)
        self._beside.shutdown()

    def _to_its_end(self, order: Mapping[str, Any]) -> Outcome:
        try:
            with (
                tempfile.TemporaryFile() as said,
                tempfile.TemporaryFile() as report,
                tempfile.TemporaryFile() as errors,
            ):
                said.write(json.dumps({**order, "parent": os.getpid()}).encode())
                said.seek(0)
                ended = self._process(said, report, errors)
                self._log_errors(order, errors)
                return self._outcome(ended, report)
        finally:
            with self._lock:
                self._in_hand -= 1

    def _process(self, said: IO[bytes], report: IO[bytes], errors: IO[bytes]) -> int | None:
        """Its exit status once it ended by itself (negative: a signal), None when its time was over."""
        deadline = time.monotonic() + self._settings.seconds_max
        process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-P", "-m", MAIN],
            stdin=said,
            stdout=report,
            stderr=errors,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        with self._lock:
            self._groups.add(process.pid)
            if self._stopped:
                _kill(process.pid)
        try:
            ended = _ended_by(process.pid, deadline)
        finally:
            # not yet waited for, so the number is still this group's
            with self._lock:
                self._groups.discard(process.pid)
                _kill(process.pid)
            status = process.wait()
        return status if ended else None

    def _outcome(self, ended: int | None, report: IO[bytes]) -> Outcome:
        if ended is None:
            reason = f"it did not end within {self._settings.seconds_max:g} s"
            return Outcome(ending=Ending.TIMED_OUT, reason=reason)
        report.seek(0)
        content = report.read(self._settings.output_bytes_max + REPORT_BYTES_BESIDES)
        try:
            return msgspec.json.decode(content, type=Outcome)
        except msgspec.DecodeError:
            how = f"by signal {signal.Signals(-ended).name}" if ended < 0 else f"with exit status {ended}"
            return Outcome(ending=Ending.KILLED, reason=f"its process ended {how} before it answered")

    def _log_errors(self, order: Mapping[str, Any], errors: IO[bytes]) -> None:
        size = errors.seek(0, os.SEEK_END)
        errors.seek(max(0, size - STDERR_BYTES_SHOWN))
        text = errors.read(STDERR_BYTES_SHOWN).decode("utf-8", "replace").strip()
        if text:
            logger.warning("function %s wrote to stderr: %s", order["name"], text)


def _ended_by(pid: int, deadline: float) -> bool:
    """Wait for the end of a child that is not waited for yet, up to a moment of the monotonic clock."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1_000))
    finally:
        os.close(descriptor)


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # nobody left in it; of a group of zombies some systems say that it is not allowed
        return


def _environment() -> dict[str, str]:
    """What a function sees of our environment: nothing but the way to Python's modules and the language."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR") if name in os.environ}
    paths = [each for each in sys.path if each]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
