"""The rules for one record's values: values in, values as stored out, or the refusal that says which and why.

Pure: what needs the store (do the ids exist, is the value taken) is left to `records`. Unknown and read-only
fields are ignored, as the original does. The first thing wrong is what is reported.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from farebox.crm.errors import ApiError, invalid_data, mandatory_not_found
from farebox.crm.schema import Catalogue, DataType, Field, Module

EMAIL = re.compile(r"[^\s@<>()\[\],;:\\\"]+@[^\s@.<>()\[\],;:\\\"]+(\.[^\s@.<>()\[\],;:\\\"]+)+")
PHONE = re.compile(r"[0-9a-zA-Z+.()\-;\s]+", re.ASCII)
WEBSITE = re.compile(r"(https?://|ftp://)?[^\s/?#.]+(\.[^\s/?#.]+)+([/?#]\S*)?")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})", re.ASCII)
ID = re.compile(r"[1-9]\d{0,18}", re.ASCII)
BIGINT = re.compile(r"-?\d{1,40}", re.ASCII)
ID_MAX = 2**63 - 1
PATTERNS = {DataType.EMAIL: EMAIL, DataType.PHONE: PHONE, DataType.WEBSITE: WEBSITE}
FRACTION_DIGITS_MAX = 9
YEAR_MIN, YEAR_MAX = 1, 9_999
"""Years a datetime lies between, both excluded, so that it exists in every time zone."""
SUBFORM_ROWS_MAX = 200

Stored = str | int | float | bool | list[Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An id that must exist in `target` (a module, or None for a user) before the record may be written."""

    api_name: str
    json_path: str
    target: str | None
    record_id: int


@dataclass(slots=True, kw_only=True)
class Checked:
    """What a record's JSON says, as the store keeps it, and the ids that are still to be looked up."""

    values: dict[str, Stored] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)


