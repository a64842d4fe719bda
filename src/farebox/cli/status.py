"""`farebox status`: how the service stands, and what to do about what is wrong."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import typer

from farebox.cli.places import DataOption, JsonOption, data_directory

if TYPE_CHECKING:
    from farebox.app.status import Process, Status

SOMETHING_WRONG = 1
NOT_RUNNING = 3
MIB = 1 << 20


def status(*, data: DataOption = None, json_output: JsonOption = False) -> None:
    """Show workers, leases, journal lag and unaccounted credits, and say what to do about what is wrong.

    Works while a part of the service is down, and says which. Exit status 0: all is well; 1: something needs somebody;
    3: nothing runs on this data directory.
    """
    from farebox.app.status import as_json, status_of

    found = status_of(data_directory(data))
    if json_output:
        print(json.dumps(as_json(found), indent=2))
    elif found.running:
        _print(found)
    else:
        print(f"Not running: no process of Farebox serves {found.data.resolve()}. `farebox serve` starts it.")
        print("If it serves from another directory, name that with --data or FAREBOX_DATA.")
    if not found.running:
        raise typer.Exit(NOT_RUNNING)
    if not found.well:
        raise typer.Exit(SOMETHING_WRONG)


def _print(found: Status) -> None:
    from farebox.domain.credits import text_of

    print(f"Farebox on {found.data.resolve()}\n")
    width = max(len(each.name) for each in found.processes)
    for each in found.processes:
        print(f"  {each.name:{width}}  {each.state.value:9}  {_since(each):>14}  {_memory(each):>8}  {_does(each)}")
    print()
    if found.gateways:
        free, used, bound = (
            found.most(name) / MIB for name in ("disk_free_bytes", "journal_bytes", "journal_bytes_max")
        )
        lag = found.total("journal_lag_bytes")
        print(f"  journal  {used:,.0f} of {bound:,.0f} MiB, {lag:,.0f} bytes not durable yet, {free:,.0f} MiB free")
        reachable = "reachable" if all(each.value("quota_reachable") for each in found.gateways) else "out of reach"
        held, lent = (text_of(int(found.total(name) * 1_000)) for name in ("credits_held", "credits_lent"))
        print(f"  quota    {reachable}, {found.total('leases'):,.0f} leases, {lent} credits lent, {held} held")
    unaccounted = "unknown" if found.unaccounted is None else text_of(found.unaccounted)
    print(f"           {unaccounted} credits unaccounted")
    for finding in found.findings:
        print(f"\n{'wrong' if finding.wrong else 'note '}  {finding.subject}: {finding.what}\n       {finding.advice}")
    print("\nAll is well." if found.well else "")


def _since(process: Process) -> str:
    """How long it runs.

    Whole minutes from one minute on, whole hours from two days on.
    """
    if process.figures is None:
        return ""
    minutes, seconds = divmod(int(time.time() - process.value("process_start_seconds")), 60)
    hours, rest = divmod(minutes, 60)
    if hours >= 48:  # noqa: PLR2004 - two days
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {rest} min" if hours else f"{minutes} min" if minutes else f"{seconds} s"


def _memory(process: Process) -> str:
    return "" if process.figures is None else f"{process.value('process_resident_bytes') / MIB:.0f} MiB"


def _does(process: Process) -> str:
    """What it does now, in a few words."""
    if process.figures is None:
        return ""
    if process.is_gateway:
        flight, waiting = process.value("calls_in_flight"), process.value("calls_waiting_for_credits")
        return (
            f"{process.value('calls_total'):,.0f} calls, {process.value('refusals_total'):,.0f} refused, "
            f"{flight:.0f} in flight, {waiting:.0f} waiting for credits, {process.value('connections'):.0f} connections"
        )
    if process.figures.samples.get("farebox_usage_lag_seconds"):
        pages = f"{process.value('live_streams'):.0f} live pages"
        return f"usage as of {process.value('usage_lag_seconds'):.1f} s ago, {pages}"
    return ""
