"""The paths of custom views: list, get, make, change, delete and sort them.

Source: Zoho CRM v8 custom-view-meta, sort-order-cv and the custom views of the official OpenAPI files.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from farebox.crm import outcomes
from farebox.crm.call import Answer, Call
from farebox.crm.criteria_tree import read_criteria
from farebox.crm.custom_views import View, find_view, system_views, views_of
from farebox.crm.errors import (
    ApiError,
    invalid_data,
    invalid_path_id,
    limit_exceeded,
    mandatory_not_found,
    param_missing,
)
from farebox.crm.metadata import SORTABLE, module_param
from farebox.crm.organisations import find_user, next_id
from farebox.crm.route import route
from farebox.crm.schema import Module
from farebox.crm.validate import parse_id

KEY: Final = "custom_views"
NAME_LENGTH_MAX: Final = 100
FIELDS_MAX: Final = 50
FIELDS_SHOWN: Final = 6
PER_PAGE_MAX: Final = 200
USERS_MAX: Final = 100
ACCESS_TYPES: Final = ("public", "only_to_me", "shared")
SORT_ORDERS: Final = ("asc", "desc")
TRANSLATION: Final = {
    "public_views": "Public Views",
    "other_users_views": "Other User's Views",
    "shared_with_me": "Shared With Me",
    "created_by_me": "Created By Me",
}

Json = dict[str, Any]


def list_views(call: Call) -> Answer:
    """`GET /settings/custom_views?module=`: all that the caller sees; their criteria and fields stand in each view."""
    module = module_param(call)
    per_page = call.integer("per_page", default=PER_PAGE_MAX, minimum=1, maximum=PER_PAGE_MAX)
    page = call.integer("page", default=1, minimum=1, maximum=10**9)
    found = views_of(call, module)
    shown = found[(page - 1) * per_page : page * per_page]
    if not shown:
        return Answer(status=204)
    info = {
        "per_page": per_page,
        "count": len(shown),
        "page": page,
        "more_records": len(found) > page * per_page,
        "default": str(found[0].id),
        "translation": TRANSLATION,
    }
    return Answer(status=200, payload={KEY: [_show(call, module, each) for each in shown], "info": info})


def get_view(call: Call, *, view_id: int) -> Answer:
    """`GET /settings/custom_views/{id}?module=`."""
    module = module_param(call)
    return Answer(status=200, payload={KEY: [_show(call, module, _in_path(call, module, view_id), whole=True)]})


def create(call: Call) -> Answer:
    """`POST /settings/custom_views?module=`."""
    module = module_param(call)
    return outcomes.each_of(call, KEY, partial(_create_one, call, module), done=201)


def update_many(call: Call) -> Answer:
    """`PUT /settings/custom_views?module=`: each view names its `id`."""
    module = module_param(call)

    def update(given: object, path: str) -> Json:
        content = outcomes.object_at(given, path)
        return _update(call, module, _in_body(call, module, content, path), content, path)

    return outcomes.each_of(call, KEY, update)


def update_one(call: Call, *, view_id: int) -> Answer:
    """`PUT /settings/custom_views/{id}?module=`."""
    module = module_param(call)
    view = _in_path(call, module, view_id)
    _check_changeable(call, view, resource_path_index=2)
    (given,) = outcomes.elements_of(call, KEY, maximum=1)
    path = f"$.{KEY}[0]"
    change = partial(_update, call, module, view, outcomes.object_at(given, path), path)
    return outcomes.answer(KEY, [outcomes.attempt(call, change)])


def change_sort(call: Call) -> Answer:
    """`PUT /settings/custom_views/actions/change_sort?module=`: each view names its `id`."""
    module = module_param(call)

    def change(given: object, path: str) -> Json:
        content = outcomes.object_at(given, path)
        return _sort(call, module, _in_body(call, module, content, path), content, path)

    return outcomes.each_of(call, KEY, change)


def change_sort_one(call: Call, *, view_id: int) -> Answer:
    """`PUT /settings/custom_views/{id}/actions/change_sort?module=`."""
    module = module_param(call)
    view = _in_path(call, module, view_id)
    (given,) = outcomes.elements_of(call, KEY, maximum=1)
    path = f"$.{KEY}[0]"
    change = partial(_sort, call, module, view, outcomes.object_at(given, path), path)
    return outcomes.answer(KEY, [outcomes.attempt(call, change)])


def delete_many(call: Call) -> Answer:
    """`DELETE /settings/custom_views?module=&ids=1,2`."""
    module = module_param(call)
    given = [each.strip() for each in call.params.get("ids", "").split(",") if each.strip()]
    if not given:
        raise param_missing("ids")
    if len(given) > outcomes.ACTIONS_MAX:
        raise limit_exceeded(limit=outcomes.ACTIONS_MAX, param_name="ids")
    tries = [partial(_delete, call, module, each) for each in given]
    return outcomes.answer(KEY, [outcomes.attempt(call, each) for each in tries])


def _delete(call: Call, module: Module, given: str) -> Json:
    view = find_view(call, module, given)
    if view is None:
        message = "The provided CustomView is either invalid or already Deleted"
        raise ApiError(400, "INVALID_DATA", message, {"id": given})
    _check_changeable(call, view)
    with call.store.transaction() as db:
        db.execute("DELETE FROM custom_view WHERE id = ?", (view.id,))
    return outcomes.success("deleted successfully", view.id)


def _create_one(call: Call, module: Module, given: object, path: str) -> Json:
    content = outcomes.object_at(given, path)
    name = outcomes.text_at(content, "name", path, maximum=NAME_LENGTH_MAX)
    definition = {"access_type": "only_to_me", "shared_to": [], "locked": False, **_read(call, module, content, path)}
    _check_name(call, module, name, path, own_id=None)
    with call.store.transaction() as db:
        view_id = next_id(db, call.organisation)
        db.execute(
            "INSERT INTO custom_view VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                view_id,
                call.organisation.zgid,
                module.api_name,
                name,
                json.dumps(definition),
                call.user.id,
                call.at,
                call.user.id,
                call.at,
            ),
        )
    return outcomes.success("custom view created", view_id)


def _update(call: Call, module: Module, view: View, content: Json, path: str) -> Json:
    _check_changeable(call, view)
    name = view.name
    if "name" in content:
        name = outcomes.text_at(content, "name", path, maximum=NAME_LENGTH_MAX)
        _check_name(call, module, name, path, own_id=view.id)
    _write(call, view, name, {**view.definition, **_read(call, module, content, path)})
    return outcomes.success("custom view updated", view.id)


def _sort(call: Call, module: Module, view: View, content: Json, path: str) -> Json:
    _check_changeable(call, view)
    for name in ("sort_by", "sort_order"):
        if content.get(name) is None:
            raise mandatory_not_found(api_name=name, json_path=f"{path}.{name}")
    wanted = {name: content[name] for name in ("sort_by", "sort_order")}
    _write(call, view, view.name, {**view.definition, **_read(call, module, wanted, path)})
    return outcomes.success("custom view updated", view.id)


def _write(call: Call, view: View, name: str, definition: Mapping[str, Any]) -> None:
    with call.store.transaction() as db:
        db.execute(
            "UPDATE custom_view SET name = ?, definition = ?, modified_by = ?, modified = ? WHERE id = ?",
            (name, json.dumps(definition), call.user.id, call.at, view.id),
        )


def _read(call: Call, module: Module, content: Json, path: str) -> Json:
    """What a body says of a view besides its name, checked."""
    definition: Json = {}
    if "criteria" in content:
        definition["criteria"] = _criteria(call, module, content["criteria"], f"{path}.criteria")
    if "fields" in content:
        definition["fields"] = _fields(module, content["fields"], f"{path}.fields")
    if content.get("sort_by") is not None:
        definition["sort_by"] = _sortable(module, content["sort_by"], f"{path}.sort_by")
    for name, choices in (("sort_order", SORT_ORDERS), ("access_type", ACCESS_TYPES), ("locked", (True, False))):
        if content.get(name) is not None:
            if content[name] not in choices:
                raise invalid_data(api_name=name, json_path=f"{path}.{name}", supported_values=list(choices))
            definition[name] = content[name]
    if content.get("shared_to") is not None:
        definition["shared_to"] = _shared_to(call, content["shared_to"], f"{path}.shared_to")
    if definition.get("access_type") == "shared" and not definition.get("shared_to"):
        details = {
            "dependee": {"api_name": "access_type", "json_path": f"{path}.access_type"},
            "api_name": "shared_to",
            "json_path": f"{path}.shared_to",
        }
        raise ApiError(400, "DEPENDENT_FIELD_MISSING", "dependent field missing", details)
    return definition


def _criteria(call: Call, module: Module, given: object, path: str) -> object:
    if given is None:
        return None
    try:
        read_criteria(call, module, given)
    except ApiError as refusal:
        if refusal.code == "OAUTH_SCOPE_MISMATCH":
            raise
        raise invalid_data(api_name="criteria", json_path=path, reason=refusal.message, **refusal.details) from refusal
    return given


def _fields(module: Module, given: object, path: str) -> list[str]:
    if not isinstance(given, list) or len(given) > FIELDS_MAX:
        raise invalid_data(api_name="fields", json_path=path, expected_data_type="jsonarray", maximum_length=FIELDS_MAX)
    return [_field(module, each, f"{path}[{n}]") for n, each in enumerate(given)]


def _field(module: Module, given: object, path: str) -> str:
    name = outcomes.object_at(given, path).get("api_name")
    if not isinstance(name, str) or name not in module.by_name:
        raise invalid_data(api_name="api_name", json_path=f"{path}.api_name")
    return name


def _sortable(module: Module, given: object, path: str) -> str:
    name = _field(module, given, path)
    if module.by_name[name].data_type not in SORTABLE or name == "Tag":
        raise invalid_data(api_name="api_name", json_path=f"{path}.api_name")
    return name


def _shared_to(call: Call, given: object, path: str) -> list[str]:
    """The ids of the users a view is shared with."""
    if not isinstance(given, list) or len(given) > USERS_MAX:
        raise invalid_data(api_name="shared_to", json_path=path, expected_data_type="jsonarray")
    ids = []
    for position, each in enumerate(given):
        here = f"{path}[{position}]"
        content = outcomes.object_at(each, here)
        if content.get("type") != "users":
            raise invalid_data(api_name="type", json_path=f"{here}.type", supported_values=["users"])
        user_id = parse_id(content.get("id"))
        with call.store.reading() as db:
            if user_id is None or find_user(db, user_id, zgid=call.organisation.zgid) is None:
                raise invalid_data(api_name="id", json_path=f"{here}.id")
        ids.append(str(user_id))
    return ids


def _in_path(call: Call, module: Module, view_id: int) -> View:
    view = find_view(call, module, view_id)
    if view is None:
        raise invalid_path_id(2)
    return view


def _in_body(call: Call, module: Module, content: Json, path: str) -> View:
    view = find_view(call, module, content.get("id"))
    if view is None:
        raise invalid_data(api_name="id", json_path=f"{path}.id")
    return view


def _check_changeable(call: Call, view: View, **where: int) -> None:
    """Its maker and administrators change a view; a locked one only its maker, a module's own nobody."""
    made = view.made
    if made is None or (made["created_by"] != call.user.id and (view.definition["locked"] or not call.user.admin)):
        message = "Permission denied. Locked custom views cannot be customized."
        raise ApiError(403, "NO_PERMISSION", message, {"permissions": [], **where})


