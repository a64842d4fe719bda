"""Jobs of the bulk APIs in the store: added by a call, done by one worker in their order, found again after kill -9.

A kind of job is a function that does the next piece of one and says whether it is done; everything it changes belongs
into one transaction with `save`, so that a piece is done once or not at all.
"""

import errno
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from farebox.crm.background import Worker, Workers
from farebox.crm.call import Answer, Call
from farebox.crm.deliveries import WORKER as DELIVERIES
from farebox.crm.deliveries import call_back
from farebox.crm.errors import ApiError
from farebox.crm.organisations import find_organisation, find_user, next_id
from farebox.crm.settings import Settings
from farebox.crm.store import Store

logger = logging.getLogger("farebox.crm")

WORKER: Final = "jobs"
ADDED, RUNNING, COMPLETED, FAILED = "ADDED", "IN PROGRESS", "COMPLETED", "FAILED"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands in the store."""

    id: int
    zgid: int
    user_id: int
    kind: str
    version: str
    scope: str
    request: Json
    state: str
    progress: Json
    result: Json
    created: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the next piece of a job may use: a call in the name of the one who asked, and whether to end early."""

    call: Call
    stopping: Callable[[], bool]

    @property
    def store(self) -> Store:
        """The store of the API."""
        return self.call.store


class JobFailedError(Exception):
    """The job cannot be done; the text tells its owner why."""


Piece = Callable[[Job, Surroundings], bool]
"""Does the next piece; whether the job is done. Raises JobFailedError."""
Show = Callable[[Call, Job], Json]
"""A job as its own API shows it."""


def add(db: sqlite3.Connection, call: Call, kind: str, request: Json) -> Job:
    """A new job of the caller's; wakes the worker."""
    job_id = next_id(db, call.organisation)
    db.execute(
        "INSERT INTO job (id, zgid, user_id, kind, version, scope, request, state, created) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id,
            call.organisation.zgid,
            call.user.id,
            kind,
            call.version,
            call.scope,
            json.dumps(request),
            ADDED,
            call.at,
        ),
    )
    call.workers.wake(WORKER)
    found = find(db, call, kind, job_id)
    assert found is not None, "it was just written"
    return found


def find(db: sqlite3.Connection, call: Call, kind: str, job_id: int) -> Job | None:
    """The organisation's job of this kind and id."""
    row = db.execute(
        "SELECT * FROM job WHERE id = ? AND zgid = ? AND kind = ?", (job_id, call.organisation.zgid, kind)
    ).fetchone()
    return None if row is None else _job(row)


def save(db: sqlite3.Connection, job: Job, *, progress: Json) -> None:
    """How far the job is, in the transaction of what it did."""
    db.execute("UPDATE job SET state = ?, progress = ? WHERE id = ?", (RUNNING, json.dumps(progress), job.id))


def not_found() -> ApiError:
    """There is no such job, or it has no result."""
    return ApiError(404, "RESOURCE_NOT_FOUND", "the requested resource does not exist")


def result_path(store: Store, job_id: int) -> Path:
    """Where the zip of a finished job lies, for RESULTS_LAST_S."""
    return store.files / f"job-{job_id}.zip"


DOWNLOADS_PER_MINUTE: Final = 10
RESULTS_LAST_S: Final = 86_400


def download(call: Call, job: Job | None) -> Answer:
    """The result of a finished job as `{id}.zip`; at most DOWNLOADS_PER_MINUTE."""
    path = None if job is None or job.state != COMPLETED else result_path(call.store, job.id)
    if job is None or path is None or not path.exists():
        raise not_found()
    with call.store.transaction() as db:
        db.execute("DELETE FROM job_download WHERE at <= ?", (call.at - 60,))
        taken = db.execute("SELECT count(*) FROM job_download WHERE job_id = ?", (job.id,)).fetchone()[0]
        if taken >= DOWNLOADS_PER_MINUTE:
            raise ApiError(429, "TOO_MANY_REQUESTS", "too many downloads of this result within a minute")
        db.execute("INSERT INTO job_download VALUES (?, ?)", (job.id, call.at))
    return Answer(status=200, file=path, file_name=f"{job.id}.zip", media_type="application/zip")


