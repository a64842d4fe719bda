"""The quota directory as the console reads it: a fresh image at most every half second, shared by all requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from farebox.console.orgs import App, CardOf, Org, Subscription, User
from farebox.domain.identity import Account
from farebox.errors import DataDirectoryError, FareboxError
from farebox.quota import allowances
from farebox.quota.directory import DirectoryWatch
from farebox.quota.directory_image import DirectoryImage, SubscriptionRecord, digest_of
from farebox.quota.port import AllowanceInForce

REFRESH_SECONDS: Final = 0.5


class DirectoryOrgs:
    """`Orgs` over the directory in the data directory `folder`. Safe to use from several threads.

    While the file cannot be read, the last image stays in force, as it does in gateways. Raises DataDirectoryError when
    it cannot be opened at the start.
    """

    def __init__(self, folder: Path, *, card_of: CardOf, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._card_of = card_of
        self._monotonic = monotonic
        self._watch = DirectoryWatch(folder)
        self._turn = threading.Lock()
        self._fresh_until = 0.0

    def orgs(self) -> tuple[Org, ...]:
        """All of them, by name."""
        image = self.image()
        return tuple(self._org(image, record.org) for record in image.orgs())

    def org(self, id: str) -> Org | None:  # noqa: A002 - the glossary's word
        """The org of that id."""
        image = self.image()
        return None if image.org(id) is None else self._org(image, id)

    def users(self, org: str) -> tuple[User, ...]:
        """Its users, by name."""
        return tuple(User(id=each.id, name=each.name or each.id, email=each.email) for each in self.image().users(org))

    def apps(self, org: str) -> tuple[App, ...]:
        """Its apps, by name."""
        return tuple(App(id=each.id, name=each.name or each.id) for each in self.image().apps(org))

    def allowance(self, account: Account) -> AllowanceInForce:
        """How the account's total is made. Raises UnknownNameError."""
        return allowances.in_force(self.image(), self._card_of, account)

    def org_of_key(self, key: str) -> str | None:
        """The org of a key in force; a suspended org's key still shows why its calls are refused."""
        principal = self.image().key(digest_of(key))
        return None if principal is None else principal.org

    def image(self) -> DirectoryImage:
        """The directory, at most REFRESH_SECONDS old."""
        with self._turn:
            if self._monotonic() >= self._fresh_until:
                self._fresh_until = self._monotonic() + REFRESH_SECONDS
                try:
                    self._watch.refresh()
                except DataDirectoryError as error:
                    structlog.get_logger().warning("directory_not_refreshed", reason=str(error))
            return self._watch.image

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            self._watch.close()

    def _org(self, image: DirectoryImage, id_: str) -> Org:
        record = image.org(id_)
        assert record is not None, "asked for an org of this image"
        return Org(
            id=record.org,
            name=record.name or record.org,
            time_zone=record.time_zone,
            shadow=record.shadow,
            subscriptions=tuple(
                found for each in image.subscriptions(id_) if (found := self._subscription(each)) is not None
            ),
        )

    def _subscription(self, record: SubscriptionRecord) -> Subscription | None:
        """None while its card cannot be used: that concerns this subscription alone, never the other orgs."""
        try:
            pools = self._card_of(record.card).plan(record.plan).pools
        except FareboxError as error:
            structlog.get_logger().error(
                "subscription_not_shown", org=record.org, product=record.product, code=error.code, reason=str(error)
            )
            return None
        return Subscription(
            product=record.product,
            card=record.card,
            plan=record.plan,
            pools=tuple(pool.pool for pool in pools),
            has_own_base=record.base is not None,
        )
