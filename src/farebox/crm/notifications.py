"""Subscribing to changes: `/actions/watch`. What follows from a change is noted here, told by deliveries.

Source: Zoho CRM v7 notifications. A channel is a number its subscriber chose; it belongs to the organisation.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from farebox.crm import deliveries, outgoing
from farebox.crm.call import Answer, Call
from farebox.crm.changes import Change, Operation, follow
from farebox.crm.errors import (
    ApiError,
    invalid_data,
    invalid_param,
    mandatory_not_found,
    param_missing,
)
from farebox.crm.notices import check_condition, note
from farebox.crm.route import route
from farebox.crm.validate import parse_id

PATH: Final = "actions/watch"
CHANNELS_MAX: Final = 100
PER_PAGE_MAX: Final = 200
TOKEN_LENGTH_MAX: Final = 50
EXPIRY_DEFAULT_S: Final = 3_600
EXPIRY_MAX_S: Final = 7 * 24 * 3_600
EXPIRY_MAX_OLD_S: Final = 24 * 3_600
OLD: Final = frozenset({"v2", "v2.1", "v3"})
"""Versions in which a channel lasts a day at most."""
EVENTS: Final = ("create", "edit", "delete", "all")
USERS: Final = "users"

Element = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one entry of `watch` asks for. What is None was not said."""

    channel_id: int
    events: tuple[tuple[str, str], ...]
    notify_url: str | None
    token: str | None
    expires: int | None
    affected_values: bool | None
    related: bool | None
    condition: list[Any] | None
    deletes_events: bool


def subscribe(call: Call) -> Answer:
    """`POST /actions/watch`: 201; a channel that exists is subscribed anew."""
    return _each(call, _subscribe, good=201)


def replace(call: Call) -> Answer:
    """`PUT /actions/watch`: everything about the channel as given now."""
    return _each(call, _replace, good=200)


def change(call: Call) -> Answer:
    """`PATCH /actions/watch`: what is given changes, events are added; or, with `_delete_events`, taken away."""
    return _each(call, _change, good=200)


def unsubscribe(call: Call) -> Answer:
    """`DELETE /actions/watch?channel_ids=1,2`."""
    given = [each.strip() for each in call.params.get("channel_ids", "").split(",") if each.strip()]
    if not given:
        raise param_missing("channel_ids")
    if len(given) > CHANNELS_MAX:
        raise invalid_param("channel_ids", maximum_length=CHANNELS_MAX)
    with call.store.transaction() as db:
        elements = [_attempt(lambda each=each: _unsubscribe(call, db, each)) for each in given]
    return _answer(elements, good=200)


def list_channels(call: Call) -> Answer:
    """`GET /actions/watch?channel_id=&module=&page=&per_page=`: an element per channel and module; 204 for none."""
    page = call.integer("page", default=1, minimum=1, maximum=10**6)
    per_page = call.integer("per_page", default=PER_PAGE_MAX, minimum=1, maximum=PER_PAGE_MAX)
    channel = call.params.get("channel_id")
    with call.store.reading() as db:
        rows = db.execute(
            "SELECT * FROM watch WHERE zgid = ? AND expires > ? AND (? IS NULL OR channel_id = ?) "
            "AND (? IS NULL OR module = ?) ORDER BY channel_id, module, event",
            (
                call.organisation.zgid,
                call.at,
                channel,
                parse_id(channel),
                *([call.params.get("module")] * 2),
            ),
        ).fetchall()
    grouped: dict[tuple[int, str], list[sqlite3.Row]] = {}
    for row in rows:
        grouped.setdefault((row["channel_id"], row["module"]), []).append(row)
    start = (page - 1) * per_page
    shown = [_show(call, each) for each in list(grouped.values())[start : start + per_page]]
    if not shown:
        return Answer(status=204)
    more = start + per_page < len(grouped)
    info = {"per_page": per_page, "count": len(shown), "page": page, "more_records": more}
    return Answer(status=200, payload={"watch": shown, "info": info})


