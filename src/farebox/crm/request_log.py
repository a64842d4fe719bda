"""A log of what arrived: one JSON line per API call, for people who test which calls their integration makes."""

import json
from pathlib import Path
from typing import Any

from farebox.crm.errors import StoreError


class RequestLog:
    """Appends to `path`, line by line. Bodies are not kept, only how many records `data` held.

    Raises StoreError when the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StoreError(
                f"The request log {path} cannot be written: {error}. Choose another --request-log."
            ) from error

    def write(self, *, at: int, zgid: int | None, method: str, path: str, query: str, status: int, body: bytes) -> None:
        """One call. `at` is in seconds; `zgid` None when the caller was not known."""
        line = {
            "at": at,
            "zgid": None if zgid is None else str(zgid),
            "method": method,
            "path": path,
            "query": query,
            "status": status,
            "records": _records(body),
        }
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _records(body: bytes) -> int:
    """How many records a body holds; 0 for one that holds none."""
    if not body:
        return 0
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        return 0
    data = content.get("data") if isinstance(content, dict) else None
    return len(data) if isinstance(data, list) else 0
