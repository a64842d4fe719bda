"""What a step's program saw of its calls, beside what it must see and what the card says it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

from farebox.domain.credits import MILLICREDITS_PER_CREDIT, text_of
from farebox.domain.instants import WINDOW_SECONDS

CHARGED_HEADER: Final = "X-Farebox-Credits-Charged"
LEFT_HEADER: Final = "X-Farebox-Credits-Left"
SOME_SECONDS: Final = "(seconds)"
"""In what must be seen, any wait that can be: 1 second to a day, after which every credit has come back."""


class Upserted(msgspec.Struct, frozen=True):
    """What became of one record of an upsert, and the field by which it was found to be there."""

    action: str
    duplicate_field: str | None


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer: `written` records `of` those sent; or `read` records or users, and whether there are `more`.

    `refused`: the codes of the records that did not go in. `exception`: the code of a call refused as a whole.
    """

    status: int
    written: int | None = None
    of: int | None = None
    refused: tuple[str, ...] = ()
    upserted: tuple[Upserted, ...] = ()
    read: int | None = None
    more: bool = False
    exception: str = ""
    retry_after: str = ""

    def words(self) -> str:
        """This answer as a person reads it."""
        parts = [f"{self.status} APIException {self.exception}" if self.exception else str(self.status)]
        if self.of is not None:
            parts.append(f"{self.written} of {self.of} records")
        if self.read is not None:
            parts.append(f"{self.read} read" if self.read else "nothing there")
        parts += [f"the other {code}" for code in self.refused]
        for (action, found_by), same in groupby(self.upserted, lambda each: (each.action, each.duplicate_field)):
            parts.append(f"{len(list(same))} {action}" + (f" by {found_by}" if found_by else ""))
        if self.retry_after:
            parts.append(f"Retry-After {self.retry_after}")
        return ", ".join(parts)

    def compared(self) -> Seen:
        """With a wait that can be turned into SOME_SECONDS: which second it is depends on the moment."""
        possible = self.retry_after.isascii() and self.retry_after.isdecimal()
        if possible and 1 <= int(self.retry_after) <= WINDOW_SECONDS:
            return msgspec.structs.replace(self, retry_after=SOME_SECONDS)
        return self


class Step(msgspec.Struct, frozen=True):
    """One step of a program, one Seen per call. Amounts in millicredits.

    `charged`: the sum of what the answers named in X-Farebox-Credits-Charged, None when one named nothing.
    """

    name: str
    seen: tuple[Seen, ...]
    must_see: tuple[Seen, ...]
    charged: int | None
    must_cost: int

    def differences(self) -> tuple[str, ...]:
        """Where what was seen and charged is not what must be, in words."""
        found = []
        if tuple(each.compared() for each in self.seen) != self.must_see:
            found.append(f"{self.name}: must see {words(self.must_see)}; saw {words(self.seen)}")
        if self.charged is None:
            found.append(f"{self.name}: an answer named no {CHARGED_HEADER}")
        elif self.charged != self.must_cost:
            found.append(
                f"{self.name}: the card says {text_of(self.must_cost)}, the answers named {text_of(self.charged)}"
            )
        return tuple(found)


def words(seen: Sequence[Seen]) -> str:
    """Answers in their order, the same ones in a row counted."""
    parts = []
    for _, same in groupby(seen, Seen.compared):
        run = list(same)
        parts.append(f"{len(run)} x {run[0].words()}" if len(run) > 1 else run[0].words())
    return "; ".join(parts) or "no answer"


def charged(named: Iterable[Any]) -> int | None:
    """The sum of the header's values in millicredits; None when one is missing."""
    values = list(named)
    return None if None in values else sum(millicredits_of(str(value)) for value in values)


def millicredits_of(text: str) -> int:
    """Credits as Farebox writes them.

    >>> millicredits_of("12,480"), millicredits_of("0.25")
    (12480000, 250)
    """
    whole, _, fraction = text.strip().replace(",", "").partition(".")
    return int(whole) * MILLICREDITS_PER_CREDIT + int(fraction.ljust(3, "0") or 0)
