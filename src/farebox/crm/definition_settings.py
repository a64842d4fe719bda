"""The paths that change what there is: make a module, make, change and remove fields.

Source: Zoho CRM v8 create-custom-field, and modules and fields of the official OpenAPI files.
"""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from farebox.crm import outcomes
from farebox.crm.call import Answer, Call
from farebox.crm.definition_input import DEFAULT_LENGTHS, LABEL_LENGTH_MAX, WITH_CHOICES, GivenDefinition
from farebox.crm.definitions import (
    FIELDS_MAX,
    FIRST_NUMBER,
    MODULES_MAX,
    Definitions,
    OwnField,
    OwnModule,
    names_of,
    read_definitions,
    write_definitions,
)
from farebox.crm.errors import ApiError, invalid_data, invalid_path_id
from farebox.crm.metadata import module_param
from farebox.crm.organisations import Organisation, find_organisation, next_id
from farebox.crm.records import comparable
from farebox.crm.route import route
from farebox.crm.schema import LENGTHS, DataType, Module
from farebox.crm.validate import parse_id

Json = dict[str, Any]
Change = Callable[[sqlite3.Connection, Organisation, Definitions], tuple[Definitions, Json]]


def create_modules(call: Call) -> Answer:
    """`POST /settings/modules`: custom modules, which take records at once."""
    outcomes.check_may_customise(call)
    return outcomes.each_of(
        call, "modules", lambda given, path: _change(call, _Maker(call, given, path).module), done=201
    )


def create_fields(call: Call) -> Answer:
    """`POST /settings/fields?module=`: custom fields, which take values at once."""
    outcomes.check_may_customise(call)
    module = module_param(call)

    def create(given: object, path: str) -> Json:
        return _change(call, partial(_Maker(call, given, path).field, module.api_name))

    return outcomes.each_of(call, "fields", create, done=201)


def update_fields(call: Call) -> Answer:
    """`PATCH /settings/fields?module=`: each field names its `id`."""
    outcomes.check_may_customise(call)
    module = module_param(call)

    def update(given: object, path: str) -> Json:
        maker = _Maker(call, given, path)
        field_id = parse_id(maker.given.get("id"))
        if field_id is None or field_id not in _ids_of(call.organisation, module):
            raise invalid_data(api_name="id", json_path=f"{path}.id")
        return _change(call, partial(maker.changed_field, module.api_name, field_id))

    return outcomes.each_of(call, "fields", update)


def update_field(call: Call, *, field_id: int) -> Answer:
    """`PATCH /settings/fields/{id}?module=`."""
    outcomes.check_may_customise(call)
    module = module_param(call)
    if field_id not in _ids_of(call.organisation, module):
        raise invalid_path_id(2)
    (given,) = outcomes.elements_of(call, "fields", maximum=1)
    maker = _Maker(call, given, "$.fields[0]")
    change = partial(maker.changed_field, module.api_name, field_id)
    return outcomes.answer("fields", [outcomes.attempt(call, lambda: _change(call, change))])


def delete_field(call: Call, *, field_id: int) -> Answer:
    """`DELETE /settings/fields/{id}?module=`: values under it stay in the records, where nothing shows them."""
    outcomes.check_may_customise(call)
    module = module_param(call)
    if field_id not in _ids_of(call.organisation, module):
        raise invalid_path_id(2)

    def remove(
        db: sqlite3.Connection, organisation: Organisation, definitions: Definitions
    ) -> tuple[Definitions, Json]:
        own = _own_field(definitions, module.api_name, field_id, {"resource_path_index": 2})
        used = db.execute(
            "SELECT 1 FROM custom_view v, json_tree(v.definition) t WHERE v.zgid = ? AND v.module = ? AND t.value = ?",
            (organisation.zgid, module.api_name, own.api_name),
        ).fetchone()
        if used is not None:
            message = "The custom field has already used in other places"
            raise ApiError(400, "NOT_ALLOWED", message, {"resource_path_index": 2})
        _forget_values(db, organisation, module.api_name, own.api_name)
        removed = msgspec.structs.replace(own, removed=True)
        return definitions.with_field(module.api_name, removed, call.at), outcomes.success("field deleted", field_id)

    return outcomes.answer("fields", [_change(call, remove)])


def _change(call: Call, change: Change) -> Json:
    """Change the definitions as they are now, in one transaction; the result."""
    with call.store.transaction() as db:
        organisation = find_organisation(db, call.organisation.zgid)
        definitions, result = change(db, organisation, read_definitions(organisation.definitions))
        db.execute(
            "UPDATE organisation SET definitions = ? WHERE zgid = ?",
            (write_definitions(definitions), organisation.zgid),
        )
    return result


def _ids_of(organisation: Organisation, module: Module) -> set[int]:
    return {organisation.field_id(module, each) for each in module.by_name}


def _own_field(definitions: Definitions, module: str, field_id: int, where: Json) -> OwnField:
    for each in definitions.fields.get(module, ()):
        if each.id == field_id and not each.removed:
            return each
    raise ApiError(400, "NOT_ALLOWED", "only custom fields can be changed", where)


