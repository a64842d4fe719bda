"""Reading bodies for pricing: what is counted, what costs as empty, and what cannot be judged."""

from __future__ import annotations

import json

import pytest

from farebox import cards
from farebox.cards.body import records_in
from farebox.domain.pricing import NO_BODY, BodyFacts, NoBody, Unreadable
from farebox.domain.pricing_rules import ByOutcome, Fixed, Number, Outcome, PerItems, Tiers

RECORDS = PerItems("data", 10, 1_000, 100, 1_000, "records")
NESTED = PerItems("query.fields", 10, 1_000, 100, 1_000, "fields")
COQL = Tiers(Number.COQL_LIMIT, "select_query", 200, ((200, 1_000), (2_000, 3_000)), "limit")
SIZE = Tiers(Number.BODY, "page.size", 10, ((10, 1_000), (100, 2_000)), "size")
COMPOSITE = ByOutcome(Outcome.ROLLBACK, 2_000, 1_000)


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (b'{"data":[{},{},{}]}', 3),
        (b'{"trigger":["workflow"],"data":[1,"two",null,[],{}]}', 5),
        (b' \n{"data" : [ ] }', 0),
        (b"\xef\xbb\xbf" + b'{"data":[{}]}', 1),
        ('{"data":[{"Last_Name":"Müller 日本"}]}'.encode(), 1),
        (b'{"data":{"a":1}}', 0),
        (b'{"data":null}', 0),
        (b"[1,2,3]", 0),
        (b"name=value&other=1", 0),
        (b'{"data":[1,2', 0),
        (b"[" * 100_000, 0),
        (b'{"data":' + b"[" * 100_000, 0),
    ],
)
def test_items_are_counted_and_what_is_not_json_of_that_shape_has_none(content: bytes, records: int) -> None:
    assert cards.body_facts(RECORDS, content) == BodyFacts({"records": records})


def test_items_are_found_at_a_dotted_path() -> None:
    assert cards.body_facts(NESTED, b'{"query":{"fields":["a","b"]}}') == BodyFacts({"fields": 2})
    assert cards.body_facts(NESTED, b'{"query":["a","b"]}') == BodyFacts({"fields": 0})


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_body_in_another_charset_cannot_be_judged(charset: str) -> None:
    assert isinstance(cards.body_facts(RECORDS, json.dumps({"data": [1]}).encode(charset)), Unreadable)


def test_a_compressed_body_that_nobody_declared_cannot_be_judged() -> None:
    assert isinstance(cards.body_facts(RECORDS, bytes.fromhex("1f8b0800000000000003ab56")), Unreadable)


def test_no_body_is_no_body() -> None:
    assert cards.body_facts(RECORDS, b"") == NO_BODY
    assert isinstance(cards.body_facts(Fixed(1), b"{}"), NoBody)


def test_a_query_says_its_limit_and_its_module() -> None:
    content = json.dumps({"select_query": "select a from Deals where b = 1 limit 5, 900"}).encode()
    assert cards.body_facts(COQL, content) == BodyFacts({"limit": 900}, "Deals")
    assert cards.body_facts(COQL, b'{"select_query":7}') == BodyFacts({"limit": 200}, "")


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("7", 7),
        ('"70"', 70),
        ("-5", 10**12),
        ("null", 10),
        ("1.5", 10**12),
        ("1e3", 10**12),
        ("[5]", 10),
        ('"x"', 10),
        ("9" * 30, 10**12),
        ("1" + "0" * 5_000, 10**12),
    ],
)
def test_a_number_of_the_body_is_read_within_bounds(said: str, size: int) -> None:
    facts = cards.body_facts(SIZE, b'{"page":{"size":' + said.encode() + b"}}")
    assert isinstance(facts, BodyFacts)
    assert SIZE.of(facts.quantities["size"]) == SIZE.of(size)


@pytest.mark.parametrize(
    ("said", "rollback"), [("true", 1), ("false", 0), ("null", 0), ('"true"', 1), ("1", 1), ("0", 0), ("{}", 1)]
)
def test_rollback_mode_is_anything_but_a_clear_no(said: str, rollback: int) -> None:
    content = b'{"rollback_on_fail":' + said.encode() + b',"__composite_requests":[]}'
    assert cards.body_facts(COMPOSITE, content) == BodyFacts({"rollback": rollback})


@pytest.mark.parametrize(
    ("content", "succeeded"),
    [
        (b'{"__composite_requests":[{"code":"SUCCESS","details":{"response":{"status_code":200}}}]}', True),
        (b'{"__composite_requests":[{"code":"SUCCESS","details":{"response":{"status_code":404}}}]}', False),
        (b'{"__composite_requests":[{"code":"ROLLBACK_PERFORMED","details":{}}]}', False),
        (b'{"__composite_requests":[]}', False),
        (b'{"code":"INVALID_DATA"}', False),
    ],
)
def test_a_composite_succeeded_when_each_of_its_sub_requests_did(content: bytes, *, succeeded: bool) -> None:
    facts = cards.answer_facts(COMPOSITE, content)
    assert facts is not None
    assert facts.succeeded is succeeded


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x1f\x8b", b'{"__composite_requests":7}', b"[" * 100_000])
def test_an_answer_nobody_can_read_says_nothing(content: bytes) -> None:
    assert cards.answer_facts(COMPOSITE, content) is None


def test_records_of_an_answer_are_counted_where_it_has_any() -> None:
    assert records_in(b'{"data":[{},{}],"info":{"count":2}}') == 2
    assert records_in(b"") == records_in(b"zip") == -1
