"""Several requests in one: `POST /__composite_requests`, with references between them and rollback.

Sub-requests run one after the other: in the order given, or, when they may run in parallel, each after those it
refers to. With rollback all of them are one transaction. Source: Zoho CRM v7 composite-request.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from farebox.crm import references
from farebox.crm.call import Answer, Call, Incoming
from farebox.crm.errors import ApiError, invalid_data, mandatory_not_found
from farebox.crm.references import LoopError, UnresolvedError
from farebox.crm.route import route

NAME = "__composite_requests"
REQUESTS_MAX = 5
READ_MAX = 25
WRITE_MAX = 1
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
URI = re.compile(r"/crm(/.*)?/v[0-9]+([.][0-9]+)?/.*")
VERSION = re.compile(r"v[0-9]+([.][0-9]+)?")
SUB_REQUEST_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_]*", re.ASCII)
FORBIDDEN_HEADERS = ("authorization", "x-crm-org")
NOT_ALLOWED = re.compile(
    r"/crm/(bulk/.*|v[0-9.]+/(__composite_requests|files|upload|functions)(/.*)?|.*/(Attachments|photo)(/.*)?)"
)
ALLOWED_SERVICES = ("records", "coql", "settings", "users", "org", "notifications")
BEFORE_COMPOSITE = frozenset({"v2", "v2.1"})
BAD_REQUEST = 400

Element = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Sub:
    """A sub-request that may be tried; `content` is its uri, params, headers and body with references in them."""

    index: int
    name: str
    method: str
    content: dict[str, Any]


def run(call: Call) -> Answer:
    """`POST /__composite_requests`: the answers in the order of the requests.

    With rollback 200 when all were served, 400 when they were undone. Without, 200 when all were tried, 207 when some
    were, 400 when none was.
    """
    if call.version in BEFORE_COMPOSITE:
        raise ApiError(
            400, "API_NOT_SUPPORTED", "the API is not supported in this version", {"supported_version": "v3"}
        )
    content = call.json_object()
    given = _list_of(content)
    rollback = _switch(content, "rollback_on_fail", default=False)
    parallel = _switch(content, "parallel_execution", "concurrent_execution", default=not rollback)
    if rollback and parallel:
        due_to = [{"api_name": name, "json_path": f"$.{name}"} for name in ("rollback_on_fail", "parallel_execution")]
        message = "Ambiguity while processing the request"
        raise ApiError(400, "AMBIGUITY_DURING_PROCESSING", message, {"ambiguity_due_to": due_to})
    subs, elements = _read_all(call, given)
    order = _ordered(subs, elements, parallel=parallel)
    if rollback:
        undone = _run_or_undo(call, order, elements)
        return _answer(400 if undone else 200, elements)
    _run_each(call, order, elements)
    tried = sum(each["code"] == "SUCCESS" for each in elements.values())
    return _answer(200 if tried == len(given) else 207 if tried else 400, elements)


def _answer(status: int, elements: Mapping[int, Element]) -> Answer:
    return Answer(status=status, payload={NAME: [elements[index] for index in sorted(elements)]})


def _list_of(content: dict[str, Any]) -> list[Any]:
    if NAME not in content:
        raise mandatory_not_found(api_name=NAME, json_path=f"$.{NAME}")
    given = content[NAME]
    if not isinstance(given, list):
        raise invalid_data(api_name=NAME, json_path=f"$.{NAME}", expected_data_type="jsonarray")
    if not given:
        raise invalid_data(api_name=NAME, json_path=f"$.{NAME}", minimum_length=1)
    if len(given) > REQUESTS_MAX:
        raise invalid_data(api_name=NAME, json_path=f"$.{NAME}", maximum_length=REQUESTS_MAX)
    return given


def _switch(content: dict[str, Any], *names: str, default: bool) -> bool:
    for name in names:
        if name in content:
            if not isinstance(content[name], bool):
                raise invalid_data(api_name=name, json_path=f"$.{name}", expected_data_type="boolean")
            return bool(content[name])
    return default


def _read_all(call: Call, given: Sequence[Any]) -> tuple[list[_Sub], dict[int, Element]]:
    """The sub-requests that can be tried, and the refusals of the others by index."""
    subs: list[_Sub] = []
    elements: dict[int, Element] = {}
    for index, each in enumerate(given):
        try:
            subs.append(_read(call, index, each))
        except ApiError as refusal:
            elements[index] = refusal.envelope()
    for sub in subs:
        same = [each.index for each in subs if each.name == sub.name]
        if len(same) > 1:
            details = {"sub_request_indexes": same, **_where(sub.index, "sub_request_id")}
            elements[sub.index] = ApiError(400, "DUPLICATE_DATA", "duplicate data", details).envelope()
    return [each for each in subs if each.index not in elements], elements


def _where(index: int, name: str) -> dict[str, str]:
    return {"api_name": name, "json_path": f"$.{NAME}[{index}].{name}"}


def _read(call: Call, index: int, given: object) -> _Sub:
    if not isinstance(given, dict):
        raise invalid_data(api_name=NAME, json_path=f"$.{NAME}[{index}]", expected_data_type="jsonobject")
    for name in ("sub_request_id", "method", "uri"):
        if given.get(name) in (None, ""):
            raise mandatory_not_found(**_where(index, name))
    name, method, uri = given["sub_request_id"], given["method"], given["uri"]
    if not isinstance(name, str) or not SUB_REQUEST_ID.fullmatch(name):
        raise invalid_data(**_where(index, "sub_request_id"), regex=SUB_REQUEST_ID.pattern)
    if method not in METHODS:
        raise invalid_data(**_where(index, "method"), supported_values=list(METHODS))
    if not isinstance(uri, str) or not URI.fullmatch(uri):
        raise invalid_data(**_where(index, "uri"), regex=URI.pattern)
    _check_parts(index, given)
    _check_service(call, index, method, urlsplit(uri).path)
    return _Sub(index, name, method, {part: given.get(part) for part in ("uri", "params", "headers", "body")})


def _check_parts(index: int, given: Mapping[str, Any]) -> None:
    for part in ("params", "headers"):
        if not isinstance(given.get(part, {}), dict | None):
            raise invalid_data(**_where(index, part), expected_data_type="jsonobject")
    for header in given.get("headers") or {}:
        if header.lower() in FORBIDDEN_HEADERS:
            raise invalid_data(**_where(index, "headers"), not_supported_values=[header])


def _check_service(call: Call, index: int, method: str, path: str) -> None:
    """Only what answers at once and is no older than the composite itself."""
    parts = path.strip("/").split("/")
    if NOT_ALLOWED.fullmatch(path) or (
        method == "DELETE" and not parts[-1].startswith("@") and not parts[-1].isdecimal()
    ):
        details = {"allowed_services": list(ALLOWED_SERVICES), **_where(index, "uri")}
        raise ApiError(400, "NOT_SUPPORTED", "the service is not supported in a composite request", details)
    version = parts[1]
    if not VERSION.fullmatch(version):
        raise invalid_data(**_where(index, "uri"), regex=URI.pattern)
    if _number(version) > _number(call.version):
        details = {"sub_request_version": version, "composite_request_version": call.version}
        raise ApiError(400, "NOT_ALLOWED", "the version of a sub-request is above that of the composite", details)


def _number(version: str) -> float:
    return float(version.removeprefix("v"))


def _ordered(subs: Sequence[_Sub], elements: dict[int, Element], *, parallel: bool) -> list[_Sub]:
    """The sub-requests in the order they run in; those that cannot are refused in `elements`."""
    needs = {each.name: references.names_in(each.content) for each in subs}
    if not parallel:
        return list(subs)
    try:
        order = references.ordered(needs)
    except LoopError as loop:
        for sub in subs:
            if sub.name in loop.names:
                data = [
                    {"sub_request_id": name, "referred_sub_request_ids": sorted(needs[name])} for name in loop.names
                ]
                details = {"dependent_data": data}
                elements[sub.index] = ApiError(
                    400, "LOOPING_FOUND", "sub-requests refer to each other", details
                ).envelope()
        left = [each for each in subs if each.index not in elements]
        return _ordered(left, elements, parallel=True)
    by_name = {each.name: each for each in subs}
    return [by_name[name] for name in order]


def _run_each(call: Call, order: Sequence[_Sub], elements: dict[int, Element]) -> None:
    answers: dict[str, Any] = {}
    for sub in order:
        elements[sub.index] = _try(call, sub, answers)


def _run_or_undo(call: Call, order: Sequence[_Sub], elements: dict[int, Element]) -> bool:
    """All or nothing; whether it was nothing."""
    if elements:
        _stop(order, elements)
        return True
    answers: dict[str, Any] = {}
    try:
        with call.store.transaction():
            for sub in order:
                elements[sub.index] = _try(call, sub, answers)
                _check_served(sub, elements)
    except _UndoneError as undone:
        details = {"rollbacked_by_sub_request_index": undone.index}
        message = "the sub-request was undone because another one failed"
        for index in elements:
            if index != undone.index:
                elements[index] = ApiError(400, "ROLLBACK_PERFORMED", message, details).envelope()
        _stop(order, elements)
        return True
    return False


class _UndoneError(Exception):
    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def _check_served(sub: _Sub, elements: Mapping[int, Element]) -> None:
    if _failed(elements[sub.index]):
        raise _UndoneError(sub.index)


def _stop(order: Sequence[_Sub], elements: dict[int, Element]) -> None:
    """What was not tried any more."""
    for sub in order:
        if sub.index not in elements:
            stopped = ApiError(400, "PROCESSING_STOPPED", "the sub-request was not executed because another one failed")
            elements[sub.index] = stopped.envelope()


def _failed(element: Element) -> bool:
    if element["code"] != "SUCCESS":
        return True
    status: int = element["details"]["response"]["status_code"]
    return status >= BAD_REQUEST


def _try(call: Call, sub: _Sub, answers: dict[str, Any]) -> Element:
    """Run one with its references resolved. Its own refusal is an answer; a reference to nothing is not."""
    try:
        resolved = references.resolve(sub.content, answers)
    except UnresolvedError as error:
        where = f"$.{NAME}[{sub.index}].{error.path}"
        details = {"api_name": error.path.partition(".")[0], "json_path": where, "reference": error.reference}
        return ApiError(400, "INVALID_REFERENCE", "the reference given seems to be invalid", details).envelope()
    try:
        _check_service(call, sub.index, sub.method, urlsplit(str(resolved["uri"])).path)  # also what it became
    except ApiError as refusal:
        return refusal.envelope()
    try:
        answer = call.dispatch(_incoming(sub, resolved))
        status, body, headers = answer.status, answer.payload, dict(answer.headers)
    except ApiError as refusal:
        status, body, headers = refusal.status, refusal.envelope(), dict(refusal.headers)
    if status < BAD_REQUEST:
        answers[sub.name] = body
    return {
        "code": "SUCCESS",
        "details": {"response": {"headers": headers, "status_code": status, "body": body}},
        "message": "composite sub request executed successfully",
        "status": "success",
    }


def _incoming(sub: _Sub, resolved: dict[str, Any]) -> Incoming:
    target = urlsplit(str(resolved["uri"]))
    params = dict(parse_qsl(target.query, keep_blank_values=True))
    params.update({name: _text(value) for name, value in (resolved["params"] or {}).items()})
    headers = {name.lower(): _text(value) for name, value in (resolved["headers"] or {}).items()}
    body = resolved["body"]
    is_coql = target.path.endswith("/coql")
    return Incoming(
        method=sub.method,
        path=target.path,
        params=params,
        headers=headers,
        body=b"" if body is None else msgspec.json.encode(body),
        records_max=READ_MAX if sub.method == "GET" or is_coql else WRITE_MAX,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


ROUTES = (route("POST", NAME, "composite_requests custom", run),)
