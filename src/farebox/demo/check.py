"""`farebox demo --check`: run the demo, gather what each witness of farebox.demo.verdict says, print, stop."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from farebox.console.secret import read_local_access
from farebox.demo import browser, processes, run, strategies
from farebox.demo.browser import Figures
from farebox.demo.cast import Organisation, app_id
from farebox.demo.programs import Done
from farebox.demo.report import STEP_HEAD, spent_lines, step_line
from farebox.demo.verdict import Page, Program, Verdict, charged_by, judge, priced_by_card, table, total
from farebox.journal import reader
from farebox.journal.records import Entry

SETTLE_SECONDS_MAX = 60.0


def checked_demo() -> bool:
    """Run the demo on free ports in a folder of its own, compare, print, stop everything; whether all agreed."""
    browser.require()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farebox-demo-") as name:
        demo = run.Demo(Path(name), dict(zip(run.PORTS, processes.free_ports(len(run.PORTS)), strict=True)))
        run.prepare(demo.folder)
        run.start(demo, lambda text: print(text, file=sys.stderr, flush=True))
        try:
            print(STEP_HEAD)
            done = run.drive(demo, report=lambda step: print(step_line(step), flush=True))
            print(f"\n{spent_lines(demo.organisations[0], strategies.spent(done, demo.organisations[0]))}")
            verdicts = compare(demo, done)
        finally:
            stubborn = processes.stop(demo.pids)
    print(f"\n{table(verdicts)}")
    for process in stubborn:
        print(f"{process} did not stop by itself and was killed")
    good = all(verdict.agrees for verdict in verdicts) and not stubborn
    print(f"\n{'All agree' if good else 'NOT in agreement'}, after {time.monotonic() - started:.0f} s.")
    return good


def compare(demo: run.Demo, done: Sequence[Done]) -> list[Verdict]:
    """The witnesses' figures of every organisation, once nothing is in flight any more."""
    log = demo.request_log.read_bytes()[demo.calls_before :].decode()
    return [_compared(demo, organisation, log, done) for organisation in demo.organisations]


def _compared(demo: run.Demo, organisation: Organisation, log: str, done: Sequence[Done]) -> Verdict:
    quota, figures = _settled_page(demo, organisation)
    entries = entries_of(demo.folder, organisation.org)
    return judge(
        organisation.name,
        priced=priced_by_card(organisation, log),
        charges=charged_by(entries),
        page=Page(quota=quota, used=figures.used, apps=figures.apps, users=figures.users),
        steps=[each.step for each in done if each.organisation == organisation.name],
        programs=_programs(organisation, entries, figures, done) if organisation is demo.organisations[0] else (),
    )


def _programs(
    organisation: Organisation, entries: Sequence[Entry], figures: Figures, done: Sequence[Done]
) -> list[Program]:
    """The two that do the same job."""
    return [
        Program(
            name=name,
            answers=sum(step.charged or 0 for step in strategies.of_program(name, done, organisation)),
            entries=sum(entry.credits for entry in entries if entry.app == app_id(name)),
            page=figures.by_app.get(app_id(name), 0),
        )
        for name in strategies.PERSON
    ]


def entries_of(folder: Path, org: str) -> list[Entry]:
    """Every entry of an org, read from the journal itself."""
    root = folder / "journal"
    return [
        entry
        for incarnation in reader.incarnations(root)
        for entry, _ in reader.read(root / incarnation)
        if entry.org == org
    ]


def _settled_page(demo: run.Demo, organisation: Organisation) -> tuple[int, Figures]:
    """Quota and page once they show the entries' sum; as they are when they have not come to it in time."""
    access = read_local_access(demo.folder)
    assert access is not None, "the console wrote its local access when it started"
    url = f"{access.url}/api/v1/organisations/{organisation.org}/{organisation.product}/allowance"
    headers = {"Authorization": f"Bearer {access.token}"}
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        charges = charged_by(entries_of(demo.folder, organisation.org))
        allowance = httpx.get(url, headers=headers, timeout=SETTLE_SECONDS_MAX).raise_for_status().json()
        settled = allowance["used"] == total(charges) and allowance["held"] == 0
        if settled or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    figures = browser.dashboard_figures(
        demo.console_url, login=organisation.login, password=organisation.password, until_sum=total(charges)
    )
    return allowance["used"], figures