def make_worker(store: Store, settings: Settings, kinds: Mapping[str, tuple[Piece, Show]], workers: Workers) -> Worker:
    """The worker that does jobs, the oldest first, piece by piece."""
    worker: Worker

    served: dict[int, int] = {}

    def step() -> float | None:
        found = _next(store, settings, workers, served)
        if found is None:
            return None
        job, call = found
        served[job.zgid] = max(served.values(), default=0) + 1
        piece, show = kinds[job.kind]
        ended = _do(piece, job, Surroundings(call=call, stopping=lambda: worker.stopping))
        if ended is not None:
            state, problem = ended
            _finish(call, job, state, problem, show)
            workers.wake(DELIVERIES)
        return 0.0

    worker = Worker(WORKER, step)
    return worker


def _next(store: Store, settings: Settings, workers: Workers, served: Mapping[int, int]) -> tuple[Job, Call] | None:
    """The job to go on with, and a call in the name of its owner.

    One that was begun is ended first; then it is the turn of the organisation that was served longest ago.
    """
    with store.reading() as db:
        rows = db.execute(
            "SELECT zgid, state, min(id) AS id FROM job WHERE state IN ('ADDED', 'IN PROGRESS') GROUP BY zgid, state"
        ).fetchall()
        if not rows:
            return None
        first = min(rows, key=lambda row: (row["state"] == ADDED, served.get(row["zgid"], 0), row["id"]))
        job = _job(db.execute("SELECT * FROM job WHERE id = ?", (first["id"],)).fetchone())
        organisation = find_organisation(db, job.zgid)
        user = find_user(db, job.user_id, zgid=job.zgid)
    assert user is not None, "a job without its user"
    call = Call(
        store=store,
        settings=settings,
        workers=workers,
        organisation=organisation,
        user=user,
        version=job.version,
        scope=job.scope,
        params={},
        headers={},
        body=b"",
        at=store.now(),
        dispatch=_no_dispatch,
        id=f"job-{job.id}",
    )
    return job, call


def _do(piece: Piece, job: Job, around: Surroundings) -> tuple[str, str] | None:
    """The next piece; when it was the last, the job's last state and what went wrong, if anything did."""
    try:
        return (COMPLETED, "") if piece(job, around) else None
    except JobFailedError as error:
        return FAILED, str(error)
    except Exception as error:
        if _passes(error):
            raise  # the same piece is tried again
        logger.exception("job %d failed", job.id)
        return FAILED, "Internal server error occurred."


_PASSING = ("full", "locked", "busy", "disk i/o")


def _passes(error: Exception) -> bool:
    """Whether the trouble is the machine's, a full disk say, and not the job's."""
    if isinstance(error, sqlite3.OperationalError):
        return any(word in str(error).lower() for word in _PASSING)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT)


def _finish(call: Call, job: Job, state: str, problem: str, show: Show) -> None:
    """The end of a job and the callback that tells of it, together."""
    with call.store.transaction() as db:
        until = call.store.now() + RESULTS_LAST_S
        db.execute("UPDATE job SET state = ?, files_until = ? WHERE id = ?", (state, until, job.id))
        if problem:
            db.execute("UPDATE job SET result = json_set(result, '$.error_message', ?) WHERE id = ?", (problem, job.id))
        ended = find(db, call, job.kind, job.id)
        callback = job.request.get("callback")
        if ended is not None and callback:
            call_back(db, zgid=job.zgid, url=callback["url"], content=show(call, ended), at=call.store.now())


def _no_dispatch(_: object) -> Answer:
    raise AssertionError("a job makes no calls")


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    del values["files_until"]
    for name in ("request", "progress", "result"):
        values[name] = json.loads(values[name])
    return Job(**values)
