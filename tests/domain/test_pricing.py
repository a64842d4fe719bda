"""Every price rule: its ceiling before, its charge after, and the charge never above the ceiling."""

from __future__ import annotations

import pytest

from farebox.domain.cards import Kind, Match, Operation
from farebox.domain.pricing import (
    NO_BODY,
    Answer,
    AnswerFacts,
    Body,
    BodyFacts,
    Unreadable,
    charge,
    quote,
)
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

PER_TEN = PerItems("data", 10, 1_000, 100, 1_000, "records")
COQL = Tiers(Number.COQL_LIMIT, "select_query", 200, ((200, 1_000), (1_000, 2_000), (2_000, 3_000)), "limit")
COMPOSITE = ByOutcome(Outcome.ROLLBACK, 2_000, 1_000)
DURATION = ByDuration(((500_000, 250), (1_000_000, 500), (5_000_000, 1_000)), ((128, 1), (256, 2), (1_024, 8)), 128)
UNREADABLE = Unreadable("Content-Encoding gzip")


def _match(price: Price, *, kind: Kind = Kind.METERED, free: frozenset[int] = frozenset()) -> Match:
    operation = Operation(
        "op", "Op", ("POST",), "/x", (), price, "api", "a source", "off", kind=kind, free_statuses=free
    )
    return Match(operation, "Leads", "v8", "/x")


def _ceiling(price: Price, body: Body = NO_BODY, query: str = "") -> int:
    return quote(_match(price), query, body).ceiling


@pytest.mark.parametrize(
    ("records", "cost"), [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (99, 10), (100, 10), (101, 10), (10**6, 10)]
)
def test_items_cost_per_ten_rounded_up_at_least_one_at_most_ten(records: int, cost: int) -> None:
    quoted = quote(_match(PER_TEN), "", BodyFacts({"records": records}))
    assert (quoted.ceiling, quoted.exact, quoted.quantities) == (cost * 1_000, True, {"records": records})


def test_a_body_that_cannot_be_read_costs_the_ceiling_of_its_rule() -> None:
    assert [_ceiling(rule, UNREADABLE) for rule in (PER_TEN, COQL, COMPOSITE)] == [10_000, 3_000, 2_000]


def test_a_body_that_does_not_matter_may_be_unreadable() -> None:
    assert _ceiling(Fixed(5_000), UNREADABLE) == 5_000


def test_no_body_at_all_costs_as_an_empty_one() -> None:
    assert [_ceiling(rule) for rule in (PER_TEN, COQL, COMPOSITE)] == [1_000, 1_000, 1_000]


def test_a_list_in_the_query_counts_too_and_the_greater_number_decides() -> None:
    tags = PerItems("ids", 50, 1_000, 500, 1_000, "records", "ids")
    assert _ceiling(tags, BodyFacts({"records": 10}), "ids=" + ",".join("1" * 101)) == 3_000
    assert _ceiling(tags, BodyFacts({"records": 500}), "ids=1") == 10_000


def test_a_listed_price_counts_the_names_of_the_query() -> None:
    listed = PerListed("ids", 10, 1_000, 100, 1_000, "ids")
    assert [_ceiling(listed, NO_BODY, query) for query in ("", "ids=1", "ids=" + "1," * 11, "ids=" + "1%2C" * 25)] == [
        1_000,
        1_000,
        2_000,
        3_000,
    ]


@pytest.mark.parametrize(
    ("limit", "cost"), [(0, 1), (200, 1), (201, 2), (1_000, 2), (1_001, 3), (2_000, 3), (10**9, 3)]
)
def test_a_number_costs_its_tier_and_above_the_last_as_the_last(limit: int, cost: int) -> None:
    assert _ceiling(COQL, BodyFacts({"limit": limit})) == cost * 1_000


def test_a_number_in_the_query_costs_its_tier() -> None:
    pages = Tiers(Number.QUERY, "per_page", 50, ((50, 1_000), (200, 2_000)), "per_page")
    costs = [
        _ceiling(pages, NO_BODY, query)
        for query in ("", "per_page=50", "per_page=51", "per_page=x", "per_page=" + "9" * 9_999)
    ]
    assert costs == [1_000, 1_000, 2_000, 1_000, 2_000]


def test_a_composite_without_rollback_costs_one_and_needs_no_answer() -> None:
    quoted = quote(_match(COMPOSITE), "", BodyFacts({"rollback": 0}))
    assert (quoted.ceiling, quoted.exact) == (1_000, True)


