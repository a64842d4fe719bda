"""Which change a channel hears of, and the notice that is written for it in the change's own transaction."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from farebox.crm.call import Call
from farebox.crm.changes import Change, Operation
from farebox.crm.errors import invalid_data, mandatory_not_found
from farebox.crm.render import show_records

CONDITIONS_MAX = 2
FIELDS_MAX = 10
DEPTH_MAX = 5


def note(db: sqlite3.Connection, change: Change, watches: Sequence[sqlite3.Row]) -> bool:
    """Write a notice for each channel whose condition the change meets; whether there was one."""
    told: set[int] = set()
    for watch in watches:
        if watch["channel_id"] in told or not _meets(change, json.loads(watch["condition"])):
            continue
        told.add(watch["channel_id"])
        call = change.call
        db.execute(
            "INSERT INTO notice (zgid, channel_id, call_id, module, operation, record_id, changed, shown, url, token, "
            "resource_uri, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                call.organisation.zgid,
                watch["channel_id"],
                call.id,
                change.module.api_name,
                str(change.operation),
                change.record_id,
                json.dumps(change.changed),
                json.dumps(_values(db, change) if watch["affected_values"] else None),
                watch["notify_url"],
                watch["token"],
                f"{call.settings.public_url}/{call.organisation.product}/{watch['version']}/{change.module.api_name}",
                call.at,
            ),
        )
    return bool(told)


def _values(db: sqlite3.Connection, change: Change) -> dict[str, Any]:
    """The changed fields as the API shows them; of a deleted record there are none."""
    if change.operation is Operation.DELETE:
        return {}
    rows = db.execute("SELECT * FROM record WHERE id = ?", (change.record_id,)).fetchall()
    (shown,) = show_records(db, change.call, change.module, rows, change.changed)
    return {name: value for name, value in shown.items() if name in change.changed}


def _meets(change: Change, conditions: Sequence[Mapping[str, Any]]) -> bool:
    """Conditions are about fields, so they hold back edits only."""
    if change.operation is not Operation.UPDATE:
        return True
    own = [each for each in conditions if each["module"]["api_name"] == change.module.api_name]
    return all(_holds(each["field_selection"], frozenset(change.changed)) for each in own)


def _holds(selection: Mapping[str, Any], changed: frozenset[str]) -> bool:
    if "group" not in selection:
        return selection["field"]["api_name"] in changed
    every: Callable[[Any], bool] = all if selection["group_operator"] == "and" else any
    return every(_holds(each, changed) for each in selection["group"])


def check_condition(call: Call, given: object, path: str) -> list[Any] | None:
    """`notification_condition` as given, once every module and field in it is known; raises what is wrong."""
    if given is None:
        return None
    here = f"{path}.notification_condition"
    if not isinstance(given, list):
        raise invalid_data(api_name="notification_condition", json_path=here, expected_data_type="jsonarray")
    if len(given) > CONDITIONS_MAX:
        raise invalid_data(api_name="notification_condition", json_path=here, maximum_length=CONDITIONS_MAX)
    for position, each in enumerate(given):
        _check_one(call, each, f"{here}[{position}]")
    return given


def _check_one(call: Call, given: object, path: str) -> None:
    if not isinstance(given, dict):
        raise invalid_data(api_name="notification_condition", json_path=path, expected_data_type="jsonobject")
    if given.get("type") != "field_selection":
        raise invalid_data(api_name="type", json_path=f"{path}.type", supported_values=["field_selection"])
    name = given["module"].get("api_name") if isinstance(given.get("module"), dict) else None
    module = call.organisation.module(name) if isinstance(name, str) else None
    if module is None:
        raise mandatory_not_found(api_name="module", json_path=f"{path}.module.api_name")
    found = _check_selection(given.get("field_selection"), f"{path}.field_selection", frozenset(module.by_name), 0)
    if found > FIELDS_MAX:
        where = f"{path}.field_selection"
        raise invalid_data(api_name="field_selection", json_path=where, maximum_length=FIELDS_MAX)


def _check_selection(given: object, path: str, known: frozenset[str], depth: int) -> int:
    """How many fields it names."""
    if not isinstance(given, dict) or depth > DEPTH_MAX:
        raise invalid_data(api_name="field_selection", json_path=path, expected_data_type="jsonobject")
    if "group" not in given:
        name = given["field"].get("api_name") if isinstance(given.get("field"), dict) else None
        if name not in known:
            raise invalid_data(api_name="field", json_path=f"{path}.field.api_name", reason="the field does not exist")
        return 1
    if given.get("group_operator") not in ("and", "or"):
        raise invalid_data(
            api_name="group_operator", json_path=f"{path}.group_operator", supported_values=["and", "or"]
        )
    if not isinstance(given["group"], list) or not given["group"]:
        raise invalid_data(api_name="group", json_path=f"{path}.group", expected_data_type="jsonarray")
    return sum(_check_selection(each, f"{path}.group[{n}]", known, depth + 1) for n, each in enumerate(given["group"]))
