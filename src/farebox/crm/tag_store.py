"""Tags in the store: names and colours by module, and the list of them that each record has."""

import json
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from farebox.crm.call import Call
from farebox.crm.errors import ApiError
from farebox.crm.organisations import next_id
from farebox.crm.schema import Module

COLOURS: Final = (
    "#57B1FD",
    "#879BFC",
    "#658BA8",
    "#FD87BD",
    "#969696",
    "#F48435",
    "#1DB9B4",
    "#E7A826",
    "#63C57E",
    "#F17574",
    "#D297EE",
    "#A8C026",
    "#B88562",
)
"""The 13 colours a tag may have [?: which they are]."""
TAGS_MAX: Final = 100
"""Tags of a module at most [?]."""
TAGS_PER_RECORD_MAX: Final = 10
"""Tags of a record at most [?]."""
NAME_MAX: Final = 25


def find(db: sqlite3.Connection, call: Call, tag_id: int) -> sqlite3.Row | None:
    """The organisation's tag of this id."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM tag WHERE id = ? AND zgid = ?", (tag_id, call.organisation.zgid)
    ).fetchone()
    return row


def find_by_name(db: sqlite3.Connection, call: Call, module: Module, name: str) -> sqlite3.Row | None:
    """The module's tag of this name; ASCII letters count in either case."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM tag WHERE zgid = ? AND module = ? AND name = ?",
        (call.organisation.zgid, module.api_name, name),
    ).fetchone()
    return row


def count(db: sqlite3.Connection, call: Call, module: Module) -> int:
    """How many tags the module has."""
    sql = "SELECT count(*) FROM tag WHERE zgid = ? AND module = ?"
    return int(db.execute(sql, (call.organisation.zgid, module.api_name)).fetchone()[0])


def add(db: sqlite3.Connection, call: Call, module: Module, *, name: str, color_code: str | None) -> int:
    """A new tag of the module; raises LIMIT_EXCEEDED when it has TAGS_MAX."""
    if count(db, call, module) >= TAGS_MAX:
        raise ApiError(400, "LIMIT_EXCEEDED", "the module has as many tags as it may have", {"limit": TAGS_MAX})
    tag_id = next_id(db, call.organisation)
    values = (tag_id, call.organisation.zgid, module.api_name, name, color_code)
    user = call.user.id
    db.execute("INSERT INTO tag VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, user, user, call.at, call.at))
    return tag_id


def find_or_add(db: sqlite3.Connection, call: Call, module: Module, *, name: str, color_code: str | None) -> int:
    """The module's tag of this name, made when there is none."""
    row = find_by_name(db, call, module, name)
    return add(db, call, module, name=name, color_code=color_code) if row is None else int(row["id"])


def of_record(db: sqlite3.Connection, record_id: int) -> list[int]:
    """The ids of a record's tags, in the order they were added."""
    row = db.execute("SELECT tags FROM record WHERE id = ?", (record_id,)).fetchone()
    ids: list[int] = json.loads(row["tags"])
    return ids


def shown(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Each of these tags as records show it."""
    given = json.dumps(list(ids))
    if given == "[]":
        return {}
    rows = db.execute("SELECT id, name, color_code FROM tag WHERE id IN (SELECT value FROM json_each(?))", (given,))
    return {row["id"]: {"name": row["name"], "id": str(row["id"]), "color_code": row["color_code"]} for row in rows}
