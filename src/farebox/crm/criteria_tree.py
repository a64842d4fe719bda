"""Criteria as a JSON tree, as bulk read and custom views take them: a criterion, or groups of them.

`{"group_operator": "and", "group": [{"field": {"api_name": "Email"}, "comparator": "equal", "value": ".."}]}`.
Source: Zoho CRM v7 bulk-read and the custom views of the official OpenAPI files.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any, Final

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

DAY: Final = timedelta(days=1)
CRITERIA_MAX: Final = 25
VALUES_MAX: Final = 100
RELATIONS_MAX: Final = 2
DEPTH_MAX: Final = 5
EMPTY: Final = "${EMPTY}"
NOT_EMPTY: Final = "${NOTEMPTY}"
CURRENT_USER: Final = "${CURRENTUSER}"
PERIODS: Final[dict[str, Callable[[date], tuple[date, date]]]] = {
    "${YESTERDAY}": lambda today: (today - DAY, today - DAY),
    "${TODAY}": lambda today: (today, today),
    "${TOMORROW}": lambda today: (today + DAY, today + DAY),
    "${LASTWEEK}": lambda today: (_sunday(today) - 7 * DAY, _sunday(today) - DAY),
    "${THISWEEK}": lambda today: (_sunday(today), _sunday(today) + 6 * DAY),
    "${NEXTWEEK}": lambda today: (_sunday(today) + 7 * DAY, _sunday(today) + 13 * DAY),
}
"""What stands for some days, first and last, as seen from today."""
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


def refusal(code: str, message: str, **details: object) -> ApiError:
    """A bulk job that is refused."""
    return ApiError(400, code, message, details)


def read_criteria(call: Call, module: Module, given: object) -> Condition:
    """The condition a tree of criteria stands for; raises the refusals of a bulk job."""
    return _Reader(call, module).condition(given, 0)


def check_reading(call: Call, module: Module) -> None:
    """Raise OAUTH_SCOPE_MISMATCH unless the caller may read the module."""
    scope = Scope(service=None, group="modules", thing=None, operations=("read",))
    check_scope(scope, granted=call.scope, product=call.organisation.product, module=module.api_name)


def column_of(call: Call, module: Module, name: str) -> Column:
    """The field a dotted name means; raises FIELD_NOT_AVAILABLE, FIELD_NOT_SUPPORTED or JOIN_LIMIT_EXCEEDED."""
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
            check_reading(call, here)
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
        column = column_of(self._call, self._module, name)
        value = given.get("value")
        if value == EMPTY:
            if operator not in (Operator.EQUAL, Operator.NOT_EQUAL):
                raise refusal("CRITERIA_NOT_SUPPORTED", "emptiness is tested by equal and not_equal", field=name)
            return Compare(column, Operator.IS_NULL if operator is Operator.EQUAL else Operator.NOT_NULL)
        if value == NOT_EMPTY and operator is Operator.EQUAL:
            return Compare(column, Operator.NOT_NULL)
        if isinstance(value, str) and value in PERIODS and operator is Operator.EQUAL:
            return self._within(column, PERIODS[value], name)
        if value == CURRENT_USER and column.field.data_type is DataType.OWNER:
            value = str(self._call.user.id)
        return Compare(column, operator, self._values(column, operator, value, name))

    def _within(self, column: Column, period: Callable[[date], tuple[date, date]], name: str) -> Condition:
        """Days in the zone of the user who asks."""
        zone = self._call.user.zone
        first, last = period(datetime.fromtimestamp(self._call.at, zone).date())
        if column.field.data_type is DataType.DATE:
            return Compare(column, Operator.BETWEEN, (first.isoformat(), last.isoformat()))
        if column.field.data_type is not DataType.DATETIME:
            raise refusal("CRITERIA_NOT_SUPPORTED", "a period is of dates and times", field=name)
        begin = int(datetime.combine(first, time(), zone).timestamp())
        end = int(datetime.combine(last + DAY, time(), zone).timestamp())
        return Compare(column, Operator.BETWEEN, (begin, end - 1))

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


def _sunday(today: date) -> date:
    """The first day of a week; weeks begin on Sunday."""
    return today - (today.isoweekday() % 7) * DAY
