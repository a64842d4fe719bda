"""Signing in and out: the sign-in form, the one-time link's form, and leaving. Every POST carries its form token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from farebox.console.auth import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, Login
from farebox.console.cookies import new_secret
from farebox.console.doors import address_of
from farebox.console.parts import Parts
from farebox.errors import LinkInvalidError, PasswordUnfitError, SignInRefusedError, SignInThrottledError

HOME = "/"
Text = Annotated[str, Form(max_length=1_000)]


def router(parts: Parts) -> APIRouter:
    """The routes of signing in and out."""
    routes = APIRouter(include_in_schema=False, dependencies=[Depends(parts.doors.anybody)])
    pages = _DoorPages(parts)
    routes.get("/sign-in")(pages.sign_in_page)
    routes.post("/sign-in")(pages.sign_in)
    routes.get("/first-sign-in/{token}")(pages.first_page)
    routes.post("/first-sign-in/{token}")(pages.first)
    routes.post("/sign-out")(pages.sign_out)
    return routes


class _DoorPages:
    """One method per route; FastAPI reads their parameters."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def sign_in_page(self, request: Request, next: str = HOME) -> Response:  # noqa: A002 - the query parameter's name
        return _form_page(self._parts, request, "sign_in.html", problem="", next=_local(next), name="")

    def sign_in(
        self,
        request: Request,
        login: Text = "",
        password: Text = "",
        form_token: Text = "",
        next: Text = HOME,  # noqa: A002 - the form field's name
    ) -> Response:
        self._parts.doors.check_form(request, form_token)
        again = {"next": _local(next), "name": login}
        try:
            found = self._parts.logins.check_password(login, password, address=address_of(request))
        except SignInRefusedError as error:
            return _form_page(self._parts, request, "sign_in.html", status=403, problem=_sentence(error), **again)
        except SignInThrottledError as error:
            page = _form_page(self._parts, request, "sign_in.html", status=429, problem=_sentence(error), **again)
            page.headers["Retry-After"] = str(error.retry_after_seconds)
            return page
        return _signed_in(self._parts, found, _local(next))

    def first_page(self, request: Request, token: str) -> Response:
        try:
            found = self._parts.logins.login_of_link(token)
        except LinkInvalidError as error:
            return _refused_link(self._parts, error)
        return _first_form(self._parts, request, found, problem="", status=200)

    def first(
        self, request: Request, token: str, password: Text = "", again: Text = "", form_token: Text = ""
    ) -> Response:
        self._parts.doors.check_form(request, form_token)
        try:
            found = self._parts.logins.login_of_link(token)
            if password != again:
                return _first_form(self._parts, request, found, problem="The two passwords differ.", status=422)
            try:
                found = self._parts.logins.set_password_by_link(token, password)
            except PasswordUnfitError as error:
                return _first_form(self._parts, request, found, problem=_sentence(error), status=422)
        except LinkInvalidError as error:
            return _refused_link(self._parts, error)
        return _signed_in(self._parts, found, HOME)

    def sign_out(self, request: Request, form_token: Text = "") -> Response:
        self._parts.doors.check_form(request, form_token)
        session = self._parts.cookies.session(request)
        if session is not None:
            self._parts.logins.end_session(session)
        response = RedirectResponse("/sign-in", status_code=303)
        self._parts.cookies.end(response)
        return response


def _signed_in(parts: Parts, login: Login, target: str) -> Response:
    response = RedirectResponse(target, status_code=303)
    session = parts.logins.start_session(login, seconds=parts.session_seconds)
    parts.cookies.start(response, session, seconds=parts.session_seconds)
    return response


def _form_page(parts: Parts, request: Request, template: str, *, status: int = 200, **values: object) -> Response:
    """A page with a form, bound to the session or else to this visitor, who gets a cookie for it."""
    visitor = parts.cookies.session(request) or parts.cookies.visitor(request)
    binding = visitor or new_secret()
    values["form_token"] = parts.cookies.form_token(binding)
    response = HTMLResponse(parts.templates.get_template(template).render(values), status_code=status)
    if visitor is None:
        parts.cookies.new_visitor(response, binding)
    return response


def _first_form(parts: Parts, request: Request, login: Login, *, problem: str, status: int) -> Response:
    return _form_page(
        parts,
        request,
        "first_sign_in.html",
        status=status,
        login=login,
        problem=problem,
        chars_min=PASSWORD_CHARS_MIN,
        chars_max=PASSWORD_CHARS_MAX,
    )


def _refused_link(parts: Parts, error: LinkInvalidError) -> Response:
    template = parts.templates.get_template("message.html")
    page = template.render(heading="This link does not work any more", text=_sentence(error))
    return HTMLResponse(page, status_code=410)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _local(target: str) -> str:
    """Where to go after signing in: a path of this console, never another site."""
    return target if target.startswith("/setup/") and "\\" not in target else HOME
