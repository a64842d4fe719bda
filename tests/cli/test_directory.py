"""`farebox org|user|app|key`: what people type and what programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from farebox.cli import directory as commands
from farebox.errors import NameTakenError, UnknownNameError
from farebox.quota.directory import Directory
from farebox.quota.directory_image import digest_of


def call(tmp_path: Path, *words: str) -> Result:
    group, *rest = words
    return CliRunner().invoke(commands.groups()[group], [*rest, "--data", str(tmp_path)])


def ok(tmp_path: Path, *words: str) -> str:
    result = call(tmp_path, *words)
    assert result.exit_code == 0, result.output
    return result.output


def as_json(tmp_path: Path, *words: str) -> Any:
    return json.loads(ok(tmp_path, *words, "--json"))


def test_an_organisation_is_added_with_what_it_bought_and_listed(tmp_path: Path) -> None:
    ok(tmp_path, "org", "add", "acme", "--name", "Acme", "--card", "zoho-crm", "--plan", "Standard", "--users", "10")
    (org,) = as_json(tmp_path, "org", "list")
    assert (org["org"], org["name"], org["suspended"], org["time_zone"]) == ("acme", "Acme", False, "UTC")
    assert org["subscriptions"] == [
        {
            "product": "crm",
            "card": "zoho-crm",
            "plan": "standard",
            "users": 10,
            "base_millicredits": None,
            "addon_millicredits": 0,
        }
    ]
    assert "crm standard x10" in ok(tmp_path, "org", "list")


def test_an_unknown_card_or_plan_is_found_before_anything_is_written(tmp_path: Path) -> None:
    for wrong in (("--card", "nope", "--plan", "standard"), ("--card", "zoho-crm", "--plan", "nope")):
        result = call(tmp_path, "org", "add", "acme", *wrong)
        assert isinstance(result.exception, UnknownNameError)
    assert as_json(tmp_path, "org", "list") == []
    assert call(tmp_path, "org", "add", "acme", "--card", "zoho-crm").exit_code == 2


def test_an_organisation_can_be_changed_suspended_and_let_go_on(tmp_path: Path) -> None:
    ok(tmp_path, "org", "add", "acme")
    ok(tmp_path, "org", "set", "acme", "--name", "New", "--card", "bigin", "--plan", "express", "--addon", "5")
    ok(tmp_path, "org", "suspend", "acme")
    (org,) = as_json(tmp_path, "org", "list")
    assert (org["name"], org["suspended"], org["subscriptions"][0]["addon_millicredits"]) == ("New", True, 5_000)
    ok(tmp_path, "org", "suspend", "acme", "--resume")
    assert not as_json(tmp_path, "org", "list")[0]["suspended"]


def test_users_apps_and_keys_are_added_and_listed_and_keys_revoked(tmp_path: Path) -> None:
    ok(tmp_path, "org", "add", "acme")
    ok(tmp_path, "user", "add", "acme", "u1", "--name", "Ada", "--email", "ada@acme.example")
    ok(tmp_path, "app", "add", "acme", "a1")
    assert as_json(tmp_path, "user", "list", "acme")[0]["email"] == "ada@acme.example"
    assert as_json(tmp_path, "app", "list", "acme") == [{"app": "a1", "name": "a1"}]
    made = as_json(tmp_path, "key", "add", "acme", "--user", "u1", "--app", "a1")
    opened = Directory.open(tmp_path)
    assert opened.image().key(digest_of(made["key"])) is not None
    (key,) = as_json(tmp_path, "key", "list", "acme")
    assert (key["id"], key["revoked"], "key" in key) == (made["id"], False, False)
    ok(tmp_path, "key", "revoke", made["id"])
    assert opened.image().key(digest_of(made["key"])) is None
    opened.close()


def test_the_credential_for_the_upstream_is_kept_out_of_what_is_shown(tmp_path: Path) -> None:
    ok(tmp_path, "org", "add", "acme")
    said = ok(tmp_path, "org", "credential", "acme", "--authorization", "Bearer secret")
    assert "secret" not in said + ok(tmp_path, "org", "list")
    opened = Directory.open(tmp_path)
    assert opened.image().upstream_credential("acme", "any") == "Bearer secret"
    opened.close()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("user", "add", "nobody", "u1"), UnknownNameError),
        (("user", "list", "nobody"), UnknownNameError),
        (("app", "list", "nobody"), UnknownNameError),
        (("key", "add", "nobody"), UnknownNameError),
        (("key", "list", "nobody"), UnknownNameError),
        (("key", "revoke", "nothing"), UnknownNameError),
        (("org", "suspend", "nobody"), UnknownNameError),
        (("org", "add", "acme"), NameTakenError),
    ],
)
def test_unknown_and_taken_names_get_a_sentence(tmp_path: Path, words: tuple[str, ...], error: type[Exception]) -> None:
    ok(tmp_path, "org", "add", "acme")
    assert isinstance(call(tmp_path, *words).exception, error)


def test_empty_lists_say_what_to_do(tmp_path: Path) -> None:
    assert "farebox org add" in ok(tmp_path, "org", "list")
    ok(tmp_path, "org", "add", "acme")
    assert "farebox user add acme" in ok(tmp_path, "user", "list", "acme")
    assert "farebox app add acme" in ok(tmp_path, "app", "list", "acme")
    assert "farebox key add" in ok(tmp_path, "key", "list")
