"""Organisations as the console needs them: who they are, what they use, their users and apps. Read, never changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from farebox.domain.cards import RateCard
from farebox.domain.identity import Account
from farebox.quota.port import AccountView, AllowanceInForce


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of an org. `name` is what people call them; `id` is what entries carry."""

    id: str
    name: str
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A client application of an org. `name` is what people call it; `id` is what entries carry."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A product an org uses, under a plan of a rate card. The first pool is shown unless another is asked for."""

    product: str
    card: str
    plan: str
    pools: tuple[str, ...]
    has_own_base: bool = False
    """The base limit is this account's, not the plan's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Org:
    """An organisation. `time_zone` is an IANA name: the zone its pages show times in."""

    id: str
    name: str
    time_zone: str
    subscriptions: tuple[Subscription, ...]
    shadow: bool = False
    """Shadow mode: its calls are judged and recorded, and none is refused for want of credits."""

    def subscription(self, product: str) -> Subscription | None:
        """Its subscription of that product, if it has one."""
        return next((each for each in self.subscriptions if each.product == product), None)

    def accounts(self) -> tuple[tuple[Subscription, str], ...]:
        """Every (subscription, pool) of the org."""
        return tuple((each, pool) for each in self.subscriptions for pool in each.pools)


class Orgs(Protocol):
    """The directory, read. Safe to use from several threads."""

    def orgs(self) -> tuple[Org, ...]:
        """All of them, by name."""
        ...

    def org(self, id: str) -> Org | None:  # noqa: A002 - the glossary's word
        """The org of that id; None when there is none."""
        ...

    def users(self, org: str) -> tuple[User, ...]:
        """Every user of the org, by name, also those who never called."""
        ...

    def apps(self, org: str) -> tuple[App, ...]:
        """Every app of the org, by name, also those that never called."""
        ...

    def allowance(self, account: Account) -> AllowanceInForce:
        """How the account's total is made. Raises UnknownNameError."""
        ...

    def org_of_key(self, key: str) -> str | None:
        """The org a Farebox key belongs to; None when no key in force is that one."""
        ...


class QuotaView(Protocol):
    """The part of the quota store the console reads. Raises QuotaUnavailableError."""

    def view(self, account: Account) -> AccountView:
        """The account as it stands now."""
        ...


CardOf = Callable[[str], RateCard]
"""The rate card of a subscription's `card`."""
