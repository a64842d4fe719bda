"""Filters over records as a typed tree, and the SQL it becomes: what search, COQL, bulk read and custom views share.

Three rules hold in all of them: texts are compared without regard to case, an empty field matches only the test
for emptiness, and every value is a bound parameter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from farebox.crm.schema import DataType, Field, Module
from farebox.crm.validate import BIGINT, DATE, DATETIME, Stored, parse_id

VALUE_LENGTH_MAX = 10_000
"""Longer values are no patterns that SQLite takes."""

SqlValue = str | int | float | None


class Operator(StrEnum):
    """How a field is compared. IS_NULL takes no value, BETWEEN two, IN any number, all others one."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="
    BETWEEN = "between"
    NOT_BETWEEN = "not between"
    IN = "in"
    NOT_IN = "not in"
    STARTS = "starts with"
    ENDS = "ends with"
    CONTAINS = "contains"
    NOT_CONTAINS = "not contains"
    LIKE = "like"
    NOT_LIKE = "not like"
    IS_NULL = "is null"
    NOT_NULL = "is not null"


@dataclass(frozen=True, slots=True)
class Column:
    """A field reached from the module of the query through `path`, a row of lookups (usually none)."""

    field: Field
    path: tuple[Field, ...] = ()
    target: str | None = None
    """The module of the last lookup's records when the lookup itself leaves it open."""


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison; `values` are as stored."""

    column: Column
    test: Operator
    values: tuple[Stored, ...] = ()


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; without parts always true."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds; without parts never true."""

    parts: "tuple[Condition, ...]"


Condition = Compare | All | AnyOf


class WrongValueError(Exception):
    """A value that a field of its data type cannot be compared with."""


def comparable_value(field: Field, text: str) -> Stored:
    """A value written as text, as the store keeps values of this field. Raises WrongValueError.

    >>> from farebox.crm.schema import make_field
    >>> comparable_value(make_field("Amount", DataType.CURRENCY), "12.50")
    12.5
    """
    if len(text) > VALUE_LENGTH_MAX:
        raise WrongValueError(f"a value of more than {VALUE_LENGTH_MAX} characters")
    try:
        read = _READ.get(field.data_type)
        return text if read is None else read(text)
    except ValueError as error:
        raise WrongValueError(f"{text!r} is no {field.data_type}") from error


def _read_date(text: str) -> str:
    if not DATE.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text).isoformat()


def _read_datetime(text: str) -> int:
    # a "+" that was form-decoded on its way comes as a space
    text = text.strip().replace(" ", "+")
    if not DATETIME.fullmatch(text):
        raise ValueError(text)
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


def _read_number(text: str) -> int | float:
    number = float(text)
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 (NaN is what differs from itself)
        raise ValueError(text)
    return int(text) if BIGINT.fullmatch(text) else number


def _read_integer(text: str) -> int:
    if not BIGINT.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _read_boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _read_id(text: str) -> int:
    found = parse_id(text)
    if found is None:
        raise ValueError(text)
    return found


_READ: dict[DataType, Callable[[str], Stored]] = {
    DataType.DATE: _read_date,
    DataType.DATETIME: _read_datetime,
    DataType.INTEGER: _read_integer,
    DataType.BIGINT: _read_integer,
    DataType.CURRENCY: _read_number,
    DataType.DOUBLE: _read_number,
    DataType.PERCENT: _read_number,
    DataType.BOOLEAN: _read_boolean,
    DataType.LOOKUP: _read_id,
    DataType.OWNER: _read_id,
}

SYSTEM_COLUMNS = {
    "id": "id",
    "Owner": "owner",
    "Created_By": "created_by",
    "Modified_By": "modified_by",
    "Created_Time": "created",
    "Modified_Time": "modified",
    "Full_Name": "name",
    "$converted": "converted",
}
"""Fields that are columns of the record table; all others are in its JSON body."""

TEXTS = frozenset(
    {
        DataType.TEXT,
        DataType.TEXTAREA,
        DataType.EMAIL,
        DataType.PHONE,
        DataType.WEBSITE,
        DataType.PICKLIST,
        DataType.AUTONUMBER,
    }
)


