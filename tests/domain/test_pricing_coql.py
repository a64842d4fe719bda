"""LIMIT and FROM of a COQL query, found where they count and nowhere else."""

from __future__ import annotations

import time

import pytest

from farebox.domain.pricing_coql import facts_of


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("select a from Leads where b is not null", None),
        ("select a from Leads where b = 1 limit 200", 200),
        ("SELECT a FROM Leads WHERE b = 1 LIMIT 0, 2000", 2_000),
        ("select a from Leads where b = 1 limit 2000,10", 10),
        ("select a from Leads where b = 1 limit 1000 offset 2000", 1_000),
        ("select a from Leads where b = 1 offset 5 limit 201", 201),
        ("select a from Leads where b = 1\nLimit\t\n  7", 7),
        ("select a from Leads where b = 'limit 2000'", None),
        ("select a from Leads where b = 'it\\'s limit 9' limit 3", 3),
        ("select a from Leads where b = 'it''s limit 9' limit 3", 3),
        ('select a from Leads where b = "limit 2000" limit 4', 4),
        ("select limit_x from Leads where limitless = 5", None),
        ("select a from Leads where b = 'unclosed limit 2000", None),
        ("limit " + "9" * 10_000, 10**12),
        ("limit 5 limit 900", 900),
        ("limit -5", None),
        ("", None),
    ],
)
def test_limit_is_read_in_every_spelling_and_never_inside_a_literal(query: str, limit: int | None) -> None:
    assert facts_of(query).limit == limit


def test_the_module_is_the_first_name_after_from_outside_literals() -> None:
    assert facts_of("select ' from X ' from Leads where a = ' from Y'").module == "Leads"
    assert facts_of("select 1").module == ""


@pytest.mark.parametrize("unit", ["'\\", "'", '"', "limit ", "limit 1 , ", "from ", "\\'\\'", "limit\t1,", "'a'"])
def test_a_hostile_megabyte_is_read_in_linear_time(unit: str) -> None:
    hostile = unit * (1_000_000 // len(unit))
    started = time.process_time()
    facts_of(hostile)
    assert time.process_time() - started < 5
