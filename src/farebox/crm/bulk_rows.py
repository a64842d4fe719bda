"""Writing the rows of a bulk write: what one row becomes, and what is said of it in the result."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from farebox.crm.bulk_plan import Cell, Plan
from farebox.crm.call import Call
from farebox.crm.conditions import Column, Compare, Operator, Query, SqlValue
from farebox.crm.errors import ApiError
from farebox.crm.records import RecordWriter
from farebox.crm.schema import DataType, Field, Module
from farebox.crm.validate import check_record, parse_id

ADDED: Final = "ADDED"
UPDATED: Final = "UPDATED"
SKIPPED: Final = "SKIPPED"
UNPROCESSED: Final = "UNPROCESSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a row. `errors` reads `CODE-column:CODE-column`."""

    status: str
    record_id: str = ""
    errors: str = ""


class _RowError(Exception):
    def __init__(self, code: str, column: str) -> None:
        super().__init__(f"{code}-{column}")


class RowWriter:
    """Writes rows of one file by its plan, in a transaction of the caller's."""

    def __init__(self, call: Call, db: sqlite3.Connection, plan: Plan) -> None:
        self._call = call
        self._db = db
        self._plan = plan
        self._writer = RecordWriter(call, plan.module, db)

    def write(self, cells: Sequence[str]) -> Done:
        """One row; a row that cannot be written says why and changes nothing."""
        try:
            data = self._data(cells)
            return self._written(data)
        except _RowError as error:
            return Done(status=UNPROCESSED, errors=str(error))
        except ApiError as refusal:
            column = refusal.details.get("api_name", "")
            return Done(status=UNPROCESSED, errors=f"{refusal.code}-{column}".rstrip("-"))

    def _data(self, cells: Sequence[str]) -> dict[str, Any]:
        """The row as a record's JSON."""
        data: dict[str, Any] = {}
        for each in self._plan.cells:
            text = "" if each.index is None or each.index >= len(cells) else cells[each.index].strip()
            text = text or each.default or ""
            if not text:
                if not self._plan.ignore_empty:
                    data[each.field.api_name] = None
                continue
            data[each.field.api_name] = self._value(each, text)
        return data

    def _value(self, cell: Cell, text: str) -> object:
        name = cell.field.api_name
        if cell.find_by is not None:
            target = self._call.organisation.catalogue[str(cell.field.target)]
            found = self._find(target, cell.find_by, text)
            if found is None:
                raise _RowError("INVALID_DATA", name)
            return {"id": found}
        try:
            value = cell.read(text)
        except (ValueError, KeyError, OverflowError) as error:
            raise _RowError("INVALID_DATA", name) from error
        if cell.field.data_type in (DataType.LOOKUP, DataType.OWNER):
            return {"id": value}
        return value

    def _written(self, data: dict[str, Any]) -> Done:
        operation = self._plan.operation
        found = self._existing(data)
        if found is None and operation == "update":
            return Done(status=UNPROCESSED, errors=f"INVALID_DATA-{self._searched}")
        if found is not None and operation == "insert":
            return Done(status=SKIPPED, record_id=str(found), errors=f"DUPLICATE_DATA-{self._searched}")
        return self._insert(data) if found is None else self._update(found, data)

    @property
    def _searched(self) -> str:
        return "id" if self._plan.find_by is None else self._plan.find_by.api_name

    def _existing(self, data: dict[str, Any]) -> int | None:
        """The id of the record the row is about, if there is one."""
        if self._plan.finds_by_id:
            record_id = parse_id(data.get("id"))
            return record_id if record_id is not None and self._writer.find(record_id) is not None else None
        if self._plan.find_by is None:
            return None
        value = data.get(self._plan.find_by.api_name)
        return None if value in (None, "") else self._find(self._plan.module, self._plan.find_by, str(value))

    def _find(self, module: Module, field: Field, text: str) -> int | None:
        """The oldest record with this value; by the index where the field has one."""
        if field.api_name in module.indexed_fields:
            writer = self._writer if module is self._plan.module else RecordWriter(self._call, module, self._db)
            return writer.find_by_value(field.api_name, text)
        query = Query(module)
        values: list[SqlValue] = [self._call.organisation.zgid, module.api_name]
        where = query.where(Compare(Column(field), Operator.EQUAL, (text,)), values)
        row = self._db.execute(
            f"SELECT min(r.id) FROM {query.source} WHERE r.zgid = ? AND r.module = ? AND {where}",  # noqa: S608 (bound)
            values,
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def _insert(self, data: dict[str, Any]) -> Done:
        given = {name: value for name, value in data.items() if value is not None and name != "id"}
        checked = self._check(given, inserting=True)
        self._writer.verify(checked, path="$", own_id=None)
        return Done(status=ADDED, record_id=str(self._writer.insert(checked)["id"]))

    def _update(self, record_id: int, data: dict[str, Any]) -> Done:
        checked = self._check(data, inserting=False)
        self._writer.verify(checked, path="$", own_id=record_id)
        row = self._writer.find(record_id)
        assert row is not None, "it was found in this transaction"
        self._writer.update(row, checked, append={})
        return Done(status=UPDATED, record_id=str(record_id))

    def _check(self, data: dict[str, Any], *, inserting: bool) -> Any:  # noqa: ANN401 (validate's own class)
        catalogue = self._call.organisation.catalogue
        return check_record(self._plan.module, data, catalogue=catalogue, path="$", inserting=inserting)
