"""Who may look at the console: logins, one-time links, sessions and tokens in a SQLite file of their own.

A login belongs to one org and sees that org only, or to the operator, who sees all. Nothing that opens a door is kept
as it is: passwords as argon2id, links, sessions and tokens as SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import argon2

from farebox.errors import (
    DataDirectoryError,
    DataVersionError,
    LinkInvalidError,
    NameTakenError,
    PasswordUnfitError,
    SignInRefusedError,
    SignInThrottledError,
    UnknownNameError,
)

SCHEMA_VERSION: Final = 1
OPERATOR: Final = ""
"""The `org` of a login that sees every organisation."""

LINK_SECONDS: Final = 24 * 3_600
PASSWORD_CHARS_MIN: Final = 10
PASSWORD_CHARS_MAX: Final = 256
TOKEN_PREFIX: Final = "fbc_"  # noqa: S105 - how console tokens begin, not one

FAILURE_SECONDS: Final = 15 * 60
FAILURES_PER_LOGIN_AND_ADDRESS_MAX: Final = 5
FAILURES_PER_ADDRESS_MAX: Final = 20
FAILURES_PER_LOGIN_MAX: Final = 50
"""Above the limit for one address, so that a stranger cannot lock a login's owner out with a few wrong guesses."""

HASHES_AT_ONCE_MAX: Final = 2
HASH_KIB: Final = 7 * 1024
HASH_PASSES: Final = 5
"""argon2id as OWASP's password cheat sheet has it for little memory: 7 MiB, 5 passes, equal to 19 MiB with 2. The
allocator keeps what a hash took, x HASHES_AT_ONCE_MAX, for as long as the console runs."""


@dataclass(frozen=True, slots=True)
class Login:
    """A person (or program) who is signed in."""

    name: str
    org: str

    @property
    def is_operator(self) -> bool:
        """Whether every organisation is theirs to see."""
        return self.org == OPERATOR

    def may_see(self, org: str) -> bool:
        """G8: one's own org, or all of them for the operator."""
        return self.is_operator or self.org == org


