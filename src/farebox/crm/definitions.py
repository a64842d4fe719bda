"""What an organisation adds to the modules every one has: its own modules and fields, and the catalogue they make.

Kept as JSON in the organisation's row. API names are identifiers, as they are written into SQL; the name of a removed
field is never given again, so that old values under it harm nobody.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

import msgspec

from farebox.crm.schema import AutoNumber, Catalogue, DataType, Field, Module, make_field, make_module

IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
NAME_LENGTH_MAX: Final = 50
FIRST_NUMBER: Final = 100
"""The number of the first own module; those of the catalogue are lower."""
MODULES_MAX: Final = 100
FIELDS_MAX: Final = 300
"""Own modules, and own fields of one module, removed ones included."""


class OwnField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field as it was made. `removed` ones are kept for their names."""

    id: int
    api_name: str
    label: str
    data_type: DataType
    length: int
    unique: bool = False
    choices: tuple[str, ...] = ()
    target: str | None = None
    auto_number: AutoNumber | None = None
    removed: bool = False

    def field(self) -> Field:
        """The field as the catalogue has it."""
        made = make_field(
            self.api_name,
            self.data_type,
            length=self.length,
            unique=self.unique,
            read_only=self.data_type is DataType.AUTONUMBER,
            choices=self.choices,
            target=self.target,
            label=self.label,
            custom=True,
        )
        return replace(made, own_id=self.id, auto_number=self.auto_number)


class OwnModule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module as it was made; `name_label` is the label of its records' name, numbered or given by the caller."""

    api_name: str
    singular: str
    plural: str
    number: int
    name_label: str
    auto_number: AutoNumber | None = None

    def module(self) -> Module:
        """The module as the catalogue has it, without own fields."""
        numbered = self.auto_number is not None
        name = make_field(
            "Name",
            DataType.AUTONUMBER if numbered else DataType.TEXT,
            length=120,
            mandatory=not numbered,
            read_only=numbered,
            label=self.name_label,
        )
        return make_module(
            self.api_name,
            number=self.number,
            fields=(
                replace(name, auto_number=self.auto_number),
                make_field("Email", DataType.EMAIL),
                make_field("Secondary_Email", DataType.EMAIL),
                make_field("Email_Opt_Out", DataType.BOOLEAN),
            ),
            name=("Name",),
            check="Name",
            singular=self.singular,
            plural=self.plural,
            generated_type="custom",
        )


class Definitions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is an organisation's own. `changed` is when a module last changed, in seconds since 1970."""

    modules: tuple[OwnModule, ...] = ()
    fields: dict[str, tuple[OwnField, ...]] = {}
    changed: dict[str, int] = {}

    def with_module(self, module: OwnModule, at: int) -> "Definitions":
        """The same and one module more."""
        changed = {**self.changed, module.api_name: at}
        return msgspec.structs.replace(self, modules=(*self.modules, module), changed=changed)

    def with_field(self, module: str, field: OwnField, at: int) -> "Definitions":
        """The same with this field in the place of the one with its id, or as one more."""
        before = self.fields.get(module, ())
        after = tuple(field if each.id == field.id else each for each in before)
        if after == before and field not in before:
            after = (*before, field)
        return msgspec.structs.replace(
            self, fields={**self.fields, module: after}, changed={**self.changed, module: at}
        )

    def extend(self, base: Catalogue) -> Catalogue:
        """The modules of the base with what is added to them, then the organisation's own."""
        modules = {**base, **{each.api_name: each.module() for each in self.modules}}
        return {
            name: replace(
                module,
                fields=(*module.fields, *(each.field() for each in self.fields.get(name, ()) if not each.removed)),
            )
            for name, module in modules.items()
        }


@lru_cache(maxsize=64)
def read_definitions(text: str) -> Definitions:
    """The definitions in an organisation's row; the same text is read once."""
    return msgspec.json.decode(text, type=Definitions)


def write_definitions(definitions: Definitions) -> str:
    """The definitions as text for the organisation's row."""
    return msgspec.json.encode(definitions).decode()


def name_from(label: str, taken: Iterable[str], *, otherwise: str) -> str:
    """An API name that a label suggests and that is not taken, in either case.

    >>> name_from("Größe (cm)", ["gr_e_cm"], otherwise="Field")
    'Gr_e_cm1'
    >>> name_from("価格", [], otherwise="Field")
    'Field'
    """
    words = re.findall(r"[A-Za-z0-9]+", label)
    name = "_".join(words)[: NAME_LENGTH_MAX - 5]
    if not IDENTIFIER.fullmatch(name):
        name = f"{otherwise}_{name}" if name else otherwise
    lower = {each.lower() for each in taken}
    number, found = 0, name
    while found.lower() in lower:
        number += 1
        found = f"{name}{number}"
    return found


def names_of(definitions: Definitions, module: Module) -> Mapping[str, object]:
    """All names a new field of the module must not have: fields, removed ones, and `id`."""
    own = (each.api_name for each in definitions.fields.get(module.api_name, ()))
    return dict.fromkeys(("id", *module.by_name, *own))
