"""The records under a record: `/{module}/{id}/{related_list}`, read, linked and unlinked; and a record's notes.

Source: Zoho CRM v7 get-related-records, update-related-records, delink, notes; v8 contact roles.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import msgspec

from farebox.crm import reading, writing
from farebox.crm.call import Answer, Call
from farebox.crm.errors import (
    ApiError,
    invalid_body_id,
    invalid_data,
    invalid_path_id,
    limit_exceeded,
    mandatory_not_found,
    param_missing,
)
from farebox.crm.reading import Within
from farebox.crm.records import RecordWriter
from farebox.crm.related_lists import NOTES, RelatedList, find_related_list
from farebox.crm.route import Scope, check_scope, route
from farebox.crm.schema import Module
from farebox.crm.validate import Checked, parse_id
from farebox.crm.writing import RECORDS_PER_CALL_MAX, Result, success

LIST_INDEX: Final = 2
RELATED_INDEX: Final = 3
"""Where the name of the list and the id in it stand in the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A related list of one record. `module` is that of the records in it."""

    record_id: int
    parent: Module
    list: RelatedList
    module: Module

    @property
    def within(self) -> Within:
        """What narrows the module's records to those in the list."""
        name = f"{self.parent.api_name}/{self.record_id}/{self.list.api_name}"
        link, field = self.list.link, self.list.field
        if link is None:
            assert field is not None, "a list comes of a look-up or a link"
            condition = "r.id IN (SELECT record_id FROM record_lookup WHERE target_id = ? AND path IN (?, ?))"
            return Within(name=name, condition=condition, values=(self.record_id, *paths_of(field.api_name)))
        here, there = ("left_id", "right_id") if self.list.from_left else ("right_id", "left_id")
        condition = f"r.id IN (SELECT {there} FROM record_link WHERE kind = ? AND {here} = ?)"  # noqa: S608 (constants)
        return Within(name=name, condition=condition, values=(link.kind, self.record_id))

    def has(self, db: sqlite3.Connection, related_id: int) -> bool:
        """Whether the record is in the list."""
        within = self.within
        sql = f"SELECT 1 FROM record r WHERE r.id = ? AND r.module = ? AND {within.condition}"  # noqa: S608 (constants)
        return db.execute(sql, (related_id, self.module.api_name, *within.values)).fetchone() is not None

    def ends(self, related_id: int) -> tuple[int, int]:
        """The ends of a link, left and right."""
        return (self.record_id, related_id) if self.list.from_left else (related_id, self.record_id)


def paths_of(api_name: str) -> tuple[str, str]:
    """How SQLite may write the path of a field in a body: quoted when the name is more than letters and digits."""
    return f"$.{api_name}", f'$."{api_name}"'


def list_related(call: Call, module: Module, *, record_id: int, related_list: str) -> Answer:
    """`GET /{module}/{id}/{related_list}`: a page of the list, as of a module's records."""
    place = _place(call, module, record_id, related_list, "read")
    answer = reading.list_records(call, place.module, within=place.within)
    if answer.payload is not None:
        _say_details(call, place, answer.payload["data"])
    return answer


def get_related(call: Call, module: Module, *, record_id: int, related_list: str, related_id: int) -> Answer:
    """`GET /{module}/{id}/{related_list}/{id}`."""
    place = _place(call, module, record_id, related_list, "read")
    with call.store.reading() as db:
        if not place.has(db, related_id):
            raise invalid_path_id(RELATED_INDEX)
    answer = reading.get_one(call, place.module, record_id=related_id)
    if answer.payload is not None:
        _say_details(call, place, answer.payload["data"])
    return answer


def add_notes(call: Call, module: Module, *, record_id: int) -> Answer:
    """`POST /{module}/{id}/Notes`: new notes of the record."""
    place = _place(call, module, record_id, NOTES, "create")
    content = call.json_object()
    given = content.get("data")
    if isinstance(given, list):
        content["data"] = [{**each, "Parent_Id": str(record_id)} if isinstance(each, dict) else each for each in given]
    return writing.insert(replace(call, body=msgspec.json.encode(content)), place.module)


def put_many(call: Call, module: Module, *, record_id: int, related_list: str) -> Answer:
    """`PUT /{module}/{id}/{related_list}`: each record names its `id`."""
    place = _place(call, module, record_id, related_list, "update")
    records = writing.records_of(call.json_object(), maximum=call.at_most(RECORDS_PER_CALL_MAX))
    return _for_each(call, place, records, _put)


def put_one(call: Call, module: Module, *, record_id: int, related_list: str, related_id: int) -> Answer:
    """`PUT /{module}/{id}/{related_list}/{id}`."""
    place = _place(call, module, record_id, related_list, "update")
    (given,) = writing.records_of(call.json_object(), maximum=1)
    return _for_each(call, place, [{**given, "id": related_id} if isinstance(given, dict) else given], _put)


def remove_many(call: Call, module: Module, *, record_id: int, related_list: str) -> Answer:
    """`DELETE /{module}/{id}/{related_list}?ids=`: notes are deleted, all other records leave the list and live on."""
    place = _place(call, module, record_id, related_list, "delete")
    given = [each.strip() for each in call.params.get("ids", "").split(",") if each.strip()]
    if not given:
        raise param_missing("ids")
    if len(given) > RECORDS_PER_CALL_MAX:
        raise limit_exceeded(limit=RECORDS_PER_CALL_MAX, param_name="ids")
    return _for_each(call, place, [{"id": each} for each in given], _remove)


