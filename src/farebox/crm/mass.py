"""Mass delete, mass update and mass convert: up to 500 ids at once, or a custom view (50,000) and leads by a job.

Source: Zoho CRM v7 mass-delete, mass-update-records, mass-convert-lead. A job does a stretch of records at a time, in
one transaction with how far it is, so that one that is killed goes on where it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from farebox.crm import custom_views, jobs
from farebox.crm.call import Answer, Call
from farebox.crm.conditions import Query, SqlValue
from farebox.crm.conversion import convert_lead, leads_of
from farebox.crm.errors import (
    ApiError,
    invalid_body_id,
    invalid_data,
    invalid_param,
    mandatory_not_found,
    param_missing,
)
from farebox.crm.jobs import Job, JobFailedError, Piece, Show, Surroundings
from farebox.crm.records import RecordWriter
from farebox.crm.route import route
from farebox.crm.schema import DataType, Module
from farebox.crm.validate import check_record, parse_id
from farebox.crm.writing import answer_all, attempt, delete_record, records_of, success

IDS_MAX: Final = 500
BY_JOB_MAX: Final = 50_000
LEADS_MAX: Final = 50
AT_A_TIME: Final = 200
"""Records a job writes in one transaction."""

Json = dict[str, Any]
One = Callable[[Call, Job, Module, int], object]
"""Does to one record what a job is about, in a transaction of its own; raises its refusal."""


def mass_delete(call: Call, module: Module) -> Answer:
    """`POST /{module}/actions/mass_delete`: ids are deleted at once, the records of a view by a job."""
    content = call.json_object()
    if _is_by_view(content):
        return _schedule_view(call, module, content, MASS_DELETE)
    ids = _ids(call, content, IDS_MAX)
    with call.store.transaction() as db:
        writer = RecordWriter(call, module, db)
        results = [attempt(partial(delete_record, writer, each)) for each in ids]
    for each in results:
        if each["status"] == "success":
            each["message"] = "record is deleted"
    return answer_all(results)


def mass_update(call: Call, module: Module) -> Answer:
    """`POST /{module}/actions/mass_update`: the same values for all. Choices are added unless `over_write`."""
    content = call.json_object()
    (data,) = records_of(content, maximum=1)
    check_record(module, data, catalogue=call.organisation.catalogue, path="$.data[0]", inserting=False)
    if not data:
        raise invalid_data(api_name="data", json_path="$.data[0]", minimum_length=1)
    if not isinstance(content.get("over_write", False), bool):
        raise invalid_data(api_name="over_write", json_path="$.over_write", expected_data_type="boolean")
    if _is_by_view(content):
        return _schedule_view(call, module, content, MASS_UPDATE)
    ids = _ids(call, content, IDS_MAX)
    with call.store.transaction():
        return answer_all([attempt(partial(_update_given, call, module, content, each)) for each in ids])


def mass_convert(call: Call) -> Answer:
    """`POST /Leads/actions/mass_convert`: up to 50 leads, by a job, as `convert` does each."""
    content = call.json_object()
    leads = leads_of(call)
    ids = _ids(call, content, LEADS_MAX)
    numbers = [parse_id(each) for each in ids]
    for given, number in zip(ids, numbers, strict=True):
        if number is None:
            raise invalid_body_id(given)
    words = ("Deals", "assign_to", "carry_over_tags", "move_attachments_to")
    data = {name: content[name] for name in words if content.get(name) is not None}
    request = {"module": leads.api_name, "ids": numbers, "data": data, "total": len(ids)}
    return Answer(status=202, payload=_scheduled(call, MASS_CONVERT, request))


def _update_given(call: Call, module: Module, content: Json, given: str) -> Json:
    record_id = parse_id(given)
    if record_id is None:
        raise invalid_body_id(given)
    return success("record updated", _update(call, module, content, record_id))


def _update(call: Call, module: Module, content: Json, record_id: int) -> Json:
    with call.store.transaction() as db:
        writer = RecordWriter(call, module, db)
        row = writer.find(record_id)
        if row is None:
            raise invalid_body_id(record_id)
        data = content["data"][0]
        checked = check_record(module, data, catalogue=call.organisation.catalogue, path="$.data[0]", inserting=False)
        writer.verify(checked, path="$.data[0]", own_id=record_id)
        adding = not content.get("over_write", False)
        choices = {each.api_name: adding for each in module.fields if each.data_type is DataType.MULTISELECT}
        return writer.update(row, checked, append=choices)


def _is_by_view(content: Json) -> bool:
    """Whether a custom view says which records; it or ids must."""
    if "territory" in content:
        raise ApiError(400, "TERRITORY_NOT_ENABLED", "territories are not enabled")
    if "ids" in content and "cvid" in content:
        due_to = [{"api_name": name, "json_path": f"$.{name}"} for name in ("ids", "cvid")]
        message = "Ambiguity while processing the request"
        raise ApiError(400, "AMBIGUITY_DURING_PROCESSING", message, {"ambiguity_due_to": due_to})
    if "ids" not in content and "cvid" not in content:
        expected = [{"api_name": name, "json_path": f"$.{name}"} for name in ("ids", "cvid")]
        message = "one of the expected fields is missing"
        raise ApiError(400, "EXPECTED_FIELD_MISSING", message, {"expected_fields": expected})
    return "cvid" in content


def _ids(call: Call, content: Json, maximum: int) -> list[str]:
    """The ids of a body as they were given, 1 to `maximum`."""
    given = content.get("ids")
    if given is None:
        raise mandatory_not_found(api_name="ids", json_path="$.ids")
    if not isinstance(given, list):
        raise invalid_data(api_name="ids", json_path="$.ids", expected_data_type="jsonarray")
    if not given:
        raise invalid_data(api_name="ids", json_path="$.ids", minimum_length=1)
    maximum = call.at_most(maximum)
    if len(given) > maximum:
        raise invalid_data(api_name="ids", json_path="$.ids", maximum_length=maximum)
    return list(dict.fromkeys(str(each) for each in given))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of mass job: what it does to one record, and the words of its answers."""

    name: str
    words: str
    done: str
    one: One
    undone: str | None = None


