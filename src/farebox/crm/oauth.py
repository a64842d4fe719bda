"""The accounts server: `/oauth/v2/auth`, `/token`, `/token/revoke` and RFC 7662 introspection.

Zoho answers refused token requests with HTTP 200 and `{"error": ...}`; so does this. Parameters come
as url-encoded form (Python SDK), multipart (Node SDK) or query string; all three may be mixed.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus, urlencode

from farebox.crm import scopes, tokens
from farebox.crm.organisations import find_user
from farebox.crm.settings import Rate, TokenLimits
from farebox.crm.store import Store
from farebox.crm.tokens import Client

Answer = dict[str, Any]


class OauthError(Exception):
    """A token request that is refused; `error` is the word Zoho's accounts server uses."""

    status = 200  # as the original does

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error

    def payload(self) -> Answer:
        """The body of the answer."""
        return {"error": self.error}


class TooManyTokensError(OauthError):
    """More tokens than may be asked for. Source: Zoho token-validity; the words as clients report them [?]."""

    status = 400

    def payload(self) -> Answer:
        """The body of the answer."""
        said = "You have made too many requests continuously. Please try again after some time."
        return {"error_description": said, "error": self.error, "status": "failure"}


def _take(store: Store, whose: str, rate: Rate | None, *, error: str = "Access Denied") -> None:
    """Count one more request for a token; raises TooManyTokensError, and counts nothing, when that is over the rate."""
    if rate is None:
        return
    now = store.now()
    with store.transaction() as db:
        db.execute("DELETE FROM token_request WHERE whose = ? AND at <= ?", (whose, now - rate.seconds))
        taken = db.execute("SELECT count(*) FROM token_request WHERE whose = ?", (whose,)).fetchone()[0]
        if taken >= rate.count:
            raise TooManyTokensError(error)
        db.execute("INSERT INTO token_request VALUES (?, ?)", (whose, now))


def authorize(store: Store, params: Mapping[str, str], *, limits: TokenLimits | None = None) -> str:
    """Where to send the browser: the redirect URI with a fresh code.

    There is no login page: the person who consents is the client's own user, or the one whose e-mail
    address is in `login_hint`. Raises OauthError when the redirect URI cannot be trusted.
    """
    with store.transaction() as db:
        client = tokens.find_client(db, params.get("client_id", ""))
        if client is None or client.zgid is None or client.user_id is None:
            raise OauthError("invalid_client")
        redirect_uri = params.get("redirect_uri", "")
        if not client.redirect_uri or redirect_uri != client.redirect_uri:
            raise OauthError("invalid_redirect_uri")
        scope = params.get("scope", "")
        if params.get("response_type") != "code":
            raise OauthError("response_type_not_supported")
        if not scope or not scopes.is_within(scope, client.scope):
            raise OauthError("invalid_scope")
        user_id = client.user_id
        if hint := params.get("login_hint"):
            row = db.execute(
                "SELECT id FROM user WHERE zgid = ? AND email = ? AND status = 'active'", (client.zgid, hint)
            ).fetchone()
            if row is None:
                raise OauthError("access_denied")
            user_id = row["id"]
        _take(store, f"code {client.client_id}", limits.codes if limits else None, error="access_denied")
        code = tokens.issue_code(
            store,
            client_id=client.client_id,
            user_id=user_id,
            scope=scope,
            redirect_uri=redirect_uri,
            offline=params.get("access_type") == "offline",
        )
    back = {"code": code, "location": "us"}
    if "state" in params:
        back["state"] = params["state"]
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(back)}"


def token(store: Store, params: Mapping[str, str], *, api_domain: str, limits: TokenLimits | None = None) -> Answer:
    """The answer to `POST /oauth/v2/token`; raises OauthError."""
    with store.transaction() as db:
        client = tokens.find_client(db, params.get("client_id", ""))
        if client is None or client.zgid is None:
            raise OauthError("invalid_client")
        if not client.proves_itself(params.get("client_secret", "")):
            raise OauthError("invalid_client_secret")
        match params.get("grant_type"):
            case "authorization_code":
                answer = _exchange_code(store, client, params, limits)
            case "refresh_token":
                answer = _refresh(store, client, params, limits)
            case "client_credentials":
                answer = _client_credentials(store, client, params)
            case _:
                raise OauthError("unsupported_grant_type")
    return {**answer, "api_domain": api_domain, "token_type": "Bearer", "expires_in": tokens.ACCESS_TOKEN_S}


