"""The directory as gateways hold it: one image in memory, never changed, replaced when its version grew.

Looking up a key is one dictionary access; nothing on the way of a call touches a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from farebox.domain.identity import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgRecord:
    """An organisation. `time_zone` is an IANA name; `version` grows with changes that touch its allowances."""

    org: str
    name: str
    suspended: bool
    time_zone: str
    version: int
    shadow: bool = False
    """Shadow mode: calls are judged and recorded, never refused for want of credits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRecord:
    """What an org bought of a product. `users` are licences; `base` and `addon` millicredits, base None: the plan's."""

    org: str
    product: str
    card: str
    plan: str
    users: int
    base: int | None
    addon: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """A user of an org; `id` is what entries carry."""

    org: str
    id: str
    name: str
    email: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRecord:
    """A client application of an org; `id` is what entries carry."""

    org: str
    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A Farebox key without the key. `made_at` is in microseconds."""

    id: str
    sha256: bytes
    org: str
    user: str
    app: str
    label: str
    made_at: int
    revoked: bool


def digest_of(key: str) -> bytes:
    """What is kept of a key and looked up by: its SHA-256."""
    return hashlib.sha256(key.encode("utf-8")).digest()


class DirectoryImage:
    """All of the directory at one version."""

    def __init__(
        self,
        *,
        version: int,
        orgs: Iterable[OrgRecord] = (),
        subscriptions: Iterable[SubscriptionRecord] = (),
        users: Iterable[UserRecord] = (),
        apps: Iterable[AppRecord] = (),
        keys: Iterable[KeyRecord] = (),
        credentials: Iterable[tuple[str, str, str]] = (),
    ) -> None:
        self.version = version
        self._orgs = {record.org: record for record in orgs}
        self._subscriptions = {(record.org, record.product): record for record in subscriptions}
        self._users = {(record.org, record.id): record for record in users}
        self._emails = {
            (record.org, record.email.casefold()): record for record in self._users.values() if record.email
        }
        self._apps = {(record.org, record.id): record for record in apps}
        self._keys = {
            record.sha256: Principal(org=record.org, user=record.user, app=record.app)
            for record in keys
            if not record.revoked
        }
        self._credentials = {(org, upstream): value for org, upstream, value in credentials}

    def key(self, sha256: bytes) -> Principal | None:
        """Who calls with the key of that SHA-256; None when there is none in force.

        Whether the org is suspended or the user inactive is the caller's to ask: such a caller is known, and refused.
        """
        return self._keys.get(sha256)

    def org(self, org: str) -> OrgRecord | None:
        """The org of that id."""
        return self._orgs.get(org)

    def in_shadow(self, org: str) -> bool:
        """Whether the org is in shadow mode."""
        record = self._orgs.get(org)
        return record is not None and record.shadow

    def subscription(self, org: str, product: str) -> SubscriptionRecord | None:
        """What the org bought of the product."""
        return self._subscriptions.get((org, product))

    def user(self, org: str, name: str) -> UserRecord | None:
        """The org's user of that id or e-mail address (letter case aside)."""
        return self._users.get((org, name)) or self._emails.get((org, name.casefold()))

    def app(self, org: str, app: str) -> AppRecord | None:
        """The org's app of that id."""
        return self._apps.get((org, app))

    def upstream_credential(self, org: str, upstream: str) -> str | None:
        """The Authorization value that takes the place of a Farebox key towards that upstream."""
        return self._credentials.get((org, upstream)) or self._credentials.get((org, ""))

    def orgs(self) -> tuple[OrgRecord, ...]:
        """All orgs, by name."""
        return tuple(sorted(self._orgs.values(), key=lambda record: (record.name.casefold(), record.org)))

    def subscriptions(self, org: str) -> tuple[SubscriptionRecord, ...]:
        """The org's subscriptions, by product."""
        found = [record for (owner, _), record in self._subscriptions.items() if owner == org]
        return tuple(sorted(found, key=lambda record: record.product))

    def users(self, org: str) -> tuple[UserRecord, ...]:
        """The org's users, by name."""
        found = [record for (owner, _), record in self._users.items() if owner == org]
        return tuple(sorted(found, key=lambda record: (record.name.casefold(), record.id)))

    def apps(self, org: str) -> tuple[AppRecord, ...]:
        """The org's apps, by name."""
        found = [record for (owner, _), record in self._apps.items() if owner == org]
        return tuple(sorted(found, key=lambda record: (record.name.casefold(), record.id)))
