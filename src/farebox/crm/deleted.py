"""Deleted records: `GET /{module}/deleted`, 60 days in the recycle bin, then gone for good, forgotten after 120.

Source: Zoho CRM v7 get-deleted-records.
"""

from typing import Any, Final

from farebox.crm.call import Answer, Call
from farebox.crm.errors import ApiError
from farebox.crm.reading import PER_PAGE_MAX
from farebox.crm.route import route
from farebox.crm.schema import Module
from farebox.crm.store import Store

DAY_S: Final = 86_400
RECYCLE_BIN_S: Final = 60 * DAY_S
"""How long a deleted record is in the recycle bin."""
REMEMBERED_S: Final = 120 * DAY_S
"""How long after its deletion a record is listed at all."""
TRIMMED_MAX: Final = 5_000
"""Of records forgotten in one transaction."""
PAGES_MAX: Final = 1_000_000
TYPES: Final = ("all", "recycle", "permanent")

SELECT: Final = """
SELECT d.id, d.name, d.deleted, d.created_by, d.deleted_by,
    trim(c.first_name || ' ' || c.last_name) AS creator, trim(e.first_name || ' ' || e.last_name) AS deleter
FROM deleted_record d JOIN user c ON c.id = d.created_by JOIN user e ON e.id = d.deleted_by
WHERE d.zgid = ? AND d.module = ? AND d.deleted > ? AND d.deleted <= ?
ORDER BY d.deleted DESC, d.id DESC LIMIT ? OFFSET ?
"""


def list_deleted(call: Call, module: Module) -> Answer:
    """The module's deleted records, the last deleted first; 204 when there is none, 304 when none since the header."""
    kind = call.params.get("type", "all")
    if kind not in TYPES:
        message = "Please check whether the input values are correct"
        details = {"param_name": "type", "param": "type", "supported_values": list(TYPES)}
        raise ApiError(400, "PATTERN_NOT_MATCHED", message, details)
    since = call.instant_header("if-modified-since")
    most = call.at_most(PER_PAGE_MAX)
    per_page = call.integer("per_page", default=most, minimum=1, maximum=most)
    page = call.integer("page", default=1, minimum=1, maximum=PAGES_MAX)
    bin_begins = call.at - RECYCLE_BIN_S
    after = max(bin_begins if kind == "recycle" else call.at - REMEMBERED_S, -1 if since is None else since)
    until = bin_begins if kind == "permanent" else call.at
    values = (call.organisation.zgid, module.api_name, after, until, per_page + 1, (page - 1) * per_page)
    with call.store.reading() as db:
        rows = db.execute(SELECT, values).fetchall()
    if not rows:
        return Answer(status=204 if since is None else 304)
    shown: list[dict[str, Any]] = [
        {
            "id": str(row["id"]),
            "display_name": row["name"],
            "type": "recycle" if row["deleted"] > bin_begins else "permanent",
            "deleted_by": {"name": row["deleter"], "id": str(row["deleted_by"])},
            "created_by": {"name": row["creator"], "id": str(row["created_by"])},
            "deleted_time": call.iso(row["deleted"]),
        }
        for row in rows[:per_page]
    ]
    info = {"per_page": per_page, "count": len(shown), "page": page, "more_records": len(rows) > per_page}
    return Answer(status=200, payload={"data": shown, "info": info})


def trim(store: Store) -> bool:
    """Forget some of what was deleted too long ago; whether there is more."""
    chosen = "SELECT id FROM deleted_record WHERE deleted <= ? LIMIT ?"
    with store.transaction() as db:
        gone = db.execute(
            f"DELETE FROM deleted_record WHERE id IN ({chosen})",  # noqa: S608 (constant)
            (store.now() - REMEMBERED_S, TRIMMED_MAX),
        ).rowcount
    return gone == TRIMMED_MAX


ROUTES = (route("GET", "{module}/deleted", "modules read", list_deleted),)
