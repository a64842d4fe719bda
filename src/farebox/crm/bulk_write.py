"""Bulk write: `POST /crm/bulk/v8/write` makes a job of an uploaded zip of CSV files and writes their rows.

Source: Zoho CRM v7 bulk-write. Rows are written a stretch at a time: the records, what became of each row and how far
the job is are one transaction, so that a job that is killed goes on where it was and writes no row twice.
"""

import csv
import io
import lzma
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from farebox.crm import bulk_plan, jobs, uploads
from farebox.crm.bulk_plan import ROWS_MAX, Plan
from farebox.crm.bulk_query import body_of, callback_of
from farebox.crm.bulk_rows import RowWriter
from farebox.crm.call import Answer, Call
from farebox.crm.criteria_tree import refusal
from farebox.crm.jobs import Job, JobFailedError, Surroundings
from farebox.crm.organisations import find_user
from farebox.crm.route import route

KIND: Final = "bulk_write"
ROWS_AT_A_TIME: Final = 200
LINE_LENGTH_MAX: Final = 1 << 20
FIRST_CELLS: Final = 3
"""How many mapped columns the result repeats."""
COUNTS = ("added_count", "skipped_count", "updated_count", "total_count")
COUNT_OF = {"ADDED": "added_count", "UPDATED": "updated_count"}

Json = dict[str, Any]


def create(call: Call) -> Answer:
    """`POST /crm/bulk/v8/write`: 201 and the job's id."""
    content = body_of(call)
    callback = callback_of(call, content)
    bulk_plan.check(content)
    with call.store.transaction() as db:
        resources = [_checked(call, db, content, each) for each in content["resource"]]
        job = jobs.add(db, call, KIND, {**content, "resource": resources, "callback": callback})
    created_by = {"id": str(call.user.id), "name": call.user.full_name}
    payload = {
        "status": "success",
        "code": "SUCCESS",
        "message": "success",
        "details": {"id": str(job.id), "created_by": created_by},
    }
    return Answer(status=201, payload=payload)


def get(call: Call, *, job_id: int) -> Answer:
    """`GET /crm/bulk/v8/write/{id}`."""
    with call.store.reading() as db:
        job = jobs.find(db, call, KIND, job_id)
    if job is None:
        raise jobs.not_found()
    return Answer(status=200, payload=show(call, job))


def download(call: Call, *, organisation: str, job_id: int, name: str) -> Answer:
    """`GET /v8/crm/{org}/bulk-write/{id}/{id}.zip`, under the path the finished job names."""
    with call.store.reading() as db:
        job = jobs.find(db, call, KIND, job_id)
    if organisation != f"org{call.organisation.zgid}" or name != f"{job_id}.zip":
        raise jobs.not_found()
    return jobs.download(call, job)


def show(call: Call, job: Job) -> Json:
    """The job as its owner sees it, also in the callback."""
    with call.store.reading() as db:
        owner = find_user(db, job.user_id, zgid=job.zgid)
    state = {jobs.RUNNING: "INPROGRESS"}.get(job.state, job.state)
    counts = job.progress.get("counts", [])
    shown: Json = {
        "status": state,
        "character_encoding": job.request.get("character_encoding", "UTF-8"),
        "resource": [_show_resource(call, job, state, n, counts) for n in range(len(job.request["resource"]))],
        "id": str(job.id),
        "created_by": {"id": str(job.user_id), "name": owner.full_name if owner else None},
        "operation": job.request["operation"],
        "created_time": call.iso(job.created),
    }
    if job.request.get("callback"):
        shown["callback"] = job.request["callback"]
    if job.state == jobs.COMPLETED:
        path = f"/{job.version}/{call.organisation.product}/org{job.zgid}/bulk-write/{job.id}/{job.id}.zip"
        shown["result"] = {"download_url": path}
    elif job.state == jobs.FAILED:
        shown["result"] = job.result
    return shown


def _show_resource(call: Call, job: Job, state: str, number: int, counts: list[Json]) -> Json:
    resource = job.request["resource"][number]
    module = call.organisation.module(resource["module"]["api_name"])
    code = {jobs.COMPLETED: "SUCCESS", jobs.FAILED: job.result.get("code", "CANNOT_PROCESS")}.get(job.state, "ADDED")
    known = dict.fromkeys(COUNTS, 0) | (counts[number] if number < len(counts) else {})
    return {
        "status": state,
        "type": "data",
        "code": code,
        "module": {
            "api_name": resource["module"]["api_name"],
            "id": None if module is None else str(call.organisation.module_id(module)),
        },
        "field_mappings": resource.get("field_mappings"),
        "find_by": resource.get("find_by"),
        "file": {"status": state, "name": resource["file"], **known},
    }


def _checked(call: Call, db: sqlite3.Connection, content: Json, resource: Json) -> Json:
    """A resource whose file is there and whose columns fit; with the name of its one CSV file."""
    row = db.execute(
        "SELECT id FROM upload WHERE id = ? AND zgid = ?",
        (bulk_plan.file_id_of(resource), call.organisation.zgid),
    ).fetchone()
    if row is None or not uploads.path_of(call.store, row["id"]).exists():
        raise refusal("INVALID_FILE_ID", "improper file id", file_id=str(resource.get("file_id")))
    names = resource.get("file_names") or [None]
    try:
        name, records = _records_of(uploads.path_of(call.store, row["id"]), names[0], _encoding(content), most=1)
    except JobFailedError as error:
        raise refusal("FILE_NOT_SUPPORTED", str(error)) from error
    checked = {**resource, "file": name}
    bulk_plan.make(call, content, checked, records[0] if records else [])
    return checked


