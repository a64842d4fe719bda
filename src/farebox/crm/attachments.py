"""Attachments of records, and files uploaded for later: their contents lie in the files directory, by id alone.

Source: Zoho CRM v7 attachments, files. What a client calls its file is shown and never part of a path on disk.
"""

import re
import secrets
import sqlite3
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from farebox.crm.bounds import FORM_BYTES_BESIDE, Bound
from farebox.crm.call import Answer, Call, Upload
from farebox.crm.deleted import RECYCLE_BIN_S
from farebox.crm.errors import (
    ApiError,
    invalid_data,
    invalid_param,
    invalid_path_id,
    limit_exceeded,
    mandatory_not_found,
    not_deleted,
    param_missing,
)
from farebox.crm.organisations import next_id
from farebox.crm.records import RecordWriter
from farebox.crm.route import route
from farebox.crm.schema import Module
from farebox.crm.store import Store
from farebox.crm.validate import parse_id
from farebox.crm.writing import answer_all, attempt, success

BYTES_MAX: Final = 20 * 1024 * 1024
NAME_MAX: Final = 255
URL_MAX: Final = 2_000
FILES_PER_CALL_MAX: Final = 10
PER_PAGE_MAX: Final = 200
IDS_MAX: Final = 100
ATTACHMENT_INDEX: Final = 3
UNFINISHED_S: Final = 3_600
"""A content without its row is of an upload that was cut off, once it is this old."""
URL: Final = re.compile(r"https?://[^\s\x00-\x1f\x7f]+")
NOT_SNIFFED: Final = {"x-content-type-options": "nosniff"}

Json = dict[str, Any]


def attach(call: Call, module: Module, *, record_id: int) -> Answer:
    """`POST /{module}/{id}/Attachments`: a part `file`, or an address in `attachmentUrl`, which becomes a link."""
    _check_record(call, module, record_id)
    file = next((each for each in call.uploads if each.name == "file" and each.file is not None), None)
    fields = {each.name: each.text for each in call.uploads if each.file is None}
    url = fields.get("attachmentUrl", call.params.get("attachmentUrl"))
    if file is None and not url:
        raise mandatory_not_found(api_name="file", json_path="$.file")
    if file is not None:
        name = _checked_name(file)
        attachment_id = _keep(call, record_id, name, file=file, url=None)
    else:
        assert url is not None, "one of the two is there"
        if len(url) > URL_MAX or not URL.fullmatch(url):
            raise invalid_param("attachmentUrl", expected_data_type="website")
        title = fields.get("title", call.params.get("title", url))
        attachment_id = _keep(call, record_id, clean_name(title), file=None, url=url)
    by = {"name": call.user.full_name, "id": str(call.user.id)}
    at = call.iso(call.at)
    details = {"Modified_Time": at, "Modified_By": by, "Created_Time": at, "id": str(attachment_id), "Created_By": by}
    return Answer(status=200, payload={"data": [success("attachment uploaded successfully", details)]})


def list_attachments(call: Call, module: Module, *, record_id: int) -> Answer:
    """`GET /{module}/{id}/Attachments`: the newest first; 204 when there is none."""
    _check_record(call, module, record_id)
    page = call.integer("page", default=1, minimum=1, maximum=10**6)
    most = call.at_most(PER_PAGE_MAX)
    per_page = call.integer("per_page", default=most, minimum=1, maximum=most)
    with call.store.reading() as db:
        rows = db.execute(
            "SELECT a.*, r.name AS parent, trim(u.first_name || ' ' || u.last_name) AS person, u.email "
            "FROM attachment a JOIN record r ON r.id = a.parent_id JOIN user u ON u.id = a.created_by "
            "WHERE a.parent_id = ? ORDER BY a.id DESC LIMIT ? OFFSET ?",
            (record_id, per_page + 1, (page - 1) * per_page),
        ).fetchall()
    if not rows:
        return Answer(status=204)
    shown = [_shown(call, module, row) for row in rows[:per_page]]
    info: Json = {"per_page": per_page, "count": len(shown), "page": page, "more_records": len(rows) > per_page}
    info |= {"next_page_token": None, "previous_page_token": None, "page_token_expiry": None}
    return Answer(status=200, payload={"data": shown, "info": info})


