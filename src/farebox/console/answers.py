"""What goes wrong, answered: a page for people, problem+json (RFC 9457) under /api/."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import jinja2
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from farebox.console.api.models import Problem
from farebox.console.doors import FormRefusedError, NotSignedInError
from farebox.console.places import NotHereError
from farebox.errors import FareboxError, SignInThrottledError

STATUS_OF_CODE: Final = {
    "UNKNOWN_NAME": 404,
    "SIGN_IN_REFUSED": 401,
    "SIGN_IN_THROTTLED": 429,
    "QUOTA_UNAVAILABLE": 503,
    "USAGE_UNAVAILABLE": 503,
    "DATA_DIRECTORY": 503,
    "CONSOLE_BUSY": 503,
}
NOT_HERE: Final = "There is no such page, or not for you."
FORM_REFUSED: Final = "This form was not made for your session; go back, reload the page and send it again."
SIGN_IN: Final = "send a console token or a Farebox key as Bearer, or login and password as Basic"


class Answers:
    """Makes the answer to each kind of error and has the app use them."""

    def __init__(self, templates: jinja2.Environment) -> None:
        self._templates = templates

    def give_to(self, app: FastAPI) -> None:
        """Answer these errors in `app`."""
        app.add_exception_handler(NotSignedInError, self.not_signed_in)
        app.add_exception_handler(NotHereError, self.not_here)
        app.add_exception_handler(FormRefusedError, self.form_refused)
        app.add_exception_handler(FareboxError, self.known)
        app.add_exception_handler(HTTPException, self.http)
        app.add_exception_handler(RequestValidationError, self.invalid)

    def not_signed_in(self, request: Request, _: Exception) -> Response:
        """People go to the sign-in page and come back; programs and live updates are told."""
        path = request.url.path
        if path.startswith("/api/") or path.endswith("/live"):
            refusal = self._answer(request, status=401, detail=SIGN_IN, code="NOT_SIGNED_IN")
            refusal.headers["WWW-Authenticate"] = 'Bearer realm="farebox", Basic realm="farebox"'
            return refusal
        target = f"{path}?{request.url.query}" if request.url.query else path
        return RedirectResponse(f"/sign-in?{urlencode({'next': target})}", status_code=303)

    def not_here(self, request: Request, _: Exception) -> Response:
        """404, the same for what does not exist and what is not this login's."""
        return self._answer(request, status=404, detail=NOT_HERE, code="NOT_HERE")

    def form_refused(self, request: Request, _: Exception) -> Response:
        """403: the form token is missing or another session's."""
        return self._answer(request, status=403, detail=FORM_REFUSED, code="FORM_REFUSED")

    def known(self, request: Request, error: Exception) -> Response:
        """An error of ours, with its code; UNKNOWN_NAME says no more than 404 does."""
        assert isinstance(error, FareboxError)
        status = STATUS_OF_CODE.get(error.code, 500)
        if status == HTTPStatus.NOT_FOUND:
            return self.not_here(request, error)
        response = self._answer(request, status=status, detail=str(error), code=error.code)
        if isinstance(error, SignInThrottledError):
            response.headers["Retry-After"] = str(error.retry_after_seconds)
        return response

    def http(self, request: Request, error: Exception) -> Response:
        """What the router refuses: no such path, no such method."""
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.NOT_FOUND:
            return self.not_here(request, error)
        return self._answer(request, status=error.status_code, detail=str(error.detail), code="HTTP")

    def invalid(self, request: Request, error: Exception) -> Response:
        """A parameter that cannot be what it has to be."""
        assert isinstance(error, RequestValidationError)
        detail = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return self._answer(request, status=422, detail=detail, code="REQUEST_INVALID")

    def _answer(self, request: Request, *, status: int, detail: str, code: str) -> Response:
        title = HTTPStatus(status).phrase
        if request.url.path.startswith("/api/"):
            body = Problem(title=title, status=status, detail=detail, code=code).model_dump()
            return JSONResponse(body, status_code=status, media_type="application/problem+json")
        page = self._templates.get_template("message.html").render(heading=title, text=detail)
        return HTMLResponse(page, status_code=status)
