"""The API Dashboard as fragments: the page is made of them, and live updates replace those that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import jinja2

from farebox.console.figures import Consumption, Level, Line, Section, Storage
from farebox.console.orgs import Subscription
from farebox.console.pages.chart import chart_of
from farebox.console.readings import Reading
from farebox.console.words import sentence, zone_named
from farebox.domain.cards import Kind, RateCard
from farebox.usage.port import UsageTotals

DASHBOARD: Final = "/setup/storage/api-dashboard"
FRAGMENTS: Final = ("products", "sentence", "notice", "storage", "returns")
LINES_SHOWN_MAX: Final = 500
"""Lines of a table; the rest are one line, and all of them are in the JSON API."""

SPOKEN: Final = "spoken"
SPOKEN_SECONDS: Final = 30
"""How often a screen reader is told the sentence again: an utterance per charge would drown everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """What a first call looks like for this card."""

    gateway_url: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A section of *API consumption* as the page shows it: the lines that fit, and the sums of those that do not.

    `id` names the fragment and, in the singular, the commands' word for what each line is.
    """

    id: str
    noun: str
    a_noun: str
    """With its article."""
    lines: Sequence[Line]
    more: int = 0
    more_calls: int = 0
    more_credits: int = 0
    more_refusals: int = 0

    @property
    def word(self) -> str:
        """What commands call it: `farebox app add`, `farebox key add --app`."""
        return self.id.removesuffix("s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One account of the org in the switcher; `percent` only where that is worth a look."""

    title: str
    place: str
    current: bool
    percent: int | None
    level: str


def fragments_of(
    reading: Reading, *, templates: jinja2.Environment, guide: Guide, tabs: Sequence[Tab], fails_open: bool = False
) -> dict[str, str]:
    """The HTML of each fragment, and the page's title. `fails_open`: calls go on while quota is out of reach."""
    values = {**_values(reading, guide), "products": tabs, "here": DASHBOARD, "fails_open": fails_open}
    made = {name: templates.get_template(f"fragments/{name}.html").render(values) for name in FRAGMENTS}
    by = templates.get_template("fragments/consumption.html")
    made |= {table.id: by.render(values, table=table) for table in tables_of(reading.consumption)}
    made["title"] = values["title"]
    return made


def tables_of(consumption: Consumption | None) -> tuple[Table, ...]:
    """The tables of *API consumption*, in the page's order; without lines when usage could not be read."""
    apps = Table(id="apps", noun="application", a_noun="an application", lines=())
    users = Table(id="users", noun="user", a_noun="a user", lines=())
    if consumption is None:
        return apps, users
    return _filled(apps, consumption.apps, consumption.totals), _filled(users, consumption.users, consumption.totals)


def _filled(table: Table, section: Section, totals: UsageTotals) -> Table:
    shown = section.lines[:LINES_SHOWN_MAX]
    return replace(
        table,
        lines=shown,
        more=len(section.lines) - len(shown),
        more_calls=totals.calls - sum(line.calls for line in shown),
        more_credits=totals.credits - sum(line.credits for line in shown),
        more_refusals=totals.refusals - sum(line.refusals for line in shown),
    )


def guide_for(card: RateCard, gateway_url: str) -> Guide:
    """The first plain GET of the card whose path needs nothing but a version."""
    for operation in card.operations:
        plain = operation.path.replace("{version}", "v8" if card.product == "crm" else "v2")
        if "GET" in operation.methods and operation.kind is Kind.METERED and plain and not set("{*") & set(plain):
            return Guide(gateway_url=gateway_url, path=plain)
    return Guide(gateway_url=gateway_url, path="/")


def _values(reading: Reading, guide: Guide) -> dict[str, Any]:
    zone = zone_named(reading.org.time_zone)
    storage, consumption = reading.storage, reading.consumption
    said = sentence(reading, zone)
    return {
        "reading": reading,
        "now": reading.at,
        "zone": zone,
        "sentence": said,
        "title": f"{storage.percent} % used" if storage else "API Dashboard",
        "storage": storage,
        "allowance": reading.allowance,
        "has_own_base": reading.subscription.has_own_base,
        "state": _state(reading),
        "consumption": consumption,
        "chart": chart_of(storage.hours, at=storage.at, zone=zone) if storage else None,
        "guide": guide,
    }


def _state(reading: Reading) -> str:
    """Which one thing the page has to say first; the users' section says by itself when it is behind."""
    storage = reading.storage
    if reading.quota_lost_at is not None:
        return "lost"
    assert storage is not None, "quota was read"
    if reading.allowance.suspended:
        return "suspended"
    if reading.org.shadow:
        return "shadow"
    if storage.level is not Level.CALM:
        return storage.level.name.lower()
    spent = reading.consumption.totals if reading.consumption else None
    if storage.used == 0 and storage.held == 0 and spent is not None and spent.calls == 0 and spent.refusals == 0:
        return "empty"
    return "calm"


def tab_of(
    card: RateCard, subscription: Subscription, pool: str, *, query: str, current: bool, storage: Storage | None
) -> Tab:
    """The tab of an account. `storage` None: nothing is said of how full it is."""
    title = f"{card.title} {card.plan(subscription.plan).title}"
    if len(subscription.pools) > 1:
        title += " · " + next((each.title for each in card.pools if each.name == pool), pool)
    alarming = storage is not None and storage.level is not Level.CALM
    return Tab(
        title=title,
        place=query,
        current=current,
        percent=storage.percent if storage is not None and alarming else None,
        level=storage.level.name.lower() if storage is not None else "",
    )
