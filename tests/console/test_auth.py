"""Logins, links, passwords, sessions, tokens and throttling on a real file, with a clock that is told."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from farebox.console.auth import (
    FAILURE_SECONDS,
    FAILURES_PER_ADDRESS_MAX,
    FAILURES_PER_LOGIN_AND_ADDRESS_MAX,
    LINK_SECONDS,
    OPERATOR,
    Logins,
)
from farebox.errors import (
    DataVersionError,
    FareboxError,
    LinkInvalidError,
    NameTakenError,
    PasswordUnfitError,
    SignInRefusedError,
    SignInThrottledError,
    UnknownNameError,
)

WORDS = "four calm quiet words"
HERE = "192.0.2.1"
ELSEWHERE = "192.0.2.2"


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logins(tmp_path: Path, clock: Clock) -> Iterator[Logins]:
    made = Logins(tmp_path / "console.db", now=clock)
    made.make_login("ada", org="acme", password=WORDS)
    yield made
    made.close()


def token_of(link: str) -> str:
    return link.rpartition("/")[2]


def fail(logins: Logins, *, times: int, name: str = "ada", address: str = HERE) -> None:
    for _ in range(times):
        with pytest.raises(SignInRefusedError):
            logins.check_password(name, "wrong wrong wrong", address=address)


def test_a_login_of_an_org_sees_that_org_and_the_operator_sees_all(logins: Logins) -> None:
    ada = logins.check_password("ada", WORDS, address=HERE)
    ops = logins.make_login("ops", org=OPERATOR)
    assert ada.may_see("acme")
    assert not ada.may_see("other")
    assert not ada.is_operator
    assert ops.may_see("acme")
    assert ops.may_see("other")


def test_a_name_is_taken_once(logins: Logins) -> None:
    with pytest.raises(NameTakenError):
        logins.make_login("ada", org="other")


def test_a_link_sets_the_password_once(logins: Logins) -> None:
    logins.make_login("ben", org="acme")
    token = token_of(logins.one_time_link("ben", base_url="http://console/"))
    assert logins.login_of_link(token).name == "ben"
    logins.set_password_by_link(token, WORDS)
    assert logins.check_password("ben", WORDS, address=HERE).org == "acme"
    with pytest.raises(LinkInvalidError):
        logins.set_password_by_link(token, "another password")
    with pytest.raises(LinkInvalidError):
        logins.login_of_link(token)


def test_of_many_who_use_a_link_at_once_one_succeeds(logins: Logins) -> None:
    token = token_of(logins.one_time_link("ada", base_url="http://console"))
    outcomes: list[str] = []

    def use(number: int) -> None:
        try:
            logins.set_password_by_link(token, f"password number {number}")
            outcomes.append("set")
        except LinkInvalidError:
            outcomes.append("refused")

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 5 + ["set"]


def test_a_link_ends_after_24_hours_and_when_a_newer_one_is_made(logins: Logins, clock: Clock) -> None:
    first = token_of(logins.one_time_link("ada", base_url="http://console"))
    second = token_of(logins.one_time_link("ada", base_url="http://console"))
    with pytest.raises(LinkInvalidError):
        logins.login_of_link(first)
    clock.now += LINK_SECONDS - 1
    assert logins.login_of_link(second).name == "ada"
    clock.now += 1
    with pytest.raises(LinkInvalidError):
        logins.login_of_link(second)


def test_a_link_for_nobody_is_refused(logins: Logins) -> None:
    with pytest.raises(UnknownNameError):
        logins.one_time_link("nobody", base_url="http://console")
    with pytest.raises(UnknownNameError):
        logins.make_token("nobody")


def test_an_unfit_password_leaves_the_link_good(logins: Logins) -> None:
    token = token_of(logins.one_time_link("ada", base_url="http://console"))
    for unfit in ("short", "x" * 257):
        with pytest.raises(PasswordUnfitError):
            logins.set_password_by_link(token, unfit)
    assert logins.set_password_by_link(token, "long enough now").name == "ada"


def test_a_login_without_a_password_cannot_sign_in_with_any(logins: Logins) -> None:
    logins.make_login("new", org="acme")
    for guess in ("", "anything at all"):
        with pytest.raises(SignInRefusedError):
            logins.check_password("new", guess, address=HERE)


def test_a_wrong_name_and_a_wrong_password_are_refused_in_the_same_words(logins: Logins) -> None:
    with pytest.raises(SignInRefusedError) as wrong_password:
        logins.check_password("ada", "not the password", address=HERE)
    with pytest.raises(SignInRefusedError) as wrong_name:
        logins.check_password("nobody", "not the password", address=HERE)
    assert str(wrong_password.value) == str(wrong_name.value)


def test_after_five_failures_the_right_password_waits_too(logins: Logins, clock: Clock) -> None:
    fail(logins, times=FAILURES_PER_LOGIN_AND_ADDRESS_MAX)
    with pytest.raises(SignInThrottledError) as refusal:
        logins.check_password("ada", WORDS, address=HERE)
    clock.now += refusal.value.retry_after_seconds
    assert logins.check_password("ada", WORDS, address=HERE).name == "ada"


def test_a_stranger_elsewhere_does_not_lock_the_owner_out(logins: Logins) -> None:
    fail(logins, times=FAILURES_PER_LOGIN_AND_ADDRESS_MAX, address=ELSEWHERE)
    assert logins.check_password("ada", WORDS, address=HERE).name == "ada"


def test_one_address_cannot_try_many_names(logins: Logins) -> None:
    for number in range(FAILURES_PER_ADDRESS_MAX):
        fail(logins, times=1, name=f"name{number}")
    with pytest.raises(SignInThrottledError):
        logins.check_password("ada", WORDS, address=HERE)
    assert logins.check_password("ada", WORDS, address=ELSEWHERE).name == "ada"


def test_guesses_made_at_once_are_counted_before_they_are_judged(logins: Logins) -> None:
    outcomes: list[str] = []

    def guess() -> None:
        try:
            logins.check_password("ada", "not the password", address=HERE)
        except FareboxError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("SIGN_IN_REFUSED") == FAILURES_PER_LOGIN_AND_ADDRESS_MAX
    assert outcomes.count("SIGN_IN_THROTTLED") == 12 - FAILURES_PER_LOGIN_AND_ADDRESS_MAX


def test_signing_in_forgets_earlier_failures_from_there(logins: Logins, clock: Clock) -> None:
    fail(logins, times=FAILURES_PER_LOGIN_AND_ADDRESS_MAX - 1)
    logins.check_password("ada", WORDS, address=HERE)
    fail(logins, times=FAILURES_PER_LOGIN_AND_ADDRESS_MAX - 1)
    clock.now += FAILURE_SECONDS + 1
    logins.check_password("ada", WORDS, address=HERE)


def test_a_session_lasts_until_its_end_or_signing_out(logins: Logins, clock: Clock) -> None:
    ada = logins.check_password("ada", WORDS, address=HERE)
    first, second = (logins.start_session(ada, seconds=3_600) for _ in range(2))
    assert logins.login_of_session(first) == ada
    logins.end_session(first)
    assert logins.login_of_session(first) is None
    clock.now += 3_600
    assert logins.login_of_session(second) is None


def test_a_new_password_ends_every_session_and_token(logins: Logins) -> None:
    ada = logins.check_password("ada", WORDS, address=HERE)
    session, token = logins.start_session(ada, seconds=3_600), logins.make_token("ada")
    assert logins.login_of_token(token) == ada
    logins.set_password_by_link(token_of(logins.one_time_link("ada", base_url="http://console")), "the new password")
    assert logins.login_of_session(session) is None
    assert logins.login_of_token(token) is None


def test_nothing_that_opens_a_door_is_in_the_file(logins: Logins, tmp_path: Path) -> None:
    ada = logins.check_password("ada", WORDS, address=HERE)
    link = token_of(logins.one_time_link("ada", base_url="http://console"))
    secrets = [WORDS, link, logins.start_session(ada, seconds=60), logins.make_token("ada")]
    logins.close()
    content = (tmp_path / "console.db").read_bytes()
    assert b"argon2id" in content
    for secret in secrets:
        assert secret.encode() not in content
    assert stat.S_IMODE((tmp_path / "console.db").stat().st_mode) == 0o600


def test_a_file_of_a_newer_farebox_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(DataVersionError):
        Logins(path)
