"""What this API offers, by itself: `GET /__apis` made of the table of paths, and `GET /__features`.

Source: Zoho CRM v7 list-available-rest-apis and the official OpenAPI file of it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from farebox.crm import scopes
from farebox.crm.call import Answer, Call
from farebox.crm.errors import ApiError, invalid_module_param, invalid_param, invalid_path_id
from farebox.crm.organisations import list_users
from farebox.crm.route import Route, Scope, route

CREDITS: Final[dict[tuple[str, str], tuple[int, int]]] = {
    # what the samples of the official documentation state, fewest and most; nothing here counts them
    ("GET", "__apis"): (1, 1),
    ("GET", "{module}/deleted"): (2, 2),
    ("POST", "{module}"): (1, 10),
    ("PUT", "{module}"): (1, 10),
    ("POST", "{module}/upsert"): (1, 10),
    ("POST", "{module}/actions/add_tags"): (1, 50),
    ("POST", "{module}/actions/remove_tags"): (1, 50),
    ("POST", "{module}/{record_id}/actions/merge"): (50, 50),
    ("GET", "{module}/{record_id}/actions/merge"): (1, 1),
}
FILTERED: Final = ("operation_types.oauth_scope", "operation_types.method", "module")

Shown = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filter:
    """The one criterion of a call: nothing, or a field that equals a value."""

    field: str | None = None
    value: str = ""

    def keeps(self, operation: Shown, module: str | None) -> bool:
        match self.field:
            case "operation_types.method":
                return bool(operation["method"] == self.value.upper())
            case "operation_types.oauth_scope":
                wanted = self.value.lower().split(".")
                return any(
                    each.lower().split(".")[1:][: len(wanted)] == wanted for each in operation["oauth_scope"].split(",")
                )
            case "module":
                return module is not None and module.lower() == self.value.lower()
            case _:
                return True


def list_apis(table: Callable[[], Sequence[Route]], call: Call) -> Answer:
    """`GET /__apis`: every path with its methods and scopes; 204 when none passes the filter."""
    wanted = _filter(call.params.get("filters"))
    found: dict[str, list[Shown]] = {}
    for each in table():
        for module in _modules(call) if "{module}" in each.pattern else (None,):
            operation = _operation(call, each, module)
            if wanted.keeps(operation, module):
                found.setdefault(_path(call, each, module), []).append(operation)
    if not found:
        return Answer(status=204)
    apis = [{"path": path, "operation_types": operations} for path, operations in found.items()]
    return Answer(status=200, payload={"__apis": apis})


def _modules(call: Call) -> Iterable[str]:
    """The modules whose paths are listed by name; all custom ones together are `{{module}}`."""
    yield from (each.api_name for each in call.organisation.catalogue.values() if each.generated_type == "default")
    yield "{{module}}"


def _path(call: Call, each: Route, module: str | None) -> str:
    parts = [_part(part, module) for part in each.pattern]
    product, version = call.organisation.product, call.version
    if parts[0] == "bulk":
        return "/".join(["", product, "bulk", version, *parts[1:]])
    if parts[0] == "content":
        return "/".join(["", version, product, *parts[1:]])
    return "/".join(["", product, version, *parts])


def _part(part: str, module: str | None) -> str:
    if part == "{module}":
        return module or part
    if part.endswith("_id}"):
        return "{{id}}"
    return f"{{{part}}}" if part.startswith("{") else part


def _operation(call: Call, each: Route, module: str | None) -> Shown:
    shown: Shown = {
        "method": each.method,
        "oauth_scope": ",".join(name for scope in each.scopes for name in _names(call, scope, module)),
    }
    stated = CREDITS.get((each.method, "/".join(each.pattern)))
    if stated is not None:
        shown["min_credits"], shown["max_credits"] = stated
    return shown


def _names(call: Call, scope: Scope, module: str | None) -> Iterable[str]:
    service = scope.service or scopes.SERVICES[call.organisation.product]
    thing = scope.thing or (module if scope.service is None else None)
    head = ".".join(each for each in (service, scope.group, thing and thing.lower()) if each)
    return (f"{head}.{operation.upper()}" for operation in scope.operations)


def _filter(given: str | None) -> _Filter:
    """The filter of a call; raises INVALID_DATA, MANDATORY_NOT_FOUND or DEPENDENT_FIELD_MISSING."""
    if given is None:
        return _Filter()
    content = _filter_object(given)
    field = content.get("field")
    name = field.get("api_name") if isinstance(field, dict) else None
    for key, path, value in (("field", "$.field", field), ("api_name", "$.field.api_name", name)):
        if value is None:
            raise _missing("MANDATORY_NOT_FOUND", key, path)
    if name not in FILTERED:
        raise _wrong("api_name", "$.field.api_name", supported_values=list(FILTERED))
    for key in ("comparator", "value"):
        if content.get(key) is None:
            raise _missing(
                "DEPENDENT_FIELD_MISSING", key, f"$.{key}", dependee={"api_name": "field", "json_path": "$.field"}
            )
    if content["comparator"] != "equals":
        raise _wrong("comparator", "$.comparator", supported_values=["equals"])
    if not isinstance(content["value"], str):
        raise _wrong("value", "$.value", expected_data_type="text")
    return _Filter(field=name, value=content["value"])


def _filter_object(given: str) -> Shown:
    try:
        content = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise invalid_param("filters", expected_data_type="jsonobject") from error
    if not isinstance(content, dict):
        raise invalid_param("filters", expected_data_type="jsonobject")
    return content


def _missing(code: str, api_name: str, json_path: str, **more: object) -> ApiError:
    details = {"api_name": api_name, "json_path": json_path, "param_name": "filters", **more}
    return ApiError(400, code, "required field not found", details)


def _wrong(api_name: str, json_path: str, **why: object) -> ApiError:
    details = {**why, "api_name": api_name, "json_path": json_path, "param_name": "filters"}
    return ApiError(400, "INVALID_DATA", "invalid data", details)


def list_features(call: Call) -> Answer:
    """`GET /__features`: those of `api_names`, or all; 204 when none is known."""
    if "module" in call.params and call.organisation.module(call.params["module"]) is None:
        raise invalid_module_param()
    wanted = [each.strip() for each in call.params.get("api_names", "").split(",") if each.strip()]
    found = [each for each in _features(call) if not wanted or each["api_name"] in wanted]
    if not found:
        return Answer(status=204)
    info = {"per_page": 200, "count": len(found), "page": 1, "more_records": False}
    return Answer(status=200, payload={"__features": found, "info": info})


def get_feature(call: Call, *, name: str) -> Answer:
    """`GET /__features/{api_name}`."""
    for each in _features(call):
        if each["api_name"] == name:
            return Answer(status=200, payload={"__features": [each]})
    raise invalid_path_id(1)


def _features(call: Call) -> list[Shown]:
    """The one feature there are numbers of: a licence for each active user, none to spare, as in `GET /org`."""
    with call.store.reading() as db:
        used = sum(each.status == "active" for each in list_users(db, call.organisation.zgid))
    counts = {"available_count": 0, "used_count": used, "limits": used}
    return [
        {
            "api_name": "user_licenses",
            "feature_label": "UserLicenses",
            "parent_feature": None,
            "components": None,
            "module_supported": False,
            "details": {name: {"total": count} for name, count in counts.items()},
        }
    ]


def make_routes(table: Callable[[], Sequence[Route]]) -> tuple[Route, ...]:
    """The lines of this family; `table` gives the whole table, this family's lines included."""
    return (
        route("GET", "__apis", "apis read", partial(list_apis, table)),
        route("GET", "__features", "features read", list_features),
        route("GET", "__features/{name}", "features read", get_feature),
    )
