"""Records as the API shows them: lookups with names, owners with e-mail addresses, times in the user's zone."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from farebox.crm import tag_store
from farebox.crm.call import Call
from farebox.crm.schema import ANY_MODULE, DataType, Field, Module

RICH_TEXT_IN_LISTS_MAX = 500
"""Long texts are cut to this many characters in lists (Zoho CRM v7 get-records)."""

COLUMNS = "id, module, name, owner, created_by, modified_by, created, modified, body, tags"

SYSTEM_KEYS: dict[str, Any] = {
    "$approval_state": "approved",
    "$editable": True,
    "$in_merge": False,
    "$state": "save",
    "$process_flow": False,
    "$locked_for_me": False,
    "$is_duplicate": False,
    "$review_process": {"approve": False, "reject": False, "resubmit": False},
    "$approval": {"delegate": False, "approve": False, "reject": False, "resubmit": False},
    "$orchestration": None,
    "$pathfinder": None,
    "$zia_visions": None,
    "$currency_symbol": "$",
    "$field_states": None,
    "$review": None,
    "$sharing_permission": "full_access",
}
"""What every record carries besides its fields, with the values of a record without any process on it."""

Shown = dict[str, Any]


def show_records(
    db: sqlite3.Connection, call: Call, module: Module, rows: Sequence[sqlite3.Row], fields: Sequence[str] | None
) -> list[Shown]:
    """The rows as JSON objects, in order. `fields` None: everything (one record); else those and `id` (a list)."""
    bodies = [msgspec.json.decode(row["body"]) for row in rows]
    if fields is None:
        wanted = list(module.fields)
    else:
        wanted = [module.by_name[name] for name in fields if name in module.by_name]
        wanted = [each for each in wanted if each.data_type is not DataType.SUBFORM]
    extra = SYSTEM_KEYS if fields is None else {key: SYSTEM_KEYS[key] for key in fields if key in SYSTEM_KEYS}
    names = _Names(db, call, wanted, rows, bodies)
    return [names.show(row, body, wanted, extra, whole=fields is None) for row, body in zip(rows, bodies, strict=True)]


class _Names:
    """The names behind all ids of one answer, looked up once."""

    def __init__(
        self,
        db: sqlite3.Connection,
        call: Call,
        wanted: Sequence[Field],
        rows: Sequence[sqlite3.Row],
        bodies: Sequence[Shown],
    ) -> None:
        self._zone = call.iso
        self._catalogue = call.organisation.catalogue
        people = {row[column] for row in rows for column in ("owner", "created_by", "modified_by")}
        self._users = _users(db, people)
        lookups = [each for each in wanted if each.data_type in (DataType.LOOKUP, DataType.SUBFORM)]
        ids: set[int] = set()
        for body in bodies:
            ids.update(self._ids_in(lookups, body))
        self._records = _records(db, ids)
        self._tags = tag_store.shown(db, {tag for row in rows for tag in _tags_of(row)})

    def show(self, row: sqlite3.Row, body: Shown, wanted: Sequence[Field], extra: Shown, *, whole: bool) -> Shown:
        """One record."""
        system = {
            "Owner": self._user(row["owner"]),
            "Created_By": self._user(row["created_by"]),
            "Modified_By": self._user(row["modified_by"]),
            "Created_Time": self._zone(row["created"]),
            "Modified_Time": self._zone(row["modified"]),
            "Tag": [self._tags[tag] for tag in _tags_of(row) if tag in self._tags],
            "Full_Name": row["name"],
        }
        shown: Shown = {"id": str(row["id"])}
        for each in wanted:
            name = each.api_name
            shown[name] = system[name] if name in system else self._value(each, body.get(name), whole=whole)
            if each.target == ANY_MODULE and body.get(name) is not None:
                shown["$se_module"] = self._records.get(body[name], ("", ""))[1] or None
        shown.update(extra)
        return shown

    def _value(self, each: Field, value: Any, *, whole: bool) -> object:  # noqa: ANN401, PLR0911 (stored JSON; one return per type)
        if value is None:
            return False if each.data_type is DataType.BOOLEAN else None
        match each.data_type:
            case DataType.LOOKUP:
                return {"name": self._records.get(value, (None, ""))[0], "id": str(value)}
            case DataType.DATETIME:
                return self._zone(value)
            case DataType.BIGINT:
                return str(value)
            case DataType.TEXTAREA if not whole:
                return value[:RICH_TEXT_IN_LISTS_MAX]
            case DataType.SUBFORM:
                inner = self._catalogue[str(each.target)].fields
                return [
                    {field.api_name: self._value(field, row.get(field.api_name), whole=whole) for field in inner}
                    for row in value
                ]
            case _:
                return value

    def _user(self, user_id: int) -> Shown | None:
        return self._users.get(user_id)

    def _ids_in(self, lookups: Iterable[Field], body: Shown) -> Iterable[int]:
        for each in lookups:
            value = body.get(each.api_name)
            if value is None:
                continue
            if each.data_type is DataType.LOOKUP:
                yield value
            else:
                inner = [
                    field for field in self._catalogue[str(each.target)].fields if field.data_type is DataType.LOOKUP
                ]
                for row in value:
                    yield from self._ids_in(inner, row)


def _tags_of(row: sqlite3.Row) -> list[int]:
    tags: list[int] = [] if row["tags"] == "[]" else json.loads(row["tags"])
    return tags


def _users(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, Shown]:
    rows = db.execute(
        "SELECT id, first_name, last_name, email FROM user WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )
    return {
        row["id"]: {
            "name": f"{row['first_name']} {row['last_name']}".strip(),
            "id": str(row["id"]),
            "email": row["email"],
        }
        for row in rows
    }


def _records(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Name and module of each record that exists."""
    given = list(ids)
    if not given:
        return {}
    rows = db.execute(
        "SELECT id, name, module FROM record WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(given),)
    )
    return {row["id"]: (row["name"], row["module"]) for row in rows}