@pytest.mark.parametrize(
    ("answer", "cost"),
    [
        (Answer(200, AnswerFacts(succeeded=True)), 2),
        (Answer(400, AnswerFacts(succeeded=False)), 1),
        (Answer(400, AnswerFacts(succeeded=True)), 1),
        (Answer(500, AnswerFacts(succeeded=False)), 1),
        (Answer(200, None), 2),
        (Answer(0, None), 2),
    ],
)
def test_a_composite_with_rollback_costs_two_when_all_succeeded_or_nobody_can_tell(answer: Answer, cost: int) -> None:
    quoted = quote(_match(COMPOSITE), "", BodyFacts({"rollback": 1}))
    assert (quoted.ceiling, quoted.exact) == (2_000, False)
    assert charge(quoted, answer).millicredits == cost * 1_000


@pytest.mark.parametrize(("status", "cost"), [(200, 5), (302, 5), (400, 1), (500, 1), (0, 5)])
def test_a_price_by_success_falls_when_the_call_fails(status: int, cost: int) -> None:
    quoted = quote(_match(ByOutcome(Outcome.SUCCESS, 5_000, 1_000)), "", NO_BODY)
    assert charge(quoted, Answer(status)).millicredits == cost * 1_000


@pytest.mark.parametrize(
    ("duration", "memory_mb", "millicredits"),
    [
        (0, 128, 250),
        (499_999, 128, 250),
        (500_000, 128, 500),
        (1_000_000, 128, 1_000),
        (4_999_999, 256, 2_000),
        (9_999_999_999, 128, 1_000),
        (0, 129, 500),
        (0, 4_096, 2_000),
    ],
)
def test_a_function_costs_duration_factor_times_memory_factor(duration: int, memory_mb: int, millicredits: int) -> None:
    quoted = quote(_match(DURATION), "", BodyFacts({"memory_mb": memory_mb}))
    charged = charge(quoted, Answer(200, None, duration))
    assert charged.millicredits == millicredits <= quoted.ceiling
    assert charged.quantities == {"memory_mb": memory_mb, "duration_us": duration}


def test_a_function_in_unknown_memory_runs_in_the_cards_default() -> None:
    assert _ceiling(DURATION) == 1_000


def test_a_free_status_costs_nothing_and_any_other_what_was_quoted() -> None:
    quoted = quote(_match(Fixed(3_000), free=frozenset({429})), "", NO_BODY)
    assert [charge(quoted, Answer(status)).millicredits for status in (429, 200, 401, 500, 0)] == [
        0,
        3_000,
        3_000,
        3_000,
        3_000,
    ]


@pytest.mark.parametrize("kind", [Kind.FREE, Kind.OPEN])
def test_free_and_open_operations_cost_nothing_and_read_no_body(kind: Kind) -> None:
    match = _match(PER_TEN, kind=kind)
    assert not match.operation.needs_body
    assert quote(match, "", UNREADABLE).ceiling == 0


def test_the_records_of_the_answer_are_passed_on() -> None:
    quoted = quote(_match(Fixed(1_000)), "", NO_BODY)
    assert charge(quoted, Answer(200, AnswerFacts(succeeded=True, records=7))).records_returned == 7
    assert charge(quoted, Answer(200)).records_returned == -1


def test_a_quote_says_which_rule_of_which_source_made_it() -> None:
    assert quote(_match(PER_TEN), "", NO_BODY).rule == "Op: 1 credit per 10 records, at most 10 credits [off] a source"


def test_the_module_of_a_query_comes_from_its_body() -> None:
    match = _match(COQL)._replace(module="")
    assert quote(match, "", BodyFacts({"limit": 1}, module="Deals")).module == "Deals"


def test_heavy_calls_are_told_by_the_row_by_their_size_and_by_who_calls() -> None:
    base = ("op", "Op", ("POST",), "/x", (), PER_TEN, "api", "s")
    assert Operation(*base, heavy=True).is_heavy({}, from_function=False)
    by_size = Operation(*base, heavy_above=10)
    assert [by_size.is_heavy({"records": n}, from_function=False) for n in (10, 11)] == [False, True]
    by_caller = Operation(*base, heavy_from_function=True)
    assert [by_caller.is_heavy({}, from_function=function) for function in (False, True)] == [False, True]
