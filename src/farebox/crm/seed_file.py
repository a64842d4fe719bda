"""Organisations from a JSON file, so that a separate process starts with known ones and known credentials."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from farebox.crm import tokens
from farebox.crm.errors import StoreError
from farebox.crm.organisations import UserSeed
from farebox.crm.provision import create_organisation, create_resource_server
from farebox.crm.seed_records import insert_records
from farebox.crm.store import Store

SERVER_WORDS: dict[str, tuple[type, ...]] = {"name": (str,), "client_id": (str,), "client_secret": (str,)}
ORGANISATION_WORDS: dict[str, tuple[type, ...]] = {
    **SERVER_WORDS,
    "product": (str,),
    "edition": (str,),
    "users": (int, list),
    "refresh_token": (str,),
    "app": (str,),
    "redirect_uri": (str,),
    "zgid": (int,),
    "sample_records": (int,),
    "seed": (int,),
    "unique_fields": (dict,),
    "records": (dict,),
}
USER_WORDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("email", "first_name", "last_name", "status", "time_zone", "refresh_token", "access_token"), (str,)
    ),
    **dict.fromkeys(("confirmed", "admin"), (bool,)),
}
"""What a seed file may say, and the types of the values."""


def load_seed(store: Store, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Make what a seed file says unless it is there; the credentials of what was made.

    The file is a list of organisations (the keyword arguments of create_organisation), or an object
    with `organisations` and `resource_servers`; `records` of an organisation are inserted, module by module.
    An organisation whose client_id exists is left as it is. Raises StoreError naming the file and the entry.
    """
    organisations, servers = _read_seed(path)
    with store.transaction():
        made = [_seed_one(store, path, "organisations", n, entry) for n, entry in enumerate(organisations)]
        made_servers = [_seed_one(store, path, "resource_servers", n, entry) for n, entry in enumerate(servers)]
    return {
        "organisations": [each for each in made if each is not None],
        "resource_servers": [each for each in made_servers if each is not None],
    }


def _seed_one(store: Store, path: Path, kind: str, position: int, entry: object) -> dict[str, Any] | None:
    where = f"{path}: {kind}[{position}]"
    values = _typed(entry, ORGANISATION_WORDS if kind == "organisations" else SERVER_WORDS, where)
    with store.reading() as db:
        if "client_id" in values and tokens.find_client(db, values["client_id"]) is not None:
            return None
    if isinstance(values.get("users"), list):
        each = enumerate(values["users"])
        values["users"] = [UserSeed(**_typed(user, USER_WORDS, f"{where}.users[{n}]", "email")) for n, user in each]
    try:
        if kind == "resource_servers":
            return asdict(create_resource_server(store, **values))
        records = values.pop("records", {})
        made = create_organisation(store, **values)
        if records:
            insert_records(store, made, records)
        return made.as_dict()
    except StoreError as error:
        raise StoreError(f"{where}: {error}") from error


def _typed(entry: object, words: Mapping[str, tuple[type, ...]], where: str, mandatory: str = "name") -> dict[str, Any]:
    """The entry as it is, if it is an object that has the mandatory word and known ones of the right type."""
    if not isinstance(entry, dict) or mandatory not in entry:
        raise StoreError(f"{where} must be an object with at least {mandatory!r}.")
    for word, value in entry.items():
        if word not in words:
            raise StoreError(f"{where}: unknown word {word!r}; known are {', '.join(words)}.")
        if not isinstance(value, words[word]) or (isinstance(value, bool) and bool not in words[word]):
            expected = " or ".join(kind.__name__ for kind in words[word])
            raise StoreError(f"{where}: {word} must be {expected}, not {value!r}.")
    return dict(entry)


def _read_seed(path: Path) -> tuple[list[Any], list[Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"The seed file {path} cannot be read: {error}.") from error
    if isinstance(content, list):
        return content, []
    if isinstance(content, dict) and set(content) <= {"organisations", "resource_servers"}:
        return content.get("organisations", []), content.get("resource_servers", [])
    raise StoreError(
        f"{path} must be a list of organisations, or an object with `organisations` and `resource_servers` only."
    )