@follow
def note_change(db: sqlite3.Connection, happened: Change) -> None:
    """Write a notice for every channel that wants to hear of the change, and wake the worker that tells it."""
    call = happened.call
    rows = db.execute(
        "SELECT * FROM watch WHERE zgid = ? AND module = ? AND expires > ? AND event IN (?, 'all')",
        (call.organisation.zgid, happened.module.api_name, call.at, _EVENT_OF[happened.operation]),
    ).fetchall()
    if rows and note(db, happened, rows):
        call.workers.wake(deliveries.WORKER)


_EVENT_OF = {Operation.INSERT: "create", Operation.UPDATE: "edit", Operation.DELETE: "delete"}


def _each(call: Call, do: Any, *, good: int) -> Answer:  # noqa: ANN401 (one of three functions)
    content = call.json_object()
    if "watch" not in content:
        raise mandatory_not_found(api_name="watch", json_path="$.watch")
    given = content["watch"]
    if not isinstance(given, list):
        raise invalid_data(api_name="watch", json_path="$.watch", expected_data_type="jsonarray")
    if not 1 <= len(given) <= CHANNELS_MAX:
        raise invalid_data(api_name="watch", json_path="$.watch", minimum_length=1, maximum_length=CHANNELS_MAX)
    with call.store.transaction() as db:
        elements = [
            _attempt(lambda n=n, each=each: do(call, db, _read(call, each, f"$.watch[{n}]"), f"$.watch[{n}]"))
            for n, each in enumerate(given)
        ]
    return _answer(elements, good=good)


def _attempt(do: Any) -> Element:  # noqa: ANN401 (a function without arguments)
    try:
        element: Element = do()
    except ApiError as refusal:
        return refusal.envelope()
    return element


def _answer(elements: list[Element], *, good: int) -> Answer:
    served = sum(each["status"] == "success" for each in elements)
    status = good if served == len(elements) else 207 if served else 400
    return Answer(status=status, payload={"watch": elements})


def _subscribe(call: Call, db: sqlite3.Connection, wish: Wish, path: str) -> Element:
    _check_complete(wish, path)
    _write_anew(call, db, wish)
    return _success(call, db, wish, "Successfully subscribed for actions-watch of the given module")


def _replace(call: Call, db: sqlite3.Connection, wish: Wish, path: str) -> Element:
    _known(call, db, wish.channel_id, path)
    _check_complete(wish, path)
    _write_anew(call, db, wish)
    return _success(call, db, wish, "Successfully updated the subscribe details")


def _change(call: Call, db: sqlite3.Connection, wish: Wish, path: str) -> Element:
    known = _known(call, db, wish.channel_id, path)
    if wish.deletes_events:
        if not wish.events:
            raise mandatory_not_found(api_name="events", json_path=f"{path}.events")
        gone = _success(call, db, wish, "Successfully removed the subscribe details")
        for module, event in wish.events:
            db.execute(
                "DELETE FROM watch WHERE zgid = ? AND channel_id = ? AND module = ? AND event = ?",
                (call.organisation.zgid, wish.channel_id, module, event),
            )
        return gone
    events = {(row["module"], row["event"]) for row in known} | set(wish.events)
    before = known[0]
    merged = Wish(
        channel_id=wish.channel_id,
        events=tuple(sorted(events)),
        notify_url=wish.notify_url or before["notify_url"],
        token=before["token"] if wish.token is None else wish.token,
        expires=before["expires"] if wish.expires is None else wish.expires,
        affected_values=bool(before["affected_values"]) if wish.affected_values is None else wish.affected_values,
        related=bool(before["related"]) if wish.related is None else wish.related,
        condition=json.loads(before["condition"]) if wish.condition is None else wish.condition,
        deletes_events=False,
    )
    _write_anew(call, db, merged)
    return _success(call, db, merged, "Successfully updated the subscribe details")


