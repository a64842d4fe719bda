"""COQL: `POST /coql` with a `select_query`, whose names are given their meaning here.

Its text becomes a tree in coql_parse, its conditions become SQL in conditions.
Source: Zoho CRM v7 Get-Records-through-COQL-Query.
Without ORDER BY records come in the order of their ids. Converted leads are not found.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from farebox.crm import coql_parse, custom_views, metadata, narrowing
from farebox.crm.call import Answer, Call
from farebox.crm.conditions import (
    TEXTS,
    USER_COLUMNS,
    All,
    AnyOf,
    Column,
    Compare,
    Condition,
    Operator,
    Query,
    SqlValue,
    WrongValueError,
    comparable_value,
)
from farebox.crm.coql_parse import Comparison, Item, Select, Wanted
from farebox.crm.criteria import ID
from farebox.crm.custom_views import View
from farebox.crm.errors import ApiError, invalid_data, mandatory_not_found
from farebox.crm.route import Scope, always, check_scope, route
from farebox.crm.schema import ANY_MODULE, DataType, Field, Module, make_field

RELATIONS_MAX = 2

_NULLS = (Operator.IS_NULL, Operator.NOT_NULL)
_EQUALITY = (Operator.EQUAL, Operator.NOT_EQUAL, Operator.IN, Operator.NOT_IN, *_NULLS)
_LIKE = (*_EQUALITY, Operator.LIKE, Operator.NOT_LIKE)
_ORDER = (
    *_EQUALITY,
    Operator.LESS,
    Operator.LESS_EQUAL,
    Operator.GREATER,
    Operator.GREATER_EQUAL,
    Operator.BETWEEN,
    Operator.NOT_BETWEEN,
)
NUMBERS = frozenset({DataType.INTEGER, DataType.BIGINT, DataType.CURRENCY, DataType.DOUBLE, DataType.PERCENT})
TIMES = frozenset({DataType.DATE, DataType.DATETIME})
OPERATORS: dict[DataType, tuple[Operator, ...]] = {
    **dict.fromkeys(TEXTS, _LIKE),
    DataType.MULTISELECT: _LIKE,
    DataType.LOOKUP: _EQUALITY,
    DataType.OWNER: _EQUALITY,
    **dict.fromkeys(NUMBERS | TIMES, _ORDER),
    DataType.BOOLEAN: (Operator.EQUAL,),
}
SUMMABLE = {"SUM": NUMBERS, "AVG": NUMBERS, "MIN": NUMBERS | TIMES, "MAX": NUMBERS | TIMES}


def query(call: Call) -> Answer:
    """`POST /coql`: the records a query finds; 204 when it finds none."""
    content = call.json_object()
    text = content.get("select_query")
    if text is None:
        raise mandatory_not_found(api_name="select_query", json_path="$.select_query")
    if not isinstance(text, str):
        raise invalid_data(api_name="select_query", json_path="$.select_query", expected_data_type="text")
    bound = _Binder(call, coql_parse.parse(text))
    meta = _include_meta(content)
    rows, more = _run(call, bound)
    if not rows:
        return Answer(status=204)
    payload: dict[str, Any] = {
        "data": [bound.show(row) for row in rows],
        "info": {"count": len(rows), "more_records": more},
    }
    if "fields" in meta:
        payload["fields"] = {"fields": [metadata.show_field(call, bound.module, each) for each in bound.base_fields()]}
    return Answer(status=200, payload=payload)


def invalid_query(message: str, **details: object) -> ApiError:
    """A query that reads well and makes no sense."""
    return ApiError(400, "INVALID_QUERY", message, details)


def _include_meta(content: dict[str, Any]) -> Sequence[str]:
    given = content.get("include_meta", [])
    if not isinstance(given, list):
        raise invalid_data(api_name="include_meta", json_path="$.include_meta", expected_data_type="jsonarray")
    for position, each in enumerate(given):
        if each != "fields":
            path = f"$.include_meta[{position}]"
            raise invalid_data(api_name="include_meta", json_path=path, supported_values=["fields"])
    return given


def _run(call: Call, bound: "_Binder") -> tuple[list[sqlite3.Row], bool]:
    """The rows, and whether there are more of them."""
    limit = call.at_most(bound.tree.limit)
    with call.store.reading() as db:
        sql = bound.sql(narrowing.narrowed(db, call.organisation, bound.condition))
        rows = db.execute(sql, (*bound.values, limit + 1, bound.tree.offset)).fetchall()
    return rows[:limit], len(rows) > limit


@dataclass(frozen=True, slots=True)
class _Shown:
    """A selected item, where its value stands in a row, and where the name of the record a lookup points at does."""

    item: Item
    column: Column
    value: int
    name: int | None


class _Binder:
    """A query whose names mean modules and fields of the caller's organisation, as SQL with bound values."""

    def __init__(self, call: Call, tree: Select) -> None:
        self.tree = tree
        self._call = call
        self.module, self._view = self._module(tree.module)
        self._query = Query(self.module)
        self._selected: list[str] = []
        self._grouped = bool(tree.group) or any(each.aggregate for each in tree.items)
        self._shown = [self._show_item(each) for each in tree.items]
        self._id = None if self._grouped else self._select("r.id")
        self.values: list[SqlValue] = [call.organisation.zgid]
        self.condition = self._condition(tree.where)
        self._where = self._query.where(All((self._shown_records(), self.condition)), self.values)
        self._group = [self._query.expression(self.column(each)) for each in tree.group]
        self._check_grouping()
        self._order_by = [self._order(name, descending=descending) for name, descending in tree.order]
        if not self._grouped:
            self._order_by.append("r.id")

    def sql(self, narrowed: str = "") -> str:
        """The statement for `values`, a limit and an offset; `narrowed`: more conditions, each beginning with AND."""
        # the module is written into the SQL, as names of modules are identifiers; every value is bound
        return (
            f"SELECT {', '.join(self._selected)} FROM {self._query.source} "  # noqa: S608
            f"WHERE r.zgid = ? AND r.module = '{self.module.api_name}' AND {self._where}{narrowed}"
            f"{' GROUP BY ' + ', '.join(self._group) if self._group else ''}"
            f"{' ORDER BY ' + ', '.join(self._order_by) if self._order_by else ''} LIMIT ? OFFSET ?"
        )

    def column(self, name: str) -> Column:
        """The field a name means: `Amount`, `Account_Name.Industry`, `What_Id->Leads.Company`, `!Deals.Amount`."""
        if name.startswith("!"):
            prefix, _, rest = name[1:].partition(".")
            if prefix.lower() != self.module.api_name.lower() or not rest:
                raise self._no_column(name)
            return self.column(rest)
        *steps, last = name.split(".")
        module: Module | None = self.module
        path: list[Field] = []
        target = None
        for step in steps:
            lookup_name, _, target_name = step.partition("->")
            lookup = None if module is None else module.by_name.get(lookup_name)
            if lookup is None or lookup.data_type not in (DataType.LOOKUP, DataType.OWNER):
                raise self._no_column(name)
            target = target_name or None
            module = self._target(lookup, target, name)
            path.append(lookup)
        if len(path) > RELATIONS_MAX:
            raise coql_parse.limit_exceeded("relations", RELATIONS_MAX)
        return Column(self._field(module, last, name), tuple(path), target)

    def show(self, row: sqlite3.Row) -> dict[str, Any]:
        """A row as the API shows it."""
        shown = {each.item.key: self._value(each, row) for each in self._shown}
        if self._id is not None:
            shown["id"] = str(row[self._id])
        return shown

    def base_fields(self) -> list[Field]:
        """The module's own fields among what is selected."""
        return [each.column.field for each in self._shown if not each.column.path and each.column.field is not ID]

    def _module(self, name: str) -> tuple[Module, View | None]:
        name, _, cvid = name.partition("#")
        module = self._call.organisation.module(name)
        view = None if module is None or not cvid else custom_views.find_view(self._call, module, cvid)
        if module is None or module.is_subform or (cvid and view is None):
            raise invalid_query("invalid query formed", module=name, reason="the module or custom view does not exist")
        self._check_scope(module)
        return module, view

    def _shown_records(self) -> Condition:
        """The records of the view; without one all that are not converted."""
        if self._view is None:
            return Compare(custom_views.CONVERTED, Operator.EQUAL, (False,))
        return custom_views.condition_of_view(self._call, self.module, self._view)

    def _check_scope(self, module: Module) -> None:
        scope = Scope(service=None, group="modules", thing=None, operations=("read",))
        product = self._call.organisation.product
        check_scope(scope, granted=self._call.scope, product=product, module=module.api_name)

    def _target(self, lookup: Field, target: str | None, name: str) -> Module | None:
        """The module behind a lookup; None behind an owner."""
        if lookup.data_type is DataType.OWNER:
            return None
        wanted = target if lookup.target == ANY_MODULE else lookup.target
        found = None if wanted is None else self._call.organisation.catalogue.get(wanted)
        if found is None or (target and lookup.target != ANY_MODULE):
            raise self._no_column(name)
        self._check_scope(found)
        return found

    def _field(self, module: Module | None, last: str, name: str) -> Field:
        if module is None:
            if last not in USER_COLUMNS:
                raise self._no_column(name)
            return ID if last == "id" else make_field(last)
        found = ID if last == "id" else module.by_name.get(last)
        if found is None:
            raise self._no_column(name)
        if found.data_type not in OPERATORS:
            raise invalid_query("data type not supported", column_name=name, data_type=str(found.data_type))
        return found

    def _no_column(self, name: str) -> ApiError:
        return invalid_query("column given seems to be invalid", column_name=name, module=self.tree.module)

    def _show_item(self, item: Item) -> _Shown:
        column = self.column(item.name)
        expression = self._query.expression(column)
        if item.aggregate:
            allowed = SUMMABLE.get(item.aggregate)
            if allowed is not None and column.field.data_type not in allowed:
                kind = str(column.field.data_type)
                raise invalid_query("data type not supported", column_name=item.name, data_type=kind)
            return _Shown(item, column, self._select(f"{item.aggregate}({expression})"), None)
        name = None
        if column.field is not ID and column.field.data_type in (DataType.LOOKUP, DataType.OWNER):
            alias = self._query.record_of(column)
            of_user = column.field.data_type is DataType.OWNER
            name = self._select(USER_COLUMNS["full_name"].format(user=alias) if of_user else f"{alias}.name")
        return _Shown(item, column, self._select(expression), name)

    def _select(self, expression: str) -> int:
        self._selected.append(expression)
        return len(self._selected) - 1

    def _check_grouping(self) -> None:
        """What is selected beside aggregates must be grouped by."""
        if not self._grouped:
            return
        for each in self.tree.items:
            if each.aggregate is None and each.name not in self.tree.group:
                reason = "a column that is neither aggregated nor grouped by"
                raise invalid_query("invalid query formed", column_name=each.name, reason=reason)

    def _order(self, name: str, *, descending: bool) -> str:
        position = next((n for n, each in enumerate(self._shown) if each.item.alias == name), None)
        if position is not None:
            shown = self._shown[position]
            expression, field = self._selected[shown.value], shown.column.field
            text = shown.item.aggregate is None and field.data_type in TEXTS
        else:
            column = self.column(name)
            if self._grouped and name not in self.tree.group:
                reason = "a column that is neither aggregated nor grouped by"
                raise invalid_query("invalid query formed", column_name=name, reason=reason)
            expression, text = self._query.expression(column), column.field.data_type in TEXTS
        return f"{expression}{' COLLATE NOCASE' if text else ''}{' DESC' if descending else ''}"

    def _condition(self, wanted: Wanted) -> Condition:
        if isinstance(wanted, Comparison):
            return self._compare(wanted)
        parts = (self._condition(wanted.left), self._condition(wanted.right))
        return All(parts) if wanted.word == "and" else AnyOf(parts)

    def _compare(self, wanted: Comparison) -> Compare:
        column = self.column(wanted.name)
        kind = column.field.data_type
        if wanted.operator not in OPERATORS[kind]:
            details = {"column_name": wanted.name, "operator": str(wanted.operator), "data_type": str(kind)}
            raise invalid_query("invalid query formed", reason="the operator does not fit the column", **details)
        try:
            values = tuple(comparable_value(column.field, each) for each in wanted.values)
        except WrongValueError as error:
            message = "value given seems to be invalid for the column"
            raise invalid_query(message, column_name=wanted.name, expected_data_type=str(kind)) from error
        return Compare(column, wanted.operator, values)

    def _value(self, shown: _Shown, row: sqlite3.Row) -> object:
        value = row[shown.value]
        field = shown.column.field
        if value is None or (shown.item.aggregate and field.data_type is not DataType.DATETIME):
            return value
        if field is ID:
            return str(value)
        if field.data_type in (DataType.LOOKUP, DataType.OWNER):
            return self._reference(value, shown, row)
        if field.data_type is DataType.DATETIME:
            return value if shown.item.aggregate == "COUNT" else self._call.iso(value)
        return _PLAIN.get(field.data_type, _as_it_is)(value)

    def _reference(self, value: int, shown: _Shown, row: sqlite3.Row) -> dict[str, Any]:
        if self._call.version in BEFORE_NAMES:
            return {"id": str(value)}
        return {"name": None if shown.name is None else row[shown.name], "id": str(value)}


def _as_it_is(value: object) -> object:
    return value


_PLAIN: dict[DataType, Callable[[Any], object]] = {
    DataType.BOOLEAN: bool,
    DataType.BIGINT: str,
    DataType.MULTISELECT: msgspec.json.decode,
}

BEFORE_NAMES = frozenset({"v2", "v2.1", "v3", "v4", "v5", "v6"})
"""Versions in which a lookup is shown by its id alone."""

ROUTES = (route("POST", "coql", "coql read", query, reads_long=always),)