class _Maker(GivenDefinition):
    """Makes what one element of a body says."""

    def module(
        self, _: sqlite3.Connection, organisation: Organisation, definitions: Definitions
    ) -> tuple[Definitions, Json]:
        """The definitions with the module, and its result."""
        if len(definitions.modules) >= MODULES_MAX:
            raise ApiError(400, "LIMIT_EXCEEDED", "the limit has been exceeded", {"limit": MODULES_MAX})
        singular = outcomes.text_at(self.given, "singular_label", self._path, maximum=LABEL_LENGTH_MAX)
        plural = outcomes.text_at(self.given, "plural_label", self._path, maximum=LABEL_LENGTH_MAX)
        for label, name in ((singular, "singular_label"), (plural, "plural_label")):
            for each in organisation.catalogue.values():
                if label.lower() in (each.singular.lower(), each.plural.lower()):
                    raise self.duplicate(name)
        self.check_profiles()
        display = outcomes.object_at(self.given.get("display_field", {}), f"{self._path}.display_field")
        kind = display.get("data_type", "text")
        if kind not in ("text", "autonumber"):
            self._wrong("display_field.data_type", supported_values=["text", "autonumber"])
        made = OwnModule(
            api_name=self.module_name(organisation, plural),
            singular=singular,
            plural=plural,
            number=FIRST_NUMBER + len(definitions.modules),
            name_label=f"{singular} Name"
            if display.get("field_label") is None
            else outcomes.text_at(display, "field_label", f"{self._path}.display_field", maximum=LABEL_LENGTH_MAX),
            auto_number=self.auto_number(display, f"{self._path}.display_field") if kind == "autonumber" else None,
        )
        result = outcomes.success("module created", organisation.module_id(made.module()))
        return definitions.with_module(made, self._call.at), result

    def field(
        self, module: str, db: sqlite3.Connection, organisation: Organisation, definitions: Definitions
    ) -> tuple[Definitions, Json]:
        """The definitions with one field more, and its result."""
        if len(definitions.fields.get(module, ())) >= FIELDS_MAX:
            raise ApiError(400, "LIMIT_EXCEEDED", "the limit has been exceeded", {"limit": FIELDS_MAX})
        label = outcomes.text_at(self.given, "field_label", self._path, maximum=LABEL_LENGTH_MAX)
        self.check_label(organisation.catalogue[module], label, own_id=None)
        kind = self.data_type()
        own = OwnField(
            id=next_id(db, organisation),
            api_name=self.field_name(names_of(definitions, organisation.catalogue[module]), label),
            label=label,
            data_type=kind,
            length=self.length(kind, DEFAULT_LENGTHS.get(kind, LENGTHS[kind])),
            unique=self.unique(kind),
            choices=self.choices() if kind in WITH_CHOICES else (),
            target=self.target(organisation) if kind is DataType.LOOKUP else None,
            auto_number=self.auto_number(self.given, self._path) if kind is DataType.AUTONUMBER else None,
        )
        return definitions.with_field(module, own, self._call.at), outcomes.success("field created", own.id)

    def changed_field(
        self, module: str, field_id: int, db: sqlite3.Connection, organisation: Organisation, definitions: Definitions
    ) -> tuple[Definitions, Json]:
        """The definitions with the field as it is to be, and its result."""
        own = _own_field(definitions, module, field_id, {"api_name": "id", "json_path": f"{self._path}.id"})
        for name, value in (("data_type", str(own.data_type)), ("api_name", own.api_name)):
            if self.given.get(name, value) != value:
                details = {"api_name": name, "json_path": f"{self._path}.{name}"}
                raise ApiError(400, "NOT_ALLOWED", f"{name} cannot be changed", details)
        label = own.label
        if "field_label" in self.given:
            label = outcomes.text_at(self.given, "field_label", self._path, maximum=LABEL_LENGTH_MAX)
            self.check_label(organisation.catalogue[module], label, own_id=own.id)
        with_choices = own.data_type in WITH_CHOICES and "pick_list_values" in self.given
        after = msgspec.structs.replace(
            own,
            label=label,
            length=self.length(own.data_type, own.length),
            unique=self.unique(own.data_type) if "unique" in self.given else own.unique,
            choices=self.choices() if with_choices else own.choices,
        )
        if after.unique != own.unique:
            _forget_values(db, organisation, module, own.api_name)
        if after.unique and not own.unique:
            self._index(db, organisation, module, own.api_name)
        return definitions.with_field(module, after, self._call.at), outcomes.success("field updated", own.id)

    def _index(self, db: sqlite3.Connection, organisation: Organisation, module: str, api_name: str) -> None:
        """Make the values that records hold findable; two that are the same forbid it."""
        rows = db.execute(
            f"SELECT id, json_extract(body, '$.{api_name}') FROM record WHERE zgid = ? AND module = ?",  # noqa: S608 (identifier)
            (organisation.zgid, module),
        ).fetchall()
        values = [(row[0], comparable(row[1])) for row in rows if row[1] is not None]
        if len({value for _, value in values}) < len(values):
            details = {"api_name": "unique", "json_path": f"{self._path}.unique"}
            raise ApiError(400, "DUPLICATE_DATA", "records hold the same value in this field", details)
        db.executemany(
            "INSERT INTO field_value VALUES (?, ?, ?, ?, ?)",
            [(organisation.zgid, module, api_name, value, record_id) for record_id, value in values],
        )


def _forget_values(db: sqlite3.Connection, organisation: Organisation, module: str, api_name: str) -> None:
    """Take a field's values out of what is searched for duplicates."""
    db.execute(
        "DELETE FROM field_value WHERE zgid = ? AND module = ? AND field = ?", (organisation.zgid, module, api_name)
    )


ROUTES = (
    route("POST", "settings/modules", "settings.modules create", create_modules),
    route("POST", "settings/fields", "settings.fields create", create_fields),
    route("PATCH", "settings/fields", "settings.fields update", update_fields),
    route("PATCH", "settings/fields/{field_id}", "settings.fields update", update_field),
    route("DELETE", "settings/fields/{field_id}", "settings.fields delete", delete_field),
)
