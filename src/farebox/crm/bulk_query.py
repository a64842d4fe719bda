"""What a bulk read asks for, from its body to a module, columns and a condition. Source: Zoho CRM v7 bulk-read."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from farebox.crm import outgoing
from farebox.crm.call import Call
from farebox.crm.conditions import (
    USER_COLUMNS,
    All,
    AnyOf,
    Column,
    Compare,
    Condition,
    Operator,
    WrongValueError,
    comparable_value,
)
from farebox.crm.criteria import ID
from farebox.crm.errors import ApiError
from farebox.crm.route import Scope, check_scope
from farebox.crm.schema import DataType, Field, Module, make_field

PAGES_MAX: Final = 500
CRITERIA_MAX: Final = 25
VALUES_MAX: Final = 100
RELATIONS_MAX: Final = 2
DEPTH_MAX: Final = 5
EMPTY: Final = "${EMPTY}"
COMPARATORS: Final = {
    "equal": Operator.EQUAL,
    "not_equal": Operator.NOT_EQUAL,
    "in": Operator.IN,
    "not_in": Operator.NOT_IN,
    "less_than": Operator.LESS,
    "less_equal": Operator.LESS_EQUAL,
    "greater_than": Operator.GREATER,
    "greater_equal": Operator.GREATER_EQUAL,
    "between": Operator.BETWEEN,
    "not_between": Operator.NOT_BETWEEN,
    "contains": Operator.CONTAINS,
    "not_contains": Operator.NOT_CONTAINS,
    "starts_with": Operator.STARTS,
    "ends_with": Operator.ENDS,
}
RANGES = (Operator.BETWEEN, Operator.NOT_BETWEEN)
LISTS = (Operator.IN, Operator.NOT_IN)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkQuery:
    """A query that makes sense. `columns` are names as given; `after` is the id the page starts behind, 0 for none."""

    module: Module
    columns: tuple[tuple[str, Column], ...]
    condition: Condition | None
    page: int
    after: int
    as_given: Json


def refusal(code: str, message: str, **details: object) -> ApiError:
    """A bulk job that is refused."""
    return ApiError(400, code, message, details)


def body_of(call: Call) -> Json:
    """The body of a request for a job; raises REQUEST_BODY_IS_EMPTY or REQUEST_BODY_NOT_READABLE."""
    if not call.body.strip():
        raise refusal("REQUEST_BODY_IS_EMPTY", "the request body is empty")
    try:
        content = msgspec.json.decode(call.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal("REQUEST_BODY_NOT_READABLE", "the request body is not readable") from error
    if not isinstance(content, dict):
        raise refusal("REQUEST_BODY_NOT_READABLE", "the request body is no JSON object")
    return content


def callback_of(call: Call, content: Json) -> Json | None:
    """The callback a body asks for, checked; raises INVALID_CALLBACK_URL or INVALID_CALLBACK_METHOD."""
    callback = content.get("callback")
    if callback is None:
        return None
    if not isinstance(callback, dict):
        raise refusal("INVALID_CALLBACK_URL", "the callback is no JSON object")
    try:
        url = outgoing.check_url(callback.get("url"), allow_local=call.settings.local_callbacks)
    except outgoing.UrlRefusedError as error:
        raise refusal("INVALID_CALLBACK_URL", f"the callback URL cannot be called: {error}") from error
    if str(callback.get("method", "post")).lower() != "post":
        details = {"supported_callback_methods": ["post"]}
        raise refusal("INVALID_CALLBACK_METHOD", "the callback method is not supported", **details)
    return {"url": url, "method": "post"}


def read(call: Call, db: sqlite3.Connection, content: Json) -> BulkQuery:
    """The query of a body, or the one a page_token goes on with."""
    if content.get("file_type", "csv") != "csv":
        raise refusal("JOB_NOT_SUPPORTED", "the file type is not supported", supported_values=["csv"])
    given = content.get("query")
    if not isinstance(given, dict):
        raise refusal("INVALID_BULK_OPERATION", "a query is expected")
    token = given.get("page_token", content.get("page_token"))
    if token is None:
        return _make(call, given, page=_page(given), after=0)
    row = db.execute(
        "SELECT * FROM job_page WHERE token = ? AND zgid = ? AND user_id = ? AND expires > ?",
        (str(token), call.organisation.zgid, call.user.id, call.at),
    ).fetchone()
    if row is None:
        raise refusal("INVALID_DATA", "the page_token is not known or has expired", api_name="page_token")
    return _make(call, json.loads(row["query"]), page=row["page"], after=row["after_id"])


def again(call: Call, request: Json) -> BulkQuery:
    """The query of a job's request."""
    return _make(call, request["query"], page=request["page"], after=request["after"])


def _page(given: Json) -> int:
    page = given.get("page", 1)
    if isinstance(page, bool) or not isinstance(page, int):
        raise refusal("PAGE_NOT_SUPPORTED", "the page is no number")
    if not 1 <= page <= PAGES_MAX:
        raise refusal("PAGE_RANGE_EXCEEDED", "the page is out of range", limit=PAGES_MAX)
    return page


