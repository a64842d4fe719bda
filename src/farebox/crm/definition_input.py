"""What a body says of a module or a field to be made: read key by key, each wrong one refused by its place.

Source: Zoho CRM v8 create-custom-field, and modules and fields of the official OpenAPI files.
"""

from collections.abc import Iterable
from typing import Any, Final, NoReturn

from farebox.crm import outcomes
from farebox.crm.call import Call
from farebox.crm.definitions import IDENTIFIER, NAME_LENGTH_MAX, name_from
from farebox.crm.errors import ApiError, invalid_data, mandatory_not_found
from farebox.crm.metadata import profiles
from farebox.crm.organisations import Organisation
from farebox.crm.route import RESERVED
from farebox.crm.schema import LENGTHS, AutoNumber, DataType, Module

LABEL_LENGTH_MAX: Final = 50
CHOICES_MAX: Final = 1_000
AFFIX_LENGTH_MAX: Final = 20
START_MAX: Final = 10**9
WITHOUT_PATHS: Final = RESERVED | {"attachments", "notes", "deleted"}
"""Names no module can have, as they mean something else in a path."""

CREATABLE: Final = (
    DataType.TEXT,
    DataType.TEXTAREA,
    DataType.EMAIL,
    DataType.PHONE,
    DataType.WEBSITE,
    DataType.PICKLIST,
    DataType.MULTISELECT,
    DataType.DATE,
    DataType.DATETIME,
    DataType.INTEGER,
    DataType.BIGINT,
    DataType.CURRENCY,
    DataType.DOUBLE,
    DataType.PERCENT,
    DataType.BOOLEAN,
    DataType.LOOKUP,
    DataType.AUTONUMBER,
)
LENGTH_GIVEN: Final = frozenset(CREATABLE[:5]) | {
    DataType.INTEGER,
    DataType.BIGINT,
    DataType.CURRENCY,
    DataType.DOUBLE,
    DataType.PERCENT,
}
"""Types whose fields may be made shorter than the longest; of the others the length is fixed."""
DEFAULT_LENGTHS: Final = {DataType.TEXTAREA: 2_000}
UNIQUE_POSSIBLE: Final = frozenset(
    {DataType.TEXT, DataType.EMAIL, DataType.PHONE, DataType.WEBSITE, DataType.INTEGER, DataType.BIGINT}
)
WITH_CHOICES: Final = (DataType.PICKLIST, DataType.MULTISELECT)

Json = dict[str, Any]


