"""What a module is: its fields, their data types and the rules that come with them."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

ANY_MODULE = "se_module"
"""The target of a lookup that may point into any module, by the name Zoho gives it."""


class DataType(StrEnum):
    """The data types of fields, by the names in `settings/fields`."""

    TEXT = "text"
    TEXTAREA = "textarea"
    EMAIL = "email"
    PHONE = "phone"
    WEBSITE = "website"
    PICKLIST = "picklist"
    MULTISELECT = "multiselectpicklist"
    DATE = "date"
    DATETIME = "datetime"
    INTEGER = "integer"
    BIGINT = "bigint"
    CURRENCY = "currency"
    DOUBLE = "double"
    PERCENT = "percent"
    BOOLEAN = "boolean"
    LOOKUP = "lookup"
    OWNER = "ownerlookup"
    AUTONUMBER = "autonumber"
    SUBFORM = "subform"


LENGTHS = {
    # Zoho CRM v8 insert-records, "field limits"
    DataType.TEXT: 255,
    DataType.TEXTAREA: 32_000,
    DataType.EMAIL: 100,
    DataType.PHONE: 30,
    DataType.WEBSITE: 450,
    DataType.PICKLIST: 120,
    DataType.MULTISELECT: 765,
    DataType.DATE: 20,
    DataType.DATETIME: 120,
    DataType.INTEGER: 9,
    DataType.BIGINT: 18,
    DataType.CURRENCY: 16,
    DataType.DOUBLE: 16,
    DataType.PERCENT: 5,
    DataType.BOOLEAN: 5,
    DataType.LOOKUP: 120,
    DataType.OWNER: 120,
    DataType.AUTONUMBER: 120,
    DataType.SUBFORM: 200,
}

JSON_TYPES = {
    DataType.MULTISELECT: "jsonarray",
    DataType.SUBFORM: "jsonarray",
    DataType.LOOKUP: "jsonobject",
    DataType.OWNER: "jsonobject",
    DataType.INTEGER: "integer",
    DataType.CURRENCY: "double",
    DataType.DOUBLE: "double",
    DataType.PERCENT: "double",
    DataType.BOOLEAN: "boolean",
}
"""The JSON type of a data type's value; every other one is a string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoNumber:
    """How an autonumber is written: `INV-` 21 `/26` is INV-21/26, the next record's INV-22/26."""

    prefix: str = ""
    start: int = 1
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a module. `length` is in characters or, for numbers, digits.

    `own_id` is the id of a field the organisation made itself; all others have ids by their place.
    """

    api_name: str
    label: str
    data_type: DataType
    length: int
    mandatory: bool = False
    unique: bool = False
    read_only: bool = False
    custom: bool = False
    choices: tuple[str, ...] = ()
    target: str | None = None
    own_id: int | None = None
    auto_number: AutoNumber | None = None

    @property
    def json_type(self) -> str:
        """The JSON type of the value, as `settings/fields` names it."""
        return JSON_TYPES.get(self.data_type, "string")


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module. `check_field` is upsert's default duplicate check; `number` makes its ids stable."""

    api_name: str
    singular: str
    plural: str
    number: int
    fields: tuple[Field, ...]
    name_fields: tuple[str, ...]
    check_field: str | None = None
    generated_type: str = "default"
    aliases: tuple[str, ...] = ()
    by_name: dict[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the fields by their API name."""
        object.__setattr__(self, "by_name", {each.api_name: each for each in self.fields})

    @property
    def is_subform(self) -> bool:
        """Whether its records live inside those of another module only."""
        return self.generated_type == "subform"

    @property
    def unique_fields(self) -> tuple[str, ...]:
        """API names of the unique fields, in the module's order."""
        return tuple(each.api_name for each in self.fields if each.unique)

    @property
    def indexed_fields(self) -> tuple[str, ...]:
        """API names whose values are searched for duplicates."""
        names = self.unique_fields
        if self.check_field is not None and self.check_field not in names:
            return (self.check_field, *names)
        return names

    def with_unique(self, names: frozenset[str]) -> "Module":
        """The same module with these fields unique besides those that are."""
        fields = tuple(replace(each, unique=each.unique or each.api_name in names) for each in self.fields)
        return replace(self, fields=fields)


Catalogue = dict[str, Module]
"""Modules by API name, in menu order."""


def make_field(
    api_name: str,
    data_type: DataType = DataType.TEXT,
    *,
    length: int | None = None,
    mandatory: bool = False,
    unique: bool = False,
    read_only: bool = False,
    choices: tuple[str, ...] = (),
    target: str | None = None,
    label: str | None = None,
    custom: bool = False,
) -> Field:
    """A field with the length of its type and a label made from its API name unless they are given."""
    return Field(
        api_name=api_name,
        label=label or api_name.replace("_", " "),
        data_type=data_type,
        length=LENGTHS[data_type] if length is None else length,
        mandatory=mandatory,
        unique=unique,
        read_only=read_only,
        choices=choices,
        target=target,
        custom=custom,
    )


SYSTEM_FIELDS = (
    make_field("Owner", DataType.OWNER),
    make_field("Created_By", DataType.OWNER, read_only=True),
    make_field("Modified_By", DataType.OWNER, read_only=True),
    make_field("Created_Time", DataType.DATETIME, read_only=True),
    make_field("Modified_Time", DataType.DATETIME, read_only=True),
    make_field("Tag", DataType.TEXT, read_only=True),
)
"""What every module has and the store keeps in columns of its own."""

SYSTEM_NAMES = frozenset(each.api_name for each in SYSTEM_FIELDS)


def make_module(
    api_name: str,
    *,
    number: int,
    fields: tuple[Field, ...],
    name: tuple[str, ...],
    check: str | None = None,
    singular: str | None = None,
    plural: str | None = None,
    generated_type: str = "default",
    aliases: tuple[str, ...] = (),
) -> Module:
    """A module with the system fields after its own (a subform's rows have none)."""
    return Module(
        api_name=api_name,
        singular=singular or api_name.replace("_", " ").removesuffix("s"),
        plural=plural or api_name.replace("_", " "),
        number=number,
        fields=fields if generated_type == "subform" else fields + SYSTEM_FIELDS,
        name_fields=name,
        check_field=check,
        generated_type=generated_type,
        aliases=aliases,
    )
