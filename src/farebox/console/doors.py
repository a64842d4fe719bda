"""Who asks: the login behind a request, from its session cookie or, for programs, from its Authorization field.

Every route stands behind one of three doors - anybody, person, program - which is its role: a dependency of its router,
checked before anything else is read. An app with a route behind none does not start.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount

from farebox.console.auth import OPERATOR, TOKEN_PREFIX, Login, Logins
from farebox.console.cookies import Cookies
from farebox.console.orgs import Orgs

KEY_PREFIX = "fbx_"
UNKNOWN_ADDRESS = "unknown"


class Role(StrEnum):
    """Whom a route answers: everybody the same, a signed-in person, or a person or a program."""

    ANYBODY = "anybody"
    PERSON = "person"
    PROGRAM = "program"


class RouteWithoutRoleError(Exception):
    """A route stands behind no door: a mistake in the console itself, which does not start with it."""


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

    def anybody(self) -> None:
        """Everybody: what is behind this door says the same to all and nothing of an organisation."""

    def person(self, request: Request) -> Login:
        """The login of the session cookie, in `login_of(request)` from now on. Raises NotSignedInError."""
        session = self._cookies.session(request)
        login = self._logins.login_of_session(session) if session else None
        if login is None:
            raise NotSignedInError
        request.state.login = login
        return login

    def program(self, request: Request) -> Login:
        """The login of the Authorization field, else of the session cookie; in `login_of(request)` from now on.

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
        request.state.login = login
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


ROLES: Final = {Doors.anybody: Role.ANYBODY, Doors.person: Role.PERSON, Doors.program: Role.PROGRAM}


def every_route(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Each route by itself, also those of included routers, which FastAPI keeps together."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from every_route(included.routes)


def role_of(route: BaseRoute) -> Role:
    """The role of the door a route stands behind; what is mounted says its own. Raises RouteWithoutRoleError."""
    if isinstance(route, APIRoute):
        roles = [role for each in route.dependencies if (role := _role_of_door(each)) is not None]
    else:
        mounted = getattr(route.app, "role", None) if isinstance(route, Mount) else None
        roles = [mounted] if isinstance(mounted, Role) else []
    if len(roles) != 1:
        raise RouteWithoutRoleError(f"{route} stands behind {len(roles)} doors; give its router exactly one")
    return roles[0]


def _role_of_door(dependency: Depends) -> Role | None:
    door = getattr(dependency.dependency, "__func__", None)
    return None if door is None else ROLES.get(door)


def login_of(request: Request) -> Login:
    """Who was let in by the door of this route."""
    login = request.state.login
    assert isinstance(login, Login), "the route stands behind a door that asks who it is"
    return login


def address_of(request: Request) -> str:
    """The address attempts are counted under: the connection's own, whatever a header claims."""
    return request.client.host if request.client else UNKNOWN_ADDRESS
