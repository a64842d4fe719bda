"""Listing records and getting one. Source: Zoho CRM v7 get-records."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farebox.crm import custom_views, page_tokens
from farebox.crm.call import Answer, Call
from farebox.crm.conditions import TEXTS, Column
from farebox.crm.conditions import Query as Sql
from farebox.crm.custom_views import View
from farebox.crm.errors import ApiError, ambiguous_params, invalid_param, invalid_path_id, limit_exceeded, param_missing
from farebox.crm.page_tokens import Position
from farebox.crm.render import COLUMNS, show_records
from farebox.crm.route import route
from farebox.crm.schema import Module
from farebox.crm.validate import parse_id

FIELDS_MAX = 50
IDS_MAX = 100
PER_PAGE_MAX = 200
WITHOUT_TOKEN_MAX = 2_000
"""How many records page numbers reach; beyond that a page_token is needed."""
WITH_TOKEN_MAX = 100_000
FIELDS_OPTIONAL = frozenset({("crm", "v2"), ("crm", "v2.1"), ("bigin", "v1")})
"""Older versions in which a list without `fields` shows everything [?]."""
COLUMNS_OF_R = ", ".join(f"r.{each}" for each in COLUMNS.split(", "))
SORT_COLUMNS = {"id": "id", "Created_Time": "created", "Modified_Time": "modified"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """What narrows a list to some records: a condition on `r` in SQL, its values, a name to bind tokens to."""

    name: str
    condition: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A list call, parsed."""

    fields: tuple[str, ...] | None
    ids: tuple[int, ...] | None
    per_page: int
    position: Position
    by_token: bool
    sort_by: str
    descending: bool
    converted: str
    modified_since: int | None
    within: Within | None
    view: View | None = None

    @property
    def by_key(self) -> bool:
        """Whether a page begins after a record; of other orders it begins after so many records."""
        return self.sort_by in SORT_COLUMNS


def get_one(call: Call, module: Module, *, record_id: int) -> Answer:
    """`GET /{module}/{id}`: every field, or those of `fields`; 304 when not modified since the header's time."""
    since = call.instant_header("if-modified-since")
    given = read_fields(call)
    with call.store.reading() as db:
        row = db.execute(
            f"SELECT {COLUMNS} FROM record WHERE id = ? AND zgid = ? AND module = ?",  # noqa: S608 (constant)
            (record_id, call.organisation.zgid, module.api_name),
        ).fetchone()
        if row is None:
            raise invalid_path_id(1)
        if since is not None and row["modified"] <= since:
            return Answer(status=304)
        return Answer(status=200, payload={"data": show_records(db, call, module, [row], given)})


def list_records(call: Call, module: Module, *, within: Within | None = None) -> Answer:
    """`GET /{module}`: a page of records; 204 when there is none, 304 when none was modified since."""
    query = _parse(call, module, within)
    with call.store.reading() as db:
        rows = _select(db, call, module, query)
        more = len(rows) > query.per_page
        rows = rows[: query.per_page]
        if not rows:
            return Answer(status=204 if query.modified_since is None else 304)
        records = show_records(db, call, module, rows, query.fields)
        info = _info(db, call, module, query, rows, more=more)
    return Answer(status=200, payload={"data": records, "info": info})


def _parse(call: Call, module: Module, within: Within | None) -> Query:
    fields = read_fields(call)
    if fields is None and (call.organisation.product, call.version) not in FIELDS_OPTIONAL:
        raise param_missing("fields")
    most = call.at_most(PER_PAGE_MAX)
    per_page = call.integer("per_page", default=most, minimum=1, maximum=most)
    view = _view(call, module)
    sort_by = call.choice("sort_by", tuple(SORT_COLUMNS), default="id")
    descending = call.choice("sort_order", ("asc", "desc"), default="desc") == "desc"
    if view is not None and view.sort_by in module.by_name:
        sort_by, descending = view.sort_by, view.descending
    default = "true" if view is not None and view.of_converted else "false"
    converted = call.choice("converted", ("true", "false", "both"), default=default)
    position, by_token = _position(call, _bound_to(module, within), per_page)
    return Query(
        fields=fields,
        ids=_ids(call),
        per_page=per_page,
        position=position,
        by_token=by_token,
        sort_by=sort_by,
        descending=descending,
        converted=converted,
        modified_since=call.instant_header("if-modified-since"),
        within=within,
        view=view,
    )


def _bound_to(module: Module, within: Within | None) -> str:
    return module.api_name if within is None else f"{module.api_name} {within.name}"


def _view(call: Call, module: Module) -> View | None:
    """The view that `cvid` names; raises INVALID_DATA without such a view, AMBIGUITY_DURING_PROCESSING with sort_by."""
    cvid = call.params.get("cvid")
    if cvid is None:
        return None
    if "sort_by" in call.params:
        raise ambiguous_params("cvid", "sort_by")
    view = custom_views.find_view(call, module, cvid)
    if view is None:
        raise invalid_param("cvid")
    return view


def read_fields(call: Call) -> tuple[str, ...] | None:
    """The API names that `fields` lists; None when it is absent or empty. Raises LIMIT_EXCEEDED."""
    given = call.params.get("fields")
    if given is None or not given.strip():
        return None
    fields = tuple(dict.fromkeys(each.strip() for each in given.split(",") if each.strip()))
    if len(fields) > FIELDS_MAX:
        raise limit_exceeded(limit=FIELDS_MAX, param_name="fields")
    return fields


def _ids(call: Call) -> tuple[int, ...] | None:
    given = call.params.get("ids")
    if given is None:
        return None
    ids = [parse_id(each.strip()) for each in given.split(",")]
    if len(ids) > IDS_MAX:
        raise limit_exceeded(limit=IDS_MAX, param_name="ids")
    if None in ids:
        raise invalid_param("ids", expected_data_type="bigint")
    return tuple(each for each in ids if each is not None)


