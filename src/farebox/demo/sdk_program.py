"""A customer's program: the official Python SDK, unmodified, pointed at the gateway.

Run as `python -m farebox.demo.sdk_program SETTINGS.json`, a process of its own because the SDK keeps its sign-in in the
process. It prints one JSON line per step: what it did, how many calls it saw, and the credits the answers named.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from zohocrmsdk.src.com.zoho.api.authenticator import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
from zohocrmsdk.src.com.zoho.api.logger import Logger
from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, Initializer, ParameterMap
from zohocrmsdk.src.com.zoho.crm.api.dc import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.record import (
    ActionWrapper,
    APIException,
    BodyWrapper,
    DeleteRecordsParam,
    Field,
    GetRecordsParam,
    RecordOperations,
    SuccessResponse,
)
from zohocrmsdk.src.com.zoho.crm.api.record import Record as SdkRecord
from zohocrmsdk.src.com.zoho.crm.api.sdk_config import SDKConfig
from zohocrmsdk.src.com.zoho.crm.api.users import GetUsersParam, UsersOperations

CHARGED_HEADER = "X-Farebox-Credits-Charged"
REMAINING_HEADER = "X-API-CREDITS-REMAINING"


class Settings(msgspec.Struct, frozen=True):
    """What the program is given: a gateway, the credentials of a connected app, a folder of its own, the steps."""

    gateway_url: str
    client_id: str
    client_secret: str
    refresh_token: str
    folder: str
    steps: list[str]


class Step(msgspec.Struct, frozen=True):
    """What one step did, as its program saw it. `credits` is None where the SDK does not show the answer's headers."""

    name: str
    calls: int
    saw: str
    credits: str | None = None


def sign_in(settings: Settings) -> None:
    """Initialise the SDK as its documentation says, with the gateway as the data centre."""
    folder = Path(settings.folder)
    folder.mkdir(parents=True, exist_ok=True)
    base = settings.gateway_url
    Initializer.initialize(
        environment=DataCenter.Environment(base, base + "/oauth/v2/token", base),
        token=OAuthToken(
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            refresh_token=settings.refresh_token,
        ),
        store=FileStore(file_path=str(folder / "tokens.csv")),
        sdk_config=SDKConfig(auto_refresh_fields=False, pick_list_validation=False),
        resource_path=str(folder),
        logger=Logger.get_instance(level=Logger.Levels.ERROR, file_path=str(folder / "sdk.log")),
    )


def lead(number: int, *, last_name: str = "Ward", email: str = "") -> Any:  # noqa: ANN401 - the SDK has no types
    """A lead as the SDK wants it; an empty last name makes it invalid."""
    record = SdkRecord()
    if last_name:
        record.add_field_value(Field.Leads.last_name(), last_name)
    record.add_field_value(Field.Leads.company(), f"Company {number}")
    record.add_field_value(Field.Leads.email(), email or f"lead{number}@demo.example")
    return record


def _write(records: Iterable[Any], operation: str = "create_records", check: list[str] | None = None) -> Any:  # noqa: ANN401 - as above
    body = BodyWrapper()
    body.set_data(list(records))
    if check:
        body.set_duplicate_check_fields(check)
    return getattr(RecordOperations("Leads"), operation)(body, HeaderMap())


def _outcomes(response: Any) -> str:  # noqa: ANN401 - as above
    """What the caller got, in words."""
    body = response.get_object()
    if isinstance(body, APIException):
        return f"{response.get_status_code()} APIException {body.get_code().get_value()}"
    if not isinstance(body, ActionWrapper):
        return str(response.get_status_code())
    results = body.get_data()
    good = sum(isinstance(result, SuccessResponse) for result in results)
    return f"{response.get_status_code()}, {good} of {len(results)} records written"


def _step(name: str, responses: list[Any], saw: str) -> Step:
    named = [response.get_headers().get(CHARGED_HEADER) for response in responses]
    total = sum(float(value) for value in named if value is not None)
    return Step(name, len(responses), saw, f"{total:g}" if all(value is not None for value in named) else None)


def get_users() -> Step:
    """Get users: one call."""
    parameters = ParameterMap()
    parameters.add(GetUsersParam.type, "AllUsers")
    response = UsersOperations().get_users(parameters)
    users = response.get_object().get_users()
    return _step("get users", [response], f"{len(users)} users")


def single_inserts() -> Step:
    """Twenty records, one by one."""
    responses = [_write([lead(number)]) for number in range(20)]
    return _step("20 records, one by one", responses, _outcomes(responses[-1]))


def one_insert_of_twenty() -> Step:
    """Twenty records in one call."""
    response = _write(lead(100 + number) for number in range(20))
    return _step("20 records in one call", [response], _outcomes(response))


def partial_insert() -> Step:
    """Three records of which one lacks its mandatory field."""
    response = _write([lead(200), lead(201, last_name=""), lead(202)])
    return _step("3 records, one without a name", [response], _outcomes(response))


def upsert() -> Step:
    """Two records that are there already and one that is not."""
    records = [lead(100, last_name="Moved"), lead(101, last_name="Moved"), lead(300)]
    response = _write(records, "upsert_records", ["Email"])
    return _step("upsert of 3", [response], _outcomes(response))


def paging() -> Step:
    """Two pages of 200."""
    responses = []
    for page in (1, 2):
        parameters = ParameterMap()
        parameters.add(GetRecordsParam.fields, "Last_Name,Email")
        parameters.add(GetRecordsParam.page, page)
        parameters.add(GetRecordsParam.per_page, 200)
        responses.append(RecordOperations("Leads").get_records(parameters, HeaderMap()))
    count = sum(len(response.get_object().get_data()) for response in responses)
    return _step("2 pages of 200", responses, f"{count} records")


def delete() -> Step:
    """Insert two, delete them by id in one call."""
    created = _write([lead(400), lead(401)])
    ids = [result.get_details()["id"] for result in created.get_object().get_data()]
    parameters = ParameterMap()
    for record_id in ids:
        parameters.add(DeleteRecordsParam.ids, str(record_id))
    response = RecordOperations("Leads").delete_records(parameters, HeaderMap())
    return _step("insert 2, delete 2 in one call", [created, response], _outcomes(response))


def until_refused() -> Step:
    """Insert a hundred at a time until the gateway says no."""
    responses = []
    for round_number in range(100):
        responses.append(_write(lead(round_number * 100 + number) for number in range(100)))
        if isinstance(responses[-1].get_object(), APIException):
            break
    last = responses[-1]
    saw = f"{_outcomes(last)}, Retry-After {last.get_headers().get('Retry-After', '-')}"
    return _step("100 at a time until refused", responses, saw)


STEPS: dict[str, Callable[[], Step]] = {
    function.__name__: function
    for function in (
        get_users,
        single_inserts,
        one_insert_of_twenty,
        partial_insert,
        upsert,
        paging,
        delete,
        until_refused,
    )
}


def main() -> None:
    """Run the steps named in the settings; exit status 1 when one of them fails."""
    logging.disable(logging.CRITICAL)  # the SDK logs every refusal as an error
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    sign_in(settings)
    for name in settings.steps:
        print(json.dumps(msgspec.structs.asdict(STEPS[name]())), flush=True)


if __name__ == "__main__":
    main()
