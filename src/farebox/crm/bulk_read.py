"""Bulk read: `POST /crm/bulk/v8/read` makes a job, its result is a zip with one CSV of up to 200,000 records.

Source: Zoho CRM v7 bulk-read. A page is a stretch of ids, so that pages add up to the whole while others write.
"""

import csv
import io
import json
import secrets
import sqlite3
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Final

import msgspec

from farebox.crm import bulk_query, jobs
from farebox.crm.bulk_query import BulkQuery
from farebox.crm.call import Answer, Call
from farebox.crm.conditions import SYSTEM_COLUMNS, Column, Query, SqlValue
from farebox.crm.criteria import ID
from farebox.crm.errors import ApiError
from farebox.crm.jobs import Job, JobFailedError, Surroundings
from farebox.crm.organisations import find_user
from farebox.crm.route import route
from farebox.crm.schema import DataType

KIND: Final = "bulk_read"
ROWS_MAX: Final = 200_000
ROWS_AT_A_TIME: Final = 2_000
TOKEN_S: Final = 24 * 3_600
MEMBER_BYTES: Final = 1 << 16

Json = dict[str, Any]


def create(call: Call) -> Answer:
    """`POST /crm/bulk/v8/read`: 201 and the job, not yet begun."""
    content = bulk_query.body_of(call)
    callback = bulk_query.callback_of(call, content)
    with call.store.transaction() as db:
        query = bulk_query.read(call, db, content)
        request = {"query": query.as_given, "callback": callback, "page": query.page, "after": query.after}
        job = jobs.add(db, call, KIND, request)
    details = {
        "id": str(job.id),
        "operation": "read",
        "state": job.state,
        "created_by": {"id": str(call.user.id), "name": call.user.full_name},
        "created_time": call.iso(job.created),
    }
    element = {"status": "success", "code": "ADDED_SUCCESSFULLY", "message": "Added successfully.", "details": details}
    return Answer(status=201, payload={"data": [element], "info": {}})


def get(call: Call, *, job_id: int) -> Answer:
    """`GET /crm/bulk/v8/read/{id}`."""
    return Answer(status=200, payload=show(call, _found(call, job_id)))


def result(call: Call, *, job_id: int) -> Answer:
    """`GET /crm/bulk/v8/read/{id}/result`: the zip."""
    return jobs.download(call, _found(call, job_id))


def show(call: Call, job: Job) -> Json:
    """The job as its owner sees it, also in the callback."""
    with call.store.reading() as db:
        owner = find_user(db, job.user_id, zgid=job.zgid)
    shown: Json = {
        "id": str(job.id),
        "operation": "read",
        "state": "FAILURE" if job.state == jobs.FAILED else job.state,
        "query": {**job.request["query"], "page": job.request["page"]},
        "created_by": {"id": str(job.user_id), "name": owner.full_name if owner else None},
        "created_time": call.iso(job.created),
        "file_type": "csv",
    }
    if job.state == jobs.COMPLETED:
        url = f"/{call.organisation.product}/bulk/{job.version}/read/{job.id}/result"
        shown["result"] = {"page": job.request["page"], "per_page": ROWS_MAX, "download_url": url, **job.result}
    elif job.state == jobs.FAILED:
        shown["result"] = job.result
    return {"data": [shown]}


def _found(call: Call, job_id: int) -> Job:
    with call.store.reading() as db:
        job = jobs.find(db, call, KIND, job_id)
    if job is None:
        raise jobs.not_found()
    return job


def piece(job: Job, around: Surroundings) -> bool:
    """The whole job: one state of the store, read at leisure. Cut short it begins anew."""
    call, store = around.call, around.store
    try:
        query = bulk_query.again(call, job.request)
    except ApiError as error:
        raise JobFailedError(f"{error.code}: {error.message}") from error
    path = jobs.result_path(store, job.id)
    unfinished = path.with_suffix(".tmp")
    table = _Table(call, query)
    with (
        store.snapshot() as db,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(f"{job.id}.csv", "w") as member,
    ):
        found = table.write(db, member, around.stopping)
    if found is None:
        unfinished.unlink()
        return False
    rows, last_id, more = found
    unfinished.replace(path)
    with store.transaction() as db:
        result: Json = {"count": rows, "more_records": more, "next_page_token": None}
        if more:
            result["next_page_token"] = token = secrets.token_urlsafe(24)
            db.execute("DELETE FROM job_page WHERE expires <= ?", (call.at,))
            db.execute(
                "INSERT INTO job_page VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    token,
                    job.zgid,
                    job.user_id,
                    json.dumps(job.request["query"]),
                    query.page + 1,
                    last_id,
                    call.at + TOKEN_S,
                ),
            )
        db.execute("UPDATE job SET result = ? WHERE id = ?", (json.dumps(result), job.id))
    return True