def download(call: Call, module: Module, *, record_id: int, attachment_id: int) -> Answer:
    """`GET /{module}/{id}/Attachments/{id}`: the file as it came; a link has none."""
    _check_record(call, module, record_id)
    with call.store.reading() as db:
        row = _find(db, record_id, attachment_id)
    if row is None:
        raise invalid_path_id(ATTACHMENT_INDEX)
    if row["url"] is not None:
        details = {"resource_path_index": ATTACHMENT_INDEX}
        raise ApiError(400, "NOT_SUPPORTED", "the attachment is a link: its address is in $link_url", details)
    path = path_of(call.store, attachment_id)
    return Answer(status=200, headers=NOT_SNIFFED, file=path, file_name=row["name"])


def delete_one(call: Call, module: Module, *, record_id: int, attachment_id: int) -> Answer:
    """`DELETE /{module}/{id}/Attachments/{id}`."""
    _check_record(call, module, record_id)
    with call.store.reading() as db:
        if _find(db, record_id, attachment_id) is None:
            raise invalid_path_id(ATTACHMENT_INDEX)
    return _delete(call, record_id, [str(attachment_id)])


def delete_many(call: Call, module: Module, *, record_id: int) -> Answer:
    """`DELETE /{module}/{id}/Attachments?ids=`."""
    _check_record(call, module, record_id)
    given = [each.strip() for each in call.params.get("ids", "").split(",") if each.strip()]
    if not given:
        raise param_missing("ids")
    if len(given) > IDS_MAX:
        raise limit_exceeded(limit=IDS_MAX, param_name="ids")
    return _delete(call, record_id, given)


def upload_files(call: Call) -> Answer:
    """`POST /files`: up to 10 parts `file`; the answer has an id for each that nobody guesses."""
    files = [each for each in call.uploads if each.name == "file" and each.file is not None]
    if not files:
        raise mandatory_not_found(api_name="file", json_path="$.file")
    if len(files) > FILES_PER_CALL_MAX:
        raise invalid_data(api_name="file", json_path="$.file", maximum_length=FILES_PER_CALL_MAX)
    named = [(_checked_name(each), secrets.token_hex(32), each) for each in files]
    with call.store.transaction() as db:
        for name, file_id, file in named:
            file.write_to(_file_path(call.store, file_id))
            values = (file_id, call.organisation.zgid, name, file.size, call.at)
            db.execute("INSERT INTO stored_file VALUES (?, ?, ?, ?, ?)", values)
    results = [success(f"{name} uploaded successfully", {"name": name, "id": file_id}) for name, file_id, _ in named]
    return Answer(status=200, payload={"data": results})


def get_file(call: Call) -> Answer:
    """`GET /files?id=`: the file as it came."""
    given = call.params.get("id")
    if given is None:
        raise param_missing("id")
    with call.store.reading() as db:
        row = db.execute(
            "SELECT * FROM stored_file WHERE id = ? AND zgid = ?", (given, call.organisation.zgid)
        ).fetchone()
    if row is None:
        raise invalid_param("id")
    return Answer(status=200, headers=NOT_SNIFFED, file=_file_path(call.store, row["id"]), file_name=row["name"])


def trim(store: Store) -> bool:
    """Remove the attachments of records that are gone for good, and contents that belong to nothing; never any more."""
    with store.transaction() as db:
        db.execute(
            "DELETE FROM attachment WHERE NOT EXISTS (SELECT 1 FROM record WHERE id = parent_id) AND NOT EXISTS "
            "(SELECT 1 FROM deleted_record d WHERE d.id = parent_id AND d.deleted > ?)",
            (store.now() - RECYCLE_BIN_S,),
        )
    for path in store.files.glob("attachment-*"):
        with suppress(FileNotFoundError), store.reading() as db:
            found = db.execute("SELECT 1 FROM attachment WHERE id = ?", (path.name.partition("-")[2],)).fetchone()
            if found is None and path.stat().st_mtime < time.time() - UNFINISHED_S:
                path.unlink()
    return False


def clean_name(given: str) -> str:
    r"""What a file is called: the last part of a path, without what cannot be seen; never empty.

    >>> clean_name("../../etc/pass\r\nwd")
    'passwd'
    """
    last = given.replace("\\", "/").rpartition("/")[2]
    seen = "".join(each for each in last if each.isprintable()).strip(" .")
    return seen[:NAME_MAX] or "file"


