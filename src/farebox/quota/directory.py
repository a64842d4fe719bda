"""The directory of orgs, subscriptions, users, apps and keys: one SQLite file, written by console and command line.

Gateways never write it and never wait for it: they hold a `DirectoryImage` and reload it when the version grew.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farebox.domain.names import FAREBOX
from farebox.errors import ConfigInvalidError, DataDirectoryError, NameTakenError, UnknownNameError
from farebox.quota import sqlite_file
from farebox.quota.directory_image import (
    AppRecord,
    DirectoryImage,
    KeyRecord,
    OrgRecord,
    SubscriptionRecord,
    UserRecord,
    digest_of,
)

FILE_NAME: Final = "directory.db"
SCRIPTS: Final = ("directory_1.sql", "directory_2.sql")
KEY_PREFIX: Final = "fbx_"
KEY_BYTES: Final = 32
FILE_MODE: Final = 0o600
"""The file holds upstream credentials."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: `key` is shown once and kept nowhere."""

    id: str
    key: str


class Directory:
    """The file, for reading and writing. Not safe for use from several threads at once.

    Every change is one transaction and raises the version by one. Changing methods raise `UnknownNameError` or
    `NameTakenError`; everything raises `DataDirectoryError` when the file cannot be used.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, folder: Path) -> Directory:
        """The directory in the data directory `folder`, both created when they do not exist.

        Raises `DataVersionError` when another version of Farebox wrote the file.
        """
        path = folder / FILE_NAME
        with _usable(path):
            folder.mkdir(parents=True, exist_ok=True)
            path.touch(mode=FILE_MODE)
            connection = sqlite_file.connect(path, mode="rw")
            try:
                sqlite_file.bring_up_to_date(connection, path, [sqlite_file.script(name) for name in SCRIPTS])
                connection.execute("PRAGMA foreign_keys = ON")
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- reading -----------------------------------------------------------------------------------------------

    def version(self) -> int:
        """Grows by one with each change. Costs a few microseconds."""
        with _usable(self._path):
            return int(self._connection.execute("SELECT version FROM version").fetchone()[0])

    def image(self) -> DirectoryImage:
        """All of it, as of one moment."""
        with _usable(self._path), _reading(self._connection) as db:
            return DirectoryImage(
                version=int(db.execute("SELECT version FROM version").fetchone()[0]),
                orgs=_orgs(db),
                subscriptions=_subscriptions(db),
                users=_users(db),
                apps=_apps(db),
                keys=_keys(db),
                credentials=db.execute("SELECT org, upstream, authorization FROM upstream_credentials").fetchall(),
            )

    def orgs(self) -> tuple[OrgRecord, ...]:
        """All orgs, by name."""
        return self.image().orgs()

    def keys(self, org: str | None = None) -> tuple[KeyRecord, ...]:
        """The keys of an org, or all, oldest first; revoked ones too."""
        with _usable(self._path):
            found = [record for record in _keys(self._connection) if org in (None, record.org)]
        return tuple(sorted(found, key=lambda record: (record.made_at, record.id)))

    # --- changing ----------------------------------------------------------------------------------------------

    def add_org(self, org: str, *, name: str, time_zone: str = "UTC") -> None:
        """A new organisation. `time_zone` is an IANA name: the zone its pages show times in."""
        _check_zone(time_zone)
        _check_id("organisation", org)
        with self._change(f"There is already an organisation {org!r}. Choose another id.") as (db, version):
            db.execute(
                "INSERT INTO orgs (org, name, time_zone, version) VALUES (?, ?, ?, ?)", (org, name, time_zone, version)
            )

    def set_org(
        self, org: str, *, name: str | None = None, time_zone: str | None = None, shadow: bool | None = None
    ) -> None:
        """Change what is given. `shadow`: judge and record its calls, refuse none; in force within one lease time."""
        if time_zone is not None:
            _check_zone(time_zone)
        with self._change() as (db, _):
            found = db.execute(
                "UPDATE orgs SET name = ifnull(?, name), time_zone = ifnull(?, time_zone), shadow = ifnull(?, shadow)"
                " WHERE org = ?",
                (name, time_zone, shadow, org),
            )
            _one(found, f"There is no organisation {org!r}. `farebox org list` shows those there are.")

    def suspend(self, org: str, *, suspended: bool = True) -> None:
        """Suspend an org (its calls are refused within one lease time), or let it go on."""
        with self._change() as (db, version):
            found = db.execute("UPDATE orgs SET suspended = ?, version = ? WHERE org = ?", (suspended, version, org))
            _one(found, f"There is no organisation {org!r}. `farebox org list` shows those there are.")

    def subscribe(
        self,
        org: str,
        product: str,
        *,
        card: str,
        plan: str,
        users: int = 0,
        base: int | None = None,
        addon: int = 0,
    ) -> None:
        """What the org bought of a product; replaces what it had. `base` and `addon` in millicredits."""
        if users < 0 or addon < 0 or (base is not None and base < 0):
            raise ValueError("users, base and add-on cannot be negative")
        with self._change() as (db, version):
            _require_org(db, org)
            db.execute(
                "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (org, product, card, plan, users, base, addon, version),
            )

    def unsubscribe(self, org: str, product: str) -> None:
        """Nothing of that product any more."""
        with self._change() as (db, _):
            found = db.execute("DELETE FROM subscriptions WHERE org = ? AND product = ?", (org, product))
            _one(found, f"Organisation {org!r} has no subscription of {product!r}.")

    def add_user(self, org: str, id: str, *, name: str, email: str = "") -> None:  # noqa: A002 - the glossary's word
        """A new user; `id` is the one the upstream knows them by, where there is one."""
        _check_id("user", id)
        taken = f"Organisation {org!r} already has a user {id!r}. Choose another id."
        with self._change(taken) as (db, _):
            _require_org(db, org)
            db.execute("INSERT INTO users (org, id, name, email) VALUES (?, ?, ?, ?)", (org, id, name, email))

    def set_user_active(self, org: str, id: str, *, active: bool) -> None:  # noqa: A002 - the glossary's word
        """Whether that user's calls are let through."""
        with self._change() as (db, _):
            found = db.execute("UPDATE users SET active = ? WHERE org = ? AND id = ?", (active, org, id))
            _one(found, f"Organisation {org!r} has no user {id!r}. `farebox user list {org}` shows them.")

    def add_app(self, org: str, id: str, *, name: str) -> None:  # noqa: A002 - the glossary's word
        """A new client application."""
        _check_id("app", id)
        with self._change(f"Organisation {org!r} already has an app {id!r}. Choose another id.") as (db, _):
            _require_org(db, org)
            db.execute("INSERT INTO apps VALUES (?, ?, ?)", (org, id, name))

    def add_key(self, org: str, *, user: str = "", app: str = "", label: str = "") -> NewKey:
        """A new key for an org, optionally of one of its users and apps. The key is in the answer and nowhere else."""
        made = NewKey(id=secrets.token_hex(4), key=KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES))
        with self._change() as (db, _):
            _require_org(db, org)
            _require(db, "users", org, user, f"Organisation {org!r} has no user {user!r}.")
            _require(db, "apps", org, app, f"Organisation {org!r} has no app {app!r}.")
            db.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (made.id, digest_of(made.key), org, user, app, label, time.time_ns() // 1_000),
            )
        return made

    def revoke_key(self, id: str) -> None:  # noqa: A002 - the glossary's word
        """The key opens nothing any more, everywhere within one lease time. Safe to repeat."""
        with self._change() as (db, _):
            found = db.execute("UPDATE keys SET revoked = 1 WHERE id = ?", (id,))
            _one(found, f"There is no key {id!r}. `farebox key list` shows those there are.")

    def set_upstream_credential(self, org: str, *, upstream: str = "", authorization: str | None) -> None:
        """The Authorization value sent upstream in place of a Farebox key of the org; None removes it.

        Raises `ConfigInvalidError` for what cannot be the value of a header field.
        """
        if authorization is not None:
            _check_credential(authorization)
        with self._change() as (db, _):
            _require_org(db, org)
            if authorization is None:
                db.execute("DELETE FROM upstream_credentials WHERE org = ? AND upstream = ?", (org, upstream))
            else:
                db.execute(
                    "INSERT OR REPLACE INTO upstream_credentials VALUES (?, ?, ?)", (org, upstream, authorization)
                )

    @contextmanager
    def _change(self, taken: str = "") -> Iterator[tuple[sqlite3.Connection, int]]:
        """One transaction; gives the connection and the version the change makes. `taken` explains a duplicate."""
        db = self._connection
        with _usable(self._path):
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute("UPDATE version SET version = version + 1")
                yield db, int(db.execute("SELECT version FROM version").fetchone()[0])
                db.execute("COMMIT")
            except sqlite3.IntegrityError as error:
                db.execute("ROLLBACK")
                raise NameTakenError(taken) from error
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