def _unsubscribe(call: Call, db: sqlite3.Connection, given: str) -> Element:
    channel_id = parse_id(given)
    rows = [] if channel_id is None else _rows(call, db, channel_id)
    if not rows:
        raise _not_subscribed(given)
    db.execute("DELETE FROM watch WHERE zgid = ? AND channel_id = ?", (call.organisation.zgid, channel_id))
    details = {**_resource(call, rows[0]["module"]), "channel_id": str(channel_id)}
    del details["resource_name"]
    message = "Successfully un-subscribed from actions-watch"
    return {"code": "SUCCESS", "details": details, "message": message, "status": "success"}


def _rows(call: Call, db: sqlite3.Connection, channel_id: int) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT * FROM watch WHERE zgid = ? AND channel_id = ? AND expires > ? ORDER BY module, event",
        (call.organisation.zgid, channel_id, call.at),
    ).fetchall()


def _known(call: Call, db: sqlite3.Connection, channel_id: int, path: str) -> list[sqlite3.Row]:
    rows = _rows(call, db, channel_id)
    if not rows:
        details = {"api_name": "channel_id", "json_path": f"{path}.channel_id", "channel_id": str(channel_id)}
        raise ApiError(400, "NOT_SUBSCRIBED", "the given channel is not subscribed", details)
    return rows


def _not_subscribed(given: object) -> ApiError:
    return ApiError(400, "NOT_SUBSCRIBED", "the given channel is not subscribed", {"channel_id": str(given)})


def _check_complete(wish: Wish, path: str) -> None:
    if not wish.events:
        raise mandatory_not_found(api_name="events", json_path=f"{path}.events")
    if wish.notify_url is None:
        raise mandatory_not_found(api_name="notify_url", json_path=f"{path}.notify_url")


