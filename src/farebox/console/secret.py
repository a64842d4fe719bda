"""Secrets on disk: the keys that sign cookies, renewed every 30 days, and the way in for the same machine."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farebox.console.auth import TOKEN_PREFIX
from farebox.errors import DataDirectoryError

KEY_SECONDS: Final = 30 * 24 * 3_600
KEYS_KEPT: Final = 2
"""The newest signs; the one before is still believed, so that nobody is signed out by the renewal."""

SECRET_NAME: Final = "console.secret"  # noqa: S105 - a file's name
LOCAL_NAME: Final = "console.token"


@dataclass(frozen=True, slots=True)
class LocalAccess:
    """Where the console of this data directory is, and a token that acts as the operator there."""

    url: str
    token: str


def signing_keys(data: Path, *, now: Callable[[], float] = time.time) -> list[str]:
    """The keys in data/console.secret (mode 0600), oldest first; a new one is added every KEY_SECONDS.

    Raises DataDirectoryError when the file cannot be read or written.
    """
    path = data / SECRET_NAME
    made: list[tuple[int, str]] = []
    try:
        if path.exists():
            lines = path.read_text(encoding="ascii").splitlines()
            made = [(int(at), key) for at, key in (line.split() for line in lines if line)]
        if not made or made[-1][0] + KEY_SECONDS <= now():
            made = [*made, (int(now()), secrets.token_hex(32))][-KEYS_KEPT:]
            _written(path, "".join(f"{at} {key}\n" for at, key in made))
    except (OSError, ValueError) as error:
        raise DataDirectoryError(
            f"{path} cannot be used: {error}; remove it to make new keys (everybody then signs in again)"
        ) from error
    return [key for _, key in made]


def write_local_access(data: Path, url: str) -> LocalAccess:
    """A new token for commands on this machine, in data/console.token (mode 0600); the one before ends."""
    access = LocalAccess(url, TOKEN_PREFIX + secrets.token_urlsafe(32))
    try:
        _written(data / LOCAL_NAME, json.dumps({"url": access.url, "token": access.token}) + "\n")
    except OSError as error:
        raise DataDirectoryError(f"{data / LOCAL_NAME} cannot be written: {error}") from error
    return access


def read_local_access(data: Path) -> LocalAccess | None:
    """What the console of this data directory wrote when it started; None when none did or it is not ours to read."""
    try:
        found = json.loads((data / LOCAL_NAME).read_text(encoding="ascii"))
    except (FileNotFoundError, PermissionError):
        return None
    return LocalAccess(found["url"], found["token"])


def _written(path: Path, text: str) -> None:
    """Replace the file in one step, never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