def _encoding(content: Json) -> str:
    return str(content.get("character_encoding") or "UTF-8")


def _records_of(path: Path, wanted: str | None, encoding: str, *, most: int) -> tuple[str, list[list[str]]]:
    """The name of the CSV in a zip and its first `most` records, empty lines left out; raises JobFailedError.

    No more of it is unpacked than is read, whatever a small zip may hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [each for each in archive.infolist() if each.filename.lower().endswith(".csv")]
            found = next((each for each in files if wanted in (None, each.filename)), None)
            if found is None:
                raise JobFailedError("the zip has no such CSV file")
            if found.file_size > bulk_plan.CSV_BYTES_MAX:
                raise JobFailedError(f"the CSV file is larger than {bulk_plan.CSV_BYTES_MAX} bytes")
            with archive.open(found) as packed, io.TextIOWrapper(packed, encoding, newline="") as text:
                records = (record for record in csv.reader(_lines(text)) if record)
                return found.filename, list(islice(records, most))
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        csv.Error,
        EOFError,
        ValueError,
        LookupError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise JobFailedError(f"the CSV file cannot be read: {error}") from error


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines, none of them without end; a byte order mark is no part of the first."""
    first = True
    while line := text.readline(LINE_LENGTH_MAX):
        if len(line) == LINE_LENGTH_MAX and not line.endswith("\n"):
            raise JobFailedError(f"the CSV file has a line of more than {LINE_LENGTH_MAX} characters")
        yield line.removeprefix("\ufeff") if first else line
        first = False


def piece(job: Job, around: Surroundings) -> bool:
    """The next ROWS_AT_A_TIME rows of the first resource that has some left; the result after the last."""
    progress = {"resource": 0, "row": 0, "counts": [], **job.progress}
    number, first = progress["resource"], progress["row"]
    if number == len(job.request["resource"]):
        _make_result(job, around)
        _PARSED.clear()
        return True
    rows, plan = _rows(job, around.call, number)
    here = rows[first : first + ROWS_AT_A_TIME]
    counts = list(progress["counts"])
    if number == len(counts):
        counts.append({"total_count": len(rows), "added_count": 0, "updated_count": 0, "skipped_count": 0})
    with around.store.transaction() as db:
        writer = RowWriter(around.call, db, plan)
        for row, cells in enumerate(here, start=first):
            done = writer.write(cells)
            counts[number] = _counted(counts[number], done.status)
            db.execute(
                "INSERT INTO job_row VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    number,
                    row,
                    msgspec.json.encode([cells[n] if n < len(cells) else "" for n in plan.first_columns]).decode(),
                    done.status,
                    done.record_id,
                    done.errors,
                ),
            )
        over = first + len(here) >= len(rows)
        following = {"resource": number + over, "row": 0 if over else first + len(here), "counts": counts}
        jobs.save(db, job, progress=following)
    return False


def _counted(counts: Json, status: str) -> Json:
    name = COUNT_OF.get(status, "skipped_count")
    return {**counts, name: counts[name] + 1}


_PARSED: dict[tuple[int, int], tuple[list[list[str]], Plan]] = {}
"""The rows and the plan of the resource in hand, so that a file is read once and not for every stretch."""


def _rows(job: Job, call: Call, number: int) -> tuple[list[list[str]], Plan]:
    if (job.id, number) not in _PARSED:
        _PARSED.clear()
        resource = job.request["resource"][number]
        path = uploads.path_of(call.store, int(resource["file_id"]))
        _, records = _records_of(path, resource["file"], _encoding(job.request), most=ROWS_MAX + 2)
        header, *rows = records or [[]]
        if len(rows) > ROWS_MAX:
            raise JobFailedError(f"LIMIT_EXCEEDED: the file has more rows than allowed; at most {ROWS_MAX} are")
        _PARSED[job.id, number] = rows, bulk_plan.make(call, job.request, resource, header)
    return _PARSED[job.id, number]


def _make_result(job: Job, around: Surroundings) -> None:
    """The zip with one CSV per resource; then the rows are no longer needed."""
    path = jobs.result_path(around.store, job.id)
    unfinished = path.with_suffix(".tmp")
    with (
        around.store.reading() as db,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for number, resource in enumerate(job.request["resource"]):
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow([*_headings(around.call, job, number), "STATUS", "RECORD_ID", "ERRORS"])
            for row in db.execute(
                "SELECT * FROM job_row WHERE job_id = ? AND resource = ? ORDER BY row", (job.id, number)
            ):
                writer.writerow(
                    [*msgspec.json.decode(row["first_cells"]), row["status"], row["record_id"], row["errors"]]
                )
            archive.writestr(f"{resource['module']['api_name']}-{Path(resource['file']).name}", text.getvalue())
    unfinished.replace(path)
    with around.store.transaction() as db:
        db.execute("DELETE FROM job_row WHERE job_id = ?", (job.id,))


def _headings(call: Call, job: Job, number: int) -> list[str]:
    _, plan = _rows(job, call, number)
    return list(plan.headings)


ROUTES = (
    route("POST", "bulk/write", "bulk create", create),
    route("GET", "bulk/write/{job_id}", "bulk read", get),
    route("GET", "content/{organisation}/bulk-write/{job_id}/{name}", "bulk read", download),
)
