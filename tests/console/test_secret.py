"""The files that sign cookies and let commands of this machine in."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from farebox.console.secret import (
    KEY_SECONDS,
    LOCAL_NAME,
    SECRET_NAME,
    read_local_access,
    signing_keys,
    write_local_access,
)
from farebox.errors import DataDirectoryError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_stay_the_same_until_they_are_thirty_days_old(tmp_path: Path) -> None:
    first = signing_keys(tmp_path, now=lambda: 1_000.0)
    assert signing_keys(tmp_path, now=lambda: 1_000.0 + KEY_SECONDS - 1) == first
    assert len(first) == 1
    assert mode_of(tmp_path / SECRET_NAME) == 0o600


def test_a_new_key_signs_and_the_one_before_is_still_believed(tmp_path: Path) -> None:
    (first,) = signing_keys(tmp_path, now=lambda: 0.0)
    second = signing_keys(tmp_path, now=lambda: float(KEY_SECONDS))
    assert second[0] == first
    third = signing_keys(tmp_path, now=lambda: float(2 * KEY_SECONDS))
    assert third[0] == second[1]
    assert len(third) == 2


def test_a_damaged_key_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / SECRET_NAME).write_text("nonsense")
    with pytest.raises(DataDirectoryError, match="remove it to make new keys"):
        signing_keys(tmp_path)


def test_the_way_in_for_this_machine_is_for_its_owner_alone_and_new_each_time(tmp_path: Path) -> None:
    assert read_local_access(tmp_path) is None
    first = write_local_access(tmp_path, "http://127.0.0.1:1")
    second = write_local_access(tmp_path, "http://127.0.0.1:2")
    assert first.token != second.token
    assert read_local_access(tmp_path) == second
    assert mode_of(tmp_path / LOCAL_NAME) == 0o600
