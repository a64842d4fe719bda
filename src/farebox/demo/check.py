"""`farebox demo --check`: every charge against the card's price, every sum against the entries, the page included.

Four witnesses that know nothing of each other: what the CRM API says arrived, what the journal says was charged, what
quota counts, and what the page shows in a browser.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx

from farebox import cards
from farebox.console.secret import read_local_access
from farebox.demo import browser, processes, run
from farebox.demo.cast import Organisation
from farebox.demo.report import STEP_HEAD, step_line
from farebox.domain.cards import CompiledCard, Kind
from farebox.domain.credits import text_of
from farebox.domain.pricing import NO_BODY, Answer, charge, quote
from farebox.journal import reader
from farebox.journal.records import CHARGE, Entry

SETTLE_SECONDS_MAX = 10.0

Charges = Counter[tuple[str, str, int]]
"""(method, operation, millicredits) -> how many."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One organisation's figures by each witness; millicredits."""

    organisation: str
    calls_arrived: int
    calls_charged: int
    priced: int
    charged: int
    quota: int
    page_used: int
    page_users: int
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether there is nothing to explain."""
        return not self.differences


def checked_demo() -> bool:
    """Run the demo on free ports in a folder of its own, compare, print, stop everything; whether all agreed."""
    browser.require()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farebox-demo-") as name:
        demo = run.Demo(Path(name), dict(zip(run.PORTS, processes.free_ports(len(run.PORTS)), strict=True)))
        run.prepare(demo.folder)
        run.start(demo)
        try:
            print(STEP_HEAD)
            run.drive(demo, report=lambda step: print(step_line(step), flush=True))
            verdicts = compare(demo)
        finally:
            stubborn = processes.stop(demo.pids)
    _print_table(verdicts)
    for process in stubborn:
        print(f"{process} did not stop by itself and was killed")
    good = all(verdict.agrees for verdict in verdicts) and not stubborn
    print(f"\n{'All agree' if good else 'NOT in agreement'}, after {time.monotonic() - started:.0f} s.")
    return good


def compare(demo: run.Demo) -> list[Verdict]:
    """The witnesses' figures of every organisation, once nothing is in flight any more."""
    pages = {
        organisation.org: _settled_page(demo, organisation, _charged(entries_of(demo.folder, organisation.org)))
        for organisation in demo.organisations
    }
    return [_verdict(demo, organisation, pages[organisation.org]) for organisation in demo.organisations]


def entries_of(folder: Path, org: str) -> list[Entry]:
    """Every entry of an org, read from the journal itself."""
    root = folder / "journal"
    return [
        entry
        for incarnation in reader.incarnations(root)
        for entry, _ in reader.read(root / incarnation)
        if entry.org == org
    ]


def priced_by_card(organisation: Organisation, log: str) -> Charges:
    """What the card says of every call that arrived at the CRM API, by its request log."""
    card = CompiledCard(cards.load(organisation.card))
    found: Charges = Counter()
    for line in log.splitlines():
        call = json.loads(line)
        if call["zgid"] != organisation.org:
            continue
        match = card.match(call["method"], call["path"], call["query"])
        if match.operation.kind is not Kind.METERED:
            continue
        content = json.dumps({"data": [{}] * call["records"]}).encode() if call["records"] else b""
        body = cards.body_facts(match.operation.price, content) if match.operation.needs_body else NO_BODY
        cost = charge(quote(match, call["query"], body), Answer(call["status"])).millicredits
        found[call["method"], match.operation.name, cost] += 1
    return found


def _charged(entries: list[Entry]) -> Charges:
    """What was charged, the corrections (closes) taken into their charges."""
    corrections: Counter[bytes] = Counter()
    for entry in entries:
        if entry.kind != CHARGE:
            corrections[entry.call_id] += entry.credits
    return Counter(
        (entry.method, entry.operation, entry.credits + corrections[entry.call_id])
        for entry in entries
        if entry.kind == CHARGE
    )


def _total(charges: Charges) -> int:
    return sum(cost * count for (_, _, cost), count in charges.items())


@dataclass(frozen=True, slots=True)
class _Page:
    quota: int
    figures: browser.Figures


def _settled_page(demo: run.Demo, organisation: Organisation, charges: Charges) -> _Page:
    """Quota and page once they show the entries' sum; as they are when they have not come to it in time."""
    access = read_local_access(demo.folder)
    assert access is not None, "the console wrote its local access when it started"
    url = f"{access.url}/api/v1/organisations/{organisation.org}/{organisation.product}/allowance"
    headers = {"Authorization": f"Bearer {access.token}"}
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        allowance = httpx.get(url, headers=headers, timeout=5).raise_for_status().json()
        settled = allowance["used"] == _total(charges) and allowance["held"] == 0
        if settled or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    figures = browser.dashboard_figures(
        demo.console_url, login=organisation.login, password=organisation.password, until_sum=_total(charges)
    )
    return _Page(allowance["used"], figures)


def _verdict(demo: run.Demo, organisation: Organisation, page: _Page) -> Verdict:
    log = demo.request_log.read_bytes()[demo.calls_before :].decode()
    expected = priced_by_card(organisation, log)
    charges = _charged(entries_of(demo.folder, organisation.org))
    differences = [
        f"{method} {operation} at {text_of(cost)}: card says {expected[key]} times, charged {charges[key]} times"
        for key in sorted(expected.keys() | charges.keys())
        for method, operation, cost in [key]
        if expected[key] != charges[key]
    ]
    charged = _total(charges)
    for name, amount in (
        ("quota", page.quota),
        ("the page's used", page.figures.used),
        ("the page's sum of users", page.figures.users),
    ):
        if amount != charged:
            differences.append(f"{name} says {text_of(amount)}, the entries sum up to {text_of(charged)}")
    return Verdict(
        organisation=organisation.name,
        calls_arrived=expected.total(),
        calls_charged=charges.total(),
        priced=_total(expected),
        charged=charged,
        quota=page.quota,
        page_used=page.figures.used,
        page_users=page.figures.users,
        differences=tuple(differences),
    )


def _print_table(verdicts: list[Verdict]) -> None:
    print(f"\n{'':14} {'calls':>15} | {'credits by':>9}")
    heads = ("arrived", "charged", "card", "entries", "quota", "page", "users")
    print(f"{'organisation':14} " + " ".join(f"{head:>7}" for head in heads) + "  agree")
    for each in verdicts:
        amounts = (each.priced, each.charged, each.quota, each.page_used, each.page_users)
        cells = [f"{each.calls_arrived:,}", f"{each.calls_charged:,}", *map(text_of, amounts)]
        line = " ".join(f"{cell:>7}" for cell in cells)
        print(f"{each.organisation:14} {line}  {'yes' if each.agrees else 'NO'}")
        for difference in each.differences:
            print(f"    {difference}")
