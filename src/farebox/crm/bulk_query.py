"""What a bulk read asks for, from its body to a module, columns and a condition. Source: Zoho CRM v7 bulk-read."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from farebox.crm import custom_views, outgoing
from farebox.crm.call import Call
from farebox.crm.conditions import All, Column, Compare, Condition, Operator
from farebox.crm.criteria_tree import check_reading, column_of, read_criteria, refusal
from farebox.crm.schema import DataType, Module

PAGES_MAX: Final = 500
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkQuery:
    """A query that makes sense. `columns` are names as given; `after` is the id the page starts behind, 0 for none."""

    module: Module
    columns: tuple[tuple[str, Column], ...]
    condition: Condition
    page: int
    after: int
    as_given: Json


def body_of(call: Call) -> Json:
    """The body of a request for a job; raises REQUEST_BODY_IS_EMPTY or REQUEST_BODY_NOT_READABLE."""
    if not call.body.strip():
        raise refusal("REQUEST_BODY_IS_EMPTY", "the request body is empty")
    try:
        content = msgspec.json.decode(call.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal("REQUEST_BODY_NOT_READABLE", "the request body is not readable") from error
    if not isinstance(content, dict):
        raise refusal("REQUEST_BODY_NOT_READABLE", "the request body is no JSON object")
    return content


def callback_of(call: Call, content: Json) -> Json | None:
    """The callback a body asks for, checked; raises INVALID_CALLBACK_URL or INVALID_CALLBACK_METHOD."""
    callback = content.get("callback")
    if callback is None:
        return None
    if not isinstance(callback, dict):
        raise refusal("INVALID_CALLBACK_URL", "the callback is no JSON object")
    try:
        url = outgoing.check_url(callback.get("url"), allow_local=call.settings.local_callbacks)
    except outgoing.UrlRefusedError as error:
        raise refusal("INVALID_CALLBACK_URL", f"the callback URL cannot be called: {error}") from error
    if str(callback.get("method", "post")).lower() != "post":
        details = {"supported_callback_methods": ["post"]}
        raise refusal("INVALID_CALLBACK_METHOD", "the callback method is not supported", **details)
    return {"url": url, "method": "post"}


def read(call: Call, db: sqlite3.Connection, content: Json) -> BulkQuery:
    """The query of a body, or the one a page_token goes on with."""
    if content.get("file_type", "csv") != "csv":
        raise refusal("JOB_NOT_SUPPORTED", "the file type is not supported", supported_values=["csv"])
    given = content.get("query")
    if not isinstance(given, dict):
        raise refusal("INVALID_BULK_OPERATION", "a query is expected")
    token = given.get("page_token", content.get("page_token"))
    if token is None:
        return _make(call, given, page=_page(given), after=0)
    row = db.execute(
        "SELECT * FROM job_page WHERE token = ? AND zgid = ? AND user_id = ? AND expires > ?",
        (str(token), call.organisation.zgid, call.user.id, call.at),
    ).fetchone()
    if row is None:
        raise refusal("INVALID_DATA", "the page_token is not known or has expired", api_name="page_token")
    return _make(call, json.loads(row["query"]), page=row["page"], after=row["after_id"])


def again(call: Call, request: Json) -> BulkQuery:
    """The query of a job's request."""
    return _make(call, request["query"], page=request["page"], after=request["after"])


def _page(given: Json) -> int:
    page = given.get("page", 1)
    if isinstance(page, bool) or not isinstance(page, int):
        raise refusal("PAGE_NOT_SUPPORTED", "the page is no number")
    if not 1 <= page <= PAGES_MAX:
        raise refusal("PAGE_RANGE_EXCEEDED", "the page is out of range", limit=PAGES_MAX)
    return page


def _make(call: Call, given: Json, *, page: int, after: int) -> BulkQuery:
    name = given["module"].get("api_name") if isinstance(given.get("module"), dict) else given.get("module")
    module = call.organisation.module(name) if isinstance(name, str) else None
    if module is None:
        raise refusal("MODULE_NOT_AVAILABLE", "the module is not available", module=str(name))
    if module.is_subform:
        raise refusal("MODULE_NOT_SUPPORTED", "the module is not supported", module=module.api_name)
    check_reading(call, module)
    parts = [] if given.get("criteria") is None else [read_criteria(call, module, given["criteria"])]
    if given.get("cvid") is None:
        parts.append(Compare(custom_views.CONVERTED, Operator.EQUAL, (False,)))
    else:
        of_view = custom_views.condition_of(call, module, given["cvid"])
        if of_view is None:
            raise refusal("CVID_NOT_SUPPORTED", "the custom view is not known", cvid=str(given["cvid"]))
        parts.append(of_view)
    return BulkQuery(
        module=module,
        columns=tuple((each, column_of(call, module, each)) for each in _names(module, given.get("fields"))),
        condition=All(tuple(parts)),
        page=page,
        after=after,
        as_given={**given, "module": {"api_name": module.api_name}},
    )


def _names(module: Module, given: object) -> Sequence[str]:
    """The columns besides Id; without `fields` all that can be one."""
    if given is None:
        return [
            each.api_name for each in module.fields if each.data_type is not DataType.SUBFORM and each.api_name != "Tag"
        ]
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise refusal("FIELD_NOT_AVAILABLE", "fields is a list of API names")
    return [each for each in dict.fromkeys(given) if each.lower() != "id"]