def _make(call: Call, given: Json, *, page: int, after: int) -> BulkQuery:
    name = given["module"].get("api_name") if isinstance(given.get("module"), dict) else given.get("module")
    module = call.organisation.module(name) if isinstance(name, str) else None
    if module is None:
        raise refusal("MODULE_NOT_AVAILABLE", "the module is not available", module=str(name))
    if module.is_subform:
        raise refusal("MODULE_NOT_SUPPORTED", "the module is not supported", module=module.api_name)
    _check_scope(call, module)
    if given.get("cvid") is not None:
        raise refusal("CVID_NOT_SUPPORTED", "the custom view is not known", cvid=str(given["cvid"]))
    criteria = given.get("criteria")
    return BulkQuery(
        module=module,
        columns=tuple((each, _column(call, module, each)) for each in _names(module, given.get("fields"))),
        condition=None if criteria is None else _Reader(call, module).condition(criteria, 0),
        page=page,
        after=after,
        as_given={**given, "module": {"api_name": module.api_name}},
    )


def _check_scope(call: Call, module: Module) -> None:
    scope = Scope(service=None, group="modules", thing=None, operations=("read",))
    check_scope(scope, granted=call.scope, product=call.organisation.product, module=module.api_name)


def _names(module: Module, given: object) -> Sequence[str]:
    """The columns besides Id; without `fields` all that can be one."""
    if given is None:
        return [
            each.api_name for each in module.fields if each.data_type is not DataType.SUBFORM and each.api_name != "Tag"
        ]
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise refusal("FIELD_NOT_AVAILABLE", "fields is a list of API names")
    return [each for each in dict.fromkeys(given) if each.lower() != "id"]


def _column(call: Call, module: Module, name: str) -> Column:
    *steps, last = name.split(".")
    if len(steps) > RELATIONS_MAX:
        raise refusal("JOIN_LIMIT_EXCEEDED", "too many relations", limit=RELATIONS_MAX, field=name)
    path: list[Field] = []
    here: Module | None = module
    for step in steps:
        lookup = None if here is None else here.by_name.get(step)
        if lookup is None or lookup.data_type not in (DataType.LOOKUP, DataType.OWNER):
            raise _not_available(name)
        path.append(lookup)
        here = call.organisation.catalogue.get(lookup.target or "")
        if here is not None:
            _check_scope(call, here)
    if path and path[-1].data_type is DataType.OWNER:
        if last not in USER_COLUMNS:
            raise _not_available(name)
        return Column(ID if last == "id" else make_field(last), tuple(path))
    found = None if here is None else ID if last.lower() == "id" else here.by_name.get(last)
    if found is None:
        raise _not_available(name)
    if found.data_type is DataType.SUBFORM or found.api_name == "Tag":
        raise refusal("FIELD_NOT_SUPPORTED", "the field is not supported", field=name)
    return Column(found, tuple(path))


def _not_available(name: str) -> ApiError:
    return refusal("FIELD_NOT_AVAILABLE", "the field is not available", field=name)


class _Reader:
    """The criteria of one query; counts how many there are."""

    def __init__(self, call: Call, module: Module) -> None:
        self._call = call
        self._module = module
        self._found = 0

    def condition(self, given: object, depth: int) -> Condition:
        if not isinstance(given, dict) or depth > DEPTH_MAX:
            raise refusal("INVALID_CRITERIA", "a criterion or a group of criteria is expected")
        if "group" not in given:
            return self._criterion(given)
        if "field" in given or "comparator" in given:
            raise refusal("AMBIGUOUS_CRITERIA", "a group is no criterion itself")
        group, operator = given["group"], str(given.get("group_operator", "")).lower()
        if not isinstance(group, list) or not group or operator not in ("and", "or"):
            raise refusal("INVALID_CRITERIA", "a group has a list of criteria and group_operator and or or")
        parts = tuple(self.condition(each, depth + 1) for each in group)
        return All(parts) if operator == "and" else AnyOf(parts)

    def _criterion(self, given: Json) -> Condition:
        self._found += 1
        if self._found > CRITERIA_MAX:
            raise refusal("CRITERIA_LIMIT_EXCEEDED", "too many criteria", limit=CRITERIA_MAX)
        name = given["field"].get("api_name") if isinstance(given.get("field"), dict) else given.get("api_name")
        operator = COMPARATORS.get(str(given.get("comparator", "")).lower())
        if not isinstance(name, str) or operator is None:
            raise refusal("INVALID_CRITERIA", "a criterion has a field and a comparator", comparators=list(COMPARATORS))
        column = _column(self._call, self._module, name)
        value = given.get("value")
        if value == EMPTY:
            if operator not in (Operator.EQUAL, Operator.NOT_EQUAL):
                raise refusal("CRITERIA_NOT_SUPPORTED", "emptiness is tested by equal and not_equal", field=name)
            return Compare(column, Operator.IS_NULL if operator is Operator.EQUAL else Operator.NOT_NULL)
        return Compare(column, operator, self._values(column, operator, value, name))

    def _values(self, column: Column, operator: Operator, value: object, name: str) -> tuple[Any, ...]:
        many = value if isinstance(value, list) else [value]
        if operator in LISTS and isinstance(value, str):
            many = value.split(",")
        if len(many) > VALUES_MAX:
            raise refusal("VALUE_LIMIT_EXCEEDED_IN_CRITERIA", "too many values", limit=VALUES_MAX, field=name)
        wanted = 2 if operator in RANGES else None if operator in LISTS else 1
        if not many or (wanted is not None and len(many) != wanted):
            raise refusal("INVALID_CRITERIA", "the number of values does not fit the comparator", field=name)
        try:
            return tuple(comparable_value(column.field, _text(each)) for each in many)
        except WrongValueError as error:
            raise refusal("INVALID_CRITERIA", str(error), field=name) from error


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return str(value.get("id"))
    return str(value).strip()
