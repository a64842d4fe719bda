"""Organisations and their users as the rest of the code sees them, read from the store."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from farebox.crm.catalogue_bigin import CATALOGUES
from farebox.crm.definitions import read_definitions
from farebox.crm.schema import Catalogue, Module
from farebox.crm.store import SERIALS_PER_ORGANISATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """One organisation; `zgid` is its public id, `edition` words like "standard" or "express"."""

    zgid: int
    name: str
    product: str
    edition: str
    id_prefix: int
    unique_fields: str
    created: int
    definitions: str = "{}"

    def full_id(self, serial: int) -> int:
        """The 19-digit id of this organisation's thing number `serial`."""
        return self.id_prefix * SERIALS_PER_ORGANISATION + serial

    @property
    def catalogue(self) -> Catalogue:
        """The organisation's modules by API name."""
        return _catalogue(self.product, self.unique_fields, self.definitions)

    def module(self, name: str) -> Module | None:
        """The module of this API name, alias or id; letters count in either case."""
        by_word = _modules_by_word(self.product, self.unique_fields, self.definitions)
        return by_word.get(name.lower()) or self._module_by_id(name)

    def changed(self, module: Module | None = None) -> int:
        """When the module's definition last changed, in seconds since 1970; without one: any module's."""
        changed = read_definitions(self.definitions).changed
        known = changed.values() if module is None else (changed.get(module.api_name, 0),)
        return max(self.created, *known, 0)

    def module_id(self, module: Module) -> int:
        """The id of a module."""
        return self.full_id(2_000 + module.number)

    def field_id(self, module: Module, api_name: str) -> int:
        """The id of a field: its own, or by its place in the module's table."""
        own = module.by_name[api_name].own_id
        if own is not None:
            return own
        position = next(n for n, each in enumerate(module.fields) if each.api_name == api_name)
        return self.full_id(100_000 + module.number * 1_000 + position)

    def _module_by_id(self, word: str) -> Module | None:
        if not word.isdecimal():
            return None
        return next((each for each in self.catalogue.values() if str(self.module_id(each)) == word), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One user of an organisation."""

    id: int
    zgid: int
    email: str
    first_name: str
    last_name: str
    status: str
    confirmed: bool
    admin: bool
    time_zone: str
    created: int

    @property
    def full_name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def zone(self) -> tzinfo:
        """The zone in which this user sees times."""
        return zone_of(self.time_zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSeed:
    """A user to make. `status`: active, disabled or deleted. The first user of an organisation is its admin.

    `access_token` is one that lasts until revoked, for programs that cannot refresh; the original has none such.
    """

    email: str
    first_name: str = ""
    last_name: str = ""
    status: str = "active"
    confirmed: bool = True
    admin: bool = False
    time_zone: str = "UTC"
    refresh_token: str | None = None
    access_token: str | None = None


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """The zone of this IANA name; raises ZoneInfoNotFoundError (a KeyError) for an unknown one."""
    return UTC if name == "UTC" else ZoneInfo(name)


def to_iso(seconds: int, zone: tzinfo) -> str:
    """An instant as the API writes it: `2023-05-10T01:10:47-07:00`."""
    return datetime.fromtimestamp(seconds, zone).isoformat()


def find_organisation(db: sqlite3.Connection, zgid: int) -> Organisation:
    """The organisation of this zgid; a missing one is a bug of the caller."""
    row = db.execute(
        "SELECT zgid, name, product, edition, id_prefix, unique_fields, created, definitions "
        "FROM organisation WHERE zgid = ?",
        (zgid,),
    ).fetchone()
    return Organisation(**dict(row))


def find_user(db: sqlite3.Connection, user_id: int, *, zgid: int) -> User | None:
    """The user of this id if it belongs to the organisation."""
    row = db.execute("SELECT * FROM user WHERE id = ? AND zgid = ?", (user_id, zgid)).fetchone()
    return None if row is None else _user(row)


def next_id(db: sqlite3.Connection, organisation: Organisation) -> int:
    """A new id of the organisation, higher than all before; belongs into the transaction that uses it."""
    row = db.execute(
        "UPDATE organisation SET next_serial = next_serial + 1 WHERE zgid = ? RETURNING next_serial - 1",
        (organisation.zgid,),
    ).fetchone()
    return organisation.full_id(int(row[0]))


def list_users(db: sqlite3.Connection, zgid: int) -> list[User]:
    """All users of the organisation, also disabled and deleted ones, by id."""
    rows = db.execute("SELECT * FROM user WHERE zgid = ? ORDER BY id", (zgid,))
    return [_user(row) for row in rows]


def _user(row: sqlite3.Row) -> User:
    values = dict(row)
    values["confirmed"] = bool(values["confirmed"])
    values["admin"] = bool(values["admin"])
    return User(**values)


@lru_cache(maxsize=64)
def _catalogue(product: str, unique_fields: str, definitions: str) -> Catalogue:
    wanted = {name: frozenset(fields) for name, fields in json.loads(unique_fields).items()}
    modules = CATALOGUES[product]
    base = {name: module.with_unique(wanted[name]) if name in wanted else module for name, module in modules.items()}
    return read_definitions(definitions).extend(base)


@lru_cache(maxsize=64)
def _modules_by_word(product: str, unique_fields: str, definitions: str) -> dict[str, Module]:
    modules = _catalogue(product, unique_fields, definitions).values()
    return {word.lower(): module for module in modules for word in (module.api_name, *module.aliases)}
