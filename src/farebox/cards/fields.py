"""Typed reading of a card's tables: every wrong thing becomes one problem with its line, and reading goes on.

A `Table` hands out values of the kind asked for and remembers which keys were asked for; `finish` reports the rest.
Credits are whole or decimal numbers in the file and integers of one thousandth from here on.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from farebox.cards.lines import Lines, Path
from farebox.domain.credits import MILLICREDITS_PER_CREDIT

E = TypeVar("E", bound=StrEnum)
CREDITS_MAX = 10**12
"""More credits than any plan or price has; keeps every sum far inside 64 bits."""


@dataclass(slots=True)
class Problems:
    """What is wrong with one file, in the order of its lines."""

    file: str
    lines: Lines
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, path: Path, rule: str, what: str) -> None:
        """Note one problem: what is wrong and what to do."""
        line = self.lines.of(path)
        self.found.append((line, f"{self.file}:{line}: {rule}: {what}"))

    def in_order(self) -> tuple[str, ...]:
        """The problems, first line first."""
        return tuple(text for _, text in sorted(self.found, key=lambda each: each[0]))


class Table:
    """One table of the file. `rule` is how its problems are headed, e.g. `operations.insert_records`."""

    def __init__(self, values: Mapping[str, Any], path: Path, rule: str, problems: Problems) -> None:
        self._values = values
        self._asked: set[str] = set()
        self.path = path
        self.rule = rule
        self.problems = problems

    def has(self, key: str) -> bool:
        """Whether the key is there (asking counts as knowing it)."""
        self._asked.add(key)
        return key in self._values

    def wrong(self, key: str, what: str) -> None:
        """Note a problem with one key of this table."""
        self.problems.add((*self.path, key), f"{self.rule}.{key}" if self.rule else key, what)

    def raw(self, key: str) -> Any:  # noqa: ANN401 - whatever the file says
        """The value as the file has it, None when absent."""
        return self._values[key] if self.has(key) else None

    def text(self, key: str, *, default: str | None = None) -> str:
        """A text; without a default it must be there and not be empty."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if isinstance(value, str) and (value or default is not None):
            return value
        self.wrong(key, self._expected(value, 'a text in quotes, e.g. "..."'))
        return default or ""

    def flag(self, key: str) -> bool:
        """A switch, true or false; false when absent."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.wrong(key, self._expected(value, "true or false"))
        return False

    def number(self, key: str, *, default: int | None = None, least: int = 0) -> int:
        """A whole number of at least `least`."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= CREDITS_MAX:
            return value
        self.wrong(key, self._expected(value, f"a whole number, {least} or more"))
        return default if default is not None else least

    def credits(self, key: str, *, default: int | None = None) -> int:
        """An amount of credits as millicredits; `default` is in millicredits too."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        return self.amount(key, value)

    def amount(self, key: str, value: object) -> int:
        """A number of the file as thousandths, exactly; a problem with `key` and 0 when it is none."""
        exact = thousandths(value)
        if exact is None:
            self.wrong(key, self._expected(value, "a number of credits, 0 or more, with at most three decimal places"))
        return exact or 0

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when absent."""
        value = self.raw(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(each, str) and each for each in value):
            return tuple(value)
        self.wrong(key, self._expected(value, 'a list of texts, e.g. ["a", "b"]'))
        return ()

    def numbers(self, key: str) -> frozenset[int]:
        """A list of HTTP statuses; empty when absent."""
        value = self.raw(key)
        if value is None:
            return frozenset()
        if isinstance(value, list) and all(isinstance(each, int) and 100 <= each <= 599 for each in value):  # noqa: PLR2004 - RFC 9110 15
            return frozenset(value)
        self.wrong(key, self._expected(value, "a list of HTTP statuses, e.g. [429]"))
        return frozenset()

    def choice(self, key: str, kind: type[E], *, default: E | None = None) -> E | None:
        """One of a closed set of words."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        try:
            return kind(value)
        except ValueError:
            self.wrong(key, self._expected(value, "one of " + ", ".join(f'"{each}"' for each in kind)))
            return default

    def table(self, key: str) -> Table | None:
        """A table within this one; None when absent or of another kind."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, dict):
            return Table(value, (*self.path, key), f"{self.rule}.{key}" if self.rule else key, self.problems)
        self.wrong(key, self._expected(value, "a table, e.g. { ... }"))
        return None

    def tables(self, key: str) -> Sequence[Table]:
        """A list of tables ([[key]]), headed by their names where they have one."""
        value = self.raw(key)
        if value is None:
            return ()
        if not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
            self.wrong(key, self._expected(value, f"a list of tables, each beginning with [[{key}]]"))
            return ()
        return tuple(
            Table(each, (*self.path, key, index), f"{key}.{each.get('name', index + 1)}", self.problems)
            for index, each in enumerate(value)
        )

    def keys(self) -> tuple[str, ...]:
        """The keys of a table whose keys are names of the author's."""
        self._asked.update(self._values)
        return tuple(self._values)

    def finish(self) -> None:
        """Report every key that nothing asked for."""
        for key in self._values:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                meant = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(sorted(self._asked))}."
                self.wrong(key, f"unknown key; remove it or correct it ({meant})")

    def _expected(self, value: object, wanted: str) -> str:
        return f"is missing; write {wanted}." if value is None else f"is {_shown(value)}; write {wanted}."


def thousandths(value: object) -> int | None:
    """A TOML number as a whole number of thousandths; None when it is not one exactly, or not in bounds.

    >>> thousandths(Decimal("0.25")), thousandths(3), thousandths(Decimal("0.0001")), thousandths(-1)
    (250, 3000, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    exact = Decimal(value)
    if not exact.is_finite() or not 0 <= exact <= CREDITS_MAX:
        return None
    scaled = exact * MILLICREDITS_PER_CREDIT
    return int(scaled) if scaled == scaled.to_integral_value() else None


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    limit = 40
    return text if len(text) <= limit else text[: limit - 3] + "..."
