"""Calls on the settings that do several things at once: one result each, and the status that follows from all."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from farebox.crm.call import Answer, Call
from farebox.crm.errors import ApiError, invalid_data, mandatory_not_found, no_permission

Json = dict[str, Any]
ACTIONS_MAX = 100


def elements_of(call: Call, key: str, *, maximum: int = ACTIONS_MAX) -> list[Any]:
    """The list under `key` in the body, 1 to `maximum` long."""
    content = call.json_object()
    path = f"$.{key}"
    if key not in content:
        raise mandatory_not_found(api_name=key, json_path=path)
    found = content[key]
    if not isinstance(found, list):
        raise invalid_data(api_name=key, json_path=path, expected_data_type="jsonarray")
    if not found:
        raise invalid_data(api_name=key, json_path=path, minimum_length=1)
    if len(found) > maximum:
        raise invalid_data(api_name=key, json_path=path, maximum_length=maximum)
    return found


def object_at(given: object, path: str) -> Json:
    """A JSON object at this path; raises INVALID_DATA."""
    if not isinstance(given, dict):
        api_name = path.rpartition(".")[2].partition("[")[0]
        raise invalid_data(api_name=api_name, json_path=path, expected_data_type="jsonobject")
    return given


def text_at(given: Mapping[str, Any], name: str, path: str, *, maximum: int) -> str:
    """A text that must be there, not blank and within its length."""
    value = given.get(name)
    here = f"{path}.{name}"
    if value is None or value == "":
        raise mandatory_not_found(api_name=name, json_path=here)
    if not isinstance(value, str) or not value.strip():
        raise invalid_data(api_name=name, json_path=here, expected_data_type="text")
    if len(value) > maximum:
        raise invalid_data(api_name=name, json_path=here, maximum_length=maximum)
    return value.strip()


def success(message: str, thing_id: int) -> Json:
    """The result of what was done to one thing."""
    return {"code": "SUCCESS", "details": {"id": str(thing_id)}, "message": message, "status": "success"}


def each_of(call: Call, key: str, act: Callable[[Any, str], Json], *, done: int = 200) -> Answer:
    """Do `act` with every element of the body's list and its path; a refusal is that element's result alone."""
    tries = [partial(act, given, f"$.{key}[{n}]") for n, given in enumerate(elements_of(call, key))]
    return answer(key, [attempt(call, each) for each in tries], done=done)


def attempt(call: Call, act: Callable[[], Json]) -> Json:
    """The result of `act`, in a transaction of its own; what it refuses is undone."""
    try:
        with call.store.transaction():
            return act()
    except ApiError as refusal:
        return refusal.envelope()


def answer(key: str, results: Sequence[Json], *, done: int = 200) -> Answer:
    """All results under `key`: status `done` when all succeeded, 207 when some did, 400 when none did."""
    good = sum(each["status"] == "success" for each in results)
    status = done if good == len(results) else 207 if good else 400
    return Answer(status=status, payload={key: list(results)})


def check_may_customise(call: Call) -> None:
    """Raise NO_PERMISSION unless the caller has the profile that may change modules and fields."""
    if not call.user.admin:
        raise no_permission("Crm_Implied_Customize_Zoho_CRM")
