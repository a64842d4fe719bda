"""What the console's routes share, put together once by `create_app`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import jinja2

from farebox.console.auth import Logins
from farebox.console.cookies import Cookies
from farebox.console.doors import Doors
from farebox.console.live import Fragments, Live
from farebox.console.orgs import CardOf, Orgs
from farebox.console.pages.dashboard import Tab, fragments_of, guide_for, tab_of
from farebox.console.places import NotHereError, Place, place_of
from farebox.console.readings import Reading, Readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The console's working parts."""

    orgs: Orgs
    card_of: CardOf
    readings: Readings
    logins: Logins
    cookies: Cookies
    doors: Doors
    templates: jinja2.Environment
    gateway_url: str
    session_seconds: int
    fails_open: bool = False
    """Whether the gateways let calls through while quota is out of reach."""

    def reading(self, place: Place) -> Reading:
        """The place's figures now."""
        return self.readings.read(place.org, place.subscription, place.pool)

    def tabs(self, place: Place, *, with_levels: bool) -> list[Tab]:
        """The accounts of the place's org."""
        return [
            self._tab(place, Place(place.org, each, pool), with_level=with_levels)
            for each, pool in place.org.accounts()
        ]

    def fragments(self, place: Place) -> Fragments:
        """The dashboard's fragments for a place."""
        guide = guide_for(self.card_of(place.subscription.card), self.gateway_url)
        tabs = self.tabs(place, with_levels=True)
        return fragments_of(
            self.reading(place), templates=self.templates, guide=guide, tabs=tabs, fails_open=self.fails_open
        )

    def _tab(self, shown: Place, other: Place, *, with_level: bool) -> Tab:
        storage = self.readings.storage(other.org, other.subscription, other.pool) if with_level else None
        return tab_of(
            self.card_of(other.subscription.card),
            other.subscription,
            other.pool,
            query=other.query,
            current=other == shown,
            storage=storage,
        )


def live_of(parts: Parts) -> Live:
    """Live updates keyed by (org, product, pool); the directory is read anew each time, as plans and users change."""

    def render(key: Hashable) -> Fragments:
        assert isinstance(key, tuple), "keys are made by the live route"
        org = parts.orgs.org(key[0])
        subscription = org.subscription(key[1]) if org else None
        if org is None or subscription is None:
            raise NotHereError
        return parts.fragments(Place(org, subscription, key[2]))

    return Live(render)


__all__ = ["Parts", "Place", "live_of", "place_of"]
