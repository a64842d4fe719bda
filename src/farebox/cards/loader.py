"""From a card file to a `RateCard`: everything wrong with it is reported at once, as "file:line: rule: what to do".

What every key means stands in docs/cards.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Final

from farebox.cards.fields import Problems, Table
from farebox.cards.lines import Lines
from farebox.cards.prices import read_price
from farebox.domain.cards import (
    Dialect,
    HeaderStyle,
    Hints,
    Kind,
    Operation,
    Pool,
    RateCard,
    RefusalStyle,
)
from farebox.domain.cards_routes import ANY_METHOD, shape_of
from farebox.domain.plans import AddonSlab, Plan, PlanPool
from farebox.domain.pricing_rules import Fixed
from farebox.errors import CardInvalidError, UnknownNameError

FORMAT: Final = 1
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", ANY_METHOD)
MARKS: Final = ("off", "3rd", "obs", "?", "own")
HEADERS_UNSAID: Final = frozenset({HeaderStyle.RATELIMIT_DRAFT, HeaderStyle.X_FAREBOX})
"""What answers carry when the card does not say; `headers = []` switches all off."""
CARD_BYTES_MAX: Final = 4 * 1024 * 1024
"""A card of 10,000 rows is about 2 MiB."""
_NAME = re.compile(r"^[a-z0-9][a-z0-9_.\-]{0,99}$")
_SEGMENT = re.compile(r"^(?:\{[A-Za-z_][A-Za-z0-9_]*\}|\{\*\}|(?:[A-Za-z0-9_.\-~!$&'()+,=:@]|%[0-9A-F]{2})+)$")
_PACKAGED: Final = resources.files("farebox.cards")


def names() -> tuple[str, ...]:
    """The cards that ship, in alphabetical order."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in _PACKAGED.iterdir() if file.name.endswith(".toml")))


def load(name_or_path: str | Path) -> RateCard:
    """The card of that name, or in that file.

    A text that ends in .toml or holds a slash is a file. Raises `UnknownNameError` when there is no such card and
    `CardInvalidError` with every problem of it.
    """
    said = str(name_or_path)
    if isinstance(name_or_path, Path) or said.endswith(".toml") or "/" in said:
        return _from_file(Path(said))
    if said not in names():
        raise UnknownNameError(
            f"There is no rate card {said!r}. Those that ship are: {', '.join(names())}. "
            "For a card of your own give its file, e.g. ./my-api.toml."
        )
    return parse((_PACKAGED / f"{said}.toml").read_text(encoding="utf-8"), file=f"{said}.toml")


