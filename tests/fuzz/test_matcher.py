"""Whatever path comes, a card's matcher finds what reading its templates one by one would, and never raises."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_plus

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tests.fuzz.run import EXAMPLES, SEED

from farebox import cards
from farebox.domain.cards import CompiledCard, Operation

CARDS = ("zoho-crm", "bigin", "generic")
LITERAL, VERSION, VARIABLE, REST = range(4)
PATTERNS = {VERSION: r"v(?=.{1,7}(?:/|\Z))[0-9]+(?:\.[0-9]+)?", VARIABLE: "[^/]+", REST: r"[^/]*(?:/[^/]*)*"}


@dataclass(frozen=True)
class Template:
    """An operation's path as a regular expression. `ranks`: how particular each of its segments is."""

    operation: Operation
    pattern: re.Pattern[str]
    ranks: tuple[int, ...]


def rank_of(segment: str) -> int:
    return {"{version}": VERSION, "{*}": REST}.get(segment, VARIABLE if segment.startswith("{") else LITERAL)


def template_of(operation: Operation) -> Template:
    segments = operation.path.removesuffix("/").split("/")[1:]
    ranks = tuple(rank_of(segment) for segment in segments)
    parts = (re.escape(each) if rank == LITERAL else PATTERNS[rank] for each, rank in zip(segments, ranks, strict=True))
    return Template(operation, re.compile("".join(f"/{part}" for part in parts), re.DOTALL), ranks)


class Naive:
    """A card read from top to bottom for every call."""

    def __init__(self, compiled: CompiledCard) -> None:
        self._default = compiled.card.default_operation
        dearest_first = sorted(compiled.card.operations, key=lambda each: -each.ceiling)
        self._templates = [template_of(each) for each in dearest_first if each.path]

    def match(self, method: str, path: str, query: str) -> Operation:
        plain = "/".join(segment.partition(";")[0] for segment in path.split("/")) if ";" in path else path
        plain = plain.removesuffix("/") if path.endswith("/") else plain
        found = self._best(method, plain, query)
        if found is None and method == "HEAD":
            found = self._best("GET", plain, query)
        return found or self._default

    def _best(self, method: str, path: str, query: str) -> Operation | None:
        given_names = {unquote_plus(pair.partition("=")[0]) for pair in query.split("&")}
        fitting = [
            (template.ranks, 0 if method in template.operation.methods else 1, -len(needed), position)
            for position, template in enumerate(self._templates)
            if {method, "*"} & set(template.operation.methods)
            and set(needed := template.operation.required_query) <= given_names
            and template.pattern.fullmatch(path)
        ]
        return self._templates[min(fitting)[-1]].operation if fitting else None


COMPILED = {name: CompiledCard(cards.load(name)) for name in CARDS}
NAIVE = {name: Naive(compiled) for name, compiled in COMPILED.items()}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW", "*", "")
SEGMENTS = (
    "v8",
    "v2.1",
    "v",
    "v8.",
    "v99999999",
    "Leads",
    "123",
    "",
    ";",
    "actions",
    "coql",
    "x;y=1",
    "\u0663",
    "{*}",
    "{module}",
)


@st.composite
def calls(draw: st.DrawFn, name: str) -> tuple[str, str, str]:
    """A template of the card filled in, and then changed in up to two places; or anything at all."""
    operations = [each for each in COMPILED[name].card.operations if each.path]
    template = draw(st.sampled_from(operations)) if operations else None
    segments = template.path.split("/")[1:] if template and draw(st.integers(0, 9)) else draw(st.lists(st.text()))
    filled = [draw(st.sampled_from(SEGMENTS)) if each.startswith("{") else each for each in segments]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(filled)))
        filled[at : at + draw(st.integers(0, 1))] = draw(st.lists(st.sampled_from(SEGMENTS), max_size=2))
    named = sorted({query for each in operations for query in each.required_query})
    query = "&".join(draw(st.lists(st.sampled_from([*named, "a=b", "%63vid=1", "ids=", "=", "%", ""]), max_size=3)))
    return draw(st.sampled_from(METHODS)), "/" + "/".join(filled), query


@pytest.mark.parametrize("name", CARDS)
def test_the_matcher_finds_what_all_templates_read_one_by_one_would(name: str) -> None:
    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(call=calls(name))
    def compare(call: tuple[str, str, str]) -> None:
        match = COMPILED[name].match(*call)
        assert match.operation == NAIVE[name].match(*call), f"FAREBOX_SEED={SEED}"

    compare()


@seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(method=st.text(), path=st.text(), query=st.text())
def test_the_matcher_never_raises(method: str, path: str, query: str) -> None:
    for compiled in COMPILED.values():
        assert compiled.match(method, path, query).operation is not None
