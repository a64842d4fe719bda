"""Bodies of requests: who calls comes first, then how much their path takes, and only then what they send."""

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.crm.test_envelope import assert_envelope

from farebox.crm import attachments, uploads
from farebox.crm.bounds import GENERAL, OF_TOKENS
from farebox.testing.crm import Caller

MIB = 1024 * 1024
FORM = "multipart/form-data; boundary=b"


def begin(caller: Caller, path: str, said: int, content_type: str, *, token: str | None) -> tuple[int, Any]:
    """The answer to a head that promises a body of so many bytes, of which none is sent."""
    host, port = caller.http.base_url.host, caller.http.base_url.port
    head = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {said}", f"Content-Type: {content_type}"]
    head += [] if token is None else [f"Authorization: Zoho-oauthtoken {token}"]
    with socket.create_connection((host, port or 80), timeout=10) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize("path", ["/crm/v8/Leads", "/crm/v8/files", "/crm/v8/upload", "/crm/v8/coql"])
@pytest.mark.parametrize("token", [None, "1000.unknown"])
def test_who_is_unknown_is_told_so_before_their_body_is_read(caller: Caller, path: str, token: str | None) -> None:
    status, answer = begin(caller, path, GENERAL.bytes_max, FORM, token=token)
    assert (status, answer["code"]) == (401, "AUTHENTICATION_FAILURE" if token is None else "INVALID_TOKEN")


@pytest.mark.parametrize(
    ("path", "most", "refusal"),
    [
        ("/crm/v8/Leads", GENERAL.bytes_max, (413, "REQUEST_ENTITY_TOO_LARGE", GENERAL.bytes_max)),
        ("/crm/v8/upload", uploads.BODY.bytes_max, (413, "FILE_TOO_LARGE", 25 * MIB)),
        ("/crm/v8/Leads/1/Attachments", 20 * MIB + 65_536, (400, "FILE_SIZE_MORE_THAN_ALLOWED_SIZE", 20 * MIB)),
        ("/crm/v8/files", attachments.FILES.bytes_max, (400, "FILE_SIZE_MORE_THAN_ALLOWED_SIZE", 20 * MIB)),
        ("/oauth/v2/token", OF_TOKENS.bytes_max, (413, "REQUEST_ENTITY_TOO_LARGE", OF_TOKENS.bytes_max)),
    ],
)
def test_a_body_that_promises_to_be_too_large_is_refused_by_its_paths_own_bound_and_not_awaited(
    caller: Caller, path: str, most: int, refusal: tuple[int, str, int]
) -> None:
    content_type = "application/json" if path.endswith("Leads") else FORM
    found, answer = begin(caller, path, most + 1, content_type, token=caller.access_token)
    assert (found, answer["code"], answer["details"]["maximum_length"]) == refusal


def test_a_body_that_does_not_say_its_size_is_refused_once_it_is_too_large(caller: Caller) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        while sent <= 2 * OF_TOKENS.bytes_max:
            sent += 4_096
            yield b"a" * 4_096

    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = caller.http.post("/oauth/v2/token", content=pieces(), headers=headers)
    assert_envelope(answer, 413, "REQUEST_ENTITY_TOO_LARGE")


def test_files_that_are_larger_together_than_any_other_body_may_be_are_kept(caller: Caller) -> None:
    content = b"x" * (attachments.BYTES_MAX - 1)
    answer = caller.http.post("/crm/v8/files", files=[("file", (f"{n}.bin", content)) for n in range(2)])
    assert answer.status_code == 200, answer.text
    ids = [each["details"]["id"] for each in answer.json()["data"]]
    assert [len(caller.get("files", id=each).content) for each in ids] == [len(content)] * 2
