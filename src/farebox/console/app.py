"""The console as an ASGI app, put together from what it is given: it opens nothing and starts nothing by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Final

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

import farebox
from farebox.console.answers import Answers
from farebox.console.api import routes as api
from farebox.console.auth import Logins
from farebox.console.cookies import Cookies
from farebox.console.doors import Doors, Role, every_route, role_of
from farebox.console.orgs import CardOf, Orgs, QuotaView
from farebox.console.pages import doors as door_pages
from farebox.console.pages import setup as setup_pages
from farebox.console.pages.rendering import templates
from farebox.console.parts import Parts, live_of
from farebox.console.readings import Loading, Readings
from farebox.console.shield import Shield
from farebox.domain.instants import Instant
from farebox.usage.port import UsageStore

THREADS_MAX: Final = 8
"""Requests worked on at once; each waits on SQLite or DuckDB for milliseconds."""


def create_app(
    *,
    orgs: Orgs,
    card_of: CardOf,
    quota: QuotaView,
    usage: UsageStore,
    loading: Callable[[], Loading],
    clock: Callable[[], Instant],
    logins: Logins,
    signing_keys: list[str],
    gateway_url: str,
    public_url: str,
    session_hours: int,
    local_token: str | None = None,
    fails_open: bool = False,
) -> FastAPI:
    """The console. `app.state.live.stop()` ends the live updates, so that a server can stop.

    `public_url` is what people type: with https, cookies are Secure. `loading` says how far the journal is loaded.
    """
    secure = public_url.startswith("https://")
    cookies = Cookies(signing_keys, secure=secure)
    parts = Parts(
        orgs=orgs,
        card_of=card_of,
        readings=Readings(orgs=orgs, quota=quota, usage=usage, loading=loading, clock=clock),
        logins=logins,
        cookies=cookies,
        doors=Doors(logins=logins, cookies=cookies, orgs=orgs, local_token=local_token),
        templates=templates(),
        gateway_url=gateway_url.rstrip("/"),
        session_seconds=session_hours * 3_600,
        fails_open=fails_open,
    )
    live = live_of(parts)
    app = FastAPI(
        title="Farebox console",
        version=farebox.__version__,
        description="What each organisation may spend and what it spent. Amounts are integers of millicredits.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.live = live
    app.include_router(api.router(parts))
    app.include_router(setup_pages.router(parts, live))
    app.include_router(door_pages.router(parts))
    app.include_router(_for_anybody(app, parts))
    with resources.as_file(resources.files("farebox.console") / "static") as folder:
        app.mount("/static", _Static(directory=Path(folder)))
    Answers(parts.templates).give_to(app)
    app.add_middleware(Shield, secure=secure)
    for route in every_route(app.routes):
        role_of(route)  # refuses to start with a route that has none
    return app


def _for_anybody(app: FastAPI, parts: Parts) -> APIRouter:
    """What is the same for all, and says nothing of an organisation."""
    routes = APIRouter(include_in_schema=False, dependencies=[Depends(parts.doors.anybody)])

    @routes.get("/healthz")
    def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/api/v1/openapi.json")
    def description() -> JSONResponse:
        return JSONResponse(app.openapi())

    return routes


class _Static(StaticFiles):
    """Files of the package: asked for again each time, answered with 304 while unchanged."""

    role = Role.ANYBODY

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]  # passed through as they came
        response.headers["Cache-Control"] = "no-cache"
        return response


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS_MAX
    yield
    app.state.live.stop()
