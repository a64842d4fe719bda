"""Tags: `/settings/tags` and what hangs them on records, `add_tags` and `remove_tags`, on one and on many.

Source: Zoho CRM v7 tags. The body says which tags; older clients name them in the query (`tag_names`, `ids`).
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from farebox.crm import tag_store
from farebox.crm.call import Answer, Call
from farebox.crm.errors import (
    ApiError,
    invalid_body_id,
    invalid_data,
    invalid_path_id,
    limit_exceeded,
    mandatory_not_found,
)
from farebox.crm.metadata import module_param
from farebox.crm.organisations import find_user
from farebox.crm.records import RecordWriter
from farebox.crm.route import always, route
from farebox.crm.schema import Module
from farebox.crm.validate import parse_id
from farebox.crm.writing import answer_all, attempt, success

TAGS_PER_CALL_MAX: Final = 50
RECORDS_MAX: Final = 500
ID_INDEX: Final = 2
OK: Final = 200

Json = dict[str, Any]
Change = Callable[[Sequence[int]], list[int]]


def list_tags(call: Call) -> Answer:
    """`GET /settings/tags?module=[&my_tags=true]`: 204 when there is none."""
    module = module_param(call)
    mine = call.choice("my_tags", ("true", "false"), default="false") == "true"
    with call.store.reading() as db:
        rows = db.execute(
            "SELECT * FROM tag WHERE zgid = ? AND module = ? AND (NOT ? OR created_by = ?) ORDER BY name",
            (call.organisation.zgid, module.api_name, mine, call.user.id),
        ).fetchall()
        if not rows:
            return Answer(status=204)
        shown = [_shown(db, call, row) for row in rows]
    return Answer(
        status=200, payload={"tags": shown, "info": {"count": len(shown), "allowed_count": tag_store.TAGS_MAX}}
    )


def create_tags(call: Call) -> Answer:
    """`POST /settings/tags?module=`: a result per tag."""
    module = module_param(call)
    given = _tags_of(call.json_object())
    with call.store.transaction() as db:
        results = [attempt(partial(_create, db, call, module, each, n)) for n, each in enumerate(given)]
    status = answer_all(results).status
    return Answer(status=201 if status == OK else status, payload={"tags": results})


def update_tags(call: Call) -> Answer:
    """`PUT /settings/tags?module=`: each tag names its `id`."""
    module = module_param(call)
    given = _tags_of(call.json_object())
    with call.store.transaction() as db:
        results = [attempt(partial(_update, db, call, module, each, n)) for n, each in enumerate(given)]
    return Answer(status=answer_all(results).status, payload={"tags": results})


def update_tag(call: Call, *, tag_id: int) -> Answer:
    """`PUT /settings/tags/{id}`."""
    given = _tags_of(call.json_object())
    with call.store.transaction() as db:
        module = _module_of(call, _found(db, call, tag_id))
        first = {**given[0], "id": tag_id} if isinstance(given[0], dict) else given[0]
        results = [attempt(lambda: _update(db, call, module, first, 0))]
    return Answer(status=answer_all(results).status, payload={"tags": results})


def delete_tag(call: Call, *, tag_id: int) -> Answer:
    """`DELETE /settings/tags/{id}`: it leaves every record that has it."""
    with call.store.transaction() as db:
        row = _found(db, call, tag_id)
        _replace_everywhere(db, call, _module_of(call, row), tag_id, None)
        db.execute("DELETE FROM tag WHERE id = ?", (tag_id,))
    return Answer(status=200, payload={"tags": success("tags deleted successfully", {"id": str(tag_id)})})


def merge_tags(call: Call, *, tag_id: int) -> Answer:
    """`POST /settings/tags/{id}/actions/merge`: records with the tag of `conflict_id` have this one instead."""
    given = _tags_of(call.json_object())
    path = "$.tags[0].conflict_id"
    with call.store.transaction() as db:
        row = _found(db, call, tag_id)
        word = given[0].get("conflict_id") if isinstance(given[0], dict) else None
        if word in (None, ""):
            raise mandatory_not_found(api_name="conflict_id", json_path=path)
        other_id = parse_id(word)
        other = None if other_id is None else tag_store.find(db, call, other_id)
        if other is None or other["module"] != row["module"] or other["id"] == tag_id:
            raise invalid_data(api_name="conflict_id", json_path=path)
        _replace_everywhere(db, call, _module_of(call, row), other["id"], tag_id)
        db.execute("DELETE FROM tag WHERE id = ?", (other["id"],))
    return Answer(status=200, payload={"tags": [success("tags merged successfully", {"id": str(tag_id)})]})


def count_records(call: Call, *, tag_id: int) -> Answer:
    """`GET /settings/tags/{id}/actions/records_count`."""
    with call.store.reading() as db:
        row = _found(db, call, tag_id)
        count = len(_records_with(db, call, row["module"], tag_id))
    return Answer(status=200, payload={"count": str(count)})


def add_tags(call: Call, module: Module, *, record_id: int | None = None) -> Answer:
    """`POST /{module}[/{id}]/actions/add_tags`: new names become tags; with `over_write` they are the only ones."""
    content = _content(call)
    over_write = content.get("over_write", call.params.get("over_write") == "true")
    if not isinstance(over_write, bool):
        raise invalid_data(api_name="over_write", json_path="$.over_write", expected_data_type="boolean")
    ids = _record_ids(call, module, content, record_id)
    given = _tags_of(content)
    with call.store.transaction() as db:
        tags = [_wanted(db, call, module, each, n, add=True) for n, each in enumerate(given)]

        def change(old: Sequence[int]) -> list[int]:
            return list(dict.fromkeys([*([] if over_write else old), *tags]))

        return _change_each(call, module, db, ids, change)


def remove_tags(call: Call, module: Module, *, record_id: int | None = None) -> Answer:
    """`POST /{module}[/{id}]/actions/remove_tags`."""
    content = _content(call)
    ids = _record_ids(call, module, content, record_id)
    given = _tags_of(content)
    with call.store.transaction() as db:
        tags = {_wanted(db, call, module, each, n, add=False) for n, each in enumerate(given)}
        return _change_each(call, module, db, ids, lambda old: [each for each in old if each not in tags])


def _change_each(call: Call, module: Module, db: sqlite3.Connection, ids: Sequence[str], change: Change) -> Answer:
    writer = RecordWriter(call, module, db)

    def one(given: str) -> Json:
        number = parse_id(given)
        row = None if number is None else writer.find(number)
        if row is None:
            raise invalid_body_id(given)
        tags = change(tag_store.of_record(db, row["id"]))
        if len(tags) > tag_store.TAGS_PER_RECORD_MAX:
            details = {"limit": tag_store.TAGS_PER_RECORD_MAX, "id": given}
            raise ApiError(400, "LIMIT_EXCEEDED", "the record has as many tags as it may have", details)
        writer.set_tags(row, tags)
        shown = tag_store.shown(db, tags)
        return success("tags updated successfully", {"id": given, "tags": [shown[each] for each in tags]})

    answer = answer_all([attempt(partial(one, each)) for each in ids])
    good = sum(each["status"] == "success" for each in answer.payload["data"])
    payload = {**answer.payload, "wf_scheduler": "false", "success_count": str(good), "locked_count": "0"}
    return Answer(status=answer.status, payload=payload)


def _content(call: Call) -> Json:
    """The body, or what the query says in its words."""
    if call.body or "tag_names" not in call.params:
        return call.json_object()
    names = [each.strip() for each in call.params["tag_names"].split(",") if each.strip()]
    return {"tags": [{"name": each} for each in names]}


def _record_ids(call: Call, module: Module, content: Mapping[str, Any], record_id: int | None) -> list[str]:
    if record_id is not None:
        with call.store.reading() as db:
            if RecordWriter(call, module, db).find(record_id) is None:
                raise invalid_path_id(1)
        return [str(record_id)]
    maximum = call.at_most(RECORDS_MAX)
    given = content.get("ids")
    if given is None:
        words = [each.strip() for each in call.params.get("ids", "").split(",") if each.strip()]
        if not words:
            raise mandatory_not_found(api_name="ids", json_path="$.ids")
        if len(words) > maximum:
            raise limit_exceeded(limit=maximum, param_name="ids")
        return words
    if not isinstance(given, list):
        raise invalid_data(api_name="ids", json_path="$.ids", expected_data_type="jsonarray")
    if not given:
        raise invalid_data(api_name="ids", json_path="$.ids", minimum_length=1)
    if len(given) > maximum:
        raise invalid_data(api_name="ids", json_path="$.ids", maximum_length=maximum)
    return list(dict.fromkeys(str(each) for each in given))


def _tags_of(content: Mapping[str, Any]) -> list[Any]:
    if "tags" not in content:
        raise mandatory_not_found(api_name="tags", json_path="$.tags")
    given = content["tags"]
    if not isinstance(given, list):
        raise invalid_data(api_name="tags", json_path="$.tags", expected_data_type="jsonarray")
    if not given:
        raise invalid_data(api_name="tags", json_path="$.tags", minimum_length=1)
    if len(given) > TAGS_PER_CALL_MAX:
        raise invalid_data(api_name="tags", json_path="$.tags", maximum_length=TAGS_PER_CALL_MAX)
    return given


def _wanted(db: sqlite3.Connection, call: Call, module: Module, given: object, position: int, *, add: bool) -> int:
    """The id of a tag to add or remove, by its id or name."""
    path = f"$.tags[{position}]"
    if isinstance(given, dict) and given.get("id") not in (None, ""):
        tag_id = parse_id(given["id"])
        row = None if tag_id is None else tag_store.find(db, call, tag_id)
        if row is None or row["module"] != module.api_name:
            raise invalid_data(api_name="id", json_path=f"{path}.id")
        return int(row["id"])
    name, color_code = _name_and_colour(given, path)
    if add:
        return tag_store.find_or_add(db, call, module, name=name, color_code=color_code)
    row = tag_store.find_by_name(db, call, module, name)
    if row is None:
        raise invalid_data(api_name="name", json_path=f"{path}.name")
    return int(row["id"])


def _name_and_colour(given: object, path: str) -> tuple[str, str | None]:
    if not isinstance(given, dict):
        raise invalid_data(api_name="tags", json_path=path, expected_data_type="jsonobject")
    name, colour = given.get("name"), given.get("color_code")
    if name in (None, ""):
        raise mandatory_not_found(api_name="name", json_path=f"{path}.name")
    if not isinstance(name, str) or not name.strip():
        raise invalid_data(api_name="name", json_path=f"{path}.name", expected_data_type="text")
    if len(name.strip()) > tag_store.NAME_MAX:
        raise invalid_data(api_name="name", json_path=f"{path}.name", maximum_length=tag_store.NAME_MAX)
    if colour is not None and (not isinstance(colour, str) or colour.upper() not in tag_store.COLOURS):
        raise invalid_data(
            api_name="color_code", json_path=f"{path}.color_code", supported_values=list(tag_store.COLOURS)
        )
    return name.strip(), None if colour is None else colour.upper()


def _create(db: sqlite3.Connection, call: Call, module: Module, given: object, position: int) -> Json:
    path = f"$.tags[{position}]"
    name, color_code = _name_and_colour(given, path)
    _check_free(db, call, module, name, path, own_id=None)
    tag_id = tag_store.add(db, call, module, name=name, color_code=color_code)
    return success("tags created successfully", _shown(db, call, _found(db, call, tag_id)))


def _update(db: sqlite3.Connection, call: Call, module: Module, given: object, position: int) -> Json:
    path = f"$.tags[{position}]"
    if not isinstance(given, dict):
        raise invalid_data(api_name="tags", json_path=path, expected_data_type="jsonobject")
    tag_id = parse_id(given.get("id"))
    row = None if tag_id is None else tag_store.find(db, call, tag_id)
    if row is None or row["module"] != module.api_name:
        raise invalid_data(api_name="id", json_path=f"{path}.id")
    name, color_code = _name_and_colour({"name": row["name"], "color_code": row["color_code"], **given}, path)
    _check_free(db, call, module, name, path, own_id=row["id"])
    db.execute(
        "UPDATE tag SET name = ?, color_code = ?, modified_by = ?, modified = ? WHERE id = ?",
        (name, color_code, call.user.id, call.at, row["id"]),
    )
    return success("tags updated successfully", _shown(db, call, _found(db, call, row["id"])))


def _check_free(
    db: sqlite3.Connection, call: Call, module: Module, name: str, path: str, *, own_id: int | None
) -> None:
    other = tag_store.find_by_name(db, call, module, name)
    if other is not None and other["id"] != own_id:
        details = {"api_name": "name", "json_path": f"{path}.name", "id": str(other["id"])}
        raise ApiError(400, "DUPLICATE_DATA", "duplicate data", details)


def _records_with(db: sqlite3.Connection, call: Call, module: str, tag_id: int) -> list[int]:
    rows = db.execute(
        "SELECT id FROM record WHERE zgid = ? AND module = ? AND tags <> '[]' "
        "AND ? IN (SELECT value FROM json_each(tags))",
        (call.organisation.zgid, module, tag_id),
    )
    return [row["id"] for row in rows]


def _replace_everywhere(db: sqlite3.Connection, call: Call, module: Module, tag_id: int, by: int | None) -> None:
    """Every record with the tag has another one in its place, or one tag less."""
    writer = RecordWriter(call, module, db)
    for record_id in _records_with(db, call, module.api_name, tag_id):
        row = writer.find(record_id)
        assert row is not None, "listed just now"
        tags = [by if each == tag_id else each for each in tag_store.of_record(db, record_id)]
        writer.set_tags(row, list(dict.fromkeys(each for each in tags if each is not None)))


def _found(db: sqlite3.Connection, call: Call, tag_id: int) -> sqlite3.Row:
    row = tag_store.find(db, call, tag_id)
    if row is None:
        raise invalid_path_id(ID_INDEX)
    return row


def _module_of(call: Call, row: sqlite3.Row) -> Module:
    return call.organisation.catalogue[row["module"]]


def _shown(db: sqlite3.Connection, call: Call, row: sqlite3.Row) -> Json:
    def person(user_id: int) -> Json:
        user = find_user(db, user_id, zgid=call.organisation.zgid)
        return {"name": user.full_name if user else None, "id": str(user_id)}

    return {
        "created_time": call.iso(row["created"]),
        "modified_time": call.iso(row["modified"]),
        "color_code": row["color_code"],
        "modified_by": person(row["modified_by"]),
        "name": row["name"],
        "id": str(row["id"]),
        "created_by": person(row["created_by"]),
    }


ROUTES = (
    route("GET", "settings/tags", "settings.tags read", list_tags),
    route("POST", "settings/tags", "settings.tags create", create_tags),
    route("PUT", "settings/tags", "settings.tags update", update_tags),
    route("PUT", "settings/tags/{tag_id}", "settings.tags update", update_tag),
    route("DELETE", "settings/tags/{tag_id}", "settings.tags delete", delete_tag),
    route("POST", "settings/tags/{tag_id}/actions/merge", "settings.tags update+delete", merge_tags),
    route(
        "GET", "settings/tags/{tag_id}/actions/records_count", "settings.tags read", count_records, reads_long=always
    ),
    route("POST", "{module}/actions/add_tags", "modules update", add_tags),
    route("POST", "{module}/actions/remove_tags", "modules update", remove_tags),
    route("POST", "{module}/{record_id}/actions/add_tags", "modules update", add_tags),
    route("POST", "{module}/{record_id}/actions/remove_tags", "modules update", remove_tags),
)
