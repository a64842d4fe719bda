"""What a call costs: a quote before (never less than the charge), a charge after.

    match = card.match(method, path, query)
    quote = pricing.quote(match, query, body)      # body: NO_BODY unless match.operation.needs_body
    charge = pricing.charge(quote, answer)         # answer.facts: only for match.operation.needs_answer

Pure: reading bodies is the business of `farebox.cards.body`, which makes `BodyFacts` and `AnswerFacts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, assert_never

from farebox.domain.cards import Kind, Match, Operation
from farebox.domain.cards_routes import query_value
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

NUMBER_DIGITS_MAX: Final = 12
"""A number with more digits is above every tier; int() of hostile lengths is never tried."""
ABOVE_ALL: Final = 10**NUMBER_DIGITS_MAX
UNREADABLE: Final = "unreadable"
ROLLBACK: Final = "rollback"
MEMORY_MB: Final = "memory_mb"
NOT_COUNTED: Final = -1


@dataclass(frozen=True, slots=True)
class NoBody:
    """The request has no body, or its price does not depend on one."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """There is a body that cannot be read (encoded, too large, odd charset): the call costs its ceiling."""

    reason: str


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What a body that was read says: the quantities of the operation's rule, and the module where it is named."""

    quantities: dict[str, int] = field(default_factory=dict)
    module: str = ""


Body = NoBody | Unreadable | BodyFacts
NO_BODY: Final = NoBody()


class AnswerFacts(NamedTuple):
    """What an answer says: whether every sub-request succeeded, and how many records it carries (-1: not counted)."""

    succeeded: bool
    records: int = NOT_COUNTED


class Answer(NamedTuple):
    """An upstream's answer. `status` 0: none came. `facts` None: not read or not readable. Microseconds."""

    status: int
    facts: AnswerFacts | None = None
    duration: int = 0


class Quote(NamedTuple):
    """What a call may cost at most, in millicredits; a NamedTuple because one is made for every call."""

    operation: Operation
    module: str
    api_version: str
    path_template: str
    pool: str
    ceiling: int
    exact: bool
    """True: the charge will be the ceiling. False: the answer decides."""
    quantities: dict[str, int]
    rule: str


class Charge(NamedTuple):
    """What a call did cost, in millicredits; never above its quote's ceiling."""

    millicredits: int
    quantities: dict[str, int]
    records_returned: int


def quote(match: Match, query: str, body: Body) -> Quote:
    """The ceiling of a call. `query` is the raw query string; `body` what is known of the request's body."""
    operation = match.operation
    module = match.module
    ceiling, exact = 0, True
    quantities: dict[str, int] = {}
    if operation.kind is Kind.METERED:
        ceiling, exact, quantities = _priced(operation.price, query, body)
        for name in operation.required_query:
            quantities[name] = 1
        if not module and isinstance(body, BodyFacts):
            module = body.module
    return Quote(
        operation,
        module,
        match.api_version,
        match.path_template,
        operation.pool,
        ceiling,
        exact,
        quantities,
        operation.rule,
    )


def charge(quoted: Quote, answer: Answer) -> Charge:
    """What the call costs now that its answer is known.

    A status in the operation's `free_statuses` costs nothing. Where the answer decides and cannot be read, the ceiling.
    """
    records = NOT_COUNTED if answer.facts is None else answer.facts.records
    if answer.status in quoted.operation.free_statuses:
        return Charge(0, quoted.quantities, records)
    if quoted.exact:
        return Charge(quoted.ceiling, quoted.quantities, records)
    amount, quantities = _decided(quoted, answer)
    return Charge(min(amount, quoted.ceiling), quantities, records)


def _priced(  # noqa: PLR0911 - one return per rule of the closed set
    price: Price, query: str, body: Body
) -> tuple[int, bool, dict[str, int]]:
    if isinstance(price, Fixed):
        return price.credits, True, {}
    if price.needs_body and isinstance(body, Unreadable):
        return price.ceiling, True, {UNREADABLE: 1}
    facts = body.quantities if isinstance(body, BodyFacts) else {}
    match price:
        case PerItems():
            items = max(facts.get(price.quantity, 0), _listed(query, price.listed) if price.listed else 0)
            return price.of(items), True, {price.quantity: items}
        case PerListed():
            items = _listed(query, price.parameter)
            return price.of(items), True, {price.quantity: items}
        case Tiers():
            number = _number(price, query, facts)
            return price.of(number), True, {price.quantity: number}
        case ByOutcome(outcome=Outcome.ROLLBACK):
            if facts.get(ROLLBACK):
                return price.ceiling, False, {ROLLBACK: 1}
            return price.otherwise, True, {ROLLBACK: 0}
        case ByOutcome():
            return price.ceiling, False, {}
        case ByDuration():
            memory_mb = facts.get(MEMORY_MB, price.memory_mb)
            return price.ceiling_with(memory_mb), False, {MEMORY_MB: memory_mb}
        case _:
            assert_never(price)


def _decided(quoted: Quote, answer: Answer) -> tuple[int, dict[str, int]]:
    price = quoted.operation.price
    match price:
        case ByOutcome(outcome=Outcome.ROLLBACK):
            if answer.facts is None:
                return quoted.ceiling, quoted.quantities
            succeeded = answer.facts.succeeded and 0 < answer.status < 400  # noqa: PLR2004 - RFC 9110 15: errors begin here
            return price.credits if succeeded else price.otherwise, quoted.quantities
        case ByOutcome():
            if answer.status == 0:
                return quoted.ceiling, quoted.quantities
            return price.credits if answer.status < 400 else price.otherwise, quoted.quantities  # noqa: PLR2004 - as above
        case ByDuration():
            quantities = {**quoted.quantities, "duration_us": answer.duration}
            return price.of(answer.duration, quoted.quantities[MEMORY_MB]), quantities
        case _:
            return quoted.ceiling, quoted.quantities


def _listed(query: str, parameter: str) -> int:
    value = query_value(query, parameter)
    return sum(1 for name in value.split(",") if name.strip())


def _number(price: Tiers, query: str, facts: dict[str, int]) -> int:
    if price.number is Number.QUERY:
        return whole_number(query_value(query, price.at), default=price.default)
    return facts.get(price.quantity, price.default)


def whole_number(text: str, *, default: int) -> int:
    """A non-negative whole number as written, `default` when it is none; never more than `ABOVE_ALL`.

    >>> whole_number("200", default=1), whole_number("x", default=1), whole_number("9" * 5000, default=1) == ABOVE_ALL
    (200, 1, True)
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        return default
    significant = digits.lstrip("0") or "0"
    return ABOVE_ALL if len(significant) > NUMBER_DIGITS_MAX else int(significant)
