"""OAuth grants in the store: authorization codes, refresh tokens and access tokens, kept as digests.

Lifetimes and ceilings: Zoho accounts, "multi-DC and token validity" pages.
"""

import hashlib
import hmac
import secrets
import sqlite3
from dataclasses import dataclass

from farebox.crm.store import Store

ACCESS_TOKEN_S = 3_600
CODE_S = 120
"""How long an authorization code may be exchanged, once."""
REFRESH_TOKENS_PER_USER_AND_CLIENT = 20
ACCESS_TOKENS_PER_REFRESH_TOKEN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered application. Without `zgid` it is a resource server: it may only introspect."""

    client_id: str
    zgid: int | None
    user_id: int | None
    secret: bytes
    name: str
    scope: str
    redirect_uri: str

    def proves_itself(self, secret: str) -> bool:
        """Whether this is the client's secret."""
        return hmac.compare_digest(self.secret, digest(secret))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a good token stands for. `expires` in seconds since 1970, None when only revocation ends it."""

    digest: bytes
    client_id: str
    client_name: str
    user_id: int
    email: str
    zgid: int
    scope: str
    expires: int | None
    redirect_uri: str
    offline: bool


def digest(secret: str) -> bytes:
    """What the store keeps of a secret: enough to recognise it. Ours are random, so no salt is needed."""
    return hashlib.sha256(secret.encode()).digest()


def new_token() -> str:
    """A token in Zoho's form `1000.<32 hex>.<32 hex>`."""
    return f"1000.{secrets.token_hex(16)}.{secrets.token_hex(16)}"


def find_client(db: sqlite3.Connection, client_id: str) -> Client | None:
    """The client of this id."""
    row = db.execute("SELECT * FROM client WHERE client_id = ?", (client_id,)).fetchone()
    return None if row is None else Client(**dict(row))


def issue_code(
    store: Store, *, client_id: str, user_id: int, scope: str, redirect_uri: str = "", offline: bool = True
) -> str:
    """A new authorization code, good once and for CODE_S seconds."""
    code = new_token()
    _insert(
        store,
        code,
        kind="code",
        client_id=client_id,
        user_id=user_id,
        scope=scope,
        lifetime_s=CODE_S,
        redirect_uri=redirect_uri,
        offline=offline,
    )
    return code


def issue_refresh_token(store: Store, *, client_id: str, user_id: int, scope: str, value: str | None = None) -> str:
    """A new refresh token (or the given one). Over the ceiling per user and client the oldest one ends."""
    token = value or new_token()
    with store.transaction() as db:
        _insert(store, token, kind="refresh", client_id=client_id, user_id=user_id, scope=scope)
        oldest = db.execute(
            "SELECT digest FROM token WHERE kind = 'refresh' AND client_id = ? AND user_id = ? "
            "ORDER BY issued DESC, digest = ? DESC LIMIT -1 OFFSET ?",
            (client_id, user_id, digest(token), REFRESH_TOKENS_PER_USER_AND_CLIENT),
        ).fetchall()
        for row in oldest:
            _end(db, row["digest"])
    return token


def issue_access_token(store: Store, *, client_id: str, user_id: int, scope: str, parent: bytes | None = None) -> str:
    """A new access token, good for ACCESS_TOKEN_S; over the ceiling per refresh token the oldest ends."""
    token = new_token()
    with store.transaction() as db:
        db.execute("DELETE FROM token WHERE expires IS NOT NULL AND expires <= ?", (store.now(),))
        _insert(
            store,
            token,
            kind="access",
            client_id=client_id,
            user_id=user_id,
            scope=scope,
            lifetime_s=ACCESS_TOKEN_S,
            parent=parent,
        )
        if parent is not None:
            db.execute(
                "DELETE FROM token WHERE digest IN (SELECT digest FROM token WHERE parent = ? "
                "ORDER BY issued DESC, digest = ? DESC LIMIT -1 OFFSET ?)",
                (parent, digest(token), ACCESS_TOKENS_PER_REFRESH_TOKEN),
            )
    return token


def issue_lasting_access_token(store: Store, *, client_id: str, user_id: int, scope: str, value: str) -> None:
    """Make `value` an access token until it is revoked: for programs of a test that cannot refresh one."""
    _insert(store, value, kind="access", client_id=client_id, user_id=user_id, scope=scope)


def find_grant(db: sqlite3.Connection, token: str, *, kind: str, at: int) -> Grant | None:
    """What the token stands for at `at`; None when unknown, expired, revoked or its user is not active."""
    row = db.execute(
        "SELECT t.digest, t.client_id, c.name AS client_name, t.user_id, u.email, u.zgid, t.scope, t.expires, "
        "t.redirect_uri, t.offline FROM token t JOIN client c USING (client_id) JOIN user u ON u.id = t.user_id "
        "WHERE t.digest = ? AND t.kind = ? AND (t.expires IS NULL OR t.expires > ?) AND u.status = 'active'",
        (digest(token), kind, at),
    ).fetchone()
    if row is None:
        return None
    return Grant(**{**dict(row), "offline": bool(row["offline"])})


def use_code(db: sqlite3.Connection, grant: Grant) -> None:
    """End a code that is being exchanged."""
    _end(db, grant.digest)


def revoke(store: Store, token: str) -> bool:
    """End a refresh token with all its access tokens, or one access token; whether there was one."""
    with store.transaction() as db:
        return _end(db, digest(token))


def _end(db: sqlite3.Connection, token_digest: bytes) -> bool:
    ended = db.execute("DELETE FROM token WHERE digest = ?", (token_digest,)).rowcount
    db.execute("DELETE FROM token WHERE parent = ?", (token_digest,))
    return ended > 0


def _insert(
    store: Store,
    token: str,
    *,
    kind: str,
    client_id: str,
    user_id: int,
    scope: str,
    lifetime_s: int | None = None,
    parent: bytes | None = None,
    redirect_uri: str = "",
    offline: bool = True,
) -> None:
    now = store.now()
    with store.transaction() as db:
        db.execute(
            "INSERT INTO token (digest, kind, client_id, user_id, scope, issued, expires, parent, redirect_uri, "
            "offline) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                digest(token),
                kind,
                client_id,
                user_id,
                scope,
                now,
                None if lifetime_s is None else now + lifetime_s,
                parent,
                redirect_uri,
                offline,
            ),
        )
