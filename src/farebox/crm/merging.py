"""Cloning and merging: a master takes what it wants of up to two other records, and all that is related to them.

Source: Zoho CRM v7 merge-records, clone.
"""

import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from farebox.crm.call import Answer, Call
from farebox.crm.errors import ApiError, invalid_body_id, invalid_data, invalid_path_id, mandatory_not_found
from farebox.crm.records import RecordWriter
from farebox.crm.route import route
from farebox.crm.schema import ANY_MODULE, DataType, Module
from farebox.crm.validate import Checked, Stored, check_record, parse_id
from farebox.crm.writing import answer_all, attempt, records_of, success

CHILDREN_MAX: Final = 2
FIRST_NAME: Final = re.compile(r'\$\."?(\w+)')
"""The field a path of SQLite's JSON begins with: `$.Account_Name`, `$."Quoted_Items"[0]."Product_Name"`."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A value that the master takes of a child, and where the body asks for it."""

    value: Stored
    json_path: str


def clone(call: Call, module: Module, *, record_id: int) -> Answer:
    """`POST /{module}/{id}/actions/clone`: a new record with the values of this one, and those of the body, if any."""
    changes: object = records_of(call.json_object(), maximum=1)[0] if call.body else {}
    with call.store.transaction() as db:
        writer = RecordWriter(call, module, db)
        row = writer.find(record_id)
        if row is None:
            raise invalid_path_id(1)
        return answer_all([attempt(lambda: _clone(writer, row, changes))])


def _clone(writer: RecordWriter, row: sqlite3.Row, changes: object) -> dict[str, Any]:
    module = writer.module
    checked = check_record(module, changes, catalogue=writer.organisation.catalogue, path="$.data[0]", inserting=False)
    values = {
        name: value
        for name, value in msgspec.json.decode(row["body"]).items()
        if name in module.by_name and module.by_name[name].data_type is not DataType.AUTONUMBER
    }
    checked.values = {**values, "Owner": row["owner"], **checked.values}
    writer.verify(checked, path="$.data[0]", own_id=None)
    return success("record added", {**writer.insert(checked), "$approval_state": "approved"})


def merge(call: Call, module: Module, *, record_id: int) -> Answer:
    """`POST /{module}/{master_id}/actions/merge`: all or nothing.

    The body is `{"data": [child, ...]}`, or the same inside `{"merge": [...]}` as the official SDKs send it.
    """
    content = call.json_object()
    wrapped = "merge" in content
    path = "$.merge[0].data" if wrapped else "$.data"
    if wrapped:
        (content,) = records_of({"data": content["merge"]}, maximum=1)
        if not isinstance(content, dict):
            raise invalid_data(api_name="merge", json_path="$.merge[0]", expected_data_type="jsonobject")
    given = records_of(content, maximum=CHILDREN_MAX)
    with call.store.transaction() as db:
        writer = RecordWriter(call, module, db)
        if writer.find(record_id) is None:
            raise invalid_path_id(1)
        taken: dict[str, _Taken] = {}
        children: list[int] = []
        for position, data in enumerate(given):
            child, wanted = _child(writer, data, f"{path}[{position}]", others=[record_id, *children])
            children.append(child["id"])
            taken.update(wanted)
        for child_id in children:
            move_related(call, db, source=child_id, target=record_id)
            writer.delete(_living(writer, child_id))
        changes = {name: each.value for name, each in taken.items()}
        # what the children held is free by now
        writer.verify_unique(changes, lambda name: taken[name].json_path, own_id=record_id)
        writer.update(_living(writer, record_id), Checked(values=changes), append={})
    result = success("merge completed successfully", {"id": str(record_id)})
    return Answer(status=200, payload={"merge" if wrapped else "data": [result]})


def _living(writer: RecordWriter, record_id: int) -> sqlite3.Row:
    """A record found before, as it is now."""
    row = writer.find(record_id)
    assert row is not None, "nothing has deleted it meanwhile"
    return row