def _exchange_code(store: Store, client: Client, params: Mapping[str, str], limits: TokenLimits | None) -> Answer:
    with store.transaction() as db:
        grant = tokens.find_grant(db, params.get("code", ""), kind="code", at=store.now())
        if grant is None or grant.client_id != client.client_id:
            raise OauthError("invalid_code")
        if grant.redirect_uri and params.get("redirect_uri", "") != grant.redirect_uri:
            raise OauthError("invalid_redirect_uri")
        tokens.use_code(db, grant)
        refreshed: Answer = {}
        parent = None
        if grant.offline:
            _take(store, f"refresh {client.client_id} {grant.user_id}", limits.refresh_tokens if limits else None)
            refresh_token = tokens.issue_refresh_token(
                store, client_id=client.client_id, user_id=grant.user_id, scope=grant.scope
            )
            refreshed = {"refresh_token": refresh_token}
            parent = tokens.digest(refresh_token)
            _take(store, f"access {parent.hex()}", limits.access_tokens if limits else None)
        access_token = tokens.issue_access_token(
            store, client_id=client.client_id, user_id=grant.user_id, scope=grant.scope, parent=parent
        )
    return {"access_token": access_token, **refreshed, "scope": grant.scope}


def _refresh(store: Store, client: Client, params: Mapping[str, str], limits: TokenLimits | None) -> Answer:
    with store.transaction() as db:
        grant = tokens.find_grant(db, params.get("refresh_token", ""), kind="refresh", at=store.now())
        if grant is None or grant.client_id != client.client_id:
            raise OauthError("invalid_code")
        _take(store, f"access {grant.digest.hex()}", limits.access_tokens if limits else None)
        access_token = tokens.issue_access_token(
            store, client_id=client.client_id, user_id=grant.user_id, scope=grant.scope, parent=grant.digest
        )
    return {"access_token": access_token, "scope": grant.scope}


def _client_credentials(store: Store, client: Client, params: Mapping[str, str]) -> Answer:
    scope = params.get("scope") or client.scope
    if not scopes.is_within(scope, client.scope):
        raise OauthError("invalid_scope")
    if client.user_id is None:
        raise OauthError("invalid_client")
    access_token = tokens.issue_access_token(store, client_id=client.client_id, user_id=client.user_id, scope=scope)
    return {"access_token": access_token, "scope": scope}


def introspect(store: Store, params: Mapping[str, str], *, authorization: str | None) -> Answer | None:
    """RFC 7662: what an access or refresh token stands for, `{"active": false}` for anything else.

    None when the caller does not prove to be a client. A resource server may ask about every token,
    another client about those of its own organisation only.
    """
    client_id, secret = _client_credentials_of(params, authorization)
    with store.reading() as db:
        client = tokens.find_client(db, client_id)
        if client is None or not client.proves_itself(secret):
            return None
        value = params.get("token", "")
        grant = None
        for kind in ("access", "refresh"):
            grant = grant or tokens.find_grant(db, value, kind=kind, at=store.now())
        if grant is None or client.zgid not in (None, grant.zgid):
            return {"active": False}
        user = find_user(db, grant.user_id, zgid=grant.zgid)
    assert user is not None, "a grant without its user"
    answer = {
        "active": True,
        "client_id": grant.client_id,
        "scope": " ".join(scopes.split(grant.scope)),
        "username": user.email,
        "sub": str(user.id),
        "token_type": "Bearer",
        "org": str(grant.zgid),
        "user": user.email,
        "user_id": str(user.id),
        "app": grant.client_name,
    }
    return answer if grant.expires is None else {**answer, "exp": grant.expires}


def _client_credentials_of(params: Mapping[str, str], authorization: str | None) -> tuple[str, str]:
    """Client id and secret from HTTP basic (RFC 6749 2.3.1: form-encoded inside) or from the form."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return params.get("client_id", ""), params.get("client_secret", "")
    try:
        client_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)