class DirectoryWatch:
    """The image of the directory, kept fresh: `refresh` each second from one thread, `image` from any."""

    def __init__(self, folder: Path) -> None:
        self._directory = Directory.open(folder)
        self.image = self._directory.image()

    def refresh(self) -> bool:
        """Load the image again if the version grew; whether it did.

        Raises `DataDirectoryError` when the file cannot be read now; the last image stays in force.
        """
        if self._directory.version() == self.image.version:
            return False
        self.image = self._directory.image()
        return True

    def close(self) -> None:
        """Close the file."""
        self._directory.close()


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise DataDirectoryError(
            f"{path} cannot be used: {error}. Check that the data directory exists, has room and belongs to this user."
        ) from error


@contextmanager
def _reading(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN")
    try:
        yield db
    finally:
        db.execute("ROLLBACK")


def _orgs(db: sqlite3.Connection) -> list[OrgRecord]:
    rows = db.execute("SELECT org, name, suspended, time_zone, version, shadow FROM orgs")
    return [
        OrgRecord(org=org, name=name, suspended=bool(suspended), time_zone=zone, version=version, shadow=bool(shadow))
        for org, name, suspended, zone, version, shadow in rows
    ]


def _subscriptions(db: sqlite3.Connection) -> list[SubscriptionRecord]:
    rows = db.execute("SELECT org, product, card, plan, users, base, addon, version FROM subscriptions")
    return [
        SubscriptionRecord(
            org=org, product=product, card=card, plan=plan, users=users, base=base, addon=addon, version=version
        )
        for org, product, card, plan, users, base, addon, version in rows
    ]


def _users(db: sqlite3.Connection) -> list[UserRecord]:
    rows = db.execute("SELECT org, id, name, email, active FROM users")
    return [
        UserRecord(org=org, id=id_, name=name, email=email, active=bool(active))
        for org, id_, name, email, active in rows
    ]


def _apps(db: sqlite3.Connection) -> list[AppRecord]:
    rows = db.execute("SELECT org, id, name FROM apps")
    return [AppRecord(org=org, id=id_, name=name) for org, id_, name in rows]


def _keys(db: sqlite3.Connection) -> list[KeyRecord]:
    rows = db.execute("SELECT id, sha256, org, user, app, label, made_at, revoked FROM keys")
    return [
        KeyRecord(
            id=id_, sha256=sha256, org=org, user=user, app=app, label=label, made_at=made_at, revoked=bool(revoked)
        )
        for id_, sha256, org, user, app, label, made_at, revoked in rows
    ]


def _require_org(db: sqlite3.Connection, org: str) -> None:
    if db.execute("SELECT 1 FROM orgs WHERE org = ?", (org,)).fetchone() is None:
        raise UnknownNameError(f"There is no organisation {org!r}. `farebox org list` shows those there are.")


def _require(db: sqlite3.Connection, table: str, org: str, name: str, sentence: str) -> None:
    """`table` is one of this file's own; an empty name asks for nothing."""
    query = f"SELECT 1 FROM {table} WHERE org = ? AND id = ?"  # noqa: S608 - no outside text in it
    if name and db.execute(query, (org, name)).fetchone() is None:
        raise UnknownNameError(f"{sentence} Add it first, or leave it out.")


def _one(cursor: sqlite3.Cursor, sentence: str) -> None:
    if cursor.rowcount != 1:
        raise UnknownNameError(sentence)


def _check_id(what: str, text: str) -> None:
    """Ids stand in headers, addresses and journal entries; one name is Farebox's own."""
    if text == FAREBOX and what != "organisation":
        raise UnknownNameError(f"{text!r} is what Farebox's own calls are counted under. Choose another id.")
    if not text or len(text) > 200 or not text.isprintable() or any(c.isspace() or c in "/?#" for c in text):  # noqa: PLR2004 - far above real ids
        raise UnknownNameError(
            f"{text!r} cannot be the id of a new {what}: use 1 to 200 characters, none of them blank, '/', '?' or '#'."
        )


def _check_credential(authorization: str) -> None:
    """It goes into requests as it is, where a line break would begin another field. Never repeated: it is a secret."""
    blank = authorization != authorization.strip()
    if not authorization or blank or not (authorization.isascii() and authorization.isprintable()):
        sentence = (
            "The upstream credential cannot be the value of an Authorization field: give it on one line, in ASCII, "
            "without control characters and without blanks or a line break at its ends."
        )
        raise ConfigInvalidError((sentence,))


def _check_zone(name: str) -> None:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownNameError(f"There is no time zone {name!r}. Use an IANA name such as Europe/Berlin.") from None
