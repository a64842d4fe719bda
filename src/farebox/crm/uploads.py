"""Files that a bulk write takes: `POST /crm/v8/upload`, on the content host of the original.

Source: Zoho CRM v7 bulk-write, upload-file.
"""

import io
import zipfile
from pathlib import Path
from typing import Any, Final

from farebox.crm.call import Answer, Call
from farebox.crm.errors import ApiError
from farebox.crm.organisations import next_id
from farebox.crm.route import route
from farebox.crm.store import Store

BYTES_MAX: Final = 25 * 1024 * 1024
FEATURE: Final = "bulk-write"


def upload(call: Call) -> Answer:
    """Keep a zip of CSV files for a bulk write; its id is in the answer."""
    if call.headers.get("feature") != FEATURE or call.headers.get("x-crm-org") != str(call.organisation.zgid):
        said = "check if headers [feature, X-CRM-ORG] are present and valid"
        payload = {"ERROR_MESSAGE": "Bad Request", "ERROR_CODE": 400, "x-error": said}
        return Answer(status=400, payload=payload)
    file = next((each for each in call.uploads if each.name == "file" and each.file_name is not None), None)
    if file is None or not zipfile.is_zipfile(io.BytesIO(file.content)):
        raise ApiError(400, "INVALID_FILE_FORMAT", "invalid file format. only zip format is supported")
    if len(file.content) > BYTES_MAX:
        raise ApiError(413, "FILE_TOO_LARGE", "the file is too large", {"maximum_length": BYTES_MAX})
    with call.store.transaction() as db:
        file_id = next_id(db, call.organisation)
        path_of(call.store, file_id).write_bytes(file.content)
        db.execute(
            "INSERT INTO upload VALUES (?, ?, ?, ?)", (file_id, call.organisation.zgid, file.file_name or "", call.at)
        )
    details: dict[str, Any] = {"file_id": str(file_id), "created_time": call.iso(call.at)}
    payload = {"status": "success", "code": "FILE_UPLOAD_SUCCESS", "message": "file uploaded.", "details": details}
    return Answer(status=200, payload=payload)


def path_of(store: Store, file_id: int) -> Path:
    """Where the content of an upload lies."""
    return store.files / f"upload-{file_id}.zip"


ROUTES = (route("POST", "upload", "ZohoFiles.files create", upload, takes_form=True),)
