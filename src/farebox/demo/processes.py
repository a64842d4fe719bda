"""Starting, waiting for and stopping the demo's processes. They outlive the demo command; logs lie beside the data."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from farebox.errors import AddressInUseError, FareboxError

START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 45.0
FREE_PORTS = range(20_000, 32_000)
"""Below Linux's ephemeral range."""

ENDED = ("Z", "X")
"""States in which a process has ended and is only not yet reaped (proc(5))."""


class DemoFailedError(FareboxError):
    """A process of the demo did not start, or a step of it did not end well."""

    code = "DEMO_FAILED"


def start(arguments: list[str], *, log: Path) -> int:
    """Start `farebox ARGUMENTS` in the background, in a session of its own; its process id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "farebox.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process.pid


def wait_until_healthy(url: str, pid: int, *, log: Path, status: int = httpx.codes.OK) -> None:
    """Until `url` answers `status`; DemoFailedError with the end of the log when the process dies or takes too long."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).status_code == status:
                return
        except httpx.HTTPError:
            pass
        if not is_running(pid):
            break
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(no log)"
    raise DemoFailedError(f"{url} does not answer. The end of {log}:\n{tail}")


def is_running(pid: int, *, naming: str = "") -> bool:
    """Whether the process lives (a child that ended is reaped) and its command line contains `naming`.

    Ids are given anew: long after, or after a reboot, one may be of a process that is none of the demo's.
    """
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return state not in ENDED and naming in command


def stop(pids: Mapping[str, int]) -> list[str]:
    """Ask every process to end, kill what does not; the names of those that had to be killed."""
    for pid in pids.values():
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while time.monotonic() < deadline and any(is_running(pid) for pid in pids.values()):
        time.sleep(0.05)
    stubborn = [name for name, pid in pids.items() if is_running(pid)]
    for name in stubborn:
        _signal(pids[name], signal.SIGKILL)
    return stubborn


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on now and no outgoing connection will take."""
    found: list[int] = []
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AddressInUseError(
        f"No {count} ports are free from {FREE_PORTS.start} to {FREE_PORTS.stop - 1}; stop what listens there."
    )


def check_ports(ports: Mapping[str, int]) -> None:
    """Raises AddressInUseError naming the first that is taken."""
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise AddressInUseError(
                    f"Port {port} on 127.0.0.1, meant for the {name}, is taken. If an earlier demo is running: "
                    "`farebox demo --stop`; else start on free ports: `farebox demo --free-ports`."
                ) from error