def path_of(store: Store, attachment_id: int) -> Path:
    """Where the content of an attachment lies."""
    return store.files / f"attachment-{attachment_id}"


def _file_path(store: Store, file_id: str) -> Path:
    return store.files / f"file-{file_id}"


def _checked_name(file: Upload) -> str:
    if file.size > BYTES_MAX:
        raise _too_large(BYTES_MAX)
    return clean_name(file.file_name)


def _too_large(_: int) -> ApiError:
    message = "the file is larger than allowed"
    return ApiError(400, "FILE_SIZE_MORE_THAN_ALLOWED_SIZE", message, {"maximum_length": BYTES_MAX})


def _too_large_together(bytes_max: int) -> ApiError:
    details = {"maximum_length": BYTES_MAX, "maximum_total_length": bytes_max}
    return ApiError(400, "FILE_SIZE_MORE_THAN_ALLOWED_SIZE", "the files are larger than allowed", details)


def _check_record(call: Call, module: Module, record_id: int) -> None:
    with call.store.reading() as db:
        if RecordWriter(call, module, db).find(record_id) is None:
            raise invalid_path_id(1)


def _keep(call: Call, record_id: int, name: str, *, file: Upload | None, url: str | None) -> int:
    with call.store.transaction() as db:
        attachment_id = next_id(db, call.organisation)
        if file is not None:
            file.write_to(path_of(call.store, attachment_id))
        values = (attachment_id, call.organisation.zgid, record_id, name, 0 if file is None else file.size, url)
        db.execute("INSERT INTO attachment VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*values, call.user.id, call.at))
    return attachment_id


def _find(db: sqlite3.Connection, record_id: int, attachment_id: int) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM attachment WHERE id = ? AND parent_id = ?", (attachment_id, record_id)
    ).fetchone()
    return row


def _delete(call: Call, record_id: int, given: list[str]) -> Answer:
    gone: list[int] = []
    with call.store.transaction() as db:

        def one(word: str) -> Json:
            attachment_id = parse_id(word)
            if attachment_id is None or _find(db, record_id, attachment_id) is None:
                raise not_deleted(word)
            db.execute("DELETE FROM attachment WHERE id = ?", (attachment_id,))
            gone.append(attachment_id)
            return success("record deleted", {"id": word})

        answer = answer_all([attempt(partial(one, each)) for each in given])
    for attachment_id in gone:
        path_of(call.store, attachment_id).unlink(missing_ok=True)
    return answer


def _shown(call: Call, module: Module, row: sqlite3.Row) -> Json:
    person = {"name": row["person"], "id": str(row["created_by"]), "email": row["email"]}
    at = call.iso(row["created"])
    return {
        "id": str(row["id"]),
        "File_Name": row["name"],
        "Size": str(row["size"]),
        "Owner": person,
        "Created_By": person,
        "Modified_By": person,
        "Created_Time": at,
        "Modified_Time": at,
        "Parent_Id": {"name": row["parent"], "id": str(row["parent_id"])},
        "$se_module": module.api_name,
        "$type": "Attachment" if row["url"] is None else "Link URL",
        "$link_url": row["url"],
        "$file_id": None if row["url"] is not None else str(row["id"]),
        "$editable": True,
        "$state": "save",
    }


_LIST, _ONE = "{module}/{record_id}/Attachments", "{module}/{record_id}/Attachments/{attachment_id}"

ONE_FILE: Final = Bound(bytes_max=BYTES_MAX + FORM_BYTES_BESIDE, refusal=_too_large)
FILES: Final = Bound(bytes_max=FILES_PER_CALL_MAX * BYTES_MAX + FORM_BYTES_BESIDE, refusal=_too_large_together)

ROUTES = (
    route("POST", _LIST, "modules update", attach, takes_form=True, body=ONE_FILE),
    route("GET", _LIST, "modules read", list_attachments),
    route("DELETE", _LIST, "modules update", delete_many),
    route("GET", _ONE, "modules read", download),
    route("DELETE", _ONE, "modules update", delete_one),
    route("POST", "files", "files create", upload_files, takes_form=True, body=FILES),
    route("GET", "files", "files read", get_file),
)
