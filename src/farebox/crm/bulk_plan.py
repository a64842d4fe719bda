"""How a bulk write reads a row: which column is which field, how its text becomes a value, and what finds a record.

Source: Zoho CRM v7 bulk-write.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from farebox.crm.call import Call
from farebox.crm.conditions import WrongValueError, comparable_value
from farebox.crm.criteria_tree import refusal
from farebox.crm.route import Scope, check_scope
from farebox.crm.schema import DataType, Field, Module
from farebox.crm.validate import parse_id

ROWS_MAX: Final = 25_000
COLUMNS_MAX: Final = 200
RESOURCES_MAX: Final = 10
CSV_BYTES_MAX: Final = 256 * 1024 * 1024
FIRST_COLUMNS: Final = 3
OPERATIONS: Final = {"insert": ("create",), "update": ("update",), "upsert": ("create", "update")}
DATE_FORMAT: Final = "MM/dd/yyyy"
DATETIME_FORMAT: Final = "MM/dd/yyyy HH:mm:ss"
UNWRITABLE = frozenset({DataType.SUBFORM})

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One mapped column: its place in a row (None: always the default), its field, and how its text is read."""

    index: int | None
    field: Field
    read: Callable[[str], object]
    default: str | None
    find_by: Field | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the rows of one file are written. `find_by` None: nothing is looked for."""

    module: Module
    operation: str
    cells: tuple[Cell, ...]
    find_by: Field | None
    finds_by_id: bool
    ignore_empty: bool

    @property
    def first_columns(self) -> tuple[int, ...]:
        """The columns that the result repeats."""
        return tuple(each.index for each in self.cells if each.index is not None)[:FIRST_COLUMNS]

    @property
    def headings(self) -> tuple[str, ...]:
        """What the result calls them."""
        return tuple(each.field.api_name for each in self.cells if each.index is not None)[:FIRST_COLUMNS]


def check(content: Json) -> None:
    """The body as a whole: operation, resources, modules. Raises the refusal of the job."""
    if content.get("operation") not in OPERATIONS:
        raise refusal("INVALID_BULK_OPERATION", "the operation is not known", supported_values=list(OPERATIONS))
    resources = content.get("resource")
    if not isinstance(resources, list) or not resources or not all(isinstance(each, dict) for each in resources):
        raise refusal("MISSING_REQUIRED_KEY", "a list of resources is expected", api_name="resource")
    for position, each in enumerate(resources):
        for name in ("module", "file_id"):
            if not each.get(name):
                where = f"$.resource[{position}].{name}"
                raise refusal("MISSING_REQUIRED_KEY", "a required key is missing", api_name=name, json_path=where)
        if content["operation"] != "insert" and not each.get("find_by"):
            where = f"$.resource[{position}].find_by"
            raise refusal("MISSING_REQUIRED_KEY", "a required key is missing", api_name="find_by", json_path=where)
        if each.get("type", "data") != "data":
            raise refusal("FILE_NOT_SUPPORTED", "the type of the resource is not supported", supported_values=["data"])
    if len(resources) > RESOURCES_MAX:
        raise refusal("LIMIT_EXCEEDED", "too many resources", limit=RESOURCES_MAX)
    if len({(str(each["file_id"]), str((each.get("file_names") or [None])[0])) for each in resources}) < len(resources):
        raise refusal("COEXISTENCE_NOT_ALLOWED", "two resources name the same file")


def file_id_of(resource: Json) -> int:
    """The id of the upload a resource names; 0 for none."""
    return parse_id(resource.get("file_id")) or 0


def make(call: Call, content: Mapping[str, Any], resource: Json, header: Sequence[str]) -> Plan:
    """The plan for a file with this header; raises the refusal of the job."""
    module = _module(call, resource)
    for operation in OPERATIONS[content["operation"]]:
        scope = Scope(service=None, group="modules", thing=None, operations=(operation,))
        check_scope(scope, granted=call.scope, product=call.organisation.product, module=module.api_name)
    if len(header) > COLUMNS_MAX:
        raise refusal("HEADER_LIMIT_EXCEEDED", "the file has too many columns", limit=COLUMNS_MAX)
    find_by = resource.get("find_by")
    cells = tuple(_cells(call, module, resource.get("field_mappings"), header))
    plan = Plan(
        module=module,
        operation=content["operation"],
        cells=cells,
        find_by=None if not find_by or find_by == "id" else _field(module, find_by),
        finds_by_id=find_by == "id",
        ignore_empty=content.get("ignore_empty") is True,
    )
    _check_mapped(plan)
    return plan


def _check_mapped(plan: Plan) -> None:
    mapped = {each.field.api_name for each in plan.cells}
    wanted = [each.api_name for each in plan.module.fields if each.mandatory] if plan.operation != "update" else []
    if plan.find_by is not None:
        wanted.append(plan.find_by.api_name)
    if plan.finds_by_id:
        wanted.append("id")
    missing = [name for name in wanted if name not in mapped]
    if missing:
        raise refusal("MANDATORY_FIELDS_NOT_MAPPED", "mandatory fields are not mapped", fields=missing)


def _module(call: Call, resource: Json) -> Module:
    given = resource["module"]
    name = given.get("api_name") if isinstance(given, dict) else given
    module = call.organisation.module(name) if isinstance(name, str) else None
    if module is None or module.is_subform:
        raise refusal("MODULE_NOT_AVAILABLE", "the module is not available", module=str(name))
    return module


def _field(module: Module, name: object) -> Field:
    if name == "id":
        return ID_CELL
    found = module.by_name.get(name) if isinstance(name, str) else None
    if (
        found is None
        or found.data_type in UNWRITABLE
        or (found.read_only and found.data_type is not DataType.AUTONUMBER)
    ):
        raise refusal("INVALID_FIELD", "the field cannot be written", field=str(name))
    return found


ID_CELL = Field(api_name="id", label="Id", data_type=DataType.BIGINT, length=20)


def _cells(call: Call, module: Module, mappings: object, header: Sequence[str]) -> Sequence[Cell]:
    if mappings is None:
        # names in the header that are no field are left out, as the original does
        known = [(n, name.strip()) for n, name in enumerate(header)]
        return [_cell(call, n, _field(module, name), {}) for n, name in known if name == "id" or name in module.by_name]
    if not isinstance(mappings, list) or not all(isinstance(each, dict) for each in mappings):
        raise refusal("MISSING_REQUIRED_KEY", "field_mappings is a list of objects", api_name="field_mappings")
    cells = []
    for each in mappings:
        index = each.get("index")
        default = each.get("default_value")
        if index is None and not isinstance(default, dict):
            raise refusal("COLUMN_INDEX_NOT_FOUND", "the mapping has no column", field=str(each.get("api_name")))
        if index is not None and (
            isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(header)
        ):
            raise refusal("COLUMN_INDEX_NOT_FOUND", "the file has no such column", index=index)
        cells.append(_cell(call, index, _field(module, each.get("api_name")), each))
    return cells


def _cell(call: Call, index: int | None, field: Field, mapping: Json) -> Cell:
    default = mapping.get("default_value")
    find_by = mapping.get("find_by")
    target = call.organisation.catalogue.get(field.target or "")
    return Cell(
        index=index,
        field=field,
        read=_reader(call, field, mapping.get("format")),
        default=str(default["value"]) if isinstance(default, dict) and default.get("value") is not None else None,
        find_by=None if not find_by or find_by == "id" or target is None else _field(target, find_by),
    )


def _reader(call: Call, field: Field, given_format: object) -> Callable[[str], object]:
    """From a cell's text to the value a record's JSON would have; raises ValueError."""
    if field.data_type is DataType.DATE:
        pattern = _strptime(str(given_format or DATE_FORMAT))
        return lambda text: datetime.strptime(text, pattern).replace(tzinfo=UTC).date().isoformat()
    if field.data_type is DataType.DATETIME:
        pattern = _strptime(str(given_format or DATETIME_FORMAT))
        return lambda text: _instant(text, pattern, call)
    if field.data_type is DataType.MULTISELECT:
        return lambda text: [each.strip() for each in text.split(";") if each.strip()]
    if field.data_type is DataType.BOOLEAN:
        return lambda text: _TRUTHS[text.strip().lower()]
    return lambda text: _plain(field, text)


_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _plain(field: Field, text: str) -> object:
    try:
        return comparable_value(field, text)
    except WrongValueError as error:
        raise ValueError(text) from error


def _instant(text: str, pattern: str, call: Call) -> str:
    """In the format, in the zone of the user who asked; or as the API itself writes instants."""
    try:
        return datetime.strptime(text, pattern).replace(tzinfo=call.user.zone).isoformat()
    except ValueError:
        return datetime.fromisoformat(text).replace(microsecond=0).isoformat()


_LETTERS = (
    ("yyyy", "%Y"),
    ("yy", "%y"),
    ("MMM", "%b"),
    ("MM", "%m"),
    ("dd", "%d"),
    ("HH", "%H"),
    ("hh", "%I"),
    ("mm", "%M"),
    ("ss", "%S"),
    ("aa", "%p"),
    ("a", "%p"),
)


def _strptime(pattern: str) -> str:
    """A pattern of letters as strptime has it; raises the refusal of a pattern that is none."""
    made, rest = "", pattern.replace("%", "%%")
    while rest:
        for letters, directive in _LETTERS:
            if rest.startswith(letters):
                made, rest = made + directive, rest[len(letters) :]
                break
        else:
            made, rest = made + rest[0], rest[1:]
    try:
        datetime.strptime(datetime(2026, 11, 22, 10, 30, tzinfo=UTC).strftime(made), made)  # noqa: DTZ007 (a trial)
    except (ValueError, re.error) as error:
        raise refusal("INVALID_FORMAT", "the format cannot be read", format=pattern) from error
    return made
