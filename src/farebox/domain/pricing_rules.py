"""The closed set of price rules: what a call can be priced by, as plain data with no expressions.

Amounts are millicredits. Every rule knows its `ceiling` (the most it can ever ask for), whether it `needs_body`
(something in the request's body decides) and whether it `needs_answer` (only the answer can tell).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from farebox.domain.credits import MILLICREDITS_PER_CREDIT, text_of


class Number(StrEnum):
    """Where a tiered price finds its number."""

    COQL_LIMIT = "coql-limit"
    """LIMIT of the COQL query that stands at a path of the body."""
    BODY = "body"
    """A whole number at a path of the body."""
    QUERY = "query"
    """A query parameter."""


class Outcome(StrEnum):
    """What an answer can decide."""

    ROLLBACK = "rollback"
    """A composite request in rollback mode in which every sub-request succeeded."""
    SUCCESS = "success"
    """A status below 400."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same for every call."""

    credits: int

    @property
    def ceiling(self) -> int:
        """The price itself."""
        return self.credits

    @property
    def needs_body(self) -> bool:
        """Never."""
        return False

    @property
    def needs_answer(self) -> bool:
        """Never."""
        return False

    @property
    def text(self) -> str:
        """The rule in words."""
        return f"{_credits(self.credits)} per call"


@dataclass(frozen=True, slots=True)
class PerItems:
    """`credits` per `per` items (rounded up) of the JSON array at `path`; above `items_max` it grows no further.

    With `listed`, a comma list in that query parameter counts too, and the greater of the two decides.
    """

    path: str
    per: int
    credits: int
    items_max: int
    minimum: int
    quantity: str
    listed: str = ""

    @property
    def ceiling(self) -> int:
        """What `items_max` items cost."""
        return self.of(self.items_max)

    @property
    def needs_body(self) -> bool:
        """Always: that is where the items are."""
        return True

    @property
    def needs_answer(self) -> bool:
        """Never."""
        return False

    def of(self, items: int) -> int:
        """The price of so many items, rounded up to the next `per`.

        >>> PerItems("data", 10, 1_000, 100, 1_000, "records").of(11)
        2000
        """
        return max(-(-min(items, self.items_max) // self.per) * self.credits, self.minimum)

    @property
    def text(self) -> str:
        """The rule in words."""
        each = f"per {self.per:,} {self.quantity}" if self.per > 1 else f"for each of the {self.quantity}"
        return f"{_credits(self.credits)} {each}, at most {_credits(self.ceiling)}"


@dataclass(frozen=True, slots=True)
class PerListed:
    """`credits` per `per` names (rounded up) of the comma list in query parameter `parameter`."""

    parameter: str
    per: int
    credits: int
    items_max: int
    minimum: int
    quantity: str

    @property
    def ceiling(self) -> int:
        """What `items_max` names cost."""
        return self.of(self.items_max)

    @property
    def needs_body(self) -> bool:
        """Never."""
        return False

    @property
    def needs_answer(self) -> bool:
        """Never."""
        return False

    def of(self, items: int) -> int:
        """The price of so many names, rounded up to the next `per`."""
        return max(-(-min(items, self.items_max) // self.per) * self.credits, self.minimum)

    @property
    def text(self) -> str:
        """The rule in words."""
        return (
            f"{_credits(self.credits)} per {self.per:,} {self.quantity} in ?{self.parameter}=, "
            f"at most {_credits(self.ceiling)}"
        )


@dataclass(frozen=True, slots=True)
class Tiers:
    """By a number: the first tier (up to and including, credits) that holds it; above the last, the last."""

    number: Number
    at: str
    default: int
    tiers: tuple[tuple[int, int], ...]
    quantity: str

    @property
    def ceiling(self) -> int:
        """The dearest tier."""
        return max(amount for _, amount in self.tiers)

    @property
    def needs_body(self) -> bool:
        """Unless the number stands in the query."""
        return self.number is not Number.QUERY

    @property
    def needs_answer(self) -> bool:
        """Never."""
        return False

    def of(self, number: int) -> int:
        """The price of a number."""
        for up_to, amount in self.tiers:
            if number <= up_to:
                return amount
        return self.tiers[-1][1]

    @property
    def text(self) -> str:
        """The rule in words."""
        steps = ", ".join(f"up to {up_to:,}: {text_of(amount)}" for up_to, amount in self.tiers)
        return f"by {self.quantity} (without one: {self.default:,}); credits {steps}"


@dataclass(frozen=True, slots=True)
class ByOutcome:
    """`credits` when the answer shows `outcome`, else `otherwise`. An answer that cannot be read: the ceiling."""

    outcome: Outcome
    credits: int
    otherwise: int

    @property
    def ceiling(self) -> int:
        """The dearer of the two."""
        return max(self.credits, self.otherwise)

    @property
    def needs_body(self) -> bool:
        """For a composite: rollback mode stands in the request."""
        return self.outcome is Outcome.ROLLBACK

    @property
    def needs_answer(self) -> bool:
        """Always."""
        return True

    @property
    def text(self) -> str:
        """The rule in words."""
        when = {
            Outcome.ROLLBACK: "in rollback mode when every sub-request succeeded",
            Outcome.SUCCESS: "when the call succeeds",
        }[self.outcome]
        return f"{_credits(self.credits)} {when}, else {text_of(self.otherwise)}"


@dataclass(frozen=True, slots=True)
class ByDuration:
    """A function's run: duration factor x memory factor.

    `durations`: (shorter than this many microseconds, millicredits), ascending; a longer run costs as the last.
    `memory`: (megabytes, factor), ascending; a size in between costs as the next larger one. `memory_mb` is the size
    taken when the caller names none.
    """

    durations: tuple[tuple[int, int], ...]
    memory: tuple[tuple[int, int], ...]
    memory_mb: int

    @property
    def ceiling(self) -> int:
        """The longest run in the largest memory."""
        return self.durations[-1][1] * self.memory[-1][1]

    @property
    def needs_body(self) -> bool:
        """Never."""
        return False

    @property
    def needs_answer(self) -> bool:
        """Always: only then is the duration known."""
        return True

    def ceiling_with(self, memory_mb: int) -> int:
        """The longest run in that much memory."""
        return self.durations[-1][1] * self._factor(memory_mb)

    def of(self, duration: int, memory_mb: int) -> int:
        """The price of a run of `duration` microseconds."""
        for below, amount in self.durations:
            if duration < below:
                return amount * self._factor(memory_mb)
        return self.ceiling_with(memory_mb)

    def _factor(self, memory_mb: int) -> int:
        for size, factor in self.memory:
            if memory_mb <= size:
                return factor
        return self.memory[-1][1]

    @property
    def text(self) -> str:
        """The rule in words."""
        return f"by duration and memory, at most {_credits(self.ceiling_with(self.memory_mb))} in {self.memory_mb} MB"


Price = Fixed | PerItems | PerListed | Tiers | ByOutcome | ByDuration


def _credits(amount: int) -> str:
    return f"{text_of(amount)} credit{'' if amount == MILLICREDITS_PER_CREDIT else 's'}"
