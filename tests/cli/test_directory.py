"""`farebox org|user|app|key`: what people type and what programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from farebox.cli import directory as commands
from farebox.cli.login import login
from farebox.errors import DataDirectoryError, NameTakenError, UnknownNameError
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
    for halves in (("--card", "zoho-crm"), ("--users", "5"), ("--plan", "standard", "--addon", "5")):
        assert call(tmp_path, "org", "add", "acme", *halves).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_organisation_can_be_changed_suspended_and_let_go_on(tmp_path: Path) -> None:
    ok(tmp_path, "org", "add", "acme")
    ok(tmp_path, "org", "set", "acme", "--name", "New", "--card", "bigin", "--plan", "express", "--addon", "5")
    ok(tmp_path, "org", "suspend", "acme")
    (org,) = as_json(tmp_path, "org", "list")
    assert (org["name"], org["suspended"], org["subscriptions"][0]["addon_millicredits"]) == ("New", True, 5_000)
    ok(tmp_path, "org", "suspend", "acme", "--resume")
    assert not as_json(tmp_path, "org", "list")[0]["suspended"]


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """An organisation with 10 licences, an add-on and a base limit of its own: 60,000 + 2,500 + 500."""
    bought = ("--card", "zoho-crm", "--plan", "standard", "--users", "10", "--base", "60000", "--addon", "500")
    ok(tmp_path, "org", "add", "acme", *bought)
    return tmp_path


def subscription(data: Path, product: str = "crm") -> dict[str, Any]:
    (org,) = as_json(data, "org", "list")
    (found,) = (each for each in org["subscriptions"] if each["product"] == product)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("words", "changed", "said"),
    [
        (("--addon", "1500"), {"addon_millicredits": 1_500_000}, "crm: 63,000 -> 64,000 credits in any 24 hours"),
        (("--users", "20"), {"users": 20}, "crm: 63,000 -> 65,500 credits"),
        (("--users", "0"), {"users": 0}, "63,000 -> 60,500 credits in any 24 hours, in force within two seconds"),
        (("--base", "50000"), {"base_millicredits": 50_000_000}, "crm: 63,000 -> 53,000 credits"),
        (("--plan-base",), {"base_millicredits": None}, "crm: 63,000 -> 53,000 credits"),
        (("--plan", "Enterprise"), {"plan": "enterprise"}, "crm: 63,000 -> 70,500 credits"),
        (("--card", "zoho-crm", "--plan", "enterprise"), {"plan": "enterprise"}, "crm: 63,000 -> 70,500 credits"),
        (("--addon", "500"), {}, "crm: 63,000 credits in any 24 hours, as before"),
    ],
)
def test_what_is_set_changes_and_what_is_not_stays(
    acme: Path, words: tuple[str, ...], changed: dict[str, Any], said: str
) -> None:
    before = subscription(acme)
    assert said in ok(acme, "org", "set", "acme", *words)
    assert subscription(acme) == before | changed


def test_a_raised_total_is_told_with_before_and_after(acme: Path) -> None:
    said = ok(acme, "org", "set", "acme", "--addon", "1500")
    assert "crm: 63,000 -> 64,000 credits in any 24 hours, in force within a second." in said
    report = as_json(acme, "org", "set", "acme", "--addon", "500")
    assert (report["before_millicredits"]["api"], report["after_millicredits"]["api"]) == (64_000_000, 63_000_000)


def test_with_several_products_it_must_be_said_which(acme: Path) -> None:
    ok(acme, "org", "set", "acme", "--card", "bigin", "--plan", "express", "--users", "10")
    ambiguous = call(acme, "org", "set", "acme", "--users", "20")
    assert ambiguous.exit_code == 2
    assert "--product" in ambiguous.output
    assert "bigin, crm" in ambiguous.output
    assert "bigin: 52,500 -> 55,000 credits" in ok(acme, "org", "set", "acme", "--product", "bigin", "--users", "20")
    assert (subscription(acme)["users"], subscription(acme, "bigin")["users"]) == (10, 20)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--product", "crm"),
        ("--product", "crm", "--name", "New"),
        ("--base", "5", "--plan-base"),
        ("--card", "bigin", "--users", "5"),
        ("--card", "bigin", "--product", "crm", "--plan", "express"),
    ],
)
def test_a_set_that_would_change_nothing_or_contradicts_itself_is_a_misuse(acme: Path, words: tuple[str, ...]) -> None:
    before = as_json(acme, "org", "list")
    assert call(acme, "org", "set", "acme", *words).exit_code == 2
    assert as_json(acme, "org", "list") == before


@pytest.mark.parametrize(
    "wrong",
    [
        ("--card", "nope", "--plan", "standard"),
        ("--plan", "nope"),
        ("--card", "zoho-crm", "--plan", "nope"),
        ("--product", "nope", "--users", "5"),
        ("--users", "5", "--time-zone", "Moon/Tycho"),
    ],
)
def test_a_set_with_a_wrong_name_writes_nothing(acme: Path, wrong: tuple[str, ...]) -> None:
    before = as_json(acme, "org", "list")
    assert isinstance(call(acme, "org", "set", "acme", "--name", "New", *wrong).exception, UnknownNameError)
    assert as_json(acme, "org", "list") == before


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


@pytest.mark.parametrize("words", [("org", "list"), ("user", "list", "acme"), ("app", "list", "acme"), ("key", "list")])
def test_reading_makes_no_data_directory_but_says_there_is_none(tmp_path: Path, words: tuple[str, ...]) -> None:
    for folder in (tmp_path, tmp_path / "elsewhere"):
        error = call(folder, *words).exception
        assert isinstance(error, DataDirectoryError)
        assert str(folder) in str(error)
        assert "farebox org add" in str(error)
        assert "--data" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_empty_lists_say_what_to_do(tmp_path: Path) -> None:
    Directory.open(tmp_path).close()
    assert "farebox org add" in ok(tmp_path, "org", "list")
    ok(tmp_path, "org", "add", "acme")
    assert "farebox user add acme" in ok(tmp_path, "user", "list", "acme")
    assert "farebox app add acme" in ok(tmp_path, "app", "list", "acme")
    assert "farebox key add" in ok(tmp_path, "key", "list")


def test_the_list_of_logins_makes_no_file_where_there_are_none(tmp_path: Path) -> None:
    result = CliRunner().invoke(login, ["list", "--data", str(tmp_path / "data")])
    assert isinstance(result.exception, DataDirectoryError)
    assert "farebox login add" in str(result.exception)
    assert not (tmp_path / "data").exists()


def test_one_user_is_suspended_and_let_go_on_and_the_others_are_not_touched(tmp_path: Path) -> None:
    ok(tmp_path, "org", "add", "acme")
    ok(tmp_path, "user", "add", "acme", "ada")
    ok(tmp_path, "user", "add", "acme", "ben")

    def active() -> dict[str, bool]:
        directory = Directory.open(tmp_path)
        try:
            return {user.id: user.active for user in directory.image().users("acme")}
        finally:
            directory.close()

    assert "calls are refused" in ok(tmp_path, "user", "suspend", "acme", "ada")
    assert active() == {"ada": False, "ben": True}
    ok(tmp_path, "user", "suspend", "acme", "ada", "--resume")
    assert active() == {"ada": True, "ben": True}
    assert isinstance(call(tmp_path, "user", "suspend", "acme", "nobody").exception, UnknownNameError)


def test_shadow_mode_is_entered_left_shown_and_survives_other_changes(tmp_path: Path) -> None:
    ok(tmp_path, "org", "add", "acme")
    assert "none is refused" in ok(tmp_path, "org", "set", "acme", "--shadow")
    assert "shadow mode" in ok(tmp_path, "org", "list")
    assert as_json(tmp_path, "org", "set", "acme", "--name", "New") == {"org": "acme"}
    assert as_json(tmp_path, "org", "list")[0]["shadow"] is True
    assert as_json(tmp_path, "org", "set", "acme", "--no-shadow") == {"org": "acme", "shadow": False}
    assert as_json(tmp_path, "org", "list")[0]["shadow"] is False
