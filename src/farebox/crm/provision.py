"""Making organisations, their users and their clients; the API itself cannot."""

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from farebox.crm import sample, scopes, tokens
from farebox.crm.catalogue_bigin import CATALOGUES
from farebox.crm.errors import StoreError
from farebox.crm.organisations import Organisation, UserSeed, find_organisation, find_user, zone_of
from farebox.crm.store import Store

FIRST_ID_PREFIX = 5_725_767
"""The first organisation's id prefix; 7 digits, so that ids have 19 and fit a signed 64-bit integer."""
FIRST_ZGID = 60_018_001
FIRST_SERIAL = 1_000_001
USERS_SERIAL = 400_000
USERS_MAX = 5_000
SAMPLE_RECORDS_MAX = 100_000
STATUSES = ("active", "disabled", "deleted")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCredentials:
    """A user that exists, and a refresh token of the organisation's first client for it."""

    id: str
    email: str
    full_name: str
    refresh_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """All that is needed to call the API as this organisation. Secrets are shown here and never again."""

    name: str
    product: str
    edition: str
    zgid: str
    client_id: str
    client_secret: str
    refresh_token: str
    users: tuple[UserCredentials, ...] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """A client that was made; `client_secret` is shown here and never again."""

    client_id: str
    client_secret: str
    name: str


def create_organisation(
    store: Store,
    *,
    name: str,
    product: str = "crm",
    users: int | Sequence[UserSeed] = 10,
    edition: str = "standard",
    sample_records: int = 0,
    seed: int = 1,
    unique_fields: Mapping[str, Sequence[str]] | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    refresh_token: str | None = None,
    app: str = "Integration",
    redirect_uri: str = "",
    zgid: int | None = None,
) -> Credentials:
    """A new organisation with users, a client and `sample_records` each; long because it has so many parameters.

    `users` is a number of active users with made-up names, or the users themselves; each active one
    gets a refresh token of the client. `unique_fields` makes fields unique, as {"Leads": ["Email"]}.
    Raises StoreError, and makes nothing, when something given is wrong or already there.
    """
    _check(product=product, unique_fields=unique_fields or {}, redirect_uri=redirect_uri, sample_records=sample_records)
    seeds = _user_seeds(users, name=name, refresh_token=refresh_token)
    try:
        with store.transaction() as db:
            organisation = _insert_organisation(
                db,
                name=name,
                product=product,
                edition=edition,
                zgid=zgid,
                unique_fields=unique_fields or {},
                at=store.now(),
            )
            ids = _insert_users(db, organisation, seeds)
            client = create_client(
                store,
                zgid=organisation.zgid,
                name=app,
                user_id=ids[0],
                client_id=client_id,
                client_secret=client_secret,
                redirect_uri=redirect_uri,
            )
            made = _issue_tokens(store, client.client_id, scopes.everything(product), ids, seeds)
            if sample_records:
                sample.fill(store, organisation, user_ids=tuple(ids), count=sample_records, seed=seed)
    except sqlite3.IntegrityError as error:
        raise StoreError(
            f"Something given for {name!r} is in the store already ({error}); take another one."
        ) from error
    return Credentials(
        name=name,
        product=product,
        edition=edition,
        zgid=str(organisation.zgid),
        client_id=client.client_id,
        client_secret=client.client_secret,
        refresh_token=made[0].refresh_token,
        users=made,
    )


def create_client(
    store: Store,
    *,
    zgid: int,
    name: str,
    user_id: int,
    client_id: str | None = None,
    client_secret: str | None = None,
    scope: str | None = None,
    redirect_uri: str = "",
) -> ClientCredentials:
    """Another application of an organisation. `user_id` is whom client_credentials stands for."""
    with store.transaction() as db:
        organisation = find_organisation(db, zgid)
        if find_user(db, user_id, zgid=zgid) is None:
            raise StoreError(f"User {user_id} is not a user of organisation {zgid}.")
        return _insert_client(
            store,
            zgid=zgid,
            user_id=user_id,
            name=name,
            scope=scope or scopes.everything(organisation.product),
            redirect_uri=redirect_uri,
            client_id=client_id,
            client_secret=client_secret,
        )


def create_resource_server(
    store: Store, *, name: str, client_id: str | None = None, client_secret: str | None = None
) -> ClientCredentials:
    """A client that may introspect the tokens of every organisation and can do nothing else."""
    return _insert_client(
        store,
        zgid=None,
        user_id=None,
        name=name,
        scope="",
        redirect_uri="",
        client_id=client_id,
        client_secret=client_secret,
    )


