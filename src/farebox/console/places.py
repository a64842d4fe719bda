"""Whose page is meant: the org, product and pool of a request, if the login may see them. Everything else is not there.

G8: an org that exists and one that does not are told apart by nothing, neither by text nor by status.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from farebox.console.auth import Login
from farebox.console.orgs import Org, Orgs, Subscription


class NotHereError(Exception):
    """404: it does not exist, or not for this login."""


@dataclass(frozen=True, slots=True)
class Place:
    """An account, and the org and subscription it belongs to."""

    org: Org
    subscription: Subscription
    pool: str

    @property
    def query(self) -> str:
        """The place as a query string."""
        named = {"org": self.org.id, "product": self.subscription.product}
        return urlencode(named if self.pool == self.subscription.pools[0] else {**named, "pool": self.pool})

    @property
    def figures(self) -> dict[str, str]:
        """Where the JSON API has what the account's page shows."""
        path = f"/api/v1/organisations/{quote(self.org.id, safe='')}/{quote(self.subscription.product, safe='')}"
        pool = {} if self.pool == self.subscription.pools[0] else {"pool": self.pool}
        return {
            "allowance": f"{path}/allowance" + (f"?{urlencode(pool)}" if pool else ""),
            "apps": f"{path}/usage?{urlencode({'by': 'app', **pool})}",
            "users": f"{path}/usage?{urlencode({'by': 'user', **pool})}",
        }


def visible_orgs(orgs: Orgs, login: Login) -> tuple[Org, ...]:
    """The orgs this login may see that use any product."""
    seen = orgs.orgs() if login.is_operator else tuple(org for org in [orgs.org(login.org)] if org is not None)
    return tuple(org for org in seen if org.subscriptions)


def place_of(orgs: Orgs, login: Login, *, org: str | None, product: str | None, pool: str | None) -> Place:
    """The place named; what is not named is the first there is. Raises NotHereError."""
    chosen = _org(orgs, login, org)
    subscription = chosen.subscriptions[0] if product is None else chosen.subscription(product)
    if subscription is None:
        raise NotHereError
    if pool is not None and pool not in subscription.pools:
        raise NotHereError
    return Place(chosen, subscription, pool or subscription.pools[0])


def _org(orgs: Orgs, login: Login, org: str | None) -> Org:
    if org is None:
        first = next(iter(visible_orgs(orgs, login)), None)
    else:
        first = orgs.org(org) if login.may_see(org) else None
    if first is None or not first.subscriptions:
        raise NotHereError
    return first
