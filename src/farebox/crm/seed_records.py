"""Records of a seed file, written through the API itself, so that they are checked as a call's would be."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from farebox.crm import scopes
from farebox.crm.call import Answer, Incoming
from farebox.crm.engine import Engine
from farebox.crm.errors import ApiError, StoreError
from farebox.crm.provision import Credentials
from farebox.crm.routes import NEWEST
from farebox.crm.settings import Settings
from farebox.crm.store import Store
from farebox.crm.tokens import Grant
from farebox.crm.working import make_workers

AT_ONCE: Final = 100
"""What one call may insert."""
REFERENCE: Final = re.compile(r"@(\w+):(\d+)")
"""`@Accounts:0` is the first of the Accounts that stand above in the same organisation."""


def insert_records(store: Store, made: Credentials, records: Mapping[str, Any]) -> None:
    """Insert what the file lists per module, as the organisation's first user; nobody is notified.

    Raises StoreError naming the module and the first record that the API refuses.
    """
    settings = Settings(public_url="http://localhost")
    engine = Engine(store, settings, make_workers(store, settings))
    grant = Grant(
        digest=b"",
        client_id=made.client_id,
        client_name="",
        user_id=int(made.users[0].id),
        email=made.users[0].email,
        zgid=int(made.zgid),
        scope=scopes.everything(made.product),
        expires=None,
        redirect_uri="",
        offline=False,
    )
    ids: dict[str, list[str]] = {}
    for module, entries in records.items():
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise StoreError(f"records.{module} must be a list of objects, each with the fields of a record.")
        ids[module] = []
        for start in range(0, len(entries), AT_ONCE):
            some = [
                _related(each, ids, f"records.{module}[{n}]")
                for n, each in enumerate(entries[start : start + AT_ONCE], start)
            ]
            path = f"/{made.product}/{NEWEST[made.product]}/{module}"
            ids[module] += _insert(engine, grant, path, some, start=start, here=f"records.{module}")


def _insert(
    engine: Engine, grant: Grant, path: str, some: Sequence[Mapping[str, Any]], *, start: int, here: str
) -> list[str]:
    try:
        answer = engine.answer(Incoming(method="POST", path=path, body=msgspec.json.encode({"data": some})), grant)
    except ApiError as refusal:
        raise StoreError(f"{here}: {refusal}") from refusal
    assert isinstance(answer, Answer), "inserting records takes no time of its own"
    for n, result in enumerate(answer.payload["data"], start):
        if result["code"] != "SUCCESS":
            raise StoreError(f"{here}[{n}]: {result['code']}: {result['message']} {result['details']}")
    return [result["details"]["id"] for result in answer.payload["data"]]


def _related(entry: Mapping[str, Any], ids: Mapping[str, Sequence[str]], here: str) -> dict[str, Any]:
    """The record with ids where it refers to records above."""
    values = dict(entry)
    for name, value in entry.items():
        found = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if found is not None:
            module, position = found[1], int(found[2])
            if position >= len(ids.get(module, ())):
                raise StoreError(f"{here}: {name} refers to {value}, but no such record stands above it.")
            values[name] = {"id": ids[module][position]}
    return values
