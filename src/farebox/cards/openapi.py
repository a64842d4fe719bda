"""A first rate card from an OpenAPI file: every operation it lists, at 1 credit, ready to be changed.

Reads OpenAPI 3 and Swagger 2, JSON or YAML, with path items behind a $ref in the same file or a file beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from farebox.domain.cards_routes import is_version, shape_of
from farebox.errors import CardInvalidError

METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
FILE_BYTES_MAX: Final = 32 * 1024 * 1024
REFS_MAX: Final = 16
"""A $ref that leads through more than so many others leads nowhere."""
NAME_CHARS_MAX: Final = 80
TITLE_CHARS_MAX: Final = 120

_HEAD = """\
# Rate card of {title}: what calls cost and how many credits an organisation has in any 24 hours.
# Made from {origin}: every operation costs 1 credit. Change prices and plans here; what each key means: docs/cards.md.
# Some prices to copy:
#   price = 5                                                                          the same for every call
#   price = {{ per_items = "data", each = 10, max = 100, quantity = "records" }}         1 per 10 items in the body
#   price = {{ per_listed = "ids", each = 10, max = 100, quantity = "ids" }}             1 per 10 names in ?ids=a,b
#   price = {{ by_outcome = "success", credits = 5, otherwise = 1 }}                     5, or 1 when the call fails
# kind = "free" instead of a price: not charged. kind = "open": not even identified.

format = 1
name = {name}
product = "api"
title = {title_text}

[pools]
api = "API credits"

[dialect]
refusals = "problem" # RFC 9457
headers = ["ratelimit-draft", "x-farebox"]

# What no row below lists.
[default_operation]
name = "other"
title = "Calls not listed"
price = 1
source = {source}

[[plans]]
name = "free"
title = "Free"
source = {source}
api = {{ base = 1_000, cap = 1_000 }}

