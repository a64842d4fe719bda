"""Idle memory: the proportional set size of every process of a running system, supervisor to CRM API.

Starts `farebox serve` and `farebox crm` on a fresh data directory, makes some calls, opens the page once, and reads
/proc/PID/smaps_rollup when all is quiet. Prints the table and writes build/memory.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

import httpx

from farebox.testing.screen import signed_in
from farebox.testing.system import ChildProcess, RunningFarebox, free_port, until

ROOT = Path(__file__).resolve().parents[1]
GOAL_MIB = 300
CALLS = 500
QUIET_SECONDS = 3.0
KIB_PER_MIB = 1024


def main() -> int:
    """Measure, print, write; exit status 0 whether or not the goal is met."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farebox-memory-")))
        processes = measured(stack, folder)
    total = sum(mib for _, mib in processes)
    print(f"Idle memory (PSS) after {CALLS} calls and one look at the dashboard; goal < {GOAL_MIB} MiB:")
    for name, mib in processes:
        print(f"  {name:40}{mib:8.1f} MiB")
    print(f"  {'all':40}{total:8.1f} MiB   met: {total < GOAL_MIB}")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    report = {
        "goal_mib": GOAL_MIB,
        "total_mib": round(total, 1),
        "met": total < GOAL_MIB,
        "processes": [{"name": name, "pss_mib": round(mib, 1)} for name, mib in processes],
    }
    build.joinpath("memory.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def measured(stack: ExitStack, folder: Path) -> list[tuple[str, float]]:
    """(process, MiB) of a system that was used and is quiet now."""
    port = free_port()
    crm = ChildProcess(
        "crm",
        ["-m", "farebox.cli", "crm", "--host", "127.0.0.1", "--port", str(port), "--data", str(folder / "crm")],
        health_url=f"http://127.0.0.1:{port}/crm/v8/org",
        health_status=HTTPStatus.UNAUTHORIZED,
        log=folder / "crm.log",
    )
    crm.start()
    stack.callback(crm.stop)
    farebox = RunningFarebox(folder, upstream_url=f"http://127.0.0.1:{port}")
    serve = ChildProcess(
        "serve",
        ["-m", "farebox.cli", "serve", "--config", str(farebox.config_path)],
        health_url=f"{farebox.gateway_url}/-/farebox/healthz",
        log=folder / "serve.log",
    )
    serve.start()
    stack.callback(serve.stop)
    until(lambda: _answers(f"{farebox.console_url}/healthz"), what="the console answers")
    with farebox.caller("acme", "ada") as ada:
        for _ in range(CALLS):
            ada.get("/crm/v8/org")
    until(lambda: farebox.ask_console("usage", "acme")["calls"] == CALLS, what="usage is loaded")
    with signed_in(farebox, "acme") as person:
        person.get("/").raise_for_status()
    time.sleep(QUIET_SECONDS)  # what the calls needed is given back
    return [(name, pss_mib(pid)) for pid, name in [*family(serve.pid), *family(crm.pid)]]


def family(pid: int) -> Iterator[tuple[int, str]]:
    """A process and all its descendants, with what they run."""
    command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    yield pid, " ".join(part for part in command[1:5] if not part.startswith("/"))
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        yield from family(int(child))


def pss_mib(pid: int) -> float:
    """Memory of a process, shared pages counted in proportion."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / KIB_PER_MIB


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main())
