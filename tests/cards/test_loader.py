"""Card files: what is wrong with one is said all at once, each with file, line, rule and what to do."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from farebox import cards
from farebox.cards.lines import Lines
from farebox.domain.pricing_rules import Fixed
from farebox.errors import CardInvalidError, UnknownNameError

GOOD = """\
format = 1
name = "my-api"
product = "api"
title = "My API"
free_statuses = [429]

[pools]
api = "API credits"

[sources]
DOC = "https://example.com/prices"

[default_operation]
price = 1
source = "DOC"

[[plans]]
name = "basic"
source = "DOC"
api = { base = 1_000, per_user = 10, cap = 5_000 }

[[operations]]
name = "list"
method = "GET"
path = "/things"
price = 0.25
source = "DOC"

[[operations]]
name = "create"
method = "POST"
path = "/things"
price = { per_items = "things", each = 10, max = 100 }
source = "DOC"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(CardInvalidError) as caught:
        cards.parse(text, file="my.toml")
    return list(caught.value.problems)


def test_a_good_card_is_read_exactly() -> None:
    card = cards.parse(GOOD, file="my.toml")
    assert (card.name, card.product, card.free_statuses) == ("my-api", "api", frozenset({429}))
    assert [operation.price.ceiling for operation in card.operations] == [250, 10_000]
    assert card.operations[0].source == "https://example.com/prices"
    assert card.operations[0].free_statuses == frozenset({429})
    assert card.default_operation.price == Fixed(1_000)
    assert card.plan("basic").pool("api").cap == 5_000_000


@pytest.mark.parametrize(
    ("good", "bad", "line", "rule", "what"),
    [
        ('title = "My API"', "title = 7", 4, "title", "write a text"),
        ("price = 0.25", "price = -1", 26, "operations.list.price", "0 or more"),
        ("price = 0.25", "price = 0.0001", 26, "operations.list.price", "three decimal places"),
        ("price = 0.25", "price = nan", 26, "operations.list.price", "number of credits"),
        ("price = 0.25", 'price = "1"', 26, "operations.list.price", "number of credits"),
        ("price = 0.25", "price = {}", 26, "operations.list.price", "exactly one rule"),
        ("price = 0.25\n", "", 22, "operations.list.price", "is missing"),
        ("each = 10", "each = 0", 33, "operations.create.price.each", "1 or more"),
        ("each = 10", "eech = 10", 33, "operations.create.price.eech", 'did you mean "each"'),
        (", max = 100", "", 33, "operations.create.price.max", "is missing"),
        ('path = "/things"\nprice = 0.25', 'path = "things"\nprice = 0.25', 25, "operations.list.path", "no template"),
        ('path = "/things"\nprice = 0.25', 'path = "/a//b"\nprice = 0.25', 25, "operations.list.path", "no template"),
        ('path = "/things"\nprice = 0.25', 'path = "/{*}/b"\nprice = 0.25', 25, "operations.list.path", "only be last"),
        ('method = "GET"', 'method = "get"', 24, "operations.list.method", "in capitals"),
        ('method = "GET"\n', "", 22, "operations.list.method", "is missing"),
        ('method = "POST"', 'method = "GET"', 32, "operations.create.path", 'same calls as "list"'),
        ('name = "create"', 'name = "list"', 30, "operations.list.name", "names two operations"),
        ('name = "create"', 'name = "Create It"', 30, "operations.Create It.name", "small letters"),
        ('price = 0.25\nsource = "DOC"', "price = 0.25", 22, "operations.list.source", "is missing"),
        (
            'price = 0.25\nsource = "DOC"',
            'price = 0.25\nsource = "DOX"',
            27,
            "operations.list.source",
            "not in [sources]",
        ),
        ('[[plans]]\nname = "basic"', '[[plans]]\nname = ""', 18, "plans..name", "write a text"),
        ("cap = 5_000", "cap = true", 20, "plans.basic.api.cap", "number of credits"),
        ("format = 1", "format = 2", 1, "format", "must be 1"),
        ("free_statuses = [429]", "free_statuses = [4290]", 5, "free_statuses", "HTTP statuses"),
        ("free_statuses = [429]", 'colour = "red"', 5, "colour", "unknown key"),
        ('api = "API credits"', "", 7, "pools", "is missing"),
        ("[default_operation]", "[default_operations]", 13, "default_operations", 'did you mean "default_operation"'),
        ('name = "list"', 'name = "list"\npool = "gold"', 24, "operations.list.pool", "not in [pools]"),
        ('name = "list"', 'name = "list"\nmark = "maybe"', 24, "operations.list.mark", "off, 3rd"),
        ('name = "list"', 'name = "list"\nkind = "gratis"', 24, "operations.list.kind", '"metered", "free", "open"'),
        ('name = "list"', 'name = "list"\nheavy = 1', 24, "operations.list.heavy", "true or false"),
        (
            'name = "list"',
            'name = "list"\nhints = { use_instead = "x" }',
            24,
            "operations.list.hints",
            "names no operation",
        ),
    ],
)
def test_each_kind_of_mistake_is_found_on_its_line(good: str, bad: str, line: int, rule: str, what: str) -> None:
    assert good in GOOD
    found = problems(GOOD.replace(good, bad, 1))
    assert any(problem.startswith(f"my.toml:{line}: {rule}: ") and what in problem for problem in found), found


