"""An integration's program: the official Python SDK, unmodified, pointed at the gateway.

Run as `python -m farebox.demo.sdk_program SETTINGS.json`, a process of its own because the SDK keeps its sign-in in the
process. It prints one JSON line per step: what its calls saw, what they must see, and the credits (farebox.demo.seen).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
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
    ResponseWrapper,
    SuccessResponse,
)
from zohocrmsdk.src.com.zoho.crm.api.record import Record as SdkRecord
from zohocrmsdk.src.com.zoho.crm.api.sdk_config import SDKConfig
from zohocrmsdk.src.com.zoho.crm.api.users import GetUsersParam, UsersOperations

from farebox.demo.seen import (
    CHARGED_HEADER,
    LEFT_HEADER,
    SOME_SECONDS,
    Seen,
    Step,
    Upserted,
    charged,
    millicredits_of,
)
from farebox.domain.credits import credits_of

PAGE_RECORDS = 50
HUNDRED = 100
HUNDRED_COST = 10
"""A hundred records in one call: 1 credit per 10."""
ROUNDS_MAX = 100


class Settings(msgspec.Struct, frozen=True):
    """What the program is given: a gateway, the credentials of a connected app, a folder of its own, the steps.

    `users`: how many the organisation has.
    """

    gateway_url: str
    client_id: str
    client_secret: str
    refresh_token: str
    folder: str
    users: int
    steps: list[str]


class UnexpectedAnswerError(Exception):
    """The SDK handed out something that is neither a result nor its APIException."""


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


def _seen(response: Any) -> Seen:  # noqa: ANN401 - as above
    """An answer as the SDK shows it; UnexpectedAnswerError for a kind that no step asks for."""
    if response is None:
        raise UnexpectedAnswerError("the SDK swallowed an error of its own and handed out no answer; see its sdk.log")
    status, body = response.get_status_code(), response.get_object()
    match body:
        case APIException():
            retry_after = response.get_headers().get("Retry-After", "")
            return Seen(status, exception=body.get_code().get_value(), retry_after=retry_after)
        case ActionWrapper():
            return _written(status, body.get_data())
        case ResponseWrapper():
            return Seen(status, read=len(body.get_data()), more=body.get_info().get_more_records())
        case None if status == HTTPStatus.NO_CONTENT:
            return Seen(status, read=0)
    raise UnexpectedAnswerError(f"{status} with {type(body).__name__}")


def _written(status: int, results: Sequence[Any]) -> Seen:
    good = [result for result in results if isinstance(result, SuccessResponse)]
    return Seen(
        status,
        written=len(good),
        of=len(results),
        refused=tuple(result.get_code().get_value() for result in results if isinstance(result, APIException)),
        upserted=tuple(
            Upserted(result.get_action().get_value(), result.get_duplicate_field())
            for result in good
            if result.get_action() is not None
        ),
    )


def _step(name: str, responses: Sequence[Any], *, must_see: Sequence[Seen], must_cost: int) -> Step:
    """`must_cost` in whole credits, as the card says it."""
    return Step(
        name,
        seen=tuple(map(_seen, responses)),
        must_see=tuple(must_see),
        charged=charged(response.get_headers().get(CHARGED_HEADER) for response in responses),
        must_cost=credits_of(must_cost),
    )


def get_users(settings: Settings) -> Step:
    """Get users: one call."""
    parameters = ParameterMap()
    parameters.add(GetUsersParam.type, "AllUsers")
    response = UsersOperations().get_users(parameters)
    users = response.get_object().get_users()
    return Step(
        "get users",
        seen=(Seen(response.get_status_code(), read=len(users)),),
        must_see=(Seen(HTTPStatus.OK, read=settings.users),),
        charged=charged([response.get_headers().get(CHARGED_HEADER)]),
        must_cost=credits_of(1),
    )


def single_inserts(_: Settings) -> Step:
    """Twenty records, one by one."""
    responses = [_write([lead(number)]) for number in range(20)]
    must_see = [Seen(HTTPStatus.CREATED, written=1, of=1)] * 20
    return _step("20 records, one by one", responses, must_see=must_see, must_cost=20)


def one_insert_of_twenty(_: Settings) -> Step:
    """Twenty records in one call."""
    response = _write(lead(100 + number) for number in range(20))
    must_see = [Seen(HTTPStatus.CREATED, written=20, of=20)]
    return _step("20 records in one call", [response], must_see=must_see, must_cost=2)


def partial_insert(_: Settings) -> Step:
    """Three records of which one lacks its mandatory field."""
    response = _write([lead(200), lead(201, last_name=""), lead(202)])
    must_see = [Seen(HTTPStatus.MULTI_STATUS, written=2, of=3, refused=("MANDATORY_NOT_FOUND",))]
    return _step("3 records, one without a name", [response], must_see=must_see, must_cost=1)


def upsert(_: Settings) -> Step:
    """Two records that are there already (one_insert_of_twenty) and one that is not."""
    records = [lead(100, last_name="Moved"), lead(101, last_name="Moved"), lead(300)]
    response = _write(records, "upsert_records", ["Email"])
    upserted = (Upserted("update", "Email"), Upserted("update", "Email"), Upserted("insert", None))
    must_see = [Seen(HTTPStatus.CREATED, written=3, of=3, upserted=upserted)]
    return _step("upsert of 3, 2 of them there", [response], must_see=must_see, must_cost=1)


def paging(_: Settings) -> Step:
    """Two full pages, after which there are more."""
    responses = [_leads(page=page, per_page=PAGE_RECORDS) for page in (1, 2)]
    must_see = [Seen(HTTPStatus.OK, read=PAGE_RECORDS, more=True)] * 2
    return _step(f"2 pages of {PAGE_RECORDS}", responses, must_see=must_see, must_cost=2)


def delete(_: Settings) -> Step:
    """Insert two, delete them by id in one call, ask for them: they are gone."""
    created = _write([lead(400), lead(401)])
    ids = [str(result.get_details()["id"]) for result in created.get_object().get_data()]
    parameters = ParameterMap()
    for record_id in ids:
        parameters.add(DeleteRecordsParam.ids, record_id)
    deleted = RecordOperations("Leads").delete_records(parameters, HeaderMap())
    must_see = [
        Seen(HTTPStatus.CREATED, written=2, of=2),
        Seen(HTTPStatus.OK, written=2, of=2),
        Seen(HTTPStatus.NO_CONTENT, read=0),
    ]
    gone = _leads(ids=",".join(ids))
    return _step("insert 2, delete 2, ask for them", [created, deleted, gone], must_see=must_see, must_cost=3)


def _leads(**chosen: int | str) -> Any:  # noqa: ANN401 - as above
    parameters = ParameterMap()
    parameters.add(GetRecordsParam.fields, "Last_Name,Email")
    for name, value in chosen.items():
        parameters.add(getattr(GetRecordsParam, name), value)
    return RecordOperations("Leads").get_records(parameters, HeaderMap())


def until_refused(_: Settings) -> Step:
    """Insert a hundred at a time until the gateway says no: exactly when what is left does not pay for one more."""
    responses: list[Any] = []
    while len(responses) < ROUNDS_MAX:
        first = len(responses) * HUNDRED
        responses.append(_write(lead(first + number) for number in range(HUNDRED)))
        if isinstance(responses[-1].get_object(), APIException):
            break
    left = millicredits_of(responses[0].get_headers()[LEFT_HEADER])
    rounds = 1 + left // credits_of(HUNDRED_COST)
    must_see = [Seen(HTTPStatus.CREATED, written=HUNDRED, of=HUNDRED)] * rounds
    must_see.append(
        Seen(HTTPStatus.TOO_MANY_REQUESTS, exception="TOO_MANY_REQUESTS", retry_after=SOME_SECONDS),
    )
    return _step("100 at a time until refused", responses, must_see=must_see, must_cost=rounds * HUNDRED_COST)


STEPS: dict[str, Callable[[Settings], Step]] = {
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
        print(msgspec.json.encode(STEPS[name](settings)).decode(), flush=True)


if __name__ == "__main__":
    main()
