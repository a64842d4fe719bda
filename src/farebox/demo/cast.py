"""Who plays in the demo: three organisations, with the people and secrets that the CRM API and Farebox both know."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farebox.quota.directory import Directory

APP = "Website form"
PASSWORD_BYTES = 12

PEOPLE = (
    ("Patricia", "Boyle"),
    ("Jasper", "Morgan"),
    ("Amelia", "Burrows"),
    ("Daniel", "Okafor"),
    ("Sofia", "Lindqvist"),
    ("Hiro", "Tanaka"),
    ("Leila", "Haddad"),
    ("Marco", "Bianchi"),
    ("Grace", "Nwosu"),
    ("Tomas", "Novak"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """A user of an organisation. `refresh_token` lets programs sign in as them, `access_token` lasts.

    The gateway sends the first person's `access_token` upstream in place of the organisation's Farebox key.
    """

    name: str
    email: str
    refresh_token: str
    access_token: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation of the demo. `org` is its id everywhere: the CRM's zgid, Farebox's org."""

    org: str
    name: str
    product: str
    card: str
    plan: str
    licences: int
    login: str
    sample_records: int
    people: tuple[Person, ...]
    client_id: str = field(default_factory=lambda: f"1000.{secrets.token_hex(15).upper()}")
    client_secret: str = field(default_factory=lambda: secrets.token_hex(21))
    password: str = field(default_factory=lambda: secrets.token_urlsafe(PASSWORD_BYTES))

    def seed(self) -> dict[str, Any]:
        """This organisation in the CRM API's seed file."""
        return {
            "name": self.name,
            "product": self.product,
            "edition": self.plan,
            "zgid": int(self.org),
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "app": APP,
            "sample_records": self.sample_records,
            "users": [
                {
                    "email": person.email,
                    "first_name": person.name.split()[0],
                    "last_name": person.name.split()[1],
                    "refresh_token": person.refresh_token,
                    "access_token": person.access_token,
                }
                for person in self.people
            ],
        }


def cast() -> tuple[Organisation, ...]:
    """The three, with fresh secrets: CRM standard with 10 users, CRM free, Bigin Express with 10 users."""
    return (
        _organisation("60018001", "Zylker", "zylker.example", ("crm", "zoho-crm", "standard", 10), 2_000),
        _organisation("60018002", "Cloud Nine", "cloudnine.example", ("crm", "zoho-crm", "free", 3), 100),
        _organisation("60018003", "Corner Bakery", "bakery.example", ("bigin", "bigin", "express", 10), 100),
    )


def _organisation(
    org: str, name: str, domain: str, subscription: tuple[str, str, str, int], records: int
) -> Organisation:
    product, card, plan, licences = subscription
    people = tuple(
        Person(
            name=f"{first} {last}",
            email=f"{first.lower()}@{domain}",
            refresh_token=_token(),
            access_token=_token(),
        )
        for first, last in PEOPLE[:licences]
    )
    return Organisation(
        org, name, product, card, plan, licences, login=people[0].email, sample_records=records, people=people
    )


def _token() -> str:
    """A secret in the form of the API's own tokens."""
    return f"1000.{secrets.token_hex(16)}.{secrets.token_hex(16)}"


def add_program(directory: Directory, organisation: Organisation, *, name: str, user: str) -> str:
    """Another app of an organisation, which calls with a Farebox key of one of its users; the key."""
    directory.add_app(organisation.org, app_id(name), name=name)
    return directory.add_key(organisation.org, user=user, app=app_id(name), label=name).key


def app_id(name: str) -> str:
    """The id that the directory gives an app of that name.

    >>> app_id("Lead sync, naive")
    'lead-sync-naive'
    """
    return name.lower().replace(",", "").replace(" ", "-")


def enter(directory: Directory, organisation: Organisation, user_ids: Mapping[str, str]) -> str:
    """Tell Farebox about an organisation, its people (by e-mail: their ids in the CRM) and its app; its Farebox key."""
    directory.add_org(organisation.org, name=organisation.name)
    directory.subscribe(
        organisation.org,
        organisation.product,
        card=organisation.card,
        plan=organisation.plan,
        users=organisation.licences,
    )
    for person in organisation.people:
        directory.add_user(organisation.org, user_ids[person.email], name=person.name, email=person.email)
    authorization = f"Zoho-oauthtoken {organisation.people[0].access_token}"
    directory.set_upstream_credential(organisation.org, authorization=authorization)
    directory.add_app(organisation.org, organisation.client_id, name=APP)
    return directory.add_key(
        organisation.org, user=user_ids[organisation.login], app=organisation.client_id, label="demo"
    ).key
