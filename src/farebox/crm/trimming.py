"""What is forgotten, and when: a worker removes it now and then, a bounded piece at a time, so that no call waits long.

Results of bulk jobs last a day, and so do uploads for bulk writes that no unfinished job needs; deliveries that were
given up are listed for a week. How long the original keeps them is not documented for CRM [?].
"""

from collections.abc import Callable
from typing import Final

from farebox.crm import attachments, deleted, jobs, uploads
from farebox.crm.background import Worker
from farebox.crm.store import Store

DAY_S: Final = 86_400
UPLOADS_LAST_S: Final = DAY_S
GIVEN_UP_LASTS_S: Final = 7 * DAY_S
EVERY_S: Final = 3_600.0
PIECE_MAX: Final = 200
"""Rows with their files that one transaction removes."""
ROWS_MAX: Final = 5_000
"""Rows of a failed bulk write that one transaction removes: 30 ms of it."""

Trim = Callable[[Store], bool]
"""Removes one piece; whether there is more to remove at once."""


def trim_results(store: Store) -> bool:
    """The files of jobs that ended long enough ago, and what a failed one noted of its rows."""
    with store.transaction() as db:
        rows = db.execute(
            "SELECT id FROM job WHERE files_until <= ? ORDER BY files_until LIMIT ?", (store.now(), PIECE_MAX)
        ).fetchall()
        for row in rows:
            jobs.result_path(store, row["id"]).unlink(missing_ok=True)
            noted = db.execute(
                "DELETE FROM job_row WHERE (job_id, resource, row) IN "
                "(SELECT job_id, resource, row FROM job_row WHERE job_id = ? LIMIT ?)",
                (row["id"], ROWS_MAX),
            ).rowcount
            if noted == ROWS_MAX:
                return True
            db.execute("UPDATE job SET files_until = NULL WHERE id = ?", (row["id"],))
    return len(rows) == PIECE_MAX


def trim_uploads(store: Store) -> bool:
    """Uploads for bulk writes that are old enough, but for those of jobs that have not ended."""
    with store.transaction() as db:
        rows = db.execute(
            "SELECT id FROM upload WHERE created <= ? AND id NOT IN ("
            "SELECT CAST(json_extract(r.value, '$.file_id') AS INTEGER) "
            "FROM job j, json_each(j.request, '$.resource') r WHERE j.state IN ('ADDED', 'IN PROGRESS') "
            "AND json_extract(r.value, '$.file_id') IS NOT NULL) ORDER BY created LIMIT ?",
            (store.now() - UPLOADS_LAST_S, PIECE_MAX),
        ).fetchall()
        for row in rows:
            uploads.path_of(store, row["id"]).unlink(missing_ok=True)
            db.execute("DELETE FROM upload WHERE id = ?", (row["id"],))
    return len(rows) == PIECE_MAX


def trim_given_up(store: Store) -> bool:
    """Deliveries that were given up long enough ago."""
    gone = []
    with store.transaction() as db:
        for table in ("notice", "callback"):
            chosen = f"SELECT id FROM {table} WHERE given_up <= ? LIMIT ?"  # noqa: S608 (one of two tables)
            values = (store.now() - GIVEN_UP_LASTS_S, PIECE_MAX)
            gone.append(db.execute(f"DELETE FROM {table} WHERE id IN ({chosen})", values).rowcount)  # noqa: S608 (one of two tables)
    return PIECE_MAX in gone


TRIMS: Final[tuple[Trim, ...]] = (deleted.trim, attachments.trim, trim_results, trim_uploads, trim_given_up)


def make_worker(store: Store, trims: tuple[Trim, ...] = TRIMS) -> Worker:
    """The worker that trims once an hour, piece after piece while there is more."""

    def step() -> float:
        more = [each(store) for each in trims]
        return 0.0 if any(more) else EVERY_S

    return Worker("trimming", step)