def _insert_organisation(
    db: sqlite3.Connection,
    *,
    name: str,
    product: str,
    edition: str,
    zgid: int | None,
    unique_fields: Mapping[str, Sequence[str]],
    at: int,
) -> Organisation:
    position = db.execute("SELECT count(*) FROM organisation").fetchone()[0]
    number = zgid
    if number is None:
        highest = db.execute("SELECT max(zgid) FROM organisation").fetchone()[0]
        number = FIRST_ZGID if highest is None else highest + 1
    unique = json.dumps({module: list(fields) for module, fields in unique_fields.items()})
    db.execute(
        "INSERT INTO organisation (zgid, name, product, edition, id_prefix, next_serial, unique_fields, created) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (number, name, product, edition, FIRST_ID_PREFIX + position, FIRST_SERIAL, unique, at),
    )
    return find_organisation(db, number)


def _insert_users(db: sqlite3.Connection, organisation: Organisation, seeds: Sequence[UserSeed]) -> list[int]:
    """The ids of the new users, in order; the first is an admin."""
    ids = [organisation.full_id(USERS_SERIAL + 1 + offset) for offset in range(len(seeds))]
    rows = [
        (
            user_id,
            organisation.zgid,
            each.email,
            each.first_name,
            each.last_name,
            each.status,
            each.confirmed,
            each.admin or user_id == ids[0],
            each.time_zone,
            organisation.created,
        )
        for user_id, each in zip(ids, seeds, strict=True)
    ]
    db.executemany("INSERT INTO user VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return ids


def _issue_tokens(
    store: Store, client_id: str, scope: str, ids: Sequence[int], seeds: Sequence[UserSeed]
) -> tuple[UserCredentials, ...]:
    """One refresh token for each active user, and the lasting access tokens that were given."""
    for user_id, each in zip(ids, seeds, strict=True):
        if each.access_token is not None and each.status == "active":
            tokens.issue_lasting_access_token(
                store, client_id=client_id, user_id=user_id, scope=scope, value=each.access_token
            )
    return tuple(
        UserCredentials(
            id=str(user_id),
            email=each.email,
            full_name=f"{each.first_name} {each.last_name}".strip(),
            refresh_token=tokens.issue_refresh_token(
                store, client_id=client_id, user_id=user_id, scope=scope, value=each.refresh_token
            ),
        )
        for user_id, each in zip(ids, seeds, strict=True)
        if each.status == "active"
    )


def _insert_client(
    store: Store,
    *,
    zgid: int | None,
    user_id: int | None,
    name: str,
    scope: str,
    redirect_uri: str,
    client_id: str | None,
    client_secret: str | None,
) -> ClientCredentials:
    identity = client_id or f"1000.{secrets.token_hex(15).upper()}"
    secret = client_secret or secrets.token_hex(21)
    with store.transaction() as db:
        if tokens.find_client(db, identity) is not None:
            raise StoreError(f"There is a client {identity} already; client ids are unique in a store.")
        db.execute(
            "INSERT INTO client (client_id, zgid, user_id, secret, name, scope, redirect_uri) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (identity, zgid, user_id, tokens.digest(secret), name, scope, redirect_uri),
        )
    return ClientCredentials(client_id=identity, client_secret=secret, name=name)


def _check(*, product: str, unique_fields: Mapping[str, Sequence[str]], redirect_uri: str, sample_records: int) -> None:
    if product not in CATALOGUES:
        raise StoreError(f"Unknown product {product!r}; it is one of {', '.join(CATALOGUES)}.")
    for module, fields in unique_fields.items():
        known = CATALOGUES[product].get(module)
        unknown = [each for each in fields if known is None or each not in known.by_name]
        if unknown or known is None:
            raise StoreError(f"unique_fields: {module} has no field {', '.join(unknown) or '(no such module)'}.")
    if not 0 <= sample_records <= SAMPLE_RECORDS_MAX:
        raise StoreError(f"sample_records is 0 to {SAMPLE_RECORDS_MAX}, not {sample_records}.")
    if redirect_uri and "://" not in redirect_uri:
        raise StoreError(f"redirect_uri {redirect_uri!r} must be an absolute URL.")


def _user_seeds(users: int | Sequence[UserSeed], *, name: str, refresh_token: str | None) -> list[UserSeed]:
    seeds = sample.people(users, organisation=name) if isinstance(users, int) else list(users)
    if not 1 <= len(seeds) <= USERS_MAX or seeds[0].status != "active":
        raise StoreError(f"An organisation has 1 to {USERS_MAX} users, the first of them active.")
    for each in seeds:
        if each.status not in STATUSES:
            raise StoreError(f"User {each.email}: status is one of {', '.join(STATUSES)}, not {each.status!r}.")
        try:
            zone_of(each.time_zone)
        except (KeyError, ValueError) as error:
            raise StoreError(f"User {each.email}: no time zone {each.time_zone!r} on this machine.") from error
    if len({each.email.lower() for each in seeds}) != len(seeds):
        raise StoreError("Two users of one organisation have the same e-mail address.")
    if refresh_token is not None and seeds[0].refresh_token is None:
        first = asdict(seeds[0]) | {"refresh_token": refresh_token}
        seeds[0] = UserSeed(**first)
    return seeds
