"""Who asks: the login behind a request, from its session cookie or, for programs, from its Authorization field."""

from __future__ import annotations

import base64
import binascii
import hmac

from starlette.requests import Request

from farebox.console.auth import OPERATOR, TOKEN_PREFIX, Login, Logins
from farebox.console.cookies import Cookies
from farebox.console.orgs import Orgs

KEY_PREFIX = "fbx_"
UNKNOWN_ADDRESS = "unknown"


class NotSignedInError(Exception):
    """401 for programs, the sign-in page for people."""


class FormRefusedError(Exception):
    """403: a POST without the form token of this session."""


class Doors:
    """The ways in. `local_token` acts as the operator: commands on the same machine read it from the data directory."""

    def __init__(self, *, logins: Logins, cookies: Cookies, orgs: Orgs, local_token: str | None) -> None:
        self._logins = logins
        self._cookies = cookies
        self._orgs = orgs
        self._local_token = local_token

    def person(self, request: Request) -> Login:
        """The login of the session cookie. Raises NotSignedInError."""
        session = self._cookies.session(request)
        login = self._logins.login_of_session(session) if session else None
        if login is None:
            raise NotSignedInError
        return login

    def program(self, request: Request) -> Login:
        """The login of the Authorization field, else of the session cookie.

        Bearer: a console token, or a Farebox key (its org's figures). Basic: login and password, throttled as the
        sign-in page is. Raises NotSignedInError, SignInRefusedError, SignInThrottledError.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "":
                return self.person(request)
            case "bearer":
                login = self._of_bearer(value.strip())
            case "basic":
                login = self._of_basic(value.strip(), request)
            case _:
                login = None
        if login is None:
            raise NotSignedInError
        return login

    def check_form(self, request: Request, given: str) -> None:
        """The form token must be this session's (before signing in: this visitor's). Raises FormRefusedError."""
        binding = self._cookies.session(request) or self._cookies.visitor(request)
        if not self._cookies.form_token_fits(binding, given):
            raise FormRefusedError

    def _of_bearer(self, token: str) -> Login | None:
        if token.startswith(TOKEN_PREFIX):
            if self._local_token is not None and hmac.compare_digest(token.encode(), self._local_token.encode()):
                return Login("operator of this machine", OPERATOR)
            return self._logins.login_of_token(token)
        if token.startswith(KEY_PREFIX):
            org = self._orgs.org_of_key(token)
            return None if org is None else Login("key", org)
        return None

    def _of_basic(self, value: str, request: Request) -> Login | None:
        try:
            name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return self._logins.check_password(name, password, address=address_of(request)) if colon else None


def address_of(request: Request) -> str:
    """The address attempts are counted under: the connection's own, whatever a header claims."""
    return request.client.host if request.client else UNKNOWN_ADDRESS