class _Table:
    """The columns of a result and the rows that go into it."""

    def __init__(self, call: Call, query: BulkQuery) -> None:
        self._query = query
        self._sql = Query(query.module)
        self._selected = ["r.id", "r.body"]
        self._cells = [self._cell(call, column) for _, column in query.columns]
        self._values: list[SqlValue] = [call.organisation.zgid]
        where = self._sql.where(query.condition, self._values)
        # the module is written into the SQL, as names of modules are identifiers; every value is bound
        self._statement = (
            f"SELECT {', '.join(self._selected)} FROM {self._sql.source} WHERE r.zgid = ? "  # noqa: S608
            f"AND r.module = '{query.module.api_name}' AND {where} "
            "AND r.id > ? ORDER BY r.id LIMIT ? OFFSET ?"
        )

    def write(
        self, db: sqlite3.Connection, member: IO[bytes], stopping: Callable[[], bool]
    ) -> tuple[int, int, bool] | None:
        """Number of rows, the last id and whether there are more; None when it was to stop."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["Id", *(name for name, _ in self._query.columns)])
        rows, last_id = 0, 0
        for batch in self._batches(db):
            if stopping():
                return None
            kept = batch[: ROWS_MAX - rows]
            writer.writerows(self._shown(kept))
            rows += len(kept)
            last_id = kept[-1][0] if kept else last_id
            member.write(text.getvalue().encode())
            text.seek(0)
            text.truncate()
            if len(kept) < len(batch):
                return rows, last_id, True
        member.write(text.getvalue().encode())
        return rows, last_id, False

    def _batches(self, db: sqlite3.Connection) -> Iterator[Sequence[sqlite3.Row]]:
        query = self._query
        skipped = 0 if query.after else (query.page - 1) * ROWS_MAX
        cursor = db.execute(self._statement, (*self._values, query.after, ROWS_MAX + 1, skipped))
        cursor.row_factory = None  # plain tuples
        while batch := cursor.fetchmany(ROWS_AT_A_TIME):
            yield batch

    def _shown(self, rows: Sequence[sqlite3.Row]) -> Iterator[list[object]]:
        decode = msgspec.json.Decoder().decode
        for row in rows:
            body = decode(row[1])
            yield [row[0], *(cell(row, body) for cell in self._cells)]

    def _cell(self, call: Call, column: Column) -> Callable[[Any, Mapping[str, Any]], object]:
        """How a column's cell is made of a row and its body."""
        show = _SHOWN.get(column.field.data_type)
        if column.field.data_type is DataType.DATETIME:
            show = call.iso
        name = column.field.api_name
        if column.path or column.field is ID or name in SYSTEM_COLUMNS:
            place = len(self._selected)
            self._selected.append(self._sql.expression(column))
            if show is None:
                return lambda row, _: row[place]
            return lambda row, _: None if row[place] is None else show(row[place])
        if column.field.data_type is DataType.MULTISELECT:
            return lambda _, body: ";".join(body.get(name) or ())
        if show is None:
            return lambda _, body: body.get(name)
        return lambda _, body: None if body.get(name) is None else show(body[name])


def _truth(value: object) -> str:
    return "true" if value else "false"


_SHOWN: dict[DataType, Callable[[Any], object]] = {DataType.BOOLEAN: _truth}

ROUTES = (
    route("POST", "bulk/read", "bulk create", create),
    route("GET", "bulk/read/{job_id}", "bulk read", get),
    route("GET", "bulk/read/{job_id}/result", "bulk read", result),
)