class Logins:
    """The logins in `path` (console.db). Safe to use from several threads and beside the command line's process."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._hashing = threading.BoundedSemaphore(HASHES_AT_ONCE_MAX)
        self._hasher = argon2.PasswordHasher(time_cost=HASH_PASSES, memory_cost=HASH_KIB, parallelism=1)
        self._connection = _opened(path)
        self._nobody_hash = self._hasher.hash(secrets.token_hex(16))

    def make_login(self, name: str, *, org: str, password: str | None = None) -> Login:
        """A new login for `org` (OPERATOR: for all); without a password until a one-time link has set one.

        Raises NameTakenError, or PasswordUnfitError when the password given is too short or too long.
        """
        password_hash = "" if password is None else self._hash(password)
        try:
            with self._changing() as db:
                db.execute("INSERT INTO logins VALUES (?, ?, ?)", (name, org, password_hash))
        except sqlite3.IntegrityError:
            raise NameTakenError(f"there is a login {name!r} already; choose another name") from None
        return Login(name, org)

    def logins(self) -> tuple[Login, ...]:
        """All of them, by name."""
        with self._lock:
            found = self._connection.execute("SELECT name, org FROM logins ORDER BY name").fetchall()
        return tuple(Login(name, org) for name, org in found)

    def one_time_link(self, name: str, *, base_url: str) -> str:
        """A link that sets a password, once, within 24 hours. Earlier links of this login stop working."""
        token = secrets.token_urlsafe(32)
        with self._changing() as db:
            _existing(db, name)
            db.execute("DELETE FROM links WHERE login = ?", (name,))
            db.execute("INSERT INTO links VALUES (?, ?, ?)", (_digest(token), name, int(self._now()) + LINK_SECONDS))
        return f"{base_url.rstrip('/')}/first-sign-in/{token}"

    def login_of_link(self, token: str) -> Login:
        """Whose link this is; looking does not use it up. Raises LinkInvalidError."""
        with self._lock:
            return self._of_link(token)

    def set_password_by_link(self, token: str, password: str) -> Login:
        """Set the password and use the link up, in one step; every session and token of the login ends.

        Raises PasswordUnfitError (the link stays good) and LinkInvalidError.
        """
        password_hash = self._hash(password)
        with self._changing() as db:
            login = self._of_link(token)
            db.execute("DELETE FROM links WHERE login = ?", (login.name,))
            db.execute("DELETE FROM sessions WHERE login = ?", (login.name,))
            db.execute("DELETE FROM tokens WHERE login = ?", (login.name,))
            db.execute("UPDATE logins SET password_hash = ? WHERE name = ?", (password_hash, login.name))
        return login

    def check_password(self, name: str, password: str, *, address: str) -> Login:
        """The login, if the password is its own. Takes as long for a name that does not exist; attempts are counted.

        Raises SignInRefusedError, or SignInThrottledError after too many failures from `address` or for `name`.
        """
        self._counted(name, address)
        with self._lock:
            found = self._connection.execute("SELECT org, password_hash FROM logins WHERE name = ?", (name,)).fetchone()
        org, password_hash = found or (OPERATOR, "")
        if not self._matches(password_hash or self._nobody_hash, password) or not password_hash:
            raise SignInRefusedError("login or password is not right; an operator can make a new one-time link")
        with self._changing() as db:
            db.execute("DELETE FROM failures WHERE login = ? AND address = ?", (name, address))
        return Login(name, org)

    def start_session(self, login: Login, *, seconds: int) -> str:
        """A new session's secret, good for `seconds`."""
        token, now = secrets.token_urlsafe(32), int(self._now())
        with self._changing() as db:
            db.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_digest(token), login.name, now + seconds))
        return token

    def login_of_session(self, token: str) -> Login | None:
        """Whose session this is; None when it ended."""
        with self._lock:
            found = self._connection.execute(
                "SELECT name, org FROM sessions JOIN logins ON name = login WHERE token_hash = ? AND expires_at > ?",
                (_digest(token), int(self._now())),
            ).fetchone()
        return Login(*found) if found else None

    def end_session(self, token: str) -> None:
        """Sign out. Harmless to repeat."""
        with self._changing() as db:
            db.execute("DELETE FROM sessions WHERE token_hash = ?", (_digest(token),))

    def make_token(self, name: str) -> str:
        """A bearer token for programs that acts as this login; shown once."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        with self._changing() as db:
            _existing(db, name)
            db.execute("INSERT INTO tokens VALUES (?, ?, ?)", (_digest(token), name, int(self._now())))
        return token

    def login_of_token(self, token: str) -> Login | None:
        """Whose token this is; None for one that never was or ended."""
        with self._lock:
            found = self._connection.execute(
                "SELECT name, org FROM tokens JOIN logins ON name = login WHERE token_hash = ?", (_digest(token),)
            ).fetchone()
        return Login(*found) if found else None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def _of_link(self, token: str) -> Login:
        found = self._connection.execute(
            "SELECT name, org FROM links JOIN logins ON name = login WHERE token_hash = ? AND expires_at > ?",
            (_digest(token), int(self._now())),
        ).fetchone()
        if not found:
            raise LinkInvalidError(
                "this link was used already, is older than 24 hours or was replaced; ask for a new one "
                "(`farebox login link NAME` makes it)"
            )
        return Login(*found)

    def _counted(self, name: str, address: str) -> None:
        """Count the attempt as failed before it is judged, so that many at once are not judged uncounted."""
        now = int(self._now())
        with self._changing() as db:
            db.execute("DELETE FROM failures WHERE at <= ?", (now - FAILURE_SECONDS,))
            waits = [0]
            for where, values, most in (
                ("login = ? AND address = ?", (name, address), FAILURES_PER_LOGIN_AND_ADDRESS_MAX),
                ("address = ?", (address,), FAILURES_PER_ADDRESS_MAX),
                ("login = ?", (name,), FAILURES_PER_LOGIN_MAX),
            ):
                count, oldest = db.execute(f"SELECT count(*), min(at) FROM failures WHERE {where}", values).fetchone()  # noqa: S608 - the three texts above
                if count >= most:
                    waits.append(oldest + FAILURE_SECONDS - now + 1)
            if max(waits) > 0:
                raise SignInThrottledError(retry_after_seconds=max(waits))
            db.execute("INSERT INTO failures VALUES (?, ?, ?)", (name, address, now))

    def _hash(self, password: str) -> str:
        if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
            raise PasswordUnfitError(
                f"the password must have {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters; a few words do well"
            )
        with self._hashing:
            return self._hasher.hash(password)

    def _matches(self, password_hash: str, password: str) -> bool:
        with self._hashing:
            try:
                return self._hasher.verify(password_hash, password[: PASSWORD_CHARS_MAX + 1])
            except argon2.exceptions.VerifyMismatchError:
                return False

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that takes the write lock at once, so that a check and its change cannot be parted.

        Raises DataDirectoryError when the file cannot be written now (a full disk, say): nothing has changed then.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise DataDirectoryError(
                        f"The logins cannot be written now ({error}). Make room on the disk of the data directory, or "
                        "give it back its permissions, then try again."
                    ) from error
                raise


def _opened(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except (OSError, sqlite3.Error) as error:
        raise DataDirectoryError(f"{path} cannot be used: {error}; give `data` a writable directory") from error
    if version > SCHEMA_VERSION:
        connection.close()
        raise DataVersionError(
            f"{path} has schema version {version}, this Farebox knows {SCHEMA_VERSION}: start the Farebox that wrote it"
        )
    if version == 0:
        schema = resources.files("farebox.console").joinpath("sql", "001_logins.sql").read_text(encoding="utf-8")
        connection.executescript(f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;")
    return connection


def _existing(db: sqlite3.Connection, name: str) -> None:
    if db.execute("SELECT 1 FROM logins WHERE name = ?", (name,)).fetchone() is None:
        raise UnknownNameError(f"there is no login {name!r}; `farebox login add` makes one")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
