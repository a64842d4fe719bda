"""What a function is given to work with: integration tasks, in the words of the original's (Deluge's).

Each is one call of the API with the caller's token, made where the operator says (a gateway, or the API itself), and
names the function and the task in two headers, so that whoever counts calls can tell them apart.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

Record = dict[str, Any]
ERRORS_FROM: Final = 400
OWN_FIELDS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
URL_ANSWER_BYTES_MAX: Final = 10 * 1024 * 1024
"""Of an answer from elsewhere; Zoho's limit for responses of functions."""


class TaskError(Exception):
    """A task was refused or not answered. `status` is 0 where no answer came, and then `code` is NO_ANSWER."""

    def __init__(self, task: str, *, status: int, code: str, message: str, details: object = None) -> None:
        super().__init__(f"{task}: {status} {code}: {message}" + (f" {json.dumps(details)}" if details else ""))
        self.task = task
        self.status = status
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class IntegrationTasks:
    """The tasks of one run. Not safe from several threads."""

    def __init__(
        self,
        *,
        function: str,
        base_url: str,
        api_path: str,
        own_urls: list[str],
        authorization: str,
        function_header: str,
        task_header: str,
        seconds_max: float,
        local_urls: bool,
    ) -> None:
        self._base_url = base_url
        self._api_path = api_path
        self._own_urls = own_urls
        self._headers = {"Authorization": authorization, function_header: function}
        self._task_header = task_header
        self._seconds_max = seconds_max
        self._local_urls = local_urls

    def getRecords(  # noqa: N802 (Deluge's word)
        self, module: str, page: int = 1, per_page: int = 200, query: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """A page of a module's records, none when it is empty. `query` needs `fields`, from v3 on."""
        params = {"page": page, "per_page": per_page, **(query or {})}
        return self._records("getRecords", "GET", quote(module, safe=""), params=params)

    def getRecordById(  # noqa: N802 (Deluge's word)
        self, module: str, record_id: int | str, query: Mapping[str, Any] | None = None
    ) -> Record:
        """One record; TaskError when there is none."""
        path = f"{quote(module, safe='')}/{quote(str(record_id), safe='')}"
        found = self._records("getRecordById", "GET", path, params=query)
        if not found:
            raise TaskError("getRecordById", status=204, code="NO_CONTENT", message=f"no record {record_id}")
        return found[0]

    def createRecord(  # noqa: N802 (Deluge's word)
        self, module: str, record: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> Record:
        """The `details` of a new record: its id and times. `options` are further keys of the body, as `trigger`."""
        return self._written("createRecord", "POST", quote(module, safe=""), record, options)

    def updateRecord(  # noqa: N802 (Deluge's word)
        self, module: str, record_id: int | str, record: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> Record:
        """The `details` of a changed record."""
        path = f"{quote(module, safe='')}/{quote(str(record_id), safe='')}"
        return self._written("updateRecord", "PUT", path, record, options)

    def upsertRecord(  # noqa: N802 (Deluge's word)
        self, module: str, record: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> Record:
        """The `details` of a record that is new or was found by `options["duplicate_check_fields"]`."""
        return self._written("upsertRecord", "POST", f"{quote(module, safe='')}/upsert", record, options)

    def searchRecords(  # noqa: N802 (Deluge's word)
        self,
        module: str,
        criteria: str,
        page: int = 1,
        per_page: int = 200,
        query: Mapping[str, Any] | None = None,
    ) -> list[Record]:
        """A page of the records that fit the criteria, as `(Email:equals:a@b.example)`; none when none does."""
        params = {"criteria": criteria, "page": page, "per_page": per_page, **(query or {})}
        return self._records("searchRecords", "GET", f"{quote(module, safe='')}/search", params=params)

    def invokeurl(
        self,
        url: str,
        type: str = "GET",  # noqa: A002 (Deluge's word)
        parameters: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Call any URL: `responseCode`, `responseText` and `responseHeader` (names in lower case), whatever the status.

        A path (`/crm/v8/coql`) or an address of the API is called as the other tasks do. Every other URL is called
        without token or names, and only where callbacks may go: https to a public address. `parameters` are the query
        of GET and DELETE, else the form; as text they are the body as it is.
        """
        query, body, content_type = _parameters(type, parameters)
        fields = {"Content-Type": content_type} if content_type else {}
        for name, value in (headers or {}).items():
            if name.lower() in OWN_FIELDS:
                raise ValueError(f"invokeurl sets {name} itself")
            fields = {key: kept for key, kept in fields.items() if key.lower() != name.lower()} | {name: value}
        target = url + (f"{'&' if '?' in url else '?'}{query}" if query else "")
        own = self._own_path(target)
        if own is not None:
            answer = self._call("invokeurl", type, own, body, fields)
        else:
            answer = self._elsewhere(target, type, body, fields)
        text = answer.body.decode("utf-8", "replace")
        return {"responseCode": answer.status, "responseText": text, "responseHeader": answer.headers}

    def _records(self, task: str, method: str, path: str, *, params: Mapping[str, Any] | None = None) -> list[Record]:
        query = urlencode({name: str(value) for name, value in (params or {}).items()})
        content = self._api(task, method, path + (f"?{query}" if query else ""))
        return list(content.get("data", []))

    def _written(
        self, task: str, method: str, path: str, record: Mapping[str, Any], options: Mapping[str, Any] | None
    ) -> Record:
        body = json.dumps({**(options or {}), "data": [record]}).encode()
        (result,) = self._api(task, method, path, body)["data"]
        details: Record = result["details"]
        return details

    def _api(self, task: str, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        """What an API path answers; TaskError for what it refuses, as a whole or for the one record."""
        fields = {} if body is None else {"Content-Type": "application/json"}
        answer = self._call(task, method, f"{self._api_path}/{path}", body, fields)
        if not answer.body and answer.status < ERRORS_FROM:
            return {}
        try:
            content = json.loads(answer.body)
            refused = content["data"][0] if answer.status >= ERRORS_FROM and "data" in content else content
        except (ValueError, LookupError, TypeError) as error:
            message = f"the answer is not the API's: {answer.body[:200]!r}"
            raise TaskError(task, status=answer.status, code="NO_ANSWER", message=message) from error
        if answer.status >= ERRORS_FROM:
            raise TaskError(
                task,
                status=answer.status,
                code=str(refused.get("code", "")),
                message=str(refused.get("message", "")),
                details=refused.get("details"),
            )
        return dict(content)

    def _call(self, task: str, method: str, target: str, body: bytes | None, fields: Mapping[str, str]) -> _Answer:
        """One request to where the API is called, on a connection of its own; it is never sent twice."""
        parts = urlsplit(self._base_url)
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = connect(parts.hostname or "", parts.port, timeout=self._seconds_max)
        own = {**self._headers, self._task_header: task, "Connection": "close"}
        taken = {name.lower() for name in own}
        headers = {**{name: value for name, value in fields.items() if name.lower() not in taken}, **own}
        try:
            connection.request(method, parts.path + target, body, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return _Answer(status=answer.status, headers=found, body=answer.read())
        except (OSError, http.client.HTTPException) as error:
            message = f"no answer from {self._base_url}: {type(error).__name__}: {error}"
            raise TaskError(task, status=0, code="NO_ANSWER", message=message) from error
        finally:
            connection.close()

    def _own_path(self, url: str) -> str | None:
        """The path and query of a URL that is the API's, else None."""
        if url.startswith("/"):
            return url
        for own in self._own_urls:
            if url.startswith(f"{own}/"):
                return url.removeprefix(own)
        return None

    def _elsewhere(self, url: str, method: str, body: bytes | None, fields: Mapping[str, str]) -> _Answer:
        # most functions never need it, and a run waits for what it imports
        from farebox.crm import outgoing  # noqa: PLC0415 (see above)

        try:
            answer = outgoing.request(
                method,
                url,
                body=body,
                headers=fields,
                allow_local=self._local_urls,
                answer_bytes_max=URL_ANSWER_BYTES_MAX,
            )
        except outgoing.UrlRefusedError as error:
            raise TaskError("invokeurl", status=0, code="URL_REFUSED", message=str(error)) from error
        except outgoing.UndeliveredError as error:
            raise TaskError("invokeurl", status=0, code="NO_ANSWER", message=str(error)) from error
        if len(answer.body) > URL_ANSWER_BYTES_MAX:
            message = f"more than {URL_ANSWER_BYTES_MAX:,} bytes"
            raise TaskError("invokeurl", status=answer.status, code="ANSWER_TOO_LARGE", message=message)
        return _Answer(status=answer.status, headers=dict(answer.headers), body=answer.body)


def _parameters(method: str, parameters: Mapping[str, Any] | str | None) -> tuple[str, bytes | None, str]:
    """Query, body and its content type."""
    if parameters is None:
        return "", None, ""
    if isinstance(parameters, str):
        return "", parameters.encode(), "application/json"
    encoded = urlencode({name: str(value) for name, value in parameters.items()})
    if method in ("GET", "DELETE"):
        return encoded, None, ""
    return "", encoded.encode(), "application/x-www-form-urlencoded"
