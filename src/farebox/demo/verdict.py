"""The verdict on a demo: charges against the card's prices, sums against the entries, steps against what they must see.

Five witnesses that know nothing of each other: what the CRM API says arrived, what the journal says was charged, what
quota counts, what the page shows in a browser, and what the programs saw.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from farebox import cards
from farebox.demo.cast import Organisation
from farebox.demo.seen import Step
from farebox.domain.cards import CompiledCard, Kind
from farebox.domain.credits import text_of
from farebox.domain.pricing import NO_BODY, Answer, charge, quote
from farebox.journal.records import CHARGE, Entry

Charges = Counter[tuple[str, str, int]]
"""(method, operation, millicredits) -> how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What quota counts, and what the page shows as used by the organisation, as its apps' and as its users' sum."""

    quota: int
    used: int
    apps: int
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program with an app and a user of its own: its sum by its answers, the journal and the page; millicredits."""

    name: str
    answers: int
    entries: int
    page: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One organisation's figures by each witness; millicredits."""

    organisation: str
    calls_arrived: int
    calls_charged: int
    priced: int
    charged: int
    page: Page
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether there is nothing to explain."""
        return not self.differences


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


def charged_by(entries: Sequence[Entry]) -> Charges:
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


def total(charges: Charges) -> int:
    """The sum, in millicredits."""
    return sum(cost * count for (_, _, cost), count in charges.items())


def judge(
    organisation: str,
    *,
    priced: Charges,
    charges: Charges,
    page: Page,
    steps: Iterable[Step],
    programs: Iterable[Program] = (),
) -> Verdict:
    """Compare the witnesses; each difference in a sentence that names it."""
    return Verdict(
        organisation=organisation,
        calls_arrived=priced.total(),
        calls_charged=charges.total(),
        priced=total(priced),
        charged=total(charges),
        page=page,
        differences=(
            *_calls_apart(priced, charges),
            *_sums_apart(page, total(charges)),
            *(difference for program in programs for difference in _program_apart(program)),
            *(difference for step in steps for difference in step.differences()),
        ),
    )


def _calls_apart(priced: Charges, charges: Charges) -> Iterator[str]:
    for key in sorted(priced.keys() | charges.keys()):
        if priced[key] != charges[key]:
            method, operation, cost = key
            call = f"{method} {operation} at {text_of(cost)}"
            yield f"{call}: card says {priced[key]} times, charged {charges[key]} times"


def _sums_apart(page: Page, charged: int) -> Iterator[str]:
    for name, amount in (
        ("quota", page.quota),
        ("the page's used", page.used),
        ("the page's sum of applications", page.apps),
        ("the page's sum of users", page.users),
    ):
        if amount != charged:
            yield f"{name} says {text_of(amount)}, the entries sum up to {text_of(charged)}"


def _program_apart(program: Program) -> Iterator[str]:
    for name, amount in (("the entries of its app say", program.entries), ("the page says of it", program.page)):
        if amount != program.answers:
            yield f"{program.name}: {name} {text_of(amount)}, its answers named {text_of(program.answers)}"


def table(verdicts: Iterable[Verdict]) -> str:
    """One line per organisation, its differences under it."""
    heads = ("arrived", "charged", "card", "entries", "quota", "page", "apps", "users")
    lines = [
        f"{'':14} {'calls':>15} | {'credits by':>9}",
        f"{'organisation':14} " + " ".join(f"{head:>7}" for head in heads) + "  agree",
    ]
    for each in verdicts:
        amounts = (each.priced, each.charged, each.page.quota, each.page.used, each.page.apps, each.page.users)
        cells = [f"{each.calls_arrived:,}", f"{each.calls_charged:,}", *map(text_of, amounts)]
        line = " ".join(f"{cell:>7}" for cell in cells)
        lines.append(f"{each.organisation:14} {line}  {'yes' if each.agrees else 'NO'}")
        lines += [f"    {difference}" for difference in each.differences]
    return "\n".join(lines)
