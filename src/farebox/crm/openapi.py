"""`GET /openapi.json`: the table of paths as an OpenAPI 3.1 document, for tools; needs no token.

What the table itself says - path, method, scopes, who answers - comes from it; TOLD adds the parameters and bodies that
are worth a tool's while. A line of the table that TOLD does not know is in the document all the same.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Final

from farebox.crm import scopes
from farebox.crm.openapi_told import BODIES, HEADERS, PARAMS, SCHEMAS, TOLD
from farebox.crm.route import Route, Scope
from farebox.crm.routes import NEWEST, routes_of

VERSION: Final = "3.1.0"
TITLES: Final = {"crm": "CRM", "bigin": "Bigin"}
WITHOUT_BODY: Final = frozenset({"GET", "DELETE"})

Json = dict[str, Any]


@lru_cache(maxsize=8)
def document(url: str) -> Json:
    """The whole API at `url`: the newest version of each product, and the accounts server."""
    paths: dict[str, Json] = dict(_accounts())
    for product in NEWEST:
        for route in routes_of(product):
            path = _path(product, route)
            paths.setdefault(path, {})[route.method.lower()] = _operation(product, route)
    return {
        "openapi": VERSION,
        "info": {
            "title": "Reference CRM API",
            "version": " ".join(f"{product} {version}" for product, version in NEWEST.items()),
            "description": "Zoho CRM's and Bigin's dialect. A refusal is the envelope `Refusal`, or one per record.",
        },
        "servers": [{"url": url}],
        "tags": [{"name": each} for each in sorted({_family(route) for route in routes_of("crm")} | {"oauth"})],
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"oauth": _security_scheme(url)}},
    }


def _path(product: str, route: Route) -> str:
    """The path as a caller writes it: bulk and content paths have their words in another order than the table."""
    version = NEWEST[product]
    match route.pattern:
        case ("bulk", *rest):
            return "/".join(["", product, "bulk", version, *rest])
        case ("content", *rest):
            return "/".join(["", version, product, *rest])
        case rest:
            return "/".join(["", product, version, *rest])


def _operation(product: str, route: Route) -> Json:
    told = TOLD.get((route.method, "/".join(route.pattern)))
    names = [part.strip("{}") for part in route.pattern if part.startswith("{")]
    parameters = [_path_parameter(product, name) for name in names]
    parameters += [{"name": each, "in": "query", "schema": PARAMS[each]} for each in (told.params if told else ())]
    parameters += [{"name": each, "in": "header", "schema": HEADERS[each]} for each in (told.headers if told else ())]
    operation: Json = {
        "operationId": "_".join([product, route.method.lower(), *(part.strip("{}") for part in route.pattern)]),
        "summary": _summary(route),
        "tags": [_family(route)],
        "security": [{"oauth": [_scope_word(product, each, op) for each in route.scopes for op in each.operations]}],
        "parameters": parameters,
        "responses": {
            "2XX": {"description": "Done, wholly or (207) in part; 204 has no body", **_answered(route)},
            "304": {"description": "Not modified since the given time"},
            "4XX": _content("Refused", {"anyOf": [{"$ref": "#/components/schemas/Refusal"}, _ref("Results")]}),
        },
    }
    if told is not None and told.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": BODIES[told.body]}}}
    elif route.takes_form:
        body = {"multipart/form-data": {"schema": _ref("Upload")}}
        operation["requestBody"] = {"required": True, "content": body}
    elif route.method not in WITHOUT_BODY:
        operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return operation


def _path_parameter(product: str, name: str) -> Json:
    schema: Json = {"type": "string", "minLength": 1}
    if name == "module":
        schema = {"type": "string", "examples": ["Leads" if product == "crm" else "Contacts"]}
    elif name.endswith("_id"):
        schema = {"type": "string", "pattern": "^[0-9]{1,19}$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _answered(route: Route) -> Json:
    """What a successful answer holds: JSON, or a file where the path's last word says so."""
    if route.pattern[-1] == "result" or route.pattern[0] == "content":
        return {"content": {"application/zip": {}}}
    return {"content": {"*/*": {}}} if route.method == "GET" else _content("", {"type": "object"}, described=False)


def _content(description: str, schema: Json, *, described: bool = True) -> Json:
    content: Json = {"content": {"application/json": {"schema": schema}}}
    return {"description": description, **content} if described else content


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _family(route: Route) -> str:
    return str(_answerer(route).__module__).rpartition(".")[2]


def _summary(route: Route) -> str:
    """The first line of what the answering function promises."""
    said = inspect.getdoc(_answerer(route)) or f"{route.method} {'/'.join(route.pattern)}"
    return said.splitlines()[0].replace("`", "")


def _answerer(route: Route) -> Callable[..., object]:
    """The function itself where a line has one with some arguments given already."""
    return route.answer.func if isinstance(route.answer, partial) else route.answer


def _scope_word(product: str, scope: Scope, operation: str) -> str:
    words = (scope.service or scopes.SERVICES[product], scope.group, scope.thing, operation.upper())
    return ".".join(each for each in words if each is not None)


def _security_scheme(url: str) -> Json:
    words = {
        _scope_word(product, each, operation): f"{operation} {each.thing or each.group}"
        for product in NEWEST
        for route in routes_of(product)
        for each in route.scopes
        for operation in each.operations
    }
    flow = {
        "tokenUrl": f"{url}/oauth/v2/token",
        "refreshUrl": f"{url}/oauth/v2/token",
        "scopes": dict(sorted(words.items())),
    }
    return {
        "type": "oauth2",
        "description": "Sent as `Authorization: Zoho-oauthtoken ...`; Bearer is understood too.",
        "flows": {
            "authorizationCode": {"authorizationUrl": f"{url}/oauth/v2/auth", **flow},
            "clientCredentials": flow,
        },
    }


def _accounts() -> Iterator[tuple[str, Json]]:
    """The accounts server: no envelope there, and a refusal is 200 with `error`."""
    told: Mapping[str, tuple[str, tuple[str, ...]]] = {
        "/oauth/v2/token": (
            "An access token for a code, a refresh token or the client's own name",
            ("grant_type", "client_id", "client_secret", "refresh_token", "code", "redirect_uri", "scope"),
        ),
        "/oauth/v2/token/revoke": ("End a refresh token with all its access tokens, or one access token", ("token",)),
        "/oauth/v2/introspect": (
            "What a token stands for (RFC 7662)",
            ("token", "client_id", "client_secret"),
        ),
    }
    for path, (summary, words) in told.items():
        form = {"type": "object", "properties": {each: {"type": "string"} for each in words}}
        yield (
            path,
            {
                "post": {
                    "operationId": "oauth_" + path.rpartition("/")[2],
                    "summary": summary,
                    "tags": ["oauth"],
                    "security": [],
                    "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": form}}},
                    "responses": {
                        "200": _content("Done, or refused: then with `error`", {"type": "object"}),
                        "4XX": _content("Refused", {"type": "object"}),
                    },
                }
            },
        )
