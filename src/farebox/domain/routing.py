"""Which upstream a call goes to: the host that names it closest first, then the longest path prefix.

A host is a name ("api.example.com"), a name with all below it ("*.example.com", which is not example.com itself), an IP
address, or "" for every host. A path prefix ends at a segment: /crm takes /crm and /crm/v8, not /crmx.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

RESERVED_PATH: Final = "/-/farebox"
"""The gateway's own addresses; no upstream can have them."""

HOSTS_REMEMBERED_MAX: Final = 1_024
"""Spellings of Host fields whose rows are remembered; callers choose them, so their number is bounded."""

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\]")
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,=:@-]+(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?)?")


class Place(NamedTuple):
    """Where an upstream stands: a host in lower case ("" for every one) and a path prefix without its last slash."""

    host: str
    path: str


def place(host: str, path: str) -> Place:
    """The place that a host and a path prefix name, however they are spelled.

    >>> place("API.Example.com.", "/crm/")
    Place(host='api.example.com', path='/crm')
    """
    return Place(host.lower().removesuffix("."), path.rstrip("/"))


def host_problem(host: str) -> str:
    """What is wrong with a host as a setting, as a sentence; empty: nothing."""
    if _HOST.fullmatch(host.lower().removesuffix(".")):
        return ""
    return f'host {host!r} is not a name such as "api.example.com" or "*.example.com" (without port and scheme)'


def path_problem(path: str) -> str:
    """What is wrong with a path prefix as a setting, as a sentence; empty: nothing.

    A prefix that no accepted request target can begin with is wrong: the upstream would never be reached.
    """
    if not path.startswith("/"):
        return f"path {path!r} must start with /"
    if not _PATH.fullmatch(path) or any(segment in (".", "..") for segment in path.split("/")):
        return f"path {path!r} can never match: no query, escapes, dot segments or empty segments are possible there"
    if path == RESERVED_PATH or path.startswith(RESERVED_PATH + "/"):
        return f"path {path!r} can never match: the gateway answers {RESERVED_PATH} itself"
    return ""


class Router(Generic[T]):
    """The rows of a configuration, made ready for looking up; made once, asked for every call."""

    __slots__ = ("_any", "_exact", "_remembered", "_wild")

    def __init__(self, rows: Iterable[tuple[Place, T]]) -> None:
        self._exact: dict[str, list[tuple[str, T]]] = {}
        self._wild: dict[str, list[tuple[str, T]]] = {}
        self._any: list[tuple[str, T]] = []
        for (host, path), value in sorted(rows, key=lambda row: -len(row[0].path)):
            if not host:
                self._any.append((path, value))
            elif host.startswith("*."):
                self._wild.setdefault(host[1:], []).append((path, value))
            else:
                self._exact.setdefault(host, []).append((path, value))
        self._remembered: dict[bytes, tuple[tuple[str, str, T], ...]] = {}

    def find(self, host: bytes, path: str) -> T | None:
        """The row of a Host field's value and a normalised path; None: nobody's.

        Rows of exactly this host come first, then those of the longest `*.` above it, then those of every host; within
        each the longest prefix wins. A host's own rows hide the others only where their paths match.
        """
        rows = self._remembered.get(host)
        if rows is None:
            rows = self._rows(host)
        for prefix, below, value in rows:
            if path.startswith(below) or path == prefix:
                return value
        return None

    def _rows(self, field: bytes) -> tuple[tuple[str, str, T], ...]:
        host = _name(field)
        found = list(self._exact.get(host, ()))
        at = host.find(".")
        while at >= 0:
            found += self._wild.get(host[at:], ())
            at = host.find(".", at + 1)
        found += self._any
        rows = tuple((path, path + "/", value) for path, value in found)
        if len(self._remembered) < HOSTS_REMEMBERED_MAX:
            self._remembered[field] = rows
        return rows


def _name(field: bytes) -> str:
    """The host in a Host field: without port, in lower case, without the root's dot."""
    text = field.decode("latin-1").lower()
    if text.startswith("["):
        return text[: text.find("]") + 1]
    return text.partition(":")[0].removesuffix(".")
