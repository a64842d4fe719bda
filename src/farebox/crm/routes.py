"""The table of paths, put together from the families' own tables.

Everything the table does not name is 404 INVALID_URL_PATTERN; a path it names under other methods only is
400 INVALID_REQUEST_METHOD. Where two lines fit a path, the first counts.
"""

from collections.abc import Sequence

from farebox.crm import composite, coql, metadata, notifications, people, reading, search, writing
from farebox.crm.errors import invalid_method, invalid_url_pattern
from farebox.crm.route import Route

VERSIONS = {
    "crm": frozenset({"v2", "v2.1", "v3", "v4", "v5", "v6", "v7", "v8"}),
    "bigin": frozenset({"v1", "v2"}),
}

ROUTES: tuple[Route, ...] = (
    *people.ROUTES,
    *metadata.ROUTES,
    *notifications.ROUTES,
    *composite.ROUTES,
    *coql.ROUTES,
    *search.ROUTES,
    *reading.ROUTES,
    *writing.ROUTES,
)
"""Paths under `/{product}/{version}`; those under `/{product}/bulk/{version}` begin with `bulk`."""


def find_route(method: str, parts: Sequence[str]) -> Route:
    """The line for a path (its parts after the version); raises what is wrong with path or method."""
    matching = [route for route in ROUTES if route.matches(parts)]
    if not matching:
        raise invalid_url_pattern()
    wanted = "GET" if method == "HEAD" else method
    for route in matching:
        if route.method == wanted:
            return route
    raise invalid_method(frozenset(route.method for route in matching))


def split_path(path: str) -> tuple[str, str, list[str]]:
    """Product, version and the parts after them; raises INVALID_URL_PATTERN.

    The bulk APIs have their word before the version (`/crm/bulk/v8/read`): their parts begin with it.
    """
    product, *rest = path.strip("/").split("/")
    bulk = rest[:1] == ["bulk"]
    version, *parts = rest[1:] if bulk else (rest or [""])
    if product not in VERSIONS or version not in VERSIONS[product] or not parts or parts[0] == "bulk":
        raise invalid_url_pattern()
    return product, version, ["bulk", *parts] if bulk else parts