MASS_DELETE: Final = Kind(
    name="mass_delete",
    words="mass delete",
    done="Deleted_Count",
    one=lambda call, _, module, record_id: _delete(call, module, record_id),
)
MASS_UPDATE: Final = Kind(
    name="mass_update",
    words="mass update",
    done="Updated_Count",
    undone="Not_Updated_Count",
    one=lambda call, job, module, record_id: _update(call, module, job.request["content"], record_id),
)
MASS_CONVERT: Final = Kind(
    name="mass_convert",
    words="mass convert",
    done="Converted_Count",
    undone="Not_Converted_Count",
    one=lambda call, job, _, record_id: convert_lead(call, record_id, job.request["data"], "$"),
)


def _delete(call: Call, module: Module, record_id: int) -> None:
    with call.store.transaction() as db:
        delete_record(RecordWriter(call, module, db), str(record_id))


def _schedule_view(call: Call, module: Module, content: Json, kind: Kind) -> Answer:
    """A job over the records of a view as they are now; what is written later is none of it."""
    if custom_views.find_view(call, module, content["cvid"]) is None:
        raise invalid_data(api_name="cvid", json_path="$.cvid")
    request: Json = {"module": module.api_name, "content": content, "ids": None}
    with call.store.reading() as db:
        request["until"] = db.execute("SELECT coalesce(max(id), 0) FROM record").fetchone()[0]
    ids = _of_view(call, module, content["cvid"], after=0, until=request["until"], limit=BY_JOB_MAX + 1)
    if len(ids) > BY_JOB_MAX:
        details = {"limit": BY_JOB_MAX, "api_name": "cvid", "json_path": "$.cvid"}
        raise ApiError(400, "LIMIT_EXCEEDED", "the view has more records than may be written at once", details)
    request["total"] = len(ids)
    return Answer(status=202, payload={"data": [_scheduled(call, kind, request)]})


