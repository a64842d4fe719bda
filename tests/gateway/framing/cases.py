"""What a row of the corpora is, and how short ones are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

HOST = "Host: g"
CHUNKED = "Transfer-Encoding: chunked"
END = "0\r\n\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: g\r\n\r\n"
"""What an attacker wants to be believed: a request inside another one's body."""


@dataclass(frozen=True, slots=True)
class Said:
    """One malformed or odd message.

    `status`: what the gateway answers first (200: it forwards; 0: it closes without a word). `nginx`: the same of nginx
    1.22. `short`: the message has no end, so the caller ends its side after it.
    """

    text: str
    status: int
    nginx: int
    short: bool = False

    @property
    def data(self) -> bytes:
        """As it is sent."""
        return self.text.encode("latin-1")


@dataclass(frozen=True, slots=True)
class Answered:
    """One malformed or odd answer, and the status that the gateway's and nginx 1.22's callers see.

    `ends`: the upstream closes after it; otherwise it stays, as one does that wants the connection used again.
    `reused`: it is, by the gateway.
    """

    text: str
    status: int
    nginx: int
    ends: bool = False
    reused: bool = False
    method: str = "GET"

    @property
    def data(self) -> bytes:
        """As it is sent."""
        return self.text.encode("latin-1")


Row = TypeVar("Row", Said, Answered)


@dataclass(frozen=True, slots=True)
class Kind(Generic[Row]):
    """A class of messages. `note` says what differs harmlessly between nginx and the gateway, and why."""

    title: str
    source: str
    note: str
    rows: dict[str, Row]


def request(line: str, *fields: str, body: str = "") -> str:
    """A request as it stands, ended as it should be."""
    return "\r\n".join((line, *fields)) + "\r\n\r\n" + body


def get(*fields: str, target: str = "/case") -> str:
    """GET with a good Host."""
    return request(f"GET {target} HTTP/1.1", HOST, *fields)


def post(*fields: str, body: str = "") -> str:
    """POST with a good Host."""
    return request("POST /case HTTP/1.1", HOST, *fields, body=body)


def chunks(text: str) -> str:
    """POST in chunks, the chunks as they stand."""
    return post(CHUNKED, body=text)


def rows(kinds: tuple[Kind[Row], ...]) -> dict[str, Row]:
    """Every row by "class: name"."""
    return {f"{kind.title}: {name}": row for kind in kinds for name, row in kind.rows.items()}
