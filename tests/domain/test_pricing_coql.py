"""LIMIT and FROM of a COQL query, found where they count and nowhere else."""

from __future__ import annotations

import re

import pytest

from farebox.domain import pricing_coql
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
def test_no_literal_is_looked_at_twice_closed_or_not(unit: str) -> None:
    """With possessive repeats each attempt is over what it takes; here, no attempt begins again inside a literal."""
    hostile = unit * (10_000 // len(unit))
    literals = [token.span() for token in pricing_coql._TOKENS.finditer(hostile) if token[0][0] in "'\""]
    inside = {place for start, end in literals for place in range(start, end)}
    assert [place for place, character in enumerate(hostile) if character in "'\"" and place not in inside] == []
    facts_of(hostile)


def test_every_repeat_of_the_pattern_is_possessive_so_nothing_is_tried_again() -> None:
    outside = re.sub(r"\\.|\[[^\]]*\]", "", pricing_coql._TOKENS.pattern)
    repeats = re.findall(r"[*+]\+?|\{", outside)
    assert len(repeats) > 5, "the repeats were not found"
    assert set(repeats) <= {"*+", "++"}
