"""The process of one run: `python -m farebox.crm.function_process`, the order on stdin, the report on stdout.

Before the function's file is read, the process is tied to its parent's life and bounded in memory and in the size of
files; then `run(crm, **arguments)` of the file is called once. Starting further processes is refused, so nothing can
outlive the run. This bounds mistakes; it is no prison: functions are the operator's own code.
"""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import io
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from farebox.crm.function_tasks import IntegrationTasks

ENTRY: Final = "run"
MESSAGES_MAX: Final = 100
MESSAGE_LENGTH_MAX: Final = 1_000
TRACE_LENGTH_MAX: Final = 16_000
REPORT_MEMORY: Final = 32 * 1024 * 1024
"""Memory that is kept back for the report of a run that used up its own."""
FILE_BYTES_BESIDES: Final = 1024 * 1024
PR_SET_PDEATHSIG: Final = 1
PROCESS_EVENTS: Final = frozenset(
    {"os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system", "subprocess.Popen", "pty.spawn"}
)


class Messages(io.TextIOBase):
    """Where `print` goes: the first lines of what a function says, each cut at MESSAGE_LENGTH_MAX."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._open = ""

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    def write(self, text: str) -> int:
        """Keep whole lines as far as there is room; the rest of a line waits for its end."""
        *whole, rest = (self._open + text).split("\n")
        for line in whole:
            self._keep(line)
        self._open = rest[:MESSAGE_LENGTH_MAX]
        return len(text)

    def end(self) -> list[str]:
        """All of it, with a last line that lacks its end."""
        if self._open:
            self._keep(self._open)
        self._open = ""
        return self.lines

    def _keep(self, line: str) -> None:
        if len(self.lines) < MESSAGES_MAX:
            self.lines.append(line[:MESSAGE_LENGTH_MAX])


class WrongArgumentsError(Exception):
    """The arguments are not those that the function takes."""


def main() -> None:
    """Do one run and end the process, whatever threads the function left."""
    order = json.load(sys.stdin.buffer)
    _die_with_parent(order["parent"])
    report = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    messages = Messages()
    sys.stdout = messages
    hard = _bound(memory_mb=order["memory_mb"], file_bytes=order["output_bytes_max"] + FILE_BYTES_BESIDES)
    sys.addaudithook(_refuse_processes)
    try:
        found = _run(order)
    except BaseException as error:  # noqa: BLE001 (also SystemExit: whatever ends the function is told)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        found = _told(error, path=order["path"], memory_mb=order["memory_mb"])
    with os.fdopen(report, "wb") as file:
        file.write(json.dumps({**found, "messages": messages.end()}).encode())
    os._exit(0)


def _run(order: Mapping[str, Any]) -> dict[str, Any]:
    function = _entry(Path(order["path"]), order["name"])
    tasks = IntegrationTasks(function=order["name"], **order["tasks"])
    try:
        inspect.signature(function).bind(tasks, **order["arguments"])
    except TypeError as error:
        raise WrongArgumentsError(str(error)) from error
    returned = function(tasks, **order["arguments"])
    output = returned if isinstance(returned, str) else json.dumps(returned, allow_nan=False)
    size, size_max = len(output.encode("utf-8", "replace")), order["output_bytes_max"]
    if size > size_max:
        return {"ending": "output_too_large", "reason": f"its output is {size:,} bytes long, {size_max:,} are allowed"}
    return {"ending": "done", "output": output.encode("utf-8", "replace").decode()}


def _entry(path: Path, name: str) -> Callable[..., object]:
    """`run` of the file; beside it, modules of the same folder can be imported."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, ENTRY, None)
    if not callable(function):
        raise TypeError(f"{path.name} has no function {ENTRY}(crm, ...)")
    return function  # type: ignore[no-any-return]


def _told(error: BaseException, *, path: str, memory_mb: int) -> dict[str, Any]:
    """The report of a run that ended with an exception."""
    if isinstance(error, WrongArgumentsError):
        return {"ending": "wrong_arguments", "reason": str(error)}
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    found: dict[str, Any] = {"ending": "failed", "line": lines[-1] if lines else None}
    found["reason"] = "".join(traceback.format_exception_only(error)).strip().rpartition("\n")[2][:MESSAGE_LENGTH_MAX]
    found["trace"] = "".join(traceback.format_exception(error))[-TRACE_LENGTH_MAX:]
    if isinstance(error, MemoryError):
        found |= {"ending": "out_of_memory", "reason": f"it needs more than the {memory_mb} MB of a run"}
    return found


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the parent is gone, also when it went before this line."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _bound(*, memory_mb: int, file_bytes: int) -> int:
    """Bound what comes on top of what Python itself has taken so far; what the report may take in all, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft = pages * resource.getpagesize() + memory_mb * 1024 * 1024
    hard = soft + REPORT_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return hard


def _refuse_processes(event: str, _: object) -> None:
    if event in PROCESS_EVENTS:
        raise PermissionError("a function may not start processes")


if __name__ == "__main__":
    main()
