"""Inserting, updating, upserting and deleting records: one result per record, in the order given.

Source: Zoho CRM v7 insert-records, update-records, upsert-records, delete-records.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from farebox.crm.call import Answer, Call
from farebox.crm.errors import (
    ApiError,
    already_modified,
    invalid_body_id,
    invalid_data,
    invalid_path_id,
    limit_exceeded,
    mandatory_not_found,
    not_deleted,
    param_missing,
)
from farebox.crm.records import RecordWriter
from farebox.crm.route import route
from farebox.crm.schema import Module
from farebox.crm.validate import check_record, parse_id

RECORDS_PER_CALL_MAX = 100

Result = dict[str, Any]
WriteOne = Callable[[RecordWriter, object, str], Result]


def insert(call: Call, module: Module) -> Answer:
    """`POST /{module}`: 201 when all went in, 207 when some did, 400 when none did."""
    return _write_all(call, module, call.json_object(), _insert_one)


def update_many(call: Call, module: Module) -> Answer:
    """`PUT /{module}`: each record names its `id`."""
    return _write_all(call, module, call.json_object(), update_record)


def update_one(call: Call, module: Module, *, record_id: int) -> Answer:
    """`PUT /{module}/{id}`: one record, its id in the path."""
    content = call.json_object()
    records = records_of(content, maximum=1)
    with call.store.reading() as db:
        if RecordWriter(call, module, db).find(record_id) is None:
            raise invalid_path_id(1)
    if isinstance(records[0], dict):
        content = {**content, "data": [{**records[0], "id": record_id}]}
    return _write_all(call, module, content, update_record)


def upsert(call: Call, module: Module) -> Answer:
    """`POST /{module}/upsert`: 201 when anything was inserted, 200 when all were updates."""
    content = call.json_object()
    fields = _check_fields(module, content.get("duplicate_check_fields"))

    def upsert_one(writer: RecordWriter, data: object, path: str) -> Result:
        return _upsert_one(writer, data, path, fields)

    return _write_all(call, module, content, upsert_one)


def delete_many(call: Call, module: Module) -> Answer:
    """`DELETE /{module}?ids=1,2`: at most 100."""
    given = [each.strip() for each in call.params.get("ids", "").split(",") if each.strip()]
    if not given:
        raise param_missing("ids")
    if len(given) > RECORDS_PER_CALL_MAX:
        raise limit_exceeded(limit=RECORDS_PER_CALL_MAX, param_name="ids")
    with call.store.transaction() as db:
        writer = RecordWriter(call, module, db)
        _check_unmodified(call, writer, [{"id": each} for each in given])
        return answer_all([attempt(partial(delete_record, writer, each)) for each in given])


def delete_one(call: Call, module: Module, *, record_id: int) -> Answer:
    """`DELETE /{module}/{id}`."""
    with call.store.transaction() as db:
        writer = RecordWriter(call, module, db)
        if writer.find(record_id) is None:
            raise invalid_path_id(1)
        _check_unmodified(call, writer, [{"id": record_id}])
        return answer_all([delete_record(writer, str(record_id))])


def _write_all(call: Call, module: Module, content: dict[str, Any], write_one: WriteOne) -> Answer:
    records = records_of(content, maximum=call.at_most(RECORDS_PER_CALL_MAX))
    _check_switches(content)
    with call.store.transaction() as db:
        writer = RecordWriter(call, module, db)
        _check_unmodified(call, writer, records)
        return answer_all([attempt(partial(write_one, writer, data, f"$.data[{n}]")) for n, data in enumerate(records)])


def attempt(write: Callable[[], Result]) -> Result:
    """A record's own refusal is its result; nothing of it has been written by then."""
    try:
        return write()
    except ApiError as refusal:
        return refusal.envelope()


def answer_all(results: Sequence[Result]) -> Answer:
    """The results in order; 200 or 201 when all are good, 207 when some are, 400 when none is."""
    good = [each for each in results if each["status"] == "success"]
    if not good:
        status = 400
    elif len(good) < len(results):
        status = 207
    else:
        status = 201 if any(each["message"] == "record added" for each in good) else 200
    return Answer(status=status, payload={"data": results})


def _insert_one(writer: RecordWriter, data: object, path: str) -> Result:
    checked = check_record(writer.module, data, catalogue=writer.organisation.catalogue, path=path, inserting=True)
    writer.verify(checked, path=path, own_id=None)
    return success("record added", {**writer.insert(checked), "$approval_state": "approved"})


