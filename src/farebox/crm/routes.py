"""The table of paths, put together from the families' own tables.

Everything the table does not name is 404 INVALID_URL_PATTERN; a path it names under other methods only is
400 INVALID_REQUEST_METHOD. Where two lines fit a path, the first counts.
"""

from collections.abc import Sequence

from farebox.crm import (
    access,
    api_list,
    attachments,
    bulk_read,
    bulk_write,
    composite,
    conversion,
    coql,
    definition_settings,
    deleted,
    functions,
    layouts,
    mass,
    merging,
    metadata,
    notifications,
    people,
    reading,
    related,
    search,
    tags,
    uploads,
    view_settings,
    writing,
)
from farebox.crm.errors import invalid_method, invalid_url_pattern
from farebox.crm.route import Route

VERSIONS = {
    "crm": frozenset({"v2", "v2.1", "v3", "v4", "v5", "v6", "v7", "v8"}),
    "bigin": frozenset({"v1", "v2"}),
}
NEWEST = {"crm": "v8", "bigin": "v2"}

ROUTES: tuple[Route, ...] = (
    *people.ROUTES,
    *metadata.ROUTES,
    *view_settings.ROUTES,
    *layouts.ROUTES,
    *access.ROUTES,
    *api_list.make_routes(lambda: ROUTES),
    *definition_settings.ROUTES,
    *uploads.ROUTES,
    *bulk_read.ROUTES,
    *bulk_write.ROUTES,
    *notifications.ROUTES,
    *functions.ROUTES,
    *composite.ROUTES,
    *coql.ROUTES,
    *search.ROUTES,
    *deleted.ROUTES,
    *reading.ROUTES,
    *conversion.ROUTES,
    *merging.ROUTES,
    *mass.ROUTES,
    *tags.ROUTES,
    *writing.ROUTES,
    *attachments.ROUTES,
    *related.ROUTES,
)
"""Paths under `/{product}/{version}`; those under `/{product}/bulk/{version}` begin with `bulk`."""


BIGIN_LACKS = frozenset(
    {
        "__composite_requests",
        "__apis",
        "__features",
        "functions",
        "convert",
        "merge",
        "mass_convert",
        "mass_update",
        "mass_delete",
    }
)
"""Words of paths that Bigin does not have: it has records, search, COQL, bulk, notifications, tags, notes, files and
metadata. Source: Bigin API v2, list of APIs; [?] for the mass actions."""


def routes_of(product: str) -> tuple[Route, ...]:
    """The lines a product has."""
    return _ROUTES_OF[product]


_ROUTES_OF = {
    "crm": ROUTES,
    "bigin": tuple(route for route in ROUTES if not any(word in BIGIN_LACKS for word in route.pattern)),
}


def find_route(method: str, parts: Sequence[str], product: str = "crm") -> Route:
    """The line of a product for a path (its parts after the version); raises what is wrong with path or method."""
    matching = [route for route in _ROUTES_OF[product] if route.matches(parts)]
    if not matching:
        raise invalid_url_pattern()
    wanted = "GET" if method == "HEAD" else method
    for route in matching:
        if route.method == wanted:
            return route
    raise invalid_method(frozenset(route.method for route in matching))


def split_path(path: str) -> tuple[str, str, list[str]]:
    """Product, version and the parts after them; raises INVALID_URL_PATTERN.

    Two kinds of path have their words in another order. Of the bulk APIs (`/crm/bulk/v8/read`) the parts begin with
    `bulk`, of the content host (`/v8/crm/org1/bulk-write/...`) with `content`.
    """
    first, second, *rest = [*path.strip("/").split("/"), "", ""]
    rest = rest[:-2] if len(rest) > 1 else []
    kind: list[str] = []
    if second == "bulk":
        kind, second, rest = ["bulk"], *(rest[:1] or [""]), rest[1:]
    elif second in VERSIONS:
        kind, first, second = ["content"], second, first
    if (
        first not in VERSIONS
        or second not in VERSIONS[first]
        or not rest
        or (not kind and rest[0] in ("bulk", "content"))
    ):
        raise invalid_url_pattern()
    return first, second, [*kind, *rest]
