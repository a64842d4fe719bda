"""Path templates as a tree: which value stands for a method, a path and the query parameters it names.

A template is `/` alone or `/literal/{variable}/...`; `{version}` takes only v<digits>[.<digits>], `{*}` at the end
takes one or more segments. In each place a literal beats `{version}`, that beats a variable, that beats `{*}`; a branch
that leads nowhere is left again. The number of steps is bounded by the templates, whatever the path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_plus

T = TypeVar("T")

ANY_METHOD = "*"
VERSION_CHARS_MAX: Final = 8
"""A longer segment is no API version: what a caller names as one is bounded."""


@dataclass(frozen=True, slots=True)
class Route(Generic[T]):
    """One way to `value`: its template, the query parameters it requires, and where names stand in the path."""

    value: T
    template: str
    required_query: tuple[str, ...]
    module_index: int
    """Index into the segments after the leading slash; -1 none."""
    version_index: int


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    version: _Node[T] | None = None
    variable: _Node[T] | None = None
    here: dict[str, tuple[Route[T], ...]] = field(default_factory=dict)
    tail: dict[str, tuple[Route[T], ...]] = field(default_factory=dict)


def shape_of(template: str) -> str:
    """The template with its variables' names removed: two templates of one shape match the same paths.

    >>> shape_of("/crm/{version}/{module}/{id}")
    '/crm/{version}/{}/{}'
    """
    return "/".join(
        "{}" if segment.startswith("{") and segment not in ("{version}", "{*}") else segment
        for segment in template.split("/")
    )


class Routes(Generic[T]):
    """Built once, read on the way of every call."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, methods: tuple[str, ...], template: str, required_query: tuple[str, ...], value: T) -> None:
        """Add a way to `value`. Of several at one place the one that requires more parameters is tried first.

        Between equals the first added wins, so add the dearer one first.
        """
        segments = template.removesuffix("/").split("/")[1:]
        takes_rest = segments[-1:] == ["{*}"]
        node = self._root
        for segment in segments[:-1] if takes_rest else segments:
            node = _child(node, segment)
        table = node.tail if takes_rest else node.here
        route = Route(value, template, required_query, _index(segments, "{module}"), _index(segments, "{version}"))
        for method in methods:
            routes = (*table.get(method, ()), route)
            table[method] = tuple(sorted(routes, key=lambda each: -len(each.required_query)))

    def find(self, method: str, segments: list[str], query: str) -> Route[T] | None:
        """The route for a call, None when there is none. HEAD is taken as GET where it has no route of its own."""
        found = _find(self._root, segments, 0, method, query)
        if found is None and method == "HEAD":
            return _find(self._root, segments, 0, "GET", query)
        return found


def query_has(query: str, name: str) -> bool:
    """Whether a raw query string carries parameter `name`, percent-encoded names included.

    >>> query_has("page=2&%63vid=7", "cvid"), query_has("x=cvid", "cvid")
    (True, False)
    """
    if name not in query and "%" not in query:
        return False
    return any(
        key == name or ("%" in key and unquote_plus(key) == name)
        for key in (pair.partition("=")[0] for pair in query.split("&"))
    )


def query_value(query: str, name: str) -> str:
    """The decoded value of the parameter's last occurrence; empty when it is absent."""
    value = ""
    if name in query or "%" in query:
        for pair in query.split("&"):
            key, _, text = pair.partition("=")
            if key == name or ("%" in key and unquote_plus(key) == name):
                value = unquote_plus(text)
    return value


@lru_cache(maxsize=64)  # the same few on every call: 0.06 us instead of 0.3; hostile ones only push each other out
def is_version(segment: str) -> bool:
    """Whether a path segment names an API version.

    >>> [is_version(segment) for segment in ("v8", "v2.1", "v", "vendors", "v8.", "bulk", "v88888888")]
    [True, True, False, False, False, False, False]
    """
    if segment[:1] != "v" or len(segment) > VERSION_CHARS_MAX or not segment.isascii():
        return False
    major, dot, minor = segment[1:].partition(".")
    return major.isdigit() and (minor.isdigit() if dot else True)


def _find(node: _Node[T], segments: list[str], depth: int, method: str, query: str) -> Route[T] | None:
    if depth == len(segments):
        return _choose(node.here, method, query)
    segment = segments[depth]
    found: Route[T] | None = None
    child = node.literals.get(segment)
    if child is not None:
        found = _find(child, segments, depth + 1, method, query)
    if found is None and node.version is not None and is_version(segment):
        found = _find(node.version, segments, depth + 1, method, query)
    if found is None and node.variable is not None and segment:
        found = _find(node.variable, segments, depth + 1, method, query)
    if found is None and node.tail:
        found = _choose(node.tail, method, query)
    return found


def _choose(table: dict[str, tuple[Route[T], ...]], method: str, query: str) -> Route[T] | None:
    for named in (method, ANY_METHOD):
        for route in table.get(named, ()):
            for name in route.required_query:
                if not query_has(query, name):
                    break
            else:
                return route
    return None


def _child(node: _Node[T], segment: str) -> _Node[T]:
    if segment == "{version}":
        node.version = node.version or _Node()
        return node.version
    if segment.startswith("{"):
        node.variable = node.variable or _Node()
        return node.variable
    return node.literals.setdefault(segment, _Node())


def _index(segments: list[str], name: str) -> int:
    return segments.index(name) if name in segments else -1
