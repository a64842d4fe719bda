"""docs/crm.md names every option, every word of a seed file and every data type of what it promises."""

import inspect
from pathlib import Path

import pytest

from farebox.cli.crm import crm as group
from farebox.cli.crm import run as command
from farebox.crm.catalogue_bigin import BIGIN
from farebox.crm.errors import ApiError
from farebox.crm.provision import create_organisation
from farebox.crm.routes import ROUTES, VERSIONS, find_route
from farebox.crm.seed_file import ORGANISATION_WORDS, USER_WORDS

PAGE = (Path(__file__).parents[2] / "docs" / "crm.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", [each for each in inspect.signature(command).parameters if each != "context"])
def test_every_option_is_documented(option: str) -> None:
    assert f"`--{option.replace('_', '-').removeprefix('as-')}" in PAGE


@pytest.mark.parametrize("word", [*ORGANISATION_WORDS, *USER_WORDS])
def test_every_word_of_a_seed_file_is_documented(word: str) -> None:
    assert f"`{word}`" in PAGE


def test_a_seed_file_says_what_create_organisation_takes() -> None:
    assert set(ORGANISATION_WORDS) - {"records"} == set(inspect.signature(create_organisation).parameters) - {"store"}


def test_the_ends_of_the_version_ranges_and_bigins_modules_are_documented() -> None:
    for product, versions in VERSIONS.items():
        assert f"/{product}/{min(versions)}" in PAGE
        assert f"/{product}/{max(versions)}" in PAGE
    for module in BIGIN:
        assert module in PAGE


def test_every_word_of_every_path_is_documented() -> None:
    words = {part for each in ROUTES for part in each.pattern if not part.startswith("{")}
    # the words that only say in which order the others stand
    missing = sorted(each for each in words - {"actions", "bulk", "content"} if each not in PAGE)
    assert missing == []


@pytest.mark.parametrize("option", ["export", "import", "deliveries"])
def test_every_command_is_documented(option: str) -> None:
    assert f"farebox crm {option}" in PAGE
    assert option in {each.name for each in group.registered_commands}


NOT_SUPPORTED = {
    "photos": "GET Leads/1/photo",
    "timeline": "GET Leads/1/__timeline",
    "locks": "POST Leads/1/actions/lock",
    "territories": "GET settings/territories",
    "currencies": "GET settings/currencies",
    "variables": "GET settings/variables",
    "workflows": "GET settings/automation/workflow_rules",
}


@pytest.mark.parametrize(("words", "call"), NOT_SUPPORTED.items())
def test_what_is_not_supported_stands_in_the_last_row_and_is_answered_as_it_says(words: str, call: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| Not offered")]
    assert words in row
    method, path = call.split()
    with pytest.raises(ApiError) as refused:
        find_route(method, path.split("/"))
    assert refused.value.code in ("INVALID_URL_PATTERN", "INVALID_REQUEST_METHOD")
    assert refused.value.code in row