def remove_one(call: Call, module: Module, *, record_id: int, related_list: str, related_id: int) -> Answer:
    """`DELETE /{module}/{id}/{related_list}/{id}`."""
    place = _place(call, module, record_id, related_list, "delete")
    return _for_each(call, place, [{"id": related_id}], _remove)


def _place(call: Call, module: Module, record_id: int, name: str, operation: str) -> Place:
    """The list, when there is one, its record lives, and the caller's scopes open the records in it."""
    found = find_related_list(call.organisation, module, name)
    if found is None or found.module is None:
        details = {"resource_path_index": LIST_INDEX}
        raise ApiError(400, "INVALID_DATA", "the relation name given seems to be invalid", details)
    scope = Scope(service=None, group="modules", thing=None, operations=(operation,))
    check_scope(scope, granted=call.scope, product=call.organisation.product, module=found.module)
    with call.store.reading() as db:
        if RecordWriter(call, module, db).find(record_id) is None:
            raise invalid_path_id(1)
    return Place(record_id=record_id, parent=module, list=found, module=call.organisation.catalogue[found.module])


One = Callable[[RecordWriter, Place, sqlite3.Connection, object, str], Result]


def _for_each(call: Call, place: Place, records: list[Any], one: One) -> Answer:
    with call.store.transaction() as db:
        writer = RecordWriter(call, place.module, db)
        return writing.answer_all(
            [
                writing.attempt(partial(one, writer, place, db, data, f"$.data[{position}]"))
                for position, data in enumerate(records)
            ]
        )


def _put(writer: RecordWriter, place: Place, db: sqlite3.Connection, data: object, path: str) -> Result:
    if not isinstance(data, dict):
        raise invalid_data(api_name="data", json_path=path, expected_data_type="jsonobject")
    row = _row(writer, data, path)
    link, field = place.list.link, place.list.field
    if place.module.api_name == NOTES:
        if not place.has(db, row["id"]):
            raise invalid_body_id(data["id"])
        return writing.update_record(writer, {**data, "Parent_Id": str(place.record_id)}, path)
    if link is None:
        assert field is not None, "a list comes of a look-up or a link"
        writer.update(row, Checked(values={field.api_name: place.record_id}), append={})
    else:
        details = {} if link.detail is None else _detail(link.detail, data, path)
        db.execute(
            "INSERT INTO record_link VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET details = excluded.details",
            (link.kind, *place.ends(row["id"]), json.dumps(details)),
        )
    return success("relation added", {"id": str(row["id"])})


def _remove(writer: RecordWriter, place: Place, db: sqlite3.Connection, data: object, path: str) -> Result:
    assert isinstance(data, dict), "made from the path or the query"
    row = _row(writer, data, path)
    if not place.has(db, row["id"]):
        raise invalid_body_id(data["id"])
    link, field = place.list.link, place.list.field
    if place.module.api_name == NOTES:
        return writing.delete_record(writer, str(row["id"]))
    if link is None:
        assert field is not None, "a list comes of a look-up or a link"
        if field.mandatory:
            message = f"{field.api_name} is mandatory: delete the record or give it another one"
            raise ApiError(400, "CANNOT_PERFORM_ACTION", message, {"id": str(row["id"])})
        writer.update(row, Checked(values={field.api_name: None}), append={})
    else:
        db.execute(
            "DELETE FROM record_link WHERE kind = ? AND left_id = ? AND right_id = ?",
            (link.kind, *place.ends(row["id"])),
        )
    return success("relation removed", {"id": str(row["id"])})


def _row(writer: RecordWriter, data: Mapping[str, Any], path: str) -> sqlite3.Row:
    if data.get("id") in (None, ""):
        raise mandatory_not_found(api_name="id", json_path=f"{path}.id")
    related_id = parse_id(data["id"])
    row = None if related_id is None else writer.find(related_id)
    if row is None:
        raise invalid_body_id(data["id"])
    return row


def _detail(name: str, data: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What a link says of itself: a name, or an object with one."""
    given = data.get(name)
    if given is None:
        return {}
    said = given.get("name") if isinstance(given, dict) else given
    if not isinstance(said, str) or not said:
        raise invalid_data(api_name=name, json_path=f"{path}.{name}", expected_data_type="jsonobject")
    kept = {"name": said}
    if isinstance(given, dict) and parse_id(given.get("id")) is not None:
        kept["id"] = str(given["id"])
    return {name: kept}


def _say_details(call: Call, place: Place, shown: list[dict[str, Any]]) -> None:
    """Add to each record of a list what its link says."""
    link = place.list.link
    if link is None or link.detail is None:
        return
    with call.store.reading() as db:
        for each in shown:
            row = db.execute(
                "SELECT details FROM record_link WHERE kind = ? AND left_id = ? AND right_id = ?",
                (link.kind, *place.ends(int(each["id"]))),
            ).fetchone()
            each[link.detail] = None if row is None else json.loads(row["details"]).get(link.detail)


ROUTES = (
    route("POST", "{module}/{record_id}/Notes", "modules read", add_notes),
    route("GET", "{module}/{record_id}/{related_list}", "modules read", list_related),
    route("PUT", "{module}/{record_id}/{related_list}", "modules update", put_many),
    route("DELETE", "{module}/{record_id}/{related_list}", "modules update", remove_many),
    route("GET", "{module}/{record_id}/{related_list}/{related_id}", "modules read", get_related),
    route("PUT", "{module}/{record_id}/{related_list}/{related_id}", "modules update", put_one),
    route("DELETE", "{module}/{record_id}/{related_list}/{related_id}", "modules update", remove_one),
)
