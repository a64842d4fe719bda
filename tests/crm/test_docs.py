"""docs/crm.md names every option, every word of a seed file and every data type of what it promises."""

import inspect
from pathlib import Path

import pytest

from farebox.cli.crm import crm as command
from farebox.crm.catalogue_bigin import BIGIN
from farebox.crm.provision import create_organisation
from farebox.crm.routes import VERSIONS
from farebox.crm.seed_file import ORGANISATION_WORDS, USER_WORDS

PAGE = (Path(__file__).parents[2] / "docs" / "crm.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", inspect.signature(command).parameters)
def test_every_option_is_documented(option: str) -> None:
    assert f"`--{option.replace('_', '-').removeprefix('as-')}" in PAGE


@pytest.mark.parametrize("word", [*ORGANISATION_WORDS, *USER_WORDS])
def test_every_word_of_a_seed_file_is_documented(word: str) -> None:
    assert f"`{word}`" in PAGE


def test_a_seed_file_says_what_create_organisation_takes() -> None:
    assert set(ORGANISATION_WORDS) == set(inspect.signature(create_organisation).parameters) - {"store"}


def test_the_ends_of_the_version_ranges_and_bigins_modules_are_documented() -> None:
    for product, versions in VERSIONS.items():
        assert f"/{product}/{min(versions)}" in PAGE
        assert f"/{product}/{max(versions)}" in PAGE
    for module in BIGIN:
        assert module in PAGE
