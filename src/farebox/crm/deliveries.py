"""Notifications on their way: noted in the transaction of the change, told at least once, given up visibly.

Records that one call changed in the same way are told in one POST of at most IDS_MAX ids. A receiver that does not
answer 2xx is asked again after RETRY_AFTER_S, longer each time; other receivers do not wait for it.
"""

import json
import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from farebox.crm import outgoing
from farebox.crm.background import Worker
from farebox.crm.settings import Settings
from farebox.crm.store import Store

logger = logging.getLogger("farebox.crm")

WORKER: Final = "deliveries"
IDS_MAX: Final = 100
AT_ONCE: Final = 8
RETRY_AFTER_S: Final = (1, 5, 30, 120, 600, 1_800, 3_600)
"""Waits between attempts; after the last one failed too, the notification is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notification that is still to be told, or was given up (`due` None)."""

    channel_id: int
    url: str
    module: str
    operation: str
    records: int
    attempts: int
    due: int | None
    problem: str


def pending(store: Store) -> list[Delivery]:
    """What is waiting or was given up, oldest first."""
    with store.reading() as db:
        rows = db.execute(
            "SELECT channel_id, url, module, operation, count(*) AS records, max(attempts) AS attempts, "
            "min(due) AS due, max(problem) AS problem FROM notice "
            "GROUP BY zgid, channel_id, call_id, module, operation ORDER BY min(id)"
        )
        return [Delivery(**dict(row)) for row in rows]


def make_worker(store: Store, settings: Settings) -> Worker:
    """The worker that tells what is due."""
    return Worker(WORKER, lambda: _step(store, settings))


def _step(store: Store, settings: Settings) -> float | None:
    """Tell up to AT_ONCE notifications of different receivers at once; the seconds until the next is due."""
    groups = _due(store)
    if not groups:
        with store.reading() as db:
            soonest = db.execute("SELECT min(due) FROM notice WHERE due IS NOT NULL").fetchone()[0]
        return None if soonest is None else max(0.1, float(soonest - store.now()))
    with ThreadPoolExecutor(AT_ONCE) as beside:
        problems = list(beside.map(lambda group: _tell(group, settings, at=store.now()), groups))
    with store.transaction() as db:
        for group, problem in zip(groups, problems, strict=True):
            _settle(db, group, problem, at=store.now())
    return 0.0


def _due(store: Store) -> list[list[sqlite3.Row]]:
    """Groups of notices that are due, one per channel."""
    with store.reading() as db:
        firsts = db.execute(
            "SELECT min(id) AS id FROM notice WHERE due <= ? GROUP BY zgid, channel_id ORDER BY min(id) LIMIT ?",
            (store.now(), AT_ONCE),
        ).fetchall()
        return [_group(db, row["id"]) for row in firsts]


def _group(db: sqlite3.Connection, notice_id: int) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT n.* FROM notice n JOIN notice f ON f.id = ? AND n.zgid = f.zgid AND n.channel_id = f.channel_id "
        "AND n.call_id = f.call_id AND n.module = f.module AND n.operation = f.operation AND n.due = f.due "
        "ORDER BY n.id LIMIT ?",
        (notice_id, IDS_MAX),
    ).fetchall()


def _tell(group: Sequence[sqlite3.Row], settings: Settings, *, at: int) -> str:
    """POST one notification; what went wrong, or nothing."""
    body = json.dumps(_content(group, at=at)).encode()
    try:
        outgoing.post(group[0]["url"], body, allow_local=settings.local_callbacks)
    except (outgoing.UndeliveredError, outgoing.UrlRefusedError) as error:
        return str(error)
    return ""


def _content(group: Sequence[sqlite3.Row], *, at: int) -> dict[str, Any]:
    first = group[0]
    content: dict[str, Any] = {
        "server_time": at * 1_000,
        "query_params": dict(parse_qsl(urlsplit(first["url"]).query)),
        "module": first["module"],
        "resource_uri": first["resource_uri"],
        "ids": [str(row["record_id"]) for row in group],
        "affected_fields": [{str(row["record_id"]): json.loads(row["changed"])} for row in group],
        "operation": first["operation"],
        "channel_id": str(first["channel_id"]),
        "token": first["token"] or None,
    }
    shown = [(row["record_id"], json.loads(row["shown"])) for row in group]
    if any(values is not None for _, values in shown):
        content["affected_values"] = [{"record_id": str(record_id), "values": values} for record_id, values in shown]
    return content


def _settle(db: sqlite3.Connection, group: Sequence[sqlite3.Row], problem: str, *, at: int) -> None:
    ids = json.dumps([row["id"] for row in group])
    if not problem:
        db.execute("DELETE FROM notice WHERE id IN (SELECT value FROM json_each(?))", (ids,))
        return
    attempts = group[0]["attempts"] + 1
    given_up = attempts > len(RETRY_AFTER_S)
    if given_up:
        logger.warning(
            "a notification of channel %d to %s was given up after %d attempts: %s",
            group[0]["channel_id"],
            group[0]["url"],
            attempts,
            problem,
        )
    due = None if given_up else at + RETRY_AFTER_S[attempts - 1]
    db.execute(
        "UPDATE notice SET attempts = ?, due = ?, problem = ? WHERE id IN (SELECT value FROM json_each(?))",
        (attempts, due, problem, ids),
    )