def _of_view(call: Call, module: Module, cvid: object, *, after: int, until: int, limit: int) -> Sequence[int]:
    condition = custom_views.condition_of(call, module, cvid)
    if condition is None:
        raise JobFailedError("the custom view is gone")
    sql = Query(module)
    values: list[SqlValue] = [call.organisation.zgid, module.api_name]
    where = sql.where(condition, values)
    statement = (
        f"SELECT r.id FROM {sql.source} WHERE r.zgid = ? AND r.module = ? AND {where} "  # noqa: S608 (typed conditions)
        "AND r.id > ? AND r.id <= ? ORDER BY r.id LIMIT ?"
    )
    with call.store.reading() as db:
        return [row[0] for row in db.execute(statement, (*values, after, until, limit))]


def _scheduled(call: Call, kind: Kind, request: Json) -> Json:
    """Add the job, unless one of its kind is running on the module."""
    with call.store.transaction() as db:
        running = db.execute(
            "SELECT 1 FROM job WHERE zgid = ? AND kind = ? AND state IN ('ADDED', 'IN PROGRESS') "
            "AND json_extract(request, '$.module') = ?",
            (call.organisation.zgid, kind.name, request["module"]),
        ).fetchone()
        if running is not None:
            raise ApiError(400, "ALREADY_SCHEDULED", f"a {kind.words} of this module is running already")
        job = jobs.add(db, call, kind.name, request)
    return {**success(f"{kind.words} scheduled successfully", {"job_id": str(job.id)}), "code": "SCHEDULED"}


def piece(kind: Kind, job: Job, around: Surroundings) -> bool:
    """The next stretch of a job's records; whether there is none."""
    call = around.call
    module = call.organisation.catalogue[job.request["module"]]
    progress = {"at": 0, "done": 0, "failed": 0, **job.progress}
    with call.store.transaction() as db:
        if job.request["ids"] is None:
            cvid, until = job.request["content"]["cvid"], job.request["until"]
            ids = _of_view(call, module, cvid, after=progress["at"], until=until, limit=AT_A_TIME)
            progress["at"] = ids[-1] if ids else progress["at"]
        else:
            ids = job.request["ids"][progress["at"] : progress["at"] + AT_A_TIME]
            progress["at"] += len(ids)
        for each in ids:
            try:
                kind.one(call, job, module, each)
                progress["done"] += 1
            except ApiError:
                progress["failed"] += 1
        jobs.save(db, job, progress=progress)
    return not ids


def status(kind: Kind, call: Call, module: Module | None = None) -> Answer:
    """`GET` of the same path with `job_id`: how far the job is."""
    given = call.params.get("job_id")
    if given is None:
        raise param_missing("job_id")
    job_id = parse_id(given)
    with call.store.reading() as db:
        job = None if job_id is None else jobs.find(db, call, kind.name, job_id)
    if job is None or (module is not None and job.request["module"] != module.api_name):
        raise invalid_param("job_id")
    return Answer(status=200, payload=show(kind, call, job))


def show(kind: Kind, _call: Call, job: Job) -> Json:
    """A job as the API shows it."""
    done, failed = job.progress.get("done", 0), job.progress.get("failed", 0)
    shown = {
        "Status": job.state if job.state in (jobs.COMPLETED, jobs.FAILED) else "RUNNING",
        "Total_Count": job.request["total"],
        kind.done: done,
        "Failed_Count": failed,
    }
    if kind.undone is not None:
        shown[kind.undone] = job.request["total"] - done - failed
    return {"data": [shown]}


KINDS: Final[dict[str, tuple[Piece, Show]]] = {
    each.name: (partial(piece, each), partial(show, each)) for each in (MASS_DELETE, MASS_UPDATE, MASS_CONVERT)
}
"""Each kind of mass job for the worker."""

ROUTES = (
    route("POST", "{module}/actions/mass_delete", "mass_delete delete", mass_delete),
    route("GET", "{module}/actions/mass_delete", "mass_delete read", partial(status, MASS_DELETE)),
    route("POST", "{module}/actions/mass_update", "mass_update update", mass_update),
    route("GET", "{module}/actions/mass_update", "mass_update read", partial(status, MASS_UPDATE)),
    route("POST", "Leads/actions/mass_convert", "mass_convert.leads create", mass_convert),
    route("GET", "Leads/actions/mass_convert", "mass_convert.leads read", partial(status, MASS_CONVERT)),
)