def _check_name(call: Call, module: Module, name: str, path: str, *, own_id: int | None) -> None:
    with call.store.reading() as db:
        row = db.execute(
            "SELECT id FROM custom_view WHERE zgid = ? AND module = ? AND name = ?",
            (call.organisation.zgid, module.api_name, name),
        ).fetchone()
    taken = {each.name.lower() for each in system_views(call.organisation, module)}
    if (row is not None and row["id"] != own_id) or name.lower() in taken:
        raise ApiError(400, "DUPLICATE_DATA", "duplicate data", {"api_name": "name", "json_path": f"{path}.name"})


def _show(call: Call, module: Module, view: View, *, whole: bool = False) -> Json:
    made, definition = view.made, view.definition
    own = made is not None and made["created_by"] == call.user.id
    others = "shared_with_me" if definition.get("access_type") == "shared" else "public_views"
    shown: Json = {
        "id": str(view.id),
        "name": view.name,
        "display_value": view.name,
        "system_name": view.system_name,
        "system_defined": made is None,
        "category": "created_by_me" if own else others,
        "access_type": definition.get("access_type", "public"),
        "default": view.system_name == "ALLVIEWS",
        "created_by": None if made is None else _user(call, made["created_by"]),
        "created_time": None if made is None else call.iso(made["created"]),
        "modified_by": None if made is None else _user(call, made["modified_by"]),
        "modified_time": None if made is None else call.iso(made["modified"]),
        "last_accessed_time": None,
        "locked": definition.get("locked", False),
        "favorite": None,
        "offline": True,
    }
    if not whole:
        return shown
    sort_by = definition.get("sort_by")
    names: Sequence[str] = definition.get("fields") or [each.api_name for each in module.fields[:FIELDS_SHOWN]]
    return {
        **shown,
        "module": {"api_name": module.api_name, "id": str(call.organisation.module_id(module))},
        "criteria": definition.get("criteria"),
        "fields": [{**_reference(call, module, each), "_pin": False} for each in names if each in module.by_name],
        "sort_by": _reference(call, module, sort_by) if sort_by in module.by_name else None,
        "sort_order": definition.get("sort_order"),
        "shared_to": [
            {"type": "users", **(_user(call, int(each)) or {}), "subordinates": False}
            for each in definition.get("shared_to", ())
        ],
    }


def _reference(call: Call, module: Module, api_name: Any) -> Json:  # noqa: ANN401 (stored JSON)
    return {"api_name": api_name, "id": str(call.organisation.field_id(module, api_name))}


def _user(call: Call, user_id: int) -> Json | None:
    with call.store.reading() as db:
        user = find_user(db, user_id, zgid=call.organisation.zgid)
    return None if user is None else {"name": user.full_name, "id": str(user.id)}


ROUTES = (
    route("GET", "settings/custom_views", "settings.custom_views read", list_views),
    route("POST", "settings/custom_views", "settings.custom_views create", create),
    route("PUT", "settings/custom_views", "settings.custom_views update", update_many),
    route("DELETE", "settings/custom_views", "settings.custom_views delete", delete_many),
    route("GET", "settings/custom_views/{view_id}", "settings.custom_views read", get_view),
    route("PUT", "settings/custom_views/{view_id}", "settings.custom_views update", update_one),
    route("PUT", "settings/custom_views/actions/change_sort", "settings.custom_views update", change_sort),
    route(
        "PUT", "settings/custom_views/{view_id}/actions/change_sort", "settings.custom_views update", change_sort_one
    ),
)