def _from_file(path: Path) -> RateCard:
    try:
        if path.stat().st_size > CARD_BYTES_MAX:
            raise CardInvalidError((f"{path}:1: file: is larger than {CARD_BYTES_MAX:,} bytes; split the API.",))
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnknownNameError(f"The rate card {path} cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise CardInvalidError((f"{path}:1: encoding: is not UTF-8 text; save it as UTF-8.",)) from error
    return parse(text, file=str(path))


def parse(text: str, *, file: str) -> RateCard:
    """The card that `text` says; `file` heads its problems. Raises `CardInvalidError` with every one of them."""
    try:
        values: dict[str, Any] = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = at[1] if at else str(text.count("\n") + 1)
        raise CardInvalidError((f"{file}:{line}: toml: {error}; correct the TOML there.",)) from error
    problems = Problems(file, Lines(text))
    card = _Reader(Table(values, (), "", problems)).card()
    if problems.found:
        raise CardInvalidError(problems.in_order())
    return card


class _Reader:
    """Reads one card top to bottom; what rows refer to (sources, pools) first."""

    def __init__(self, root: Table) -> None:
        self._root = root
        self._sources = self._read_sources()
        self._pools = self._read_pools()

    def card(self) -> RateCard:
        root = self._root
        if root.number("format", default=0) != FORMAT:
            root.wrong("format", f"must be {FORMAT}, the only card format there is.")
        free_statuses = root.numbers("free_statuses")
        default = root.table("default_operation")
        if default is None and not root.has("default_operation"):
            root.wrong("default_operation", "is missing; write [default_operation] with price and source.")
        card = RateCard(
            name=_name(root, "name"),
            product=_name(root, "product"),
            title=root.text("title"),
            pools=self._pools,
            plans=self._plans(),
            operations=tuple(self._operation(row, free_statuses) for row in root.tables("operations")),
            default_operation=self._default(default, free_statuses),
            dialect=self._dialect(root.table("dialect")),
            upgrades=root.texts("upgrades"),
            free_statuses=free_statuses,
            addon_slabs=self._addon(),
        )
        self._no_two_alike(card.operations, root.tables("operations"))
        root.finish()
        return card

    def _read_sources(self) -> dict[str, str]:
        table = self._root.table("sources")
        return {} if table is None else {key: table.text(key) for key in table.keys()}  # noqa: SIM118 - a Table is no dict

    def _read_pools(self) -> tuple[Pool, ...]:
        table = self._root.table("pools")
        pools = () if table is None else tuple(Pool(key, table.text(key)) for key in table.keys())  # noqa: SIM118 - as above
        if not pools:
            self._root.wrong("pools", 'is missing; write [pools] with at least one line such as api = "API credits".')
        return pools or (Pool("api", ""),)

    def _source(self, row: Table) -> str:
        said = row.text("source")
        parts = [part.strip() for part in said.split(",")]
        if said and not (" " in said.replace(", ", ",") or "://" in said):
            for part in parts:
                if part not in self._sources:
                    row.wrong("source", f'"{part}" is not in [sources]; add it there or write the source in words.')
        return ", ".join(self._sources.get(part, part) for part in parts)

    def _mark(self, row: Table) -> str:
        mark = row.text("mark", default="own")
        if not mark or not all(each in MARKS for each in mark.split()):
            row.wrong("mark", f'is "{mark}"; write {", ".join(MARKS)}, or several with a space between.')
        return mark

    def _dialect(self, table: Table | None) -> Dialect:
        if table is None:
            return Dialect(RefusalStyle.PROBLEM, HEADERS_UNSAID)
        styles = set() if table.has("headers") else set(HEADERS_UNSAID)
        for said in table.texts("headers"):
            if said in tuple(HeaderStyle):
                styles.add(HeaderStyle(said))
            else:
                table.wrong("headers", f'"{said}" is none of {", ".join(HeaderStyle)}.')
        dialect = Dialect(
            refusals=table.choice("refusals", RefusalStyle, default=RefusalStyle.PROBLEM) or RefusalStyle.PROBLEM,
            headers=frozenset(styles),
            remaining_from_percent=table.number("remaining_from_percent", default=50),
        )
        table.finish()
        return dialect

    def _plans(self) -> tuple[Plan, ...]:
        plans = []
        taken: set[str] = set()
        for row in self._root.tables("plans"):
            plan = Plan(
                name=_name(row, "name"),
                title=row.text("title", default=row.text("name")),
                aliases=row.texts("aliases"),
                pools=tuple(self._plan_pool(row, pool) for pool in self._pools if row.has(pool.name)),
                concurrency=row.number("concurrency", default=0),
                sub_concurrency=row.number("sub_concurrency", default=0),
                source=self._source(row),
                mark=self._mark(row),
            )
            for name in (plan.name, *plan.aliases):
                if name.casefold() in taken:
                    row.wrong("name", f'"{name}" names two plans; each name and alias may stand once.')
                taken.add(name.casefold())
            if not plan.pools:
                row.wrong(self._pools[0].name, "is missing; write e.g. { base = 5000 } for at least one pool.")
            row.finish()
            plans.append(plan)
        return tuple(plans)

    def _plan_pool(self, row: Table, pool: Pool) -> PlanPool:
        table = row.table(pool.name)
        if table is None:
            return PlanPool("", pool.name, 0, 0, None, "")
        part = PlanPool(
            plan=row.text("name"),
            pool=pool.name,
            base=table.credits("base"),
            per_user=table.credits("per_user", default=0),
            cap=table.credits("cap") if table.has("cap") else None,
            source=self._source(table if table.has("source") else row),
            mark=self._mark(table if table.has("mark") else row),
        )
        table.text("note", default="")
        table.finish()
        return part

    def _addon(self) -> tuple[AddonSlab, ...]:
        slabs: list[AddonSlab] = []
        for row in self._root.tables("addon"):
            dollars = row.amount("usd_per_1000", row.raw("usd_per_1000"))
            slab = AddonSlab(
                up_to=row.credits("up_to") if row.has("up_to") else None,
                microdollars_per_credit=dollars,  # USD/1,000 credits in thousandths = microdollars per credit
                source=self._source(row),
                mark=self._mark(row),
            )
            if slabs and (slabs[-1].up_to is None or (slab.up_to is not None and slab.up_to <= slabs[-1].up_to)):
                row.wrong("up_to", "must be greater than that of the slab before; only the last may leave it out.")
            row.text("note", default="")
            row.finish()
            slabs.append(slab)
        return tuple(slabs)

    def _default(self, row: Table | None, free_statuses: frozenset[int]) -> Operation:
        if row is None:
            return Operation("unlisted", "Not listed", (ANY_METHOD,), "", (), Fixed(0), self._pools[0].name, "")
        operation = Operation(
            name=row.text("name", default="other"),
            title=row.text("title", default="All other calls"),
            methods=(ANY_METHOD,),
            path="",
            required_query=(),
            price=read_price(row),
            pool=self._pool(row),
            source=self._source(row),
            mark=self._mark(row),
            free_statuses=free_statuses,
        )
        if not isinstance(operation.price, Fixed):
            row.wrong("price", "must be a number of credits: what is not listed cannot be read.")
        row.finish()
        return operation

    def _operation(self, row: Table, free_statuses: frozenset[int]) -> Operation:
        name = _name(row, "name")
        operation = Operation(
            name=name,
            title=row.text("title", default=name),
            methods=self._methods(row),
            path=self._path(row),
            required_query=row.texts("query"),
            kind=row.choice("kind", Kind, default=Kind.METERED) or Kind.METERED,
            price=read_price(row) if row.text("kind", default="metered") == "metered" else Fixed(0),
            pool=self._pool(row),
            source=self._source(row),
            mark=self._mark(row),
            module=row.text("module", default=""),
            heavy=row.flag("heavy"),
            heavy_above=row.number("heavy_above", default=0),
            heavy_from_function=row.flag("heavy_from_function"),
            concurrency=row.number("concurrency", default=1, least=1),
            free_statuses=free_statuses | row.numbers("free_statuses"),
            hints=self._hints(row.table("hints")),
            note=row.text("note", default=""),
        )
        row.finish()
        return operation

    def _methods(self, row: Table) -> tuple[str, ...]:
        methods = row.texts("methods")
        if row.has("method"):
            methods = (*methods, row.text("method"))
        for method in methods:
            if method not in METHODS:
                row.wrong("method", f'"{method}" is none of {", ".join(METHODS)} (in capitals).')
        if not methods and row.has("path"):
            row.wrong("method", 'is missing; write method = "GET" or methods = ["PUT", "PATCH"].')
        return methods

    def _path(self, row: Table) -> str:
        if not row.has("path"):
            return ""
        path = row.text("path")
        segments = path.split("/")
        if path == "/":
            return path
        if segments[0] or len(segments) < 2 or not all(_SEGMENT.match(each) for each in segments[1:]):  # noqa: PLR2004 - "" and one more
            row.wrong(
                "path", f'"{path}" is no template; write e.g. "/crm/{{version}}/{{module}}", no slash at the end.'
            )
        elif "{*}" in segments[1:-1]:
            row.wrong("path", f'"{path}" has {{*}} before its end; {{*}} takes all the rest and can only be last.')
        return path

    def _pool(self, row: Table) -> str:
        name = row.text("pool", default=self._pools[0].name)
        if all(name != pool.name for pool in self._pools):
            row.wrong("pool", f'"{name}" is not in [pools]; add it there or correct it.')
        return name

    def _hints(self, table: Table | None) -> Hints:
        if table is None:
            return Hints()
        hints = Hints(
            cacheable=table.flag("cacheable"),
            batch_to=table.number("batch_to", default=0),
            poll_of=table.text("poll_of", default=""),
            use_instead=table.text("use_instead", default=""),
        )
        table.finish()
        return hints

    def _no_two_alike(self, operations: Iterable[Operation], rows: Iterable[Table]) -> None:
        """Names stand once, hints name rows, and no two rows match exactly the same calls."""
        named: dict[str, Table] = {}
        seen: dict[tuple[str, str, frozenset[str]], str] = {}
        for operation, row in zip(operations, rows, strict=True):
            if operation.name in named:
                row.wrong("name", f'"{operation.name}" names two operations; give each its own name.')
            named[operation.name] = row
            for method in operation.methods if operation.path else ():
                key = (method, shape_of(operation.path), frozenset(operation.required_query))
                if key in seen:
                    row.wrong("path", f'{method} {operation.path} matches the same calls as "{seen[key]}"; keep one.')
                seen.setdefault(key, operation.name)
        for operation in operations:
            if operation.hints.use_instead and operation.hints.use_instead not in named:
                named[operation.name].wrong("hints", f'use_instead "{operation.hints.use_instead}" names no operation.')


def _name(row: Table, key: str) -> str:
    name = row.text(key)
    if name and not _NAME.match(name):
        row.wrong(key, f'is "{name}"; write small letters, digits, "-", "_" and ".", at most 100.')
    return name
