"""`farebox demo`: three organisations, the official SDK, every charge compared with the card."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="On free ports and a folder of its own: compare every charge with the card's, and the page (read in a "
            "browser) with the sum of the entries; then stop everything. Exit status 0 when all agree, else 1.",
        ),
    ] = False,
    data: Annotated[Path, typer.Option("--data", help="The demo's folder.", file_okay=False)] = Path("farebox-data"),
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take free ports, not 8080, 8081 and 8082.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the demo that runs on the folder.")] = False,
) -> None:
    """Start a CRM API, the gateway and the console, drive them with real programs, and leave all running.

    Addresses and logins are printed, and kept in DATA/demo.json.
    """
    from farebox.demo import run

    if stop:
        print("The demo is stopped." if run.stop(data) else f"No demo is running on {data}.")
        return
    if check:
        from farebox.demo.check import checked_demo

        raise typer.Exit(0 if checked_demo() else 1)
    _run(data, free_ports=free_ports)


def _run(folder: Path, *, free_ports: bool) -> None:
    from farebox.demo import processes, run
    from farebox.demo.report import STEP_HEAD, step_line

    ports = dict(zip(run.PORTS, processes.free_ports(len(run.PORTS)), strict=True)) if free_ports else run.PORTS
    processes.check_ports(ports)
    run.prepare(folder)
    under_way = run.Demo(folder.resolve(), dict(ports))
    print("Starting the CRM API, the gateway and the console ...", file=sys.stderr)
    run.start(under_way)
    print(f"Driving them (addresses and logins: {folder / run.DEMO_FILE}) ...\n", file=sys.stderr)
    print(STEP_HEAD)
    try:
        run.drive(under_way, report=lambda step: print(step_line(step), flush=True))
    except BaseException:
        processes.stop(under_way.pids)
        raise
    _say_where(under_way.folder / run.DEMO_FILE, folder)


def _say_where(path: Path, folder: Path) -> None:
    content = json.loads(path.read_text())
    print(f"\nEverything is running. Look at the API Dashboard: {content['console_url']}\n")
    for org in content["orgs"]:
        print(
            f"  {org['name']:14} {org['product']:6} {org['plan']:9} login {org['login']:28} password {org['password']}"
        )
    print(f"\nGateway {content['gateway_url']}   CRM API behind it {content['crm_url']}   all of this: {path}")
    print(f"\nOne more call: curl -i -H 'X-Api-Key: {content['orgs'][0]['api_key']}' \\")
    print(f"    '{content['gateway_url']}/crm/v8/Leads?fields=Last_Name,Company&per_page=3'")
    where = "" if folder == Path("farebox-data") else f" --data {folder}"
    print(f"Stop it with: farebox demo --stop{where}")
