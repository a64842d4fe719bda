"""Reading one `price`: a number of credits, or a table that names exactly one rule of the closed set."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from farebox.cards.fields import Table, thousandths
from farebox.domain.credits import MILLICREDITS_PER_CREDIT
from farebox.domain.instants import MICROSECONDS
from farebox.domain.pricing_rules import (
    ByDuration,
    ByOutcome,
    Fixed,
    Number,
    Outcome,
    PerItems,
    PerListed,
    Price,
    Tiers,
)

ONE_CREDIT: Final = MILLICREDITS_PER_CREDIT
SECOND_DECIMALS: Final = MICROSECONDS // 1_000
"""A duration in the file is read to the thousandth of a second; one thousandth is this many microseconds."""


def read_price(row: Table) -> Price:
    """The price of a row; on a problem one is noted and some price returned, so that reading can go on."""
    value = row.raw("price")
    if not isinstance(value, dict):
        if value is None:
            row.wrong("price", "is missing; write price = 1, or a rule such as { per_items = ... }.")
            return Fixed(0)
        return Fixed(row.amount("price", value))
    rules = [name for name in _RULES if name in value]
    if len(rules) != 1:
        row.wrong("price", f"must name exactly one rule of {', '.join(_RULES)}; it names {len(rules)}.")
        return Fixed(0)
    table = row.table("price")
    assert table is not None  # it is a dict
    price = _RULES[rules[0]](table)
    table.finish()
    return price


def _per_items(table: Table) -> Price:
    path = table.text("per_items")
    if not all(path.split(".")):
        table.wrong("per_items", f'is "{path}"; write a path of names and dots, e.g. "data".')
    return PerItems(
        path=path,
        per=table.number("each", default=1, least=1),
        credits=table.credits("credits", default=ONE_CREDIT),
        items_max=table.number("max", least=1),
        minimum=table.credits("minimum", default=ONE_CREDIT),
        quantity=table.text("quantity", default="items"),
        listed=table.text("or_listed", default=""),
    )


def _per_listed(table: Table) -> Price:
    return PerListed(
        parameter=table.text("per_listed"),
        per=table.number("each", default=1, least=1),
        credits=table.credits("credits", default=ONE_CREDIT),
        items_max=table.number("max", least=1),
        minimum=table.credits("minimum", default=ONE_CREDIT),
        quantity=table.text("quantity", default="items"),
    )


def _tiers(table: Table) -> Price:
    tiers = tuple((up_to // 1_000, amount) for up_to, amount in _steps(table, "tiers"))
    return Tiers(
        number=table.choice("of", Number) or Number.QUERY,
        at=table.text("at"),
        default=table.number("default"),
        tiers=tiers or ((0, 0),),
        quantity=table.text("quantity", default="number"),
    )


def _by_outcome(table: Table) -> Price:
    return ByOutcome(
        outcome=table.choice("by_outcome", Outcome) or Outcome.SUCCESS,
        credits=table.credits("credits"),
        otherwise=table.credits("otherwise"),
    )


def _by_duration(table: Table) -> Price:
    memory = tuple((size // 1_000, factor // 1_000) for size, factor in _steps(table, "memory_mb"))
    if any(factor < 1 for _, factor in memory):
        table.wrong("memory_mb", "has a factor below 1; factors are whole numbers from 1.")
    durations = tuple((below * SECOND_DECIMALS, amount) for below, amount in _steps(table, "by_duration"))
    return ByDuration(
        durations=durations or ((MICROSECONDS, 0),),
        memory=memory or ((1, 1),),
        memory_mb=table.number("memory_mb_default", least=1),
    )


def _steps(table: Table, key: str) -> tuple[tuple[int, int], ...]:
    """[[bound, value], ...] with rising bounds and values that do not fall; both as thousandths."""
    value = table.raw(key)
    shape = f"[[100, 1], [200, 2]]; {key} is a list of [bound, value] with rising bounds and values that do not fall."
    if not (isinstance(value, list) and value and all(isinstance(each, list) and len(each) == 2 for each in value)):  # noqa: PLR2004 - a pair
        table.wrong(key, f"is not a list of pairs; write e.g. {shape}")
        return ()
    steps: list[tuple[int, int]] = []
    for bound_said, value_said in value:
        bound, amount = thousandths(bound_said), thousandths(value_said)
        falls = (
            steps and bound is not None and amount is not None and not (bound > steps[-1][0] and amount >= steps[-1][1])
        )
        if bound is None or amount is None or falls:
            said = f"[{_plain(bound_said)}, {_plain(value_said)}]"
            table.wrong(key, f"{said} does not follow on; write e.g. {shape}")
            return ()
        steps.append((bound, amount))
    return tuple(steps)


def _plain(value: object) -> str:
    return str(value.normalize()) if isinstance(value, Decimal) else repr(value)


_RULES: Final[dict[str, Callable[[Table], Price]]] = {
    "per_items": _per_items,
    "per_listed": _per_listed,
    "tiers": _tiers,
    "by_outcome": _by_outcome,
    "by_duration": _by_duration,
}