def parse_id(value: object) -> int | None:
    """An id given as integer or string; None when it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 < value <= ID_MAX else None
    if isinstance(value, str) and ID.fullmatch(value):
        return parse_id(int(value))
    return None


def check_record(module: Module, data: object, *, catalogue: Catalogue, path: str, inserting: bool) -> Checked:
    """The record's values by API name; raises the ApiError that becomes its element of the answer.

    `path` is the JSON path of the record, as `$.data[0]`. When inserting, mandatory fields must be there;
    when updating they may be left out, but not emptied.
    """
    if not isinstance(data, dict):
        api_name = path.rpartition(".")[2].partition("[")[0]
        raise invalid_data(api_name=api_name, json_path=path, expected_data_type="jsonobject")
    for each in module.fields:
        absent = each.api_name not in data
        if each.mandatory and (inserting if absent else _is_empty(data[each.api_name])):
            raise mandatory_not_found(api_name=each.api_name, json_path=f"{path}.{each.api_name}")
    checked = Checked()
    for name, value in data.items():
        known = module.by_name.get(name)
        if known is None or known.read_only:
            continue
        here = f"{path}.{name}"
        if value is None or value == "":
            checked.values[name] = None
        else:
            checked.values[name] = _check_value(known, value, here, catalogue=catalogue, checked=checked)
    return checked


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [])


def _check_value(each: Field, value: object, path: str, *, catalogue: Catalogue, checked: Checked) -> Stored:
    match each.data_type:
        case DataType.LOOKUP | DataType.OWNER:
            return _reference(each, value, path, checked)
        case DataType.SUBFORM:
            return _subform(each, value, path, catalogue=catalogue, checked=checked)
        case simple:
            return CHECKS[simple](each, value, path)


def _wrong_type(each: Field, path: str, expected: str | None = None) -> ApiError:
    return invalid_data(api_name=each.api_name, json_path=path, expected_data_type=expected or str(each.data_type))


def _too_long(each: Field, path: str, maximum: int) -> ApiError:
    return invalid_data(api_name=each.api_name, json_path=path, maximum_length=maximum)


def _text(each: Field, value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(each, path, "text" if each.data_type is DataType.PICKLIST else None)
    if len(value) > each.length:
        raise _too_long(each, path, each.length)
    pattern = PATTERNS.get(each.data_type)
    if pattern is not None and not pattern.fullmatch(value):
        raise _wrong_type(each, path)
    return value


def _choices(each: Field, value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong_type(each, path, "jsonarray")
    if not all(isinstance(choice, str) for choice in value):
        raise _wrong_type(each, path, "text")
    return list(dict.fromkeys(value))


def _date(each: Field, value: object, path: str) -> str:
    if not isinstance(value, str) or not DATE.fullmatch(value):
        raise _wrong_type(each, path)
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise _wrong_type(each, path) from error


def _datetime(each: Field, value: object, path: str) -> int:
    """Whole seconds since 1970, so that every user sees it in their own zone."""
    if not isinstance(value, str) or not DATETIME.fullmatch(value):
        raise _wrong_type(each, path)
    try:
        instant = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _wrong_type(each, path) from error
    if not YEAR_MIN < instant.year < YEAR_MAX:
        raise _wrong_type(each, path)
    return int(instant.timestamp())


def _integer(each: Field, value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(each, path)
    if len(str(abs(value))) > each.length:
        raise _too_long(each, path, each.length)
    return value


def _bigint(each: Field, value: object, path: str) -> int:
    if isinstance(value, str) and BIGINT.fullmatch(value):
        value = int(value)
    return _integer(each, value, path)


def _number(each: Field, value: object, path: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(each, path, "integer" if each.data_type is DataType.PERCENT else "double")
    if not math.isfinite(value) or len(str(abs(int(value)))) > each.length:
        raise _too_long(each, path, each.length)
    return value if isinstance(value, int) else round(value, FRACTION_DIGITS_MAX)


def _boolean(each: Field, value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(each, path)
    return value


def _reference(each: Field, value: object, path: str, checked: Checked) -> int:
    given = value.get("id") if isinstance(value, dict) else value
    here = f"{path}.id" if isinstance(value, dict) else path
    if isinstance(value, dict) and given is None:
        raise mandatory_not_found(api_name="id", json_path=here)
    record_id = parse_id(given)
    if record_id is None:
        expected = "bigint" if isinstance(value, dict) else "jsonobject"
        raise _wrong_type(each, here, expected)
    target = None if each.data_type is DataType.OWNER else each.target
    checked.references.append(Reference(api_name=each.api_name, json_path=here, target=target, record_id=record_id))
    return record_id


def _subform(each: Field, value: object, path: str, *, catalogue: Catalogue, checked: Checked) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong_type(each, path, "jsonarray")
    if len(value) > SUBFORM_ROWS_MAX:
        raise _too_long(each, path, SUBFORM_ROWS_MAX)
    assert each.target is not None, "a subform names the module of its rows"
    rows: list[Any] = []
    for position, row in enumerate(value):
        here = f"{path}[{position}]"
        inner = check_record(catalogue[each.target], row, catalogue=catalogue, path=here, inserting=True)
        checked.references.extend(inner.references)
        rows.append(inner.values)
    return rows


CHECKS: dict[DataType, Callable[[Field, object, str], Stored]] = {
    DataType.TEXT: _text,
    DataType.TEXTAREA: _text,
    DataType.EMAIL: _text,
    DataType.PHONE: _text,
    DataType.WEBSITE: _text,
    DataType.PICKLIST: _text,  # values that are not among the choices are accepted, as in the original
    DataType.AUTONUMBER: _text,
    DataType.MULTISELECT: _choices,
    DataType.DATE: _date,
    DataType.DATETIME: _datetime,
    DataType.INTEGER: _integer,
    DataType.BIGINT: _bigint,
    DataType.CURRENCY: _number,
    DataType.DOUBLE: _number,
    DataType.PERCENT: _number,
    DataType.BOOLEAN: _boolean,
}
