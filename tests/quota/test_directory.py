"""The directory file, its image in gateways, and the allowances made from it."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from farebox import cards
from farebox.domain.identity import Account, Principal
from farebox.errors import ConfigInvalidError, DataDirectoryError, DataVersionError, NameTakenError, UnknownNameError
from farebox.quota.allowances import allowance_of
from farebox.quota.directory import Directory, DirectoryWatch
from farebox.quota.directory_image import digest_of


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    made = Directory.open(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def acme(directory: Directory) -> Directory:
    directory.add_org("acme", name="Acme", time_zone="Europe/Berlin")
    directory.subscribe("acme", "crm", card="zoho-crm", plan="standard", users=10)
    directory.add_user("acme", "u1", name="Ada", email="Ada@Acme.example")
    directory.add_app("acme", "a1", name="Importer")
    return directory


def test_a_key_is_shown_once_and_only_its_hash_is_kept(acme: Directory, tmp_path: Path) -> None:
    made = acme.add_key("acme", user="u1", app="a1", label="nightly import")
    assert made.key.startswith("fbx_")
    assert acme.image().key(digest_of(made.key)) == Principal(org="acme", user="u1", app="a1")
    acme.close()
    for file in (tmp_path / "data").iterdir():
        assert made.key.encode() not in file.read_bytes()


def test_a_revoked_key_opens_nothing_and_is_still_listed(acme: Directory) -> None:
    made = acme.add_key("acme")
    acme.revoke_key(made.id)
    acme.revoke_key(made.id)
    assert acme.image().key(digest_of(made.key)) is None
    assert [(key.id, key.revoked) for key in acme.keys("acme")] == [(made.id, True)]


def test_users_are_found_by_id_and_by_e_mail_whatever_its_case(acme: Directory) -> None:
    image = acme.image()
    assert image.user("acme", "u1") == image.user("acme", "ada@acme.EXAMPLE")
    assert image.user("acme", "nobody") is None
    assert image.user("other", "u1") is None


def test_the_image_is_loaded_again_when_the_version_grew_and_only_then(acme: Directory, tmp_path: Path) -> None:
    watch = DirectoryWatch(tmp_path / "data")
    first = watch.image
    assert not watch.refresh()
    assert watch.image is first
    acme.suspend("acme")
    assert watch.refresh()
    org = watch.image.org("acme")
    assert org is not None
    assert org.suspended
    assert watch.image.version == first.version + 1
    watch.close()


def test_every_change_raises_the_version_and_a_refused_one_does_not(acme: Directory) -> None:
    before = acme.version()
    with pytest.raises(NameTakenError):
        acme.add_org("acme", name="Again")
    with pytest.raises(NameTakenError):
        acme.add_user("acme", "u1", name="Again")
    with pytest.raises(UnknownNameError):
        acme.add_user("nobody", "u1", name="x")
    with pytest.raises(UnknownNameError):
        acme.add_key("acme", user="u9")
    with pytest.raises(UnknownNameError):
        acme.add_key("acme", app="a9")
    with pytest.raises(UnknownNameError):
        acme.revoke_key("nothing")
    with pytest.raises(UnknownNameError):
        acme.set_org("nobody", name="x")
    with pytest.raises(UnknownNameError):
        acme.unsubscribe("acme", "desk")
    assert acme.version() == before
    acme.set_user_active("acme", "u1", active=False)
    assert acme.version() == before + 1


@pytest.mark.parametrize("bad", ["", "a b", "a/b", "a?b", "x" * 201, "a\n"])
def test_an_id_that_could_not_stand_in_an_address_is_refused(directory: Directory, bad: str) -> None:
    with pytest.raises(UnknownNameError):
        directory.add_org(bad, name="x")


def test_an_unknown_time_zone_is_refused(directory: Directory) -> None:
    with pytest.raises(UnknownNameError, match="IANA"):
        directory.add_org("acme", name="Acme", time_zone="Mars/Olympus")


def test_upstream_credentials_are_per_upstream_or_for_all(acme: Directory) -> None:
    acme.set_upstream_credential("acme", authorization="Bearer all")
    acme.set_upstream_credential("acme", upstream="crm", authorization="Bearer crm")
    image = acme.image()
    assert image.upstream_credential("acme", "crm") == "Bearer crm"
    assert image.upstream_credential("acme", "other") == "Bearer all"
    assert image.upstream_credential("nobody", "crm") is None
    acme.set_upstream_credential("acme", upstream="crm", authorization=None)
    assert acme.image().upstream_credential("acme", "crm") == "Bearer all"


@pytest.mark.parametrize("bad", ["Bearer x\n", "Bearer x\r\nX-Admin: 1", "Bearer \x00", " Bearer x", "Bearer é", ""])
def test_a_credential_that_is_no_field_value_is_refused_and_never_repeated(acme: Directory, bad: str) -> None:
    with pytest.raises(ConfigInvalidError, match="on one line") as caught:
        acme.set_upstream_credential("acme", authorization=bad)
    assert not bad.strip() or bad.strip() not in str(caught.value)
    assert acme.image().upstream_credential("acme", "crm") is None


def test_the_file_is_readable_by_its_owner_only(acme: Directory, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "data" / "directory.db").stat().st_mode) == 0o600


def test_the_allowance_is_the_plans_formula_with_the_orgs_own_numbers(acme: Directory) -> None:
    account = Account("acme", "crm", "api")
    of = allowance_of(acme.image, cards.load)
    assert of(account).total == 52_500_000
    acme.subscribe("acme", "crm", card="zoho-crm", plan="standard", users=10, base=20_000_000, addon=5_000_000)
    made = of(account)
    assert (made.total, made.plan_part, made.base, made.addon) == (27_500_000, 22_500_000, 20_000_000, 5_000_000)
    functions = of(Account("acme", "crm", "functions"))
    assert (functions.total, functions.addon) == (7_000_000, 0), "an own base and add-on are the API pool's"


def test_the_allowance_of_a_suspended_org_is_nothing_until_it_goes_on(acme: Directory) -> None:
    account = Account("acme", "crm", "api")
    of = allowance_of(acme.image, cards.load)
    version = of(account).version
    acme.suspend("acme")
    assert (of(account).total, of(account).suspended) == (0, True)
    assert of(account).version > version
    acme.suspend("acme", suspended=False)
    assert of(account).total == 52_500_000


@pytest.mark.parametrize("account", [("nobody", "crm", "api"), ("acme", "desk", "api"), ("acme", "crm", "none")])
def test_an_account_there_is_none_of_has_no_allowance(acme: Directory, account: tuple[str, str, str]) -> None:
    with pytest.raises(UnknownNameError):
        allowance_of(acme.image, cards.load)(Account(*account))


def test_a_directory_of_a_newer_version_is_refused(acme: Directory, tmp_path: Path) -> None:
    acme.close()
    db = sqlite3.connect(tmp_path / "data" / "directory.db")
    db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(DataVersionError, match="newer Farebox"):
        Directory.open(tmp_path / "data")


def test_a_data_directory_that_cannot_be_made_gets_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataDirectoryError, match="cannot be used"):
        Directory.open(tmp_path / "file" / "data")