def _write_anew(call: Call, db: sqlite3.Connection, wish: Wish) -> None:
    zgid = call.organisation.zgid
    db.execute(
        "DELETE FROM watch WHERE zgid = ? AND (channel_id = ? OR expires <= ?)", (zgid, wish.channel_id, call.at)
    )
    values = (
        call.user.id,
        call.version,
        wish.notify_url,
        wish.token or "",
        wish.expires or call.at + EXPIRY_DEFAULT_S,
        bool(wish.affected_values),
        bool(wish.related),
        json.dumps(wish.condition or []),
    )
    rows = [(zgid, wish.channel_id, module, event, *values) for module, event in wish.events]
    db.executemany("INSERT INTO watch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _success(call: Call, db: sqlite3.Connection, wish: Wish, message: str) -> Element:
    rows = _rows(call, db, wish.channel_id)
    events = [
        {
            "channel_expiry": call.iso(rows[0]["expires"]) if rows else None,
            **_resource(call, module),
            "channel_id": str(wish.channel_id),
        }
        for module in dict.fromkeys(module for module, _ in wish.events)
    ]
    return {"code": "SUCCESS", "details": {"events": events}, "message": message, "status": "success"}


def _resource(call: Call, name: str) -> dict[str, str]:
    module = call.organisation.catalogue.get(name)
    number = call.organisation.full_id(2_000) if module is None else call.organisation.module_id(module)
    return {"resource_uri": resource_uri(call, name), "resource_id": str(number), "resource_name": name}


def resource_uri(call: Call, name: str) -> str:
    """Where the records that a notification is about are found."""
    return f"{call.settings.public_url}/{call.organisation.product}/{call.version}/{name}"


def _show(call: Call, rows: list[sqlite3.Row]) -> Element:
    first = rows[0]
    return {
        "notify_on_related_action": bool(first["related"]),
        "return_affected_field_values": bool(first["affected_values"]),
        "channel_expiry": call.iso(first["expires"]),
        **_resource(call, first["module"]),
        "notify_url": first["notify_url"],
        "channel_id": str(first["channel_id"]),
        "token": first["token"] or None,
        "fields": None,
        "notification_condition": json.loads(first["condition"]) or None,
        "events": [f"{row['module']}.{row['event']}" for row in rows],
    }


def _read(call: Call, given: object, path: str) -> Wish:
    """An entry of `watch`; raises what is wrong with it."""
    if not isinstance(given, dict):
        raise invalid_data(api_name="watch", json_path=path, expected_data_type="jsonobject")
    if given.get("channel_id") in (None, ""):
        raise mandatory_not_found(api_name="channel_id", json_path=f"{path}.channel_id")
    channel_id = parse_id(given["channel_id"])
    if channel_id is None:
        raise invalid_data(api_name="channel_id", json_path=f"{path}.channel_id", expected_data_type="bigint")
    switches = {}
    for name in ("return_affected_field_values", "notify_on_related_action", "_delete_events"):
        switches[name] = given.get(name)
        if switches[name] is not None and not isinstance(switches[name], bool):
            raise invalid_data(api_name=name, json_path=f"{path}.{name}", expected_data_type="boolean")
    return Wish(
        channel_id=channel_id,
        events=tuple(_events(call, given.get("events"), path)),
        notify_url=_url(call, given.get("notify_url"), path),
        token=_token(given.get("token"), path),
        expires=_expiry(call, given),
        affected_values=switches["return_affected_field_values"],
        related=switches["notify_on_related_action"],
        condition=check_condition(call, given.get("notification_condition"), path),
        deletes_events=bool(switches["_delete_events"]),
    )


def _events(call: Call, given: object, path: str) -> Iterable[tuple[str, str]]:
    """Module and event of each `Leads.create`; the module by its own name."""
    if given is None:
        return
    if not isinstance(given, list):
        raise invalid_data(api_name="events", json_path=f"{path}.events", expected_data_type="jsonarray")
    for position, each in enumerate(given):
        here = f"{path}.events[{position}]"
        name, _, event = each.partition(".") if isinstance(each, str) else ("", "", "")
        if event not in EVENTS:
            raise invalid_data(
                api_name="events", json_path=here, supported_values=[f"Module.{word}" for word in EVENTS]
            )
        if name == USERS:
            yield USERS, event
            continue
        module = call.organisation.module(name)
        if module is None or module.is_subform:
            raise invalid_data(api_name="events", json_path=here, reason="the module does not exist")
        yield module.api_name, event


def _url(call: Call, given: object, path: str) -> str | None:
    if given is None:
        return None
    try:
        return outgoing.check_url(given, allow_local=call.settings.local_callbacks)
    except outgoing.UrlRefusedError as error:
        raise invalid_data(api_name="notify_url", json_path=f"{path}.notify_url", reason=str(error)) from error


def _token(given: object, path: str) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str):
        raise invalid_data(api_name="token", json_path=f"{path}.token", expected_data_type="text")
    if len(given) > TOKEN_LENGTH_MAX:
        raise invalid_data(api_name="token", json_path=f"{path}.token", maximum_length=TOKEN_LENGTH_MAX)
    return given


def _expiry(call: Call, given: Mapping[str, Any]) -> int | None:
    """When the channel ends; an instant that is out of range or none at all counts as an hour from now."""
    if "channel_expiry" not in given:
        return None
    most = EXPIRY_MAX_OLD_S if call.version in OLD else EXPIRY_MAX_S
    try:
        at = int(datetime.fromisoformat(str(given["channel_expiry"])).astimezone().timestamp())
    except (ValueError, OverflowError):
        return call.at + EXPIRY_DEFAULT_S
    return at if call.at < at <= call.at + most else call.at + EXPIRY_DEFAULT_S


ROUTES = (
    route("POST", PATH, "notifications create", subscribe),
    route("PUT", PATH, "notifications update", replace),
    route("PATCH", PATH, "notifications update", change),
    route("GET", PATH, "notifications read", list_channels),
    route("DELETE", PATH, "notifications delete", unsubscribe),
)