def update_record(writer: RecordWriter, data: object, path: str) -> Result:
    """Update the record whose `id` stands in `data`; raises its refusal."""
    checked = check_record(writer.module, data, catalogue=writer.organisation.catalogue, path=path, inserting=False)
    assert isinstance(data, dict), "check_record lets only objects pass"
    if data.get("id") in (None, ""):
        raise mandatory_not_found(api_name="id", json_path=f"{path}.id")
    record_id = parse_id(data["id"])
    row = None if record_id is None else writer.find(record_id)
    if record_id is None or row is None:
        raise invalid_body_id(data["id"])
    writer.verify(checked, path=path, own_id=record_id)
    append = data.get("$append_values")
    return success("record updated", writer.update(row, checked, append=append if isinstance(append, dict) else {}))


def _upsert_one(writer: RecordWriter, data: object, path: str, fields: Sequence[str]) -> Result:
    """Update the first record that one of the check fields finds, in their order; else insert."""
    if isinstance(data, dict) and data.get("id") not in (None, ""):
        return update_record(writer, data, path) | {"duplicate_field": "id", "action": "update"}
    checked = check_record(writer.module, data, catalogue=writer.organisation.catalogue, path=path, inserting=False)
    for name in fields:
        found = writer.find_by_value(name, checked.values.get(name))
        if found is not None:
            assert isinstance(data, dict), "check_record lets only objects pass"
            result = update_record(writer, {**data, "id": found}, path)
            return result | {"duplicate_field": name, "action": "update"}
    return _insert_one(writer, data, path) | {"duplicate_field": None, "action": "insert"}


def delete_record(writer: RecordWriter, given: str) -> Result:
    """Delete the record of this id; raises its refusal."""
    record_id = parse_id(given)
    row = None if record_id is None else writer.find(record_id)
    if row is None:
        raise not_deleted(given)
    writer.delete(row)
    return success("record deleted", {"id": given})


def success(message: str, details: dict[str, Any]) -> Result:
    """The result of a record that was written."""
    return {"code": "SUCCESS", "details": details, "message": message, "status": "success"}


def records_of(content: dict[str, Any], *, maximum: int) -> list[Any]:
    """The records of a body; their number is right."""
    if "data" not in content:
        raise mandatory_not_found(api_name="data", json_path="$.data")
    records = content["data"]
    if not isinstance(records, list):
        raise invalid_data(api_name="data", json_path="$.data", expected_data_type="jsonarray")
    if not records:
        raise invalid_data(api_name="data", json_path="$.data", minimum_length=1)
    if len(records) > maximum:
        raise invalid_data(api_name="data", json_path="$.data", maximum_length=maximum)
    return records


def _check_switches(content: dict[str, Any]) -> None:
    """What steers automation has no effect here, but its form is checked."""
    for name in ("trigger", "apply_feature_execution", "skip_feature_execution"):
        if name in content and not isinstance(content[name], list):
            raise invalid_data(api_name=name, json_path=f"$.{name}", expected_data_type="jsonarray")


def _check_unmodified(call: Call, writer: RecordWriter, records: Sequence[object]) -> None:
    since = call.instant_header("if-unmodified-since")
    if since is None:
        return
    for data in records:
        record_id = parse_id(data.get("id")) if isinstance(data, dict) else None
        row = None if record_id is None else writer.find(record_id)
        if row is not None and row["modified"] > since:
            raise already_modified()


def _check_fields(module: Module, given: object) -> tuple[str, ...]:
    """The duplicate-check fields in the order in which they are tried.

    None given: the system's field, then the unique ones. Otherwise the named ones in the order given,
    then the remaining unique ones; the system's field counts only when named.
    """
    if given is None:
        return module.indexed_fields
    if not isinstance(given, list):
        raise invalid_data(
            api_name="duplicate_check_fields",
            json_path="$.duplicate_check_fields",
            expected_data_type="jsonarray",
        )
    for position, name in enumerate(given):
        if name not in module.indexed_fields:
            raise invalid_data(
                api_name="duplicate_check_fields",
                json_path=f"$.duplicate_check_fields[{position}]",
                supported_values=list(module.indexed_fields),
            )
    uniques = module.unique_fields
    named_uniques = [name for name in given if name in uniques]
    rest = [name for name in uniques if name not in named_uniques]
    system = [name for name in given if name not in uniques]
    return tuple(dict.fromkeys([*named_uniques, *rest, *system]))


ROUTES = (
    route("POST", "{module}", "modules create", insert),
    route("PUT", "{module}", "modules update", update_many),
    route("DELETE", "{module}", "modules delete", delete_many),
    route("POST", "{module}/upsert", "modules create+update", upsert),
    route("PUT", "{module}/{record_id}", "modules update", update_one),
    route("DELETE", "{module}/{record_id}", "modules delete", delete_one),
)