def _position(call: Call, bound_to: str, per_page: int) -> tuple[Position, bool]:
    token = call.params.get("page_token")
    if token is not None:
        if "page" in call.params:
            raise ambiguous_params("page", "page_token")
        position = page_tokens.read(call, module=bound_to, token=token)
        if position.page * per_page > WITH_TOKEN_MAX:
            message = "Cannot fetch more than 100000 records"
            raise ApiError(400, "PAGINATION_LIMIT_EXCEEDED", message, {"limit": WITH_TOKEN_MAX})
        return position, True
    page = call.integer("page", default=1, minimum=1, maximum=10**9)
    if page * per_page > WITHOUT_TOKEN_MAX:
        message = "You cannot fetch more than 2000 records without page_token"
        details = {"limit": WITHOUT_TOKEN_MAX, "param_name": "page", "param": "page"}
        raise ApiError(400, "DISCRETE_PAGINATION_LIMIT_EXCEEDED", message, details)
    return Position(page=page, after=None), False


def _where(call: Call, module: Module, query: Query) -> tuple[str, list[str], list[Any]]:
    """What stands after FROM, the conditions and the values in them."""
    sql = Sql(module)
    conditions = ["r.zgid = ?", "r.module = ?"]
    values: list[Any] = [call.organisation.zgid, module.api_name]
    if query.view is not None:
        conditions.append(sql.where(custom_views.condition_of_view(call, module, query.view), values))
    if query.ids is not None:
        conditions.append(f"r.id IN ({', '.join('?' * len(query.ids))})")
        values.extend(query.ids)
    if query.converted != "both":
        conditions.append(f"r.converted = {int(query.converted == 'true')}")
    if query.modified_since is not None:
        conditions.append("r.modified > ?")
        values.append(query.modified_since)
    if query.within is not None:
        conditions.append(query.within.condition)
        values.extend(query.within.values)
    return sql.source, conditions, values


def _order(module: Module, query: Query) -> str:
    """What the records are sorted by, as SQL."""
    if query.by_key:
        return f"r.{SORT_COLUMNS[query.sort_by]}"
    field = module.by_name[query.sort_by]
    return f"{Sql(module).expression(Column(field))}{' COLLATE NOCASE' if field.data_type in TEXTS else ''}"


def _select(db: sqlite3.Connection, call: Call, module: Module, query: Query) -> list[sqlite3.Row]:
    """The page's rows and one more, if there is one."""
    source, conditions, values = _where(call, module, query)
    order = _order(module, query)
    direction, beyond = ("DESC", "<") if query.descending else ("ASC", ">")
    skip = 0
    if query.position.after is not None:
        conditions.append(f"({order}, r.id) {beyond} (?, ?)")
        values.extend(query.position.after)
    else:
        skip = (query.position.page - 1) * query.per_page
    sql = (
        f"SELECT {COLUMNS_OF_R} FROM {source} WHERE {' AND '.join(conditions)} "  # noqa: S608 (values are bound)
        f"ORDER BY {order} {direction}, r.id {direction} LIMIT ? OFFSET ?"
    )
    return db.execute(sql, (*values, query.per_page + 1, skip)).fetchall()


def _info(
    db: sqlite3.Connection, call: Call, module: Module, query: Query, rows: Sequence[sqlite3.Row], *, more: bool
) -> dict[str, Any]:
    page = query.position.page
    following = previous = None
    bound_to = _bound_to(module, query.within)
    if more:
        last = (rows[-1][SORT_COLUMNS[query.sort_by]], rows[-1]["id"]) if query.by_key else None
        following = page_tokens.issue(call, module=bound_to, position=Position(page=page + 1, after=last))
    if page > 1 and (query.position.after is not None or (query.by_token and not query.by_key)):
        before = _start_of_previous(db, call, module, query) if query.by_key else None
        previous = page_tokens.issue(call, module=bound_to, position=Position(page=page - 1, after=before))
    has_token = following is not None or previous is not None
    return {
        "call": False,
        "per_page": query.per_page,
        "next_page_token": following,
        "count": len(rows),
        "sort_by": query.sort_by,
        "page": page,
        "previous_page_token": previous,
        "page_token_expiry": call.iso(call.at + page_tokens.LIFETIME_S) if has_token else None,
        "sort_order": "desc" if query.descending else "asc",
        "email": False,
        "more_records": more,
    }


def _start_of_previous(db: sqlite3.Connection, call: Call, module: Module, query: Query) -> tuple[int, int] | None:
    """What the previous page starts after: the record a page's length before this page's start."""
    assert query.position.after is not None, "only pages reached by a token have a token back"
    source, conditions, values = _where(call, module, query)
    column = f"r.{SORT_COLUMNS[query.sort_by]}"
    backwards, before = ("ASC", ">=") if query.descending else ("DESC", "<=")
    row = db.execute(
        f"SELECT {column}, r.id FROM {source} WHERE {' AND '.join(conditions)} AND ({column}, r.id) {before} (?, ?) "  # noqa: S608
        f"ORDER BY {column} {backwards}, r.id {backwards} LIMIT 1 OFFSET ?",
        (*values, *query.position.after, query.per_page),
    ).fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def _is_narrowed(call: Call) -> bool:
    """Whether the records of a page may lie far from each other; else they are the next ones of an index."""
    return "if-modified-since" in call.headers or any(name in call.params for name in ("cvid", "converted"))


ROUTES = (
    route("GET", "{module}", "modules read", list_records, reads_long=_is_narrowed),
    route("GET", "{module}/{record_id}", "modules read", get_one),
)