def _child(
    writer: RecordWriter, data: object, path: str, *, others: list[int]
) -> tuple[sqlite3.Row, dict[str, _Taken]]:
    """A record to merge, and its values that the master takes."""
    if not isinstance(data, dict):
        raise invalid_data(api_name="data", json_path=path, expected_data_type="jsonobject")
    if data.get("id") in (None, ""):
        raise mandatory_not_found(api_name="id", json_path=f"{path}.id")
    child_id = parse_id(data["id"])
    row = None if child_id is None else writer.find(child_id)
    if row is None:
        raise invalid_body_id(data["id"])
    if row["id"] in others:
        raise ApiError(400, "DUPLICATE_DATA", "duplicate data", {"api_name": "id", "json_path": f"{path}.id"})
    body = msgspec.json.decode(row["body"])
    taken = {}
    wanted = data.get("_fields") or []
    if not isinstance(wanted, list):
        raise invalid_data(api_name="_fields", json_path=f"{path}._fields", expected_data_type="jsonarray")
    for position, each in enumerate(wanted):
        name = each.get("api_name") if isinstance(each, dict) else None
        field = writer.module.by_name.get(name) if isinstance(name, str) else None
        if field is None or (field.read_only and field.data_type is not DataType.AUTONUMBER):
            raise invalid_data(api_name="api_name", json_path=f"{path}._fields[{position}].api_name")
        value = row["owner"] if field.api_name == "Owner" else body.get(field.api_name)
        taken[field.api_name] = _Taken(value, f"{path}._fields[{position}].api_name")
    return row, taken


def move_related(call: Call, db: sqlite3.Connection, *, source: int, target: int) -> None:
    """Whatever is related to one record becomes related to another: look-ups, links, attachments, tags."""
    move_lookups(call, db, source=source, target=target)
    for here, there in (("left_id", "right_id"), ("right_id", "left_id")):
        # a link the target has already stays as it is; nothing is linked with itself
        db.execute(
            f"UPDATE OR IGNORE record_link SET {here} = ? WHERE {here} = ? AND {there} <> ?",  # noqa: S608 (constants)
            (target, source, target),
        )
    db.execute("UPDATE attachment SET parent_id = ? WHERE parent_id = ?", (target, source))
    tags = [
        json.loads(db.execute("SELECT tags FROM record WHERE id = ?", (each,)).fetchone()[0])
        for each in (target, source)
    ]
    db.execute(
        "UPDATE record SET tags = ? WHERE id = ?",
        (json.dumps(list(dict.fromkeys([*tags[0], *tags[1]])), separators=(",", ":")), target),
    )


def move_lookups(call: Call, db: sqlite3.Connection, *, source: int, target: int, to_any_module: bool = False) -> None:
    """Every look-up to one record leads to another; the target's own look-ups to the source are emptied.

    With `to_any_module` only look-ups that may lead into any module.
    """
    rows = db.execute(
        "SELECT r.module, l.record_id, group_concat(l.path, ' ') AS paths FROM record_lookup l "
        "JOIN record r ON r.id = l.record_id WHERE l.target_id = ? AND l.record_id <> ? AND r.zgid = ? "
        "GROUP BY l.record_id",
        (source, source, call.organisation.zgid),
    ).fetchall()
    for each in rows:
        writer = RecordWriter(call, call.organisation.catalogue[each["module"]], db)
        row = writer.find(each["record_id"])
        assert row is not None, "a look-up without its record"
        body = msgspec.json.decode(row["body"])
        names = {found[1] for path in each["paths"].split(" ") if (found := FIRST_NAME.match(path))}
        to = None if each["record_id"] == target else target
        if to_any_module:
            names = {name for name in names if writer.module.by_name[name].target == ANY_MODULE}
        changes = {name: _redirected(body[name], source, to) for name in names if name in body}
        writer.update(row, Checked(values=changes), append={})


def _redirected(value: Any, source: int, target: int | None) -> Any:  # noqa: ANN401 (stored JSON)
    if isinstance(value, list):
        return [_redirected(each, source, target) for each in value]
    if isinstance(value, dict):
        return {name: _redirected(each, source, target) for name, each in value.items()}
    return target if value == source else value


ROUTES = (
    route("POST", "{module}/{record_id}/actions/clone", "modules create", clone),
    route("POST", "{module}/{record_id}/actions/merge", "modules update+delete", merge),
)
