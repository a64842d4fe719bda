"""One authenticated call and its answer, as every part of the API passes them on."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from farebox.crm.background import Workers
from farebox.crm.errors import ApiError, invalid_param, unreadable_body
from farebox.crm.function_runs import Runs
from farebox.crm.organisations import Organisation, User, to_iso
from farebox.crm.settings import Settings
from farebox.crm.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back: a status, headers, and a JSON payload or a file or nothing.

    A `file` is sent as it lies on disk, with the `media_type` and the `Content-Disposition` of `file_name`.
    """

    status: int
    payload: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    file_name: str = ""
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One part of a multipart body: a form field has a `text`, a file a `file` of `size` bytes that lasts as the call.

    A large file lies on disk.
    """

    name: str
    text: str = ""
    file_name: str = ""
    size: int = 0
    file: BinaryIO | None = None

    def write_to(self, path: Path) -> None:
        """Copy the file's content to `path`, piece by piece."""
        assert self.file is not None, "a form field is not kept"
        self.file.seek(0)
        with path.open("wb") as target:
            shutil.copyfileobj(self.file, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A request as the engine takes it: the path without host and query, names of headers in lower case.

    `records_max` bounds how many records it may read or write, below what its route allows.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    uploads: Sequence[Upload] = ()
    records_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that is allowed: who makes it, with what, and when (`at`, whole seconds since 1970).

    Names of headers are in lower case. `dispatch` answers another request for the same caller.
    `runs` None: it may run no functions.
    """

    store: Store
    settings: Settings
    workers: Workers
    organisation: Organisation
    user: User
    version: str
    scope: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: int
    dispatch: Callable[[Incoming], Answer]
    uploads: tuple[Upload, ...] = ()
    records_max: int | None = None
    runs: Runs | None = None
    id: str = field(default_factory=lambda: os.urandom(8).hex())

    def at_most(self, maximum: int) -> int:
        """How many records this call may read or write where its route allows `maximum`."""
        return maximum if self.records_max is None else min(maximum, self.records_max)

    def json_object(self) -> dict[str, Any]:
        """The body, which must be a JSON object, whatever its Content-Type says."""
        try:
            content = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable_body() from error
        if not isinstance(content, dict):
            raise unreadable_body()
        return content

    def integer(self, name: str, *, default: int, minimum: int, maximum: int) -> int:
        """A query parameter that is a whole number within bounds, both included."""
        given = self.params.get(name)
        if given is None:
            return default
        if not given.isascii() or not given.isdecimal() or len(given) > len(str(maximum)):
            raise invalid_param(name, expected_data_type="integer", maximum=maximum)
        if not minimum <= int(given) <= maximum:
            raise invalid_param(name, minimum=minimum, maximum=maximum)
        return int(given)

    def choice(self, name: str, choices: tuple[str, ...], *, default: str) -> str:
        """A query parameter that is one of a few words."""
        given = self.params.get(name, default)
        if given not in choices:
            raise invalid_param(name, supported_values=list(choices))
        return given

    def instant_header(self, name: str) -> int | None:
        """A header like If-Modified-Since, as ISO 8601 with offset or as an HTTP date; None when absent."""
        given = self.headers.get(name)
        if given is None:
            return None
        try:
            # a "+" that was form-decoded on its way comes as a space
            instant = datetime.fromisoformat(given.strip().replace(" ", "+"))
        except ValueError:
            try:
                instant = parsedate_to_datetime(given)
            except (ValueError, OverflowError) as error:
                details = {"header_name": name, "expected_data_type": "datetime"}
                raise ApiError(400, "INVALID_DATA", "invalid data", details) from error
        return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp())

    def iso(self, seconds: int) -> str:
        """An instant in the zone of the user who calls."""
        return to_iso(seconds, self.user.zone)