[[plans]]
name = "standard"
title = "Standard"
source = {source}
api = {{ base = 10_000, per_user = 100 }}
"""


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    title: str
    method: str
    path: str
    query: tuple[str, ...]
    module: str


def card_from_file(path: Path) -> str:
    """A commented TOML card with every operation of the OpenAPI file at 1 credit.

    Raises `CardInvalidError` when the file cannot be read or lists no operation.
    """
    document = _document(path)
    return _Import(document, path.name, folder=path.parent).card(_slug(path.stem) or "api")


def card_from_openapi(document: dict[str, Any], name: str) -> str:
    """The same from a document already read; $refs to other files are a problem then."""
    return _Import(document, f"{name} (OpenAPI)", folder=None).card(_slug(name) or "api")


class _Import:
    """One document on its way to a card."""

    def __init__(self, document: Mapping[str, Any], origin: str, folder: Path | None) -> None:
        self._document = document
        self._origin = origin
        self._folder = folder

    def card(self, name: str) -> str:
        rows = list(self._distinct(self._rows()))
        if not rows:
            raise self._wrong("paths", "lists no operation; give an OpenAPI 3 or Swagger 2 file with paths.")
        info = self._document.get("info")
        title = _words(info.get("title") if isinstance(info, dict) else None) or name
        source = _quoted(f"made from {self._origin}")
        head = _HEAD.format(
            title=title, origin=self._origin, name=_quoted(name), title_text=_quoted(title), source=source
        )
        return head + "".join(_toml(row, source) for row in rows)

    def _rows(self) -> Iterator[_Row]:
        paths = self._document.get("paths")
        if not isinstance(paths, dict):
            raise self._wrong("paths", "is missing; give an OpenAPI 3 or Swagger 2 file.")
        for path, said in paths.items():
            if not (isinstance(path, str) and path.startswith("/")):
                continue  # x-... extensions
            item = self._resolved(said, self._document, path)
            for method in METHODS:
                operation = item.get(method)
                if isinstance(operation, dict):
                    yield self._row(method, path, operation)

    def _row(self, method: str, path: str, operation: Mapping[str, Any]) -> _Row:
        plain, _, query = (self._base() + path).partition("?")
        template = _template(plain.partition("#")[0])
        said = operation.get("operationId")
        tags = operation.get("tags")
        literal = next(
            (part for part in path.split("/") if part and not part.startswith("{") and not is_version(part)), ""
        )
        return _Row(
            name=_slug(said if isinstance(said, str) else f"{method}{plain}") or method,
            title=_words(operation.get("summary")) or f"{method.upper()} {path}",
            method=method.upper(),
            path=template,
            query=tuple(pair.partition("=")[0] for pair in query.split("&") if pair),
            module=_words(tags[0]) if isinstance(tags, list) and tags and isinstance(tags[0], str) else literal,
        )

    def _distinct(self, rows: Iterator[_Row]) -> Iterator[_Row]:
        """Each way to match once, each name once (a second one gets a number)."""
        ways: set[tuple[str, str, frozenset[str]]] = set()
        taken: set[str] = set()
        for row in rows:
            way = (row.method, shape_of(row.path), frozenset(row.query))
            if way in ways:
                continue
            ways.add(way)
            name, number = row.name, 2
            while name in taken:
                name, number = f"{row.name}_{number}", number + 1
            taken.add(name)
            yield _Row(name, row.title, row.method, row.path, row.query, row.module)

    def _base(self) -> str:
        """The path that stands before every path: of the first server, or Swagger's basePath."""
        servers = self._document.get("servers")
        if isinstance(servers, list) and servers and isinstance(servers[0], dict):
            url = servers[0].get("url", "")
            variables = servers[0].get("variables")
            for name, variable in (variables if isinstance(variables, dict) else {}).items():
                default = variable.get("default", "") if isinstance(variable, dict) else ""
                url = str(url).replace("{" + name + "}", str(default))
            base = urlsplit(str(url)).path
        else:
            base = str(self._document.get("basePath") or "")
        base = base.rstrip("/")
        return base if not base or base.startswith("/") else f"/{base}"

    def _resolved(self, item: object, document: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        for _ in range(REFS_MAX):
            if not isinstance(item, dict):
                raise self._wrong(f"paths.{path}", "is no path item; correct it.")
            reference = item.get("$ref")
            if not isinstance(reference, str):
                return item
            file, _, pointer = reference.partition("#")
            if file:
                document = self._beside(file, path)
            item = _pointed(document, pointer)
        raise self._wrong(f"paths.{path}", f"its $ref leads through more than {REFS_MAX} others; correct it.")

    def _beside(self, file: str, path: str) -> Mapping[str, Any]:
        if self._folder is None or "://" in file:
            raise self._wrong(f"paths.{path}", f"$ref to {file} is not read; put everything into one file.")
        return _document(self._folder / unquote(file))

    def _wrong(self, rule: str, what: str) -> CardInvalidError:
        return CardInvalidError((f"{self._origin}:1: {rule}: {what}",))


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CardInvalidError((f"{path}:1: file: is larger than {FILE_BYTES_MAX:,} bytes; split it.",))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CardInvalidError((f"{path}:1: file: cannot be read ({error.strerror}); check the path.",)) from error
    except UnicodeDecodeError as error:
        raise CardInvalidError((f"{path}:1: encoding: is not UTF-8 text; save it as UTF-8.",)) from error
    document = _parsed(text, path)
    if not isinstance(document, dict):
        raise CardInvalidError((f"{path}:1: file: is no OpenAPI document; give one that begins with openapi: 3...",))
    return document


def _parsed(text: str, path: Path) -> object:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            pass  # YAML may begin with { too, and its message says as much
    import yaml  # noqa: PLC0415 - only `farebox init --openapi` needs it, and this package is on the gateway's floor

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        what = getattr(error, "problem", None) or "cannot be read"
        raise CardInvalidError((f"{path}:{line}: yaml: {what}; correct it there.",)) from error


def _pointed(document: Mapping[str, Any], pointer: str) -> object:
    """What a JSON pointer (RFC 6901) points at; None when there is nothing."""
    found: object = document
    for part in pointer.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            found = found.get(key) if isinstance(found, dict) else None
    return found


def _template(path: str) -> str:
    """An OpenAPI path as a card's template; a segment that is only partly a variable becomes one as a whole."""
    segments = [_segment(segment) for segment in path.split("/")[1:]]
    while segments and not segments[-1]:
        del segments[-1]
    return "/" + "/".join(segments)


def _segment(segment: str) -> str:
    variable = re.search(r"\{([^}]*)\}", segment)
    if variable is None:
        plain = segment.partition(";")[0]
        encoded = quote(plain, safe="-_.~!$&'()+,=:@%")
        return re.sub(r"%[0-9a-fA-F]{2}", lambda escape: escape[0].upper(), encoded)
    name = re.sub(r"[^A-Za-z0-9_]", "_", variable[1].rstrip("*+")) or "value"
    name = f"_{name}" if name[0].isdigit() or name in ("version", "module") else name  # those two mean more in a card
    return "{" + name + "}"


def _toml(row: _Row, source: str) -> str:
    query = f"query = [{', '.join(_quoted(name) for name in row.query)}]\n" if row.query else ""
    module = f"module = {_quoted(row.module)}\n" if row.module and not row.module.startswith("?") else ""
    return (
        f"\n[[operations]]\nname = {_quoted(row.name)}\ntitle = {_quoted(row.title)}\n"
        f"method = {_quoted(row.method)}\npath = {_quoted(row.path)}\n{query}price = 1\n{module}source = {source}\n"
    )


def _slug(text: str) -> str:
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")[:NAME_CHARS_MAX]


def _words(said: object) -> str:
    text = "".join(each if each.isprintable() else " " for each in said) if isinstance(said, str) else ""
    return " ".join(text.split())[:TITLE_CHARS_MAX]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
