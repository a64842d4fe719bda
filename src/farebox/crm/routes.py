"""The table of paths: method and pattern on the left, who answers and which scope it takes on the right.

Everything the table does not name is 404 INVALID_URL_PATTERN; a path it names under other methods only is
400 INVALID_REQUEST_METHOD.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from farebox.crm import metadata, people, reading, scopes, writing
from farebox.crm.call import Answer
from farebox.crm.errors import (
    invalid_method,
    invalid_module,
    invalid_path_id,
    invalid_url_pattern,
    scope_mismatch,
)
from farebox.crm.organisations import Organisation
from farebox.crm.validate import parse_id

VERSIONS = {
    "crm": frozenset({"v2", "v2.1", "v3", "v4", "v5", "v6", "v7", "v8"}),
    "bigin": frozenset({"v1", "v2"}),
}
RESERVED = frozenset({"org", "users", "settings", "coql", "actions", "bulk", "files", "upload", "functions"})
"""First parts of paths that never name a module (nor does anything that starts with `_`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of the table. A part of the pattern in braces becomes a keyword argument of `answer`."""

    method: str
    pattern: tuple[str, ...]
    group: str
    operations: tuple[str, ...]
    answer: Callable[..., Answer]


def _route(method: str, path: str, scope: str, answer: Callable[..., Answer]) -> Route:
    group, _, operations = scope.partition(" ")
    return Route(
        method=method,
        pattern=tuple(path.split("/")),
        group=group,
        operations=tuple(operations.split("+")),
        answer=answer,
    )


ROUTES = (
    _route("GET", "org", "org read", people.get_organisation),
    _route("GET", "users", "users read", people.get_users),
    _route("GET", "users/{user_id}", "users read", people.get_user),
    _route("GET", "settings/modules", "settings.modules read", metadata.list_modules),
    _route("GET", "settings/modules/{name}", "settings.modules read", metadata.get_module),
    _route("GET", "settings/fields", "settings.fields read", metadata.list_fields),
    _route("GET", "settings/fields/{field_id}", "settings.fields read", metadata.get_field),
    _route("GET", "{module}", "modules read", reading.list_records),
    _route("POST", "{module}", "modules create", writing.insert),
    _route("PUT", "{module}", "modules update", writing.update_many),
    _route("DELETE", "{module}", "modules delete", writing.delete_many),
    _route("POST", "{module}/upsert", "modules create+update", writing.upsert),
    _route("GET", "{module}/{record_id}", "modules read", reading.get_one),
    _route("PUT", "{module}/{record_id}", "modules update", writing.update_one),
    _route("DELETE", "{module}/{record_id}", "modules delete", writing.delete_one),
)


def find_route(method: str, parts: Sequence[str]) -> Route:
    """The line for a path (its parts after the version); raises what is wrong with path or method."""
    matching = [route for route in ROUTES if _matches(route.pattern, parts)]
    if not matching:
        raise invalid_url_pattern()
    wanted = "GET" if method == "HEAD" else method
    for route in matching:
        if route.method == wanted:
            return route
    raise invalid_method(frozenset(route.method for route in matching))


def arguments(route: Route, parts: Sequence[str], organisation: Organisation) -> dict[str, Any]:
    """The keyword arguments for the route's `answer`; raises INVALID_MODULE or a bad id in the path."""
    found: dict[str, Any] = {}
    for position, (pattern, part) in enumerate(zip(route.pattern, parts, strict=True)):
        name = pattern.strip("{}")
        if name == "module":
            module = organisation.module(part)
            if module is None or module.is_subform:
                raise invalid_module(resource_path_index=position)
            found[name] = module
        elif name.endswith("_id"):
            found[name] = parse_id(part)
            if found[name] is None:
                raise invalid_path_id(position)
        elif pattern != name:
            found[name] = part
    return found


def check_scope(route: Route, *, granted: str, product: str, module: str | None) -> None:
    """Raise OAUTH_SCOPE_MISMATCH unless the granted scopes open the route on that module."""
    group, _, thing = route.group.partition(".")
    for operation in route.operations:
        if not scopes.allows(granted, product=product, group=group, thing=thing or module, operation=operation):
            raise scope_mismatch()


def _matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    return len(pattern) == len(parts) and all(map(_part_matches, pattern, parts))


def _part_matches(pattern: str, part: str) -> bool:
    if not pattern.startswith("{"):
        return pattern == part
    if pattern == "{module}":
        return bool(part) and part not in RESERVED and not part.startswith("_")
    if pattern.endswith("_id}"):
        return part.isascii() and part.isdecimal()
    return bool(part)
