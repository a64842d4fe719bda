"""Files that a bulk write takes: `POST /crm/v8/upload`, on the content host of the original.

Source: Zoho CRM v7 bulk-write, upload-file.
"""

import zipfile
from pathlib import Path
from typing import Any, Final

from farebox.crm.bounds import FORM_BYTES_BESIDE, Bound
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
    file = next((each for each in call.uploads if each.name == "file" and each.file is not None), None)
    if file is None or file.file is None or not zipfile.is_zipfile(file.file):
        raise ApiError(400, "INVALID_FILE_FORMAT", "invalid file format. only zip format is supported")
    if file.size > BYTES_MAX:
        raise _too_large(BYTES_MAX)
    with call.store.transaction() as db:
        file_id = next_id(db, call.organisation)
        file.write_to(path_of(call.store, file_id))
        db.execute("INSERT INTO upload VALUES (?, ?, ?, ?)", (file_id, call.organisation.zgid, file.file_name, call.at))
    details: dict[str, Any] = {"file_id": str(file_id), "created_time": call.iso(call.at)}
    payload = {"status": "success", "code": "FILE_UPLOAD_SUCCESS", "message": "file uploaded.", "details": details}
    return Answer(status=200, payload=payload)


def path_of(store: Store, file_id: int) -> Path:
    """Where the content of an upload lies."""
    return store.files / f"upload-{file_id}.zip"


def _too_large(_: int) -> ApiError:
    return ApiError(413, "FILE_TOO_LARGE", "the file is too large", {"maximum_length": BYTES_MAX})


BODY: Final = Bound(bytes_max=BYTES_MAX + FORM_BYTES_BESIDE, refusal=_too_large)

ROUTES = (route("POST", "upload", "ZohoFiles.files create", upload, takes_form=True, body=BODY),)
