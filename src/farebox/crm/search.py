"""Searching a module by criteria, e-mail, phone or word, and counting what is found.

Source: Zoho CRM v7 search-records and module_record_count. Of several ways to search in one call the first counts:
criteria, email, phone, word. What was written is found at once; the original's index takes a moment.
"""

import re

from farebox.crm import criteria, custom_views
from farebox.crm.call import Answer, Call
from farebox.crm.conditions import All, AnyOf, Column, Compare, Condition, Operator, Query, SqlValue
from farebox.crm.errors import ApiError, ambiguous_params, invalid_param
from farebox.crm.reading import read_fields
from farebox.crm.render import show_records
from farebox.crm.route import always, route
from farebox.crm.schema import DataType, Module

PER_PAGE_MAX = 200
RECORDS_MAX = 2_000
WORD_LENGTH_MIN = 2
WAYS = ("criteria", "email", "phone", "word")
SHOWN = "r.id, r.module, r.name, r.owner, r.created_by, r.modified_by, r.created, r.modified, r.body, r.tags"


def search(call: Call, module: Module) -> Answer:
    """`GET /{module}/search`: a page of what was found, newest first; 204 when nothing was."""
    most = call.at_most(PER_PAGE_MAX)
    per_page = call.integer("per_page", default=most, minimum=1, maximum=most)
    page = call.integer("page", default=1, minimum=1, maximum=10**9)
    if page * per_page > RECORDS_MAX:
        details = {"limit": RECORDS_MAX, "param_name": "page", "param": "page"}
        raise ApiError(400, "LIMIT_REACHED", "maximum response iteration limit reached", details)
    fields = read_fields(call)
    query, where, values = _found(call, module)
    with call.store.reading() as db:
        rows = db.execute(
            f"SELECT {SHOWN} FROM {query.source} WHERE {where} ORDER BY r.id DESC LIMIT ? OFFSET ?",  # noqa: S608 (bound)
            (*values, per_page + 1, (page - 1) * per_page),
        ).fetchall()
        if not rows:
            return Answer(status=204)
        records = show_records(db, call, module, rows[:per_page], fields)
    info = {
        "per_page": per_page,
        "count": len(records),
        "sort_by": "id",
        "page": page,
        "sort_order": "desc",
        "more_records": len(rows) > per_page,
    }
    return Answer(status=200, payload={"data": records, "info": info})


def count(call: Call, module: Module) -> Answer:
    """`GET /{module}/actions/count`: how many records there are, in a view (`cvid`), or found by a search."""
    given = [each for each in WAYS if each in call.params]
    if "cvid" in call.params and given:
        raise ambiguous_params("cvid", given[0])
    query, where, values = _found(call, module, needs_a_way=False)
    with call.store.reading() as db:
        found = db.execute(f"SELECT count(*) FROM {query.source} WHERE {where}", values).fetchone()[0]  # noqa: S608 (bound)
    return Answer(status=200, payload={"count": found})


def _found(call: Call, module: Module, *, needs_a_way: bool = True) -> tuple[Query, str, list[SqlValue]]:
    """The query, its condition and the values in it, for what the parameters ask."""
    query = Query(module)
    values: list[SqlValue] = [call.organisation.zgid, module.api_name]
    where = ["r.zgid = ?", "r.module = ?"]
    default = "false"
    if "cvid" in call.params and not needs_a_way:
        view = custom_views.find_view(call, module, call.params["cvid"])
        if view is None:
            raise invalid_param("cvid")
        default = "true" if view.of_converted else default
        where.append(query.where(custom_views.condition_of_view(call, module, view), values))
    converted = call.choice("converted", ("true", "false", "both"), default=default)
    if converted != "both":
        where.append(f"r.converted = {int(converted == 'true')}")
    call.choice("approved", ("true", "false", "both"), default="true")  # every record is approved
    way = next((each for each in WAYS if call.params.get(each, "").strip()), None)
    if way is None and needs_a_way:
        details = {"expected_params": list(WAYS)}
        raise ApiError(400, "EXPECTED_PARAM_MISSING", "one of the expected parameters is missing", details)
    if way == "word":
        where.append("r.id IN (SELECT rowid FROM record_words WHERE record_words MATCH ?)")
        values.append(_words(call.params["word"]))
    elif way is not None:
        where.append(query.where(_condition(call, module, way), values))
    return query, " AND ".join(where), values


def _condition(call: Call, module: Module, way: str) -> Condition:
    given = call.params[way].strip()
    match way:
        case "criteria":
            return criteria.parse(given, module)
        case "email":
            return _in_fields(module, DataType.EMAIL, Operator.EQUAL, given)
        case _:
            # a query's "+" arrives as a space
            return _in_fields(module, DataType.PHONE, Operator.CONTAINS, given)


def _in_fields(module: Module, data_type: DataType, test: Operator, value: str) -> Condition:
    parts = tuple(Compare(Column(each), test, (value,)) for each in module.fields if each.data_type is data_type)
    return AnyOf(parts) if parts else All((AnyOf(()),))


def _words(given: str) -> str:
    """Every word, or one that begins with it, as a question to the index; raises INVALID_DATA."""
    words = re.findall(r"\w+", given)
    if len(given.strip()) < WORD_LENGTH_MIN or not words:
        raise invalid_param("word", minimum_length=WORD_LENGTH_MIN)
    return " ".join(f'"{each}"*' for each in words)


ROUTES = (
    route("GET", "{module}/search", "modules read & ZohoSearch.securesearch read", search, reads_long=always),
    route("GET", "{module}/actions/count", "modules read", count, reads_long=always),
)
