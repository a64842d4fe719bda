"""Signed cookies and the form tokens bound to them: what proves that a request comes from a page of ours."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Final

from itsdangerous import BadSignature, Signer
from starlette.requests import Request
from starlette.responses import Response

FORM_FIELD: Final = "form_token"


class Cookies:
    """The session cookie, and a visitor cookie that the forms before signing in are bound to.

    HttpOnly and SameSite=Lax always; over https also Secure and with the __Host- prefix, so that no other host of the
    domain can set them.
    """

    def __init__(self, keys: Sequence[str], *, secure: bool) -> None:
        self._secure = secure
        prefix = "__Host-" if secure else ""
        self._session_name, self._visitor_name = f"{prefix}farebox-session", f"{prefix}farebox-visitor"
        self._session = Signer(list(keys), salt="farebox session", digest_method=hashlib.sha256)
        self._form = Signer(list(keys), salt="farebox form", digest_method=hashlib.sha256)

    def session(self, request: Request) -> str | None:
        """The session's secret; None without a cookie signed by us."""
        return self._opened(request.cookies.get(self._session_name))

    def start(self, response: Response, token: str, *, seconds: int) -> None:
        """Hand the session to the browser for `seconds`."""
        self._set(response, self._session_name, token, seconds)

    def end(self, response: Response) -> None:
        """Take the session from the browser."""
        response.delete_cookie(self._session_name, path="/", secure=self._secure, httponly=True, samesite="lax")

    def visitor(self, request: Request) -> str | None:
        """What the forms before signing in are bound to; None before the first page."""
        return self._opened(request.cookies.get(self._visitor_name))

    def new_visitor(self, response: Response, token: str) -> None:
        """Remember `token` in the browser until it is closed."""
        self._set(response, self._visitor_name, token, None)

    def form_token(self, binding: str) -> str:
        """The token that a form's POST has to carry; `binding` is the session's or visitor's secret."""
        return self._form.get_signature(binding).decode()

    def form_token_fits(self, binding: str | None, given: str) -> bool:
        """Whether `given` was made for `binding`, by any key still believed."""
        return binding is not None and self._form.verify_signature(binding, given)

    def _set(self, response: Response, name: str, token: str, seconds: int | None) -> None:
        sealed = self._session.sign(token).decode()
        response.set_cookie(name, sealed, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="lax")

    def _opened(self, sealed: str | None) -> str | None:
        try:
            return self._session.unsign(sealed).decode() if sealed else None
        except BadSignature:
            return None


def new_secret() -> str:
    """Something nobody guesses."""
    return secrets.token_urlsafe(32)
