"""Pricing is on the way of every call: what it may cost, measured and printed.

The goals are those of a quiet core (matching 2 us, counting 100 records 50 us); the limits asserted leave room for
a machine that is busy with other tests, and still catch a walk that became a search.
"""

from __future__ import annotations

import json
import timeit

import pytest

from farebox import cards
from farebox.domain.cards import CompiledCard
from farebox.domain.pricing import NO_BODY, quote

CARD = CompiledCard(cards.load("zoho-crm"))
BUSY = 10


def _best_us(call: object, *, times: int = 2_000) -> float:
    assert callable(call)
    return min(timeit.repeat(call, number=times, repeat=7)) / times * 1e6


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/crm/v8/Leads", "fields=Last_Name&page=2"),
        ("GET", "/crm/v8/Leads/4150868000003194003", ""),
        ("POST", "/crm/v8/Leads", ""),
        ("GET", "/crm/bulk/v8/read/4150868000003194003", ""),
        ("GET", "/crm/v8/settings/modules/Leads", ""),
    ],
)
def test_a_call_is_matched_and_quoted_within_microseconds(method: str, path: str, query: str) -> None:
    match = CARD.match(method, path, query)
    matching = _best_us(lambda: CARD.match(method, path, query))
    quoting = _best_us(lambda: quote(match, query, NO_BODY))
    print(f"{method} {path}: match {matching:.2f} us (goal 2), quote {quoting:.2f} us")
    assert matching < 2 * BUSY
    assert quoting < 2 * BUSY


def test_a_hundred_records_are_counted_in_microseconds() -> None:
    content = json.dumps({"data": [{"Last_Name": "x" * 500, "Number": number} for number in range(100)]}).encode()
    price = CARD.match("POST", "/crm/v8/Leads", "").operation.price
    counting = _best_us(lambda: cards.body_facts(price, content), times=200)
    print(f"100 records, {len(content):,} bytes: {counting:.1f} us (goal 50)")
    assert counting < 50 * BUSY


def test_hostile_paths_take_few_steps_and_leave_nothing_behind() -> None:
    deep = "/crm/v8" + "/Leads/actions" * 2_000
    assert CARD.match("GET", deep, "").operation.name == "other_module"
    taken = _best_us(lambda: CARD.match("GET", deep, ""), times=50)
    print(f"4,000 segments: {taken:.0f} us")
    assert taken < 2_000 * BUSY
