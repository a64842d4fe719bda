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
    from farebox.demo import processes, run, strategies
    from farebox.demo.report import STEP_HEAD, spent_lines, step_line

    ports = dict(zip(run.PORTS, processes.free_ports(len(run.PORTS)), strict=True)) if free_ports else run.PORTS
    processes.check_ports(ports)
    run.prepare(folder)
    under_way = run.Demo(folder.resolve(), dict(ports))
    run.start(under_way, lambda text: print(text, file=sys.stderr, flush=True))
    print("Driving them with real programs, the official Python SDK among them ...\n", file=sys.stderr, flush=True)
    print(STEP_HEAD)
    try:
        done = run.drive(under_way, report=lambda step: print(step_line(step), flush=True))
    except BaseException:
        processes.stop(under_way.pids)
        raise
    print(f"\n{spent_lines(under_way.organisations[0], strategies.spent(done, under_way.organisations[0]))}")
    _say_where(under_way.folder / run.DEMO_FILE, folder)


def _say_where(path: Path, folder: Path) -> None:
    content = json.loads(path.read_text())
    print(
        "\nCredits are what the answers named in X-Farebox-Credits-Charged. "
        "The dashboard shows a few more: calls the SDK makes by itself (organisation, user, fields)."
    )
    print(f"\nAll of it runs on. Open the API Dashboard and sign in as an organisation: {content['console_url']}\n")
    for org in content["orgs"]:
        print(
            f"  {org['name']:14} {org['product']:6} {org['plan']:9} login {org['login']:28} password {org['password']}"
        )
    print(f"\nMake one more call, and see it appear on {content['orgs'][0]['name']}'s dashboard within two seconds:\n")
    print(f"  curl -i -H 'X-Api-Key: {content['orgs'][0]['api_key']}' \\")
    print(f"    '{content['gateway_url']}/crm/v8/Leads?fields=Last_Name,Company&per_page=3'\n")
    print(f"All addresses, logins and keys: {path}")
    where = "" if folder == Path("farebox-data") else f" --data {folder}"
    print(f"Stop it with: farebox demo --stop{where}")
