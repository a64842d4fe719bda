"""What the API tells others: notifications of changes and callbacks of jobs; at least once, given up visibly.

Both are written in the transaction of what they tell. Records that one call changed in the same way are told in one
POST of at most IDS_MAX ids. A receiver that does not answer 2xx is asked again after RETRY_AFTER_S, longer each time;
other receivers do not wait for it.
"""

import json
import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
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
"""Waits between attempts; after the last one failed too, the delivery is given up."""

FIRST_OF_EACH_CHANNEL: Final = """
WITH RECURSIVE channel (zgid, channel_id) AS (
    SELECT * FROM (SELECT zgid, channel_id FROM notice WHERE due IS NOT NULL ORDER BY zgid, channel_id LIMIT 1)
    UNION ALL
    SELECT n.zgid, n.channel_id FROM channel c JOIN notice n ON n.id = coalesce(
        (SELECT id FROM notice WHERE due IS NOT NULL AND zgid = c.zgid AND channel_id > c.channel_id
            ORDER BY channel_id LIMIT 1),
        (SELECT id FROM notice WHERE due IS NOT NULL AND zgid > c.zgid ORDER BY zgid, channel_id LIMIT 1)
    )
)
SELECT f.id FROM channel c JOIN notice f ON f.id = (
    SELECT id FROM notice WHERE due IS NOT NULL AND zgid = c.zgid AND channel_id = c.channel_id ORDER BY due, id LIMIT 1
)
WHERE f.due <= ? ORDER BY f.due, f.id LIMIT ?
"""
"""From channel to channel by the index: what it costs does not grow with what waits in each."""
SOONEST: Final = """
SELECT min(due) FROM (
    SELECT min(due) AS due FROM notice WHERE due IS NOT NULL
    UNION ALL SELECT min(due) FROM callback WHERE due IS NOT NULL
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Something that is still to be told, or was given up (`due` None). `what` says it in words."""

    url: str
    what: str
    records: int
    attempts: int
    due: int | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Post:
    """One POST that is due, and the rows of `table` it settles."""

    table: str
    ids: tuple[int, ...]
    url: str
    body: bytes
    attempts: int


def call_back(db: sqlite3.Connection, *, zgid: int, url: str, content: object, at: int) -> None:
    """Have `content` posted to `url` once the transaction is through; wake the worker yourself."""
    db.execute("INSERT INTO callback (zgid, url, body, due) VALUES (?, ?, ?, ?)", (zgid, url, json.dumps(content), at))


def pending(store: Store) -> list[Delivery]:
    """What is waiting or was given up: notifications, then callbacks, oldest first."""
    with store.reading() as db:
        rows = db.execute(
            "SELECT url, 'channel ' || channel_id || ': ' || module || ' ' || operation AS what, count(*) AS records, "
            "max(attempts) AS attempts, min(due) AS due, max(problem) AS problem FROM notice "
            "GROUP BY zgid, channel_id, call_id, module, operation ORDER BY min(id)"
        ).fetchall()
        rows += db.execute(
            "SELECT url, 'callback' AS what, 0 AS records, attempts, due, problem FROM callback ORDER BY id"
        ).fetchall()
    return [Delivery(**dict(row)) for row in rows]


def make_worker(store: Store, settings: Settings) -> Worker:
    """The worker that tells what is due."""
    return Worker(WORKER, lambda: _step(store, settings))


def _step(store: Store, settings: Settings) -> float | None:
    """Tell up to AT_ONCE channels and as many callbacks; the seconds until something is due again."""
    posts = _due(store)
    if not posts:
        with store.reading() as db:
            soonest = db.execute(SOONEST).fetchone()[0]
        return None if soonest is None else max(0.1, float(soonest - store.now()))
    with ThreadPoolExecutor(len(posts)) as beside:
        telling = {beside.submit(_tell, post, settings): post for post in posts}
        for told in as_completed(telling):
            with store.transaction() as db:
                _settle(db, telling[told], told.result(), at=store.now())
    return 0.0


def _due(store: Store) -> list[_Post]:
    """What is due now; of each channel only what has been due the longest."""
    now = store.now()
    with store.reading() as db:
        firsts = db.execute(FIRST_OF_EACH_CHANNEL, (now, AT_ONCE)).fetchall()
        callbacks = db.execute("SELECT * FROM callback WHERE due <= ? ORDER BY due LIMIT ?", (now, AT_ONCE)).fetchall()
        notifications = [_notification(_group(db, row["id"]), at=now) for row in firsts]
    return notifications + [
        _Post(table="callback", ids=(row["id"],), url=row["url"], body=row["body"].encode(), attempts=row["attempts"])
        for row in callbacks
    ]


def _group(db: sqlite3.Connection, notice_id: int) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT n.* FROM notice n JOIN notice f ON f.id = ? AND n.zgid = f.zgid AND n.channel_id = f.channel_id "
        "AND n.call_id = f.call_id AND n.module = f.module AND n.operation = f.operation AND n.due = f.due "
        "WHERE n.due IS NOT NULL ORDER BY n.id LIMIT ?",
        (notice_id, IDS_MAX),
    ).fetchall()


def _notification(group: Sequence[sqlite3.Row], *, at: int) -> _Post:
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
    return _Post(
        table="notice",
        ids=tuple(row["id"] for row in group),
        url=first["url"],
        body=json.dumps(content).encode(),
        attempts=first["attempts"],
    )


def _tell(post: _Post, settings: Settings) -> str:
    """Do it once; what went wrong, or nothing."""
    try:
        outgoing.post(post.url, post.body, allow_local=settings.local_callbacks)
    except (outgoing.UndeliveredError, outgoing.UrlRefusedError) as error:
        return str(error)
    except Exception as error:
        # one address that cannot even be called must not hold up all others
        logger.exception("%s cannot be called", post.url)
        return f"{type(error).__name__}: {error}"
    return ""


def _settle(db: sqlite3.Connection, post: _Post, problem: str, *, at: int) -> None:
    ids = json.dumps(post.ids)
    chosen = "WHERE id IN (SELECT value FROM json_each(?))"
    if not problem:
        db.execute(f"DELETE FROM {post.table} {chosen}", (ids,))  # noqa: S608 (one of two tables)
        return
    attempts = post.attempts + 1
    given_up = attempts > len(RETRY_AFTER_S)
    if given_up:
        logger.warning("a %s to %s was given up after %d attempts: %s", post.table, post.url, attempts, problem)
    due = None if given_up else at + RETRY_AFTER_S[attempts - 1]
    db.execute(
        f"UPDATE {post.table} SET attempts = ?, due = ?, given_up = ?, problem = ? {chosen}",  # noqa: S608 (one of two tables)
        (attempts, due, at if given_up else None, problem, ids),
    )
