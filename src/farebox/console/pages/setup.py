"""Setup > Data Administration > Storage: the API Dashboard, its live updates, and how credits are calculated."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, StreamingResponse

from farebox.console.auth import Login
from farebox.console.doors import NotSignedInError, login_of
from farebox.console.live import Live
from farebox.console.pages.dashboard import DASHBOARD, SPOKEN, SPOKEN_SECONDS
from farebox.console.parts import Parts
from farebox.console.places import NotHereError, Place, place_of, visible_orgs
from farebox.console.words import zone_named
from farebox.domain.cards import Kind, Operation, RateCard

PRICES: Final = "/setup/storage/how-credits-are-calculated"
PRESSING_MAX: Final = 50
"""Accounts looked at to find the most pressing one."""

MARK_WORDS: Final = {
    "off": "an official page says so",
    "3rd": "a third party's reading of an official page",
    "obs": "measured with a real client",
    "?": "not confirmed, or sources disagree",
    "own": "set in this rate card",
}


MARK_NAMES: Final = {"off": "official", "3rd": "third party", "obs": "measured", "?": "unconfirmed", "own": "own"}


def router(parts: Parts, live: Live) -> APIRouter:
    """The routes of the setup pages."""
    routes = APIRouter(include_in_schema=False, dependencies=[Depends(parts.doors.person)])

    def placed(request: Request) -> tuple[Login, Place]:
        login = login_of(request)
        query = request.query_params
        return login, place_of(
            parts.orgs, login, org=query.get("org"), product=query.get("product"), pool=query.get("pool")
        )

    @routes.get("/")
    def home(request: Request) -> RedirectResponse:
        place = _most_pressing(parts, login_of(request))
        return RedirectResponse(f"{DASHBOARD}?{place.query}", status_code=303)

    @routes.get(DASHBOARD)
    def dashboard(request: Request) -> HTMLResponse:
        login, place = placed(request)
        reading = parts.reading(place)
        values = {
            **_frame(parts, request, login, place, here=DASHBOARD),
            "fragments": parts.fragments(place),
            "figures": place.figures,
            "zone": zone_named(place.org.time_zone),
            "now": reading.at,
        }
        return HTMLResponse(parts.templates.get_template("dashboard.html").render(values))

    @routes.get(f"{DASHBOARD}/live")
    async def updates(request: Request) -> StreamingResponse:
        login, place = await run_in_threadpool(placed, request)
        return StreamingResponse(
            _events(parts, live, request, login, place),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    @routes.get(PRICES)
    def prices(request: Request) -> HTMLResponse:
        login, place = placed(request)
        values = {
            **_frame(parts, request, login, place, here=PRICES),
            **_price_values(parts.card_of(place.subscription.card), place),
            "allowance": parts.reading(place).allowance,
            "has_own_base": place.subscription.has_own_base,
        }
        return HTMLResponse(parts.templates.get_template("prices.html").render(values))

    return routes


def _most_pressing(parts: Parts, login: Login) -> Place:
    """The account with the largest share used: whoever comes without naming one comes because something is wrong."""
    places = [
        Place(org, subscription, pool)
        for org in visible_orgs(parts.orgs, login)
        for subscription, pool in org.accounts()
    ][:PRESSING_MAX]
    if not places:
        raise NotHereError
    return max(places, key=lambda place: _percent(parts, place))


def _percent(parts: Parts, place: Place) -> int:
    storage = parts.readings.storage(place.org, place.subscription, place.pool)
    return storage.percent if storage is not None else -1


async def _events(parts: Parts, live: Live, request: Request, watcher: Login, place: Place) -> AsyncIterator[str]:
    """Server-sent events: changed fragments, and now and then the sentence to be spoken.

    The session is looked at again with every message, so that signing out ends what other windows show.
    """
    yield "retry: 2000\n\n"
    spoken_at = time.monotonic()
    async for changed in live.changes((place.org.id, place.subscription.product, place.pool), org=watcher.org):
        try:
            login = await run_in_threadpool(parts.doors.person, request)
        except NotSignedInError:
            return
        if not login.may_see(place.org.id):
            return
        message = dict(changed)
        if "sentence" in message and time.monotonic() - spoken_at > SPOKEN_SECONDS:
            spoken_at = time.monotonic()
            message[SPOKEN] = message["sentence"]
        yield f"event: fragments\ndata: {json.dumps(message)}\n\n" if message else ": nothing new\n\n"


def _frame(parts: Parts, request: Request, login: Login, place: Place, *, here: str) -> dict[str, Any]:
    """What every setup page needs around its content."""
    session = parts.cookies.session(request)
    assert session is not None, "the login came from it"
    return {
        "login": login,
        "org": place.org,
        "orgs": visible_orgs(parts.orgs, login),
        "products": parts.tabs(place, with_levels=here == DASHBOARD),
        "place": place.query,
        "here": here,
        "form_token": parts.cookies.form_token(session),
    }


def _price_values(card: RateCard, place: Place) -> dict[str, Any]:
    metered = [operation for operation in card.operations if operation.kind is Kind.METERED]
    in_pool = sorted((each for each in metered if each.pool == place.pool), key=lambda each: -each.ceiling)
    default = card.default_operation.price
    return {
        "card": card,
        "plan": card.plan(place.subscription.plan),
        "rows": [_price_row(each) for each in in_pool if each.price != default],
        "plain_rows": [_price_row(each) for each in in_pool if each.price == default],
        "free_rows": [_price_row(each) for each in card.operations if each.kind is not Kind.METERED],
    }


def _price_row(operation: Operation) -> dict[str, Any]:
    methods = " ".join(operation.methods)
    return {
        "title": operation.title,
        "path": f"{methods} {operation.path}" if operation.path else "",
        "note": operation.note,
        "text": operation.price.text,
        "ceiling": operation.ceiling,
        "source": operation.source,
        "host": (urlsplit(operation.source).hostname or operation.source).removeprefix("www.").removeprefix("raw."),
        "marks": [(MARK_NAMES.get(mark, mark), MARK_WORDS.get(mark, mark)) for mark in operation.mark.split()],
    }