class GivenDefinition:
    """One element of a body; `path` is where it stands."""

    def __init__(self, call: Call, given: object, path: str) -> None:
        self.given = outcomes.object_at(given, path)
        self._call = call
        self._path = path

    def data_type(self) -> DataType:
        """The type, one of CREATABLE."""
        if self.given.get("data_type") is None:
            raise mandatory_not_found(api_name="data_type", json_path=f"{self._path}.data_type")
        if self.given["data_type"] not in CREATABLE:
            self._wrong("data_type", supported_values=[str(each) for each in CREATABLE])
        return DataType(self.given["data_type"])

    def length(self, kind: DataType, default: int) -> int:
        """The length, `default` when none is given or the type has a fixed one."""
        given = self.given.get("length")
        if given is None or kind not in LENGTH_GIVEN:
            return default
        if isinstance(given, bool) or not isinstance(given, int):
            self._wrong("length", expected_data_type="integer")
        if not 1 <= given <= LENGTHS[kind]:
            self._wrong("length", range={"from": 1, "to": LENGTHS[kind]})
        return int(given)

    def unique(self, kind: DataType) -> bool:
        """Whether no two records may have the same value."""
        given = self.given.get("unique")
        if not given:
            return False
        content = outcomes.object_at(given, f"{self._path}.unique")
        if str(content.get("casesensitive", content.get("case_sensitive", False))).lower() != "false":
            self._wrong("unique.casesensitive", supported_values=[False])
        if kind not in UNIQUE_POSSIBLE:
            details = {
                "dependee": {"api_name": "data_type", "json_path": f"{self._path}.data_type"},
                "api_name": "unique",
                "json_path": f"{self._path}.unique",
            }
            raise ApiError(400, "DEPENDENT_MISMATCH", "a field of this data type cannot be unique", details)
        return True

    def choices(self) -> tuple[str, ...]:
        """The choices of a picklist, in order."""
        given = self.given.get("pick_list_values")
        if given is None:
            self._missing_beside_type("pick_list_values")
        path = f"{self._path}.pick_list_values"
        if not isinstance(given, list) or not 1 <= len(given) <= CHOICES_MAX:
            self._wrong("pick_list_values", expected_data_type="jsonarray", maximum_length=CHOICES_MAX)
        choices = []
        for position, each in enumerate(given):
            here = f"{path}[{position}]"
            content = outcomes.object_at(each, here)
            choices.append(outcomes.text_at(content, "display_value", here, maximum=LENGTHS[DataType.PICKLIST]))
        if len(set(choices)) < len(choices):
            raise self.duplicate("pick_list_values")
        return tuple(choices)

    def target(self, organisation: Organisation) -> str:
        """The module a look-up leads to."""
        lookup = self.given.get("lookup")
        if lookup is None:
            self._missing_beside_type("lookup")
        to = outcomes.object_at(
            outcomes.object_at(lookup, f"{self._path}.lookup").get("module"), f"{self._path}.lookup.module"
        )
        name = to.get("api_name", to.get("id"))
        module = organisation.module(name) if isinstance(name, str) else None
        if module is None or module.is_subform:
            self._wrong("lookup.module.api_name")
        return module.api_name

    def auto_number(self, given: Json, path: str) -> AutoNumber:
        """How numbers are written."""
        form = given.get("auto_number")
        if form is None:
            details = {"api_name": "auto_number", "json_path": f"{path}.auto_number"}
            raise ApiError(400, "DEPENDENT_FIELD_MISSING", "autonumber data is not found", details)
        here = f"{path}.auto_number"
        content = outcomes.object_at(form, here)
        start = content.get("start_number")
        if start is None:
            raise mandatory_not_found(api_name="start_number", json_path=f"{here}.start_number")
        if (
            isinstance(start, bool)
            or not str(start).isdecimal()
            or not str(start).isascii()
            or len(str(start)) > AFFIX_LENGTH_MAX
        ):
            raise invalid_data(api_name="start_number", json_path=f"{here}.start_number", expected_data_type="integer")
        if int(start) > START_MAX:
            raise invalid_data(api_name="start_number", json_path=f"{here}.start_number", maximum=START_MAX)
        for name in ("prefix", "suffix"):
            value = content.get(name) or ""
            if not isinstance(value, str) or len(value) > AFFIX_LENGTH_MAX:
                raise invalid_data(api_name=name, json_path=f"{here}.{name}", maximum_length=AFFIX_LENGTH_MAX)
        return AutoNumber(prefix=content.get("prefix") or "", start=int(start), suffix=content.get("suffix") or "")

    def module_name(self, organisation: Organisation, plural: str) -> str:
        """The API name: as given, or made of the label."""
        taken = [word for each in organisation.catalogue.values() for word in (each.api_name, *each.aliases)]
        if "api_name" not in self.given:
            return name_from(plural, (*taken, *WITHOUT_PATHS), otherwise="Module")
        name = self._name_given("api_name")
        if name.lower() in WITHOUT_PATHS:
            details = {"api_name": "api_name", "json_path": f"{self._path}.api_name"}
            raise ApiError(400, "RESERVED_KEYWORD_NOT_ALLOWED", "the api_name is a reserved word", details)
        if name.lower() in {each.lower() for each in taken}:
            raise self.duplicate("api_name")
        return name

    def field_name(self, taken: Iterable[str], label: str) -> str:
        """The API name: as given, or made of the label."""
        if self.given.get("api_name") is None:
            return name_from(label, taken, otherwise="Field")
        name = self._name_given("api_name")
        if name.lower() in {each.lower() for each in taken}:
            raise self.duplicate("api_name")
        return name

    def _name_given(self, key: str) -> str:
        """A name as the caller wants it: an identifier."""
        name = self.given.get(key)
        if not isinstance(name, str) or not IDENTIFIER.fullmatch(name) or len(name) > NAME_LENGTH_MAX:
            self._wrong(key, regex=IDENTIFIER.pattern, maximum_length=NAME_LENGTH_MAX)
        return name

    def check_label(self, module: Module, label: str, *, own_id: int | None) -> None:
        """Raise DUPLICATE_DATA when another field has the label."""
        for each in module.fields:
            if each.label.lower() == label.lower() and (each.own_id is None or each.own_id != own_id):
                raise self.duplicate("field_label")

    def check_profiles(self) -> None:
        """Profiles must be given, and be profiles."""
        given = self.given.get("profiles")
        if given is None:
            raise mandatory_not_found(api_name="profiles", json_path=f"{self._path}.profiles")
        if not isinstance(given, list) or not given:
            self._wrong("profiles", expected_data_type="jsonarray")
        known = {each["id"] for each in profiles(self._call)}
        for position, each in enumerate(given):
            here = f"{self._path}.profiles[{position}]"
            profile_id = outcomes.object_at(each, here).get("id")
            if profile_id is None:
                raise mandatory_not_found(api_name="id", json_path=f"{here}.id")
            if str(profile_id) not in known:
                raise invalid_data(api_name="id", json_path=f"{here}.id")

    def _missing_beside_type(self, name: str) -> NoReturn:
        details = {
            "dependee": {"api_name": "data_type", "json_path": f"{self._path}.data_type"},
            "api_name": name,
            "json_path": f"{self._path}.{name}",
        }
        raise ApiError(400, "DEPENDENT_FIELD_MISSING", "dependent field missing", details)

    def _wrong(self, name: str, **why: object) -> NoReturn:
        raise invalid_data(api_name=name.rpartition(".")[2], json_path=f"{self._path}.{name}", **why)

    def duplicate(self, name: str) -> ApiError:
        """Something given is there already."""
        return ApiError(
            400, "DUPLICATE_DATA", "duplicate data", {"api_name": name, "json_path": f"{self._path}.{name}"}
        )