class Query:
    """The SQL of one query in the making: the joins its columns need, each made once, and the bound values in order."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._joins: dict[tuple[str, str], str] = {}
        self._tables: list[str] = []

    @property
    def source(self) -> str:
        """What stands after FROM: the record table as `r` and all joins."""
        return " ".join(["record r", *self._tables])

    def expression(self, column: Column) -> str:
        """A column as SQL."""
        alias = "r"
        for position, lookup in enumerate(column.path):
            last = position == len(column.path) - 1
            alias = self._joined(alias, lookup, column.target if last else None)
        if alias.startswith("u"):
            return USER_COLUMNS[column.field.api_name].format(user=alias)
        system = SYSTEM_COLUMNS.get(column.field.api_name)
        if system is not None:
            return f"{alias}.{system}"
        extracted = f"json_extract({alias}.body, '$.{column.field.api_name}')"
        return f"coalesce({extracted}, 0)" if column.field.data_type is DataType.BOOLEAN else extracted

    def record_of(self, lookup: Column) -> str:
        """The alias under which the record (or user) that a lookup points at can be read."""
        alias = "r"
        for step in (*lookup.path, lookup.field):
            alias = self._joined(alias, step, None)
        return alias

    def where(self, condition: Condition, values: list[SqlValue]) -> str:
        """A condition as SQL; its values are appended to `values`."""
        match condition:
            case All(parts) | AnyOf(parts):
                word, nothing = (" AND ", "1") if isinstance(condition, All) else (" OR ", "0")
                return f"({word.join(self.where(each, values) for each in parts) or nothing})"
            case Compare(column, test, given):
                return self._compare(column, test, given, values)

    def _joined(self, alias: str, lookup: Field, target: str | None) -> str:
        """The alias of the record or user a lookup points at."""
        key = (alias, f"{lookup.api_name}>{target}")
        if key not in self._joins:
            own = SYSTEM_COLUMNS.get(lookup.api_name)
            pointer = f"{alias}.{own}" if own else f"json_extract({alias}.body, '$.{lookup.api_name}')"
            is_user = lookup.data_type is DataType.OWNER
            name = f"{'u' if is_user else 'j'}{len(self._joins)}"
            # the module is written into the SQL: names of modules are identifiers
            of_module = f" AND {name}.module = '{target}'" if target else ""
            table = "user" if is_user else "record"
            self._tables.append(
                f"LEFT JOIN {table} {name} ON {name}.id = {pointer} AND {name}.zgid = r.zgid{of_module}"
            )
            self._joins[key] = name
        return self._joins[key]

    def _compare(self, column: Column, test: Operator, given: Sequence[Stored], values: list[SqlValue]) -> str:
        expression = self.expression(column)
        if test is Operator.IS_NULL or test is Operator.NOT_NULL:
            return f"nullif({expression}, '[]') IS {'NOT ' if test is Operator.NOT_NULL else ''}NULL"
        if column.field.data_type is DataType.MULTISELECT:
            return self._among_choices(expression, test, given, values)
        return _simple(expression, test, given, values, text=column.field.data_type in TEXTS)

    def _among_choices(self, expression: str, test: Operator, given: Sequence[Stored], values: list[SqlValue]) -> str:
        """One of the choices passes the test; for a negative test none passes its opposite."""
        opposite = _NEGATIONS.get(test)
        inner = _simple("value", opposite or test, given, values, text=True)
        some = f"EXISTS (SELECT 1 FROM json_each({expression}) WHERE {inner})"  # noqa: S608 (values are bound)
        return f"({expression} IS NOT NULL AND NOT {some})" if opposite else some


USER_COLUMNS = {
    **{name: f"{{user}}.{name}" for name in ("id", "first_name", "last_name", "email", "status")},
    "full_name": "trim({user}.first_name || ' ' || {user}.last_name)",
}
"""What can be read of a user through an owner, as SQL over the user's alias."""

_NEGATIONS = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_CONTAINS: Operator.CONTAINS,
    Operator.NOT_LIKE: Operator.LIKE,
    Operator.NOT_BETWEEN: Operator.BETWEEN,
}
_PATTERNS = {Operator.STARTS: "{}%", Operator.ENDS: "%{}", Operator.CONTAINS: "%{}%", Operator.NOT_CONTAINS: "%{}%"}


def _simple(expression: str, test: Operator, given: Sequence[Stored], values: list[SqlValue], *, text: bool) -> str:
    collation = " COLLATE NOCASE" if text else ""
    match test:
        case Operator.IN | Operator.NOT_IN:
            values.extend(_bound(each) for each in given)
            return f"{expression}{collation} {test.upper()} ({', '.join('?' * len(given))})"
        case Operator.BETWEEN | Operator.NOT_BETWEEN:
            values.extend(_bound(each) for each in given)
            return f"{expression}{collation} {test.upper()} ? AND ?"
        case Operator.STARTS | Operator.ENDS | Operator.CONTAINS | Operator.NOT_CONTAINS:
            values.append(_PATTERNS[test].format(_escaped(given[0])))
            negated = "NOT " if test is Operator.NOT_CONTAINS else ""
            return f"{expression} {negated}LIKE ? ESCAPE '\\'"
        case Operator.LIKE | Operator.NOT_LIKE:
            # % stands for anything, as the caller wrote it; _ has no such meaning
            values.append(str(given[0]).replace("\\", "\\\\").replace("_", "\\_"))
            return f"{expression} {test.upper()} ? ESCAPE '\\'"
        case _:
            values.append(_bound(given[0]))
            return f"{expression} {test} ?{collation}"


def _escaped(value: Stored) -> str:
    return str(value).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _bound(value: Stored) -> SqlValue:
    assert not isinstance(value, list), "lists are compared choice by choice"
    return value