def test_all_problems_are_reported_together_in_the_order_of_the_lines() -> None:
    text = (
        GOOD.replace("price = 0.25", "price = -1")
        .replace('title = "My API"', "title = 7")
        .replace("each = 10", "each = 0")
    )
    lines = [int(problem.split(":")[1]) for problem in problems(text)]
    assert lines == [4, 26, 33]


def test_broken_toml_says_where() -> None:
    assert problems('format = 1\nname = "x\n') == problems('format = 1\nname = "x\n')
    assert problems('format = 1\nname = "x\n')[0].startswith("my.toml:2: toml: ")


def test_an_empty_file_says_all_that_is_missing() -> None:
    said = "\n".join(problems(""))
    assert all(key in said for key in ("format", "name", "product", "title", "pools", "default_operation"))


def test_two_rows_whose_templates_differ_only_in_names_are_ambiguous() -> None:
    text = GOOD.replace('path = "/things"\nprice = 0.25', 'path = "/things/{id}"\nprice = 0.25').replace(
        'method = "POST"\npath = "/things"', 'method = "GET"\npath = "/things/{other}"'
    )
    assert "matches the same calls" in problems(text)[0]


def test_a_tier_that_falls_is_a_mistake() -> None:
    text = GOOD.replace("price = 0.25", 'price = { tiers = [[200, 2], [100, 3]], of = "query", at = "n", default = 1 }')
    assert "rising bounds" in problems(text)[0]


def test_card_files_are_found_by_path_and_packaged_cards_by_name(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(GOOD, encoding="utf-8")
    assert cards.load(file) == cards.load(str(file)) == cards.parse(GOOD, file="my.toml")
    assert cards.names() == ("bigin", "generic", "zoho-crm")
    assert cards.load("bigin").product == "bigin"


def test_a_card_that_is_not_there_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="bigin, generic, zoho-crm"):
        cards.load("zoho")
    with pytest.raises(UnknownNameError, match="cannot be read"):
        cards.load(tmp_path / "none.toml")
    with pytest.raises(UnknownNameError, match="cannot be read"):
        cards.load(tmp_path)


def test_a_card_in_another_encoding_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(GOOD.encode("utf-16"))
    (tmp_path / "b.toml").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(CardInvalidError, match="UTF-8"):
        cards.load(tmp_path / "a.toml")
    with pytest.raises(CardInvalidError, match="larger than"):
        cards.load(tmp_path / "b.toml")


def test_lines_are_found_in_spite_of_strings_arrays_and_dots() -> None:
    lines = Lines(
        'a = """\nb = 1\n"""\nc = [\n  "]", # d = 1\n]\n\n[t.u]\n"q k" = 1\n'
        "[[r]]\nx = 1\n[[r]]\nx = 2\n[r.s]\ny = 1\nz.w = 1\n"
    )
    assert [lines.of(path) for path in (("a",), ("c",), ("t", "u", "q k"), ("r", 0, "x"), ("r", 1, "x"))] == [
        1,
        4,
        9,
        11,
        13,
    ]
    assert [lines.of(path) for path in (("r", 1, "s", "y"), ("r", 1, "s", "z", "w"), ("b",), ("nowhere",))] == [
        15,
        16,
        1,
        1,
    ]


def test_every_key_of_the_card_format_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cards.md").read_text(encoding="utf-8")
    source = "".join(
        (Path(cards.__file__).parent / name).read_text(encoding="utf-8") for name in ("loader.py", "prices.py")
    )
    asked = set(
        re.findall(
            r"(?:row|table|root)\.(?:text|texts|number|numbers|credits|flag|choice|table|tables|raw)\(\"(\w+)\"", source
        )
    )
    asked |= set(re.findall(r"_(?:name|steps)\(\w+, \"(\w+)\"", source))
    assert len(asked) > 40
    assert not sorted(key for key in asked if not re.search(rf"\b{key}\b", page))


@pytest.mark.parametrize(
    ("dialect", "headers"),
    [
        ("", {"ratelimit-draft", "x-farebox"}),
        ('[dialect]\nrefusals = "problem"\n', {"ratelimit-draft", "x-farebox"}),
        ("[dialect]\nheaders = []\n", set()),
    ],
)
def test_answers_tell_about_credits_unless_the_card_switches_that_off(
    tmp_path: Path, dialect: str, headers: set[str]
) -> None:
    path = tmp_path / "card.toml"
    path.write_text(GOOD.replace("[pools]", f"{dialect}\n[pools]"))
    assert cards.load(str(path)).dialect.headers == headers


@pytest.mark.parametrize("name", cards.names())
def test_no_note_of_a_card_that_ships_names_a_source_by_its_key(name: str) -> None:
    text = (resources.files("farebox.cards") / f"{name}.toml").read_text(encoding="utf-8")
    keys = set(tomllib.loads(text).get("sources", {}))
    card = cards.load(name)
    notes = [row.note for row in card.operations]
    assert not [note for note in notes if any(key in keys for key in re.findall(r"\((\w+)\)", note))]
