"""Records of one module in the store: find, write, delete, and what only the store can check."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from farebox.crm.call import Call
from farebox.crm.changes import Change, Operation, announce
from farebox.crm.errors import duplicate_data, invalid_related_id
from farebox.crm.organisations import Organisation, next_id
from farebox.crm.schema import ANY_MODULE, AutoNumber, DataType, Module
from farebox.crm.validate import Checked, Reference, Stored

Details = dict[str, Any]

INSERT_RECORD = (
    "INSERT INTO record (id, zgid, module, name, owner, created_by, modified_by, created, modified, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""A new record, not converted and without tags."""


class RecordWriter:
    """One module of one organisation for one call. To be used inside a transaction for anything that writes."""

    def __init__(self, call: Call, module: Module, db: sqlite3.Connection) -> None:
        self.module = module
        self.organisation: Organisation = call.organisation
        self._call = call
        self._db = db

    def find(self, record_id: int) -> sqlite3.Row | None:
        """The record of this id in this module."""
        row: sqlite3.Row | None = self._db.execute(
            "SELECT id, owner, created_by, created, modified, body FROM record "
            "WHERE id = ? AND zgid = ? AND module = ?",
            (record_id, self.organisation.zgid, self.module.api_name),
        ).fetchone()
        return row

    def find_by_value(self, field: str, value: Stored) -> int | None:
        """The oldest record with this value in a unique or duplicate-check field."""
        if value is None:
            return None
        row = self._db.execute(
            "SELECT min(record_id) FROM field_value WHERE zgid = ? AND module = ? AND field = ? AND value = ?",
            (self.organisation.zgid, self.module.api_name, field, comparable(value)),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def verify(self, checked: Checked, *, path: str, own_id: int | None) -> None:
        """Raise what is wrong with the record in view of all others: lost references, values taken."""
        for each in checked.references:
            if not self._exists(each):
                raise invalid_related_id(api_name=each.api_name, json_path=each.json_path, related_id=each.record_id)
        self.verify_unique(checked.values, lambda name: f"{path}.{name}", own_id=own_id)

    def verify_unique(self, values: Mapping[str, Stored], path_of: Callable[[str], str], *, own_id: int | None) -> None:
        """Raise DUPLICATE_DATA for a unique value that another record holds; `path_of` a field: where it was given."""
        for name in self.module.unique_fields:
            other = self.find_by_value(name, values.get(name))
            if other is not None and other != own_id:
                raise self._duplicate(name, path_of(name), other)

    def insert(self, checked: Checked) -> Details:
        """Write a new record; the details of its result."""
        call = self._call
        record_id = next_id(self._db, self.organisation)
        values = dict(checked.values)
        owner = values.pop("Owner", None) or call.user.id
        for field in self.module.fields:
            if field.data_type is DataType.AUTONUMBER:
                form = field.auto_number or AutoNumber()
                number = self._next_number(f"{self.module.api_name}.{field.api_name}") - 1 + form.start
                values[field.api_name] = f"{form.prefix}{number}{form.suffix}"
        self._db.execute(
            INSERT_RECORD,
            (
                record_id,
                self.organisation.zgid,
                self.module.api_name,
                display_name(self.module, values),
                owner,
                call.user.id,
                call.user.id,
                call.at,
                call.at,
                msgspec.json.encode(values).decode(),
            ),
        )
        index_values(self._db, self.organisation.zgid, self.module, record_id, values)
        self._announce(Operation.INSERT, record_id, values, tuple(values))
        return self._details(record_id, created=call.at, created_by=call.user.id)

    def update(self, row: sqlite3.Row, checked: Checked, *, append: Mapping[str, object]) -> Details:
        """Change the given values of a record; the details of its result.

        `append` names the multi-select fields whose choices are added to what is there.
        """
        values = msgspec.json.decode(row["body"])
        changes = dict(checked.values)
        owner = changes.pop("Owner", None) or row["owner"]
        changed = tuple(name for name, value in changes.items() if values.get(name) != value)
        if owner != row["owner"]:
            changed = ("Owner", *changed)
        for name, added in changes.items():
            before = values.get(name)
            if append.get(name) is True and isinstance(before, list) and isinstance(added, list):
                values[name] = list(dict.fromkeys([*before, *added]))
            else:
                values[name] = added
        self._db.execute(
            "UPDATE record SET name = ?, owner = ?, modified_by = ?, modified = ?, body = ? WHERE id = ?",
            (
                display_name(self.module, values),
                owner,
                self._call.user.id,
                self._call.at,
                msgspec.json.encode(values).decode(),
                row["id"],
            ),
        )
        self._db.execute("DELETE FROM field_value WHERE record_id = ?", (row["id"],))
        index_values(self._db, self.organisation.zgid, self.module, row["id"], values)
        self._announce(Operation.UPDATE, row["id"], values, changed)
        return self._details(row["id"], created=row["created"], created_by=row["created_by"])

    def set_tags(self, row: sqlite3.Row, tags: Sequence[int]) -> None:
        """These are the record's tags from now on; nothing is written when they are already."""
        given = msgspec.json.encode(list(tags)).decode()
        changed = self._db.execute(
            "UPDATE record SET tags = ?, modified_by = ?, modified = ? WHERE id = ? AND tags <> ?",
            (given, self._call.user.id, self._call.at, row["id"], given),
        )
        if changed.rowcount:
            self._announce(Operation.UPDATE, row["id"], msgspec.json.decode(row["body"]), ("Tag",))

    def delete(self, row: sqlite3.Row) -> None:
        """Move a record to the recycle bin; what points at it keeps its id and loses its name."""
        self._db.execute(
            "INSERT INTO deleted_record (id, zgid, module, name, created_by, deleted_by, deleted) "
            "SELECT id, zgid, module, name, created_by, ?, ? FROM record WHERE id = ?",
            (self._call.user.id, self._call.at, row["id"]),
        )
        self._db.execute("DELETE FROM record WHERE id = ?", (row["id"],))
        self._announce(Operation.DELETE, row["id"], msgspec.json.decode(row["body"]), ())

    def _announce(
        self, operation: Operation, record_id: int, values: Mapping[str, Stored], changed: tuple[str, ...]
    ) -> None:
        change = Change(
            call=self._call,
            module=self.module,
            operation=operation,
            record_id=record_id,
            values=values,
            changed=changed,
        )
        announce(self._db, change)

    def _exists(self, reference: Reference) -> bool:
        if reference.target is None:
            sql = "SELECT 1 FROM user WHERE id = ? AND zgid = ? AND status = 'active'"
            found = self._db.execute(sql, (reference.record_id, self.organisation.zgid)).fetchone()
        elif reference.target == ANY_MODULE:
            sql = "SELECT 1 FROM record WHERE id = ? AND zgid = ?"
            found = self._db.execute(sql, (reference.record_id, self.organisation.zgid)).fetchone()
        else:
            sql = "SELECT 1 FROM record WHERE id = ? AND zgid = ? AND module = ?"
            found = self._db.execute(sql, (reference.record_id, self.organisation.zgid, reference.target)).fetchone()
        return found is not None

    def _duplicate(self, api_name: str, json_path: str, other: int) -> Exception:
        row = self.find(other)
        assert row is not None, "an indexed value without its record"
        module = {"api_name": self.module.api_name, "id": str(self.organisation.module_id(self.module))}
        return duplicate_data(
            api_name=api_name,
            json_path=json_path,
            record_id=other,
            owner=self._user(row["owner"]),
            module=module,
        )

    def _details(self, record_id: int, *, created: int, created_by: int) -> Details:
        call = self._call
        return {
            "Modified_Time": call.iso(call.at),
            "Modified_By": {"name": call.user.full_name, "id": str(call.user.id)},
            "Created_Time": call.iso(created),
            "id": str(record_id),
            "Created_By": self._user(created_by),
        }

    def _user(self, user_id: int) -> Details:
        if user_id == self._call.user.id:
            return {"name": self._call.user.full_name, "id": str(user_id)}
        row = self._db.execute("SELECT first_name, last_name FROM user WHERE id = ?", (user_id,)).fetchone()
        return {"name": f"{row['first_name']} {row['last_name']}".strip(), "id": str(user_id)}

    def _next_number(self, name: str) -> int:
        row = self._db.execute(
            "INSERT INTO counter VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value",
            (self.organisation.zgid, name),
        ).fetchone()
        return int(row[0])


def comparable(value: Stored) -> str:
    """The form in which two values of a check field are the same: trimmed, case-folded."""
    return str(value).strip().casefold()


def display_name(module: Module, values: Mapping[str, Stored]) -> str:
    """What a lookup to the record shows."""
    return " ".join(str(values[name]) for name in module.name_fields if values.get(name))


def index_values(
    db: sqlite3.Connection, zgid: int, module: Module, record_id: int, values: Mapping[str, Stored]
) -> None:
    """Make a record findable by its unique and duplicate-check fields."""
    for name in module.indexed_fields:
        value = values.get(name)
        if value is not None:
            db.execute(
                "INSERT INTO field_value VALUES (?, ?, ?, ?, ?)",
                (zgid, module.api_name, name, comparable(value), record_id),
            )
