"""GET /api/v1: organisations, allowance, usage. Another org's paths answer as if it did not exist."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from farebox.console.api import models
from farebox.console.doors import login_of
from farebox.console.parts import Parts
from farebox.console.places import Place, place_of, visible_orgs
from farebox.console.readings import Reading
from farebox.console.words import sentence, zone_named
from farebox.domain.instants import text_of
from farebox.errors import QuotaUnavailableError, UsageUnavailableError
from farebox.usage.port import Dimension

PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": models.Problem, "description": "no login, token or key, or not one in force"},
    404: {"model": models.Problem, "description": "not there, or not for this caller"},
    429: {"model": models.Problem, "description": "too many failed sign-ins"},
    503: {"model": models.Problem, "description": "quota or usage cannot be read now"},
}
Pool = Annotated[str | None, Query(description="a pool of the product; its first one if not given")]


def router(parts: Parts) -> APIRouter:
    """The routes of the JSON API."""
    routes = APIRouter(prefix="/api/v1", responses=PROBLEMS, dependencies=[Depends(parts.doors.program)])

    def placed(request: Request, org: str, product: str, pool: str | None) -> Place:
        return place_of(parts.orgs, login_of(request), org=org, product=product, pool=pool)

    @routes.get("/organisations")
    def organisations(request: Request) -> list[models.Organisation]:
        """The organisations the caller may see, with their accounts."""
        return [
            models.Organisation(
                id=org.id,
                name=org.name,
                time_zone=org.time_zone,
                accounts=[
                    models.AccountName(product=each.product, pool=pool, card=each.card, plan=each.plan)
                    for each, pool in org.accounts()
                ],
            )
            for org in visible_orgs(parts.orgs, login_of(request))
        ]

    @routes.get("/organisations/{org}/{product}/allowance")
    def allowance(request: Request, org: str, product: str, pool: Pool = None) -> models.Allowance:
        """Total, used, held, unused, how the total is made, and when credits return."""
        return _allowance(parts.reading(placed(request, org, product, pool)))

    @routes.get("/organisations/{org}/{product}/usage")
    def usage(
        request: Request, org: str, product: str, by: Dimension = Dimension.USER, pool: Pool = None
    ) -> models.Usage:
        """Calls, credits and refused calls of the window, one line per value of `by`; every user and app has one."""
        return _usage(parts, placed(request, org, product, pool), by)

    return routes


def _allowance(reading: Reading) -> models.Allowance:
    storage, made = reading.storage, reading.allowance
    if storage is None:
        raise QuotaUnavailableError("quota cannot be read and was not since this console started; try again later")
    account = reading.account
    return models.Allowance(
        org=account.org,
        product=account.product,
        pool=account.pool,
        at=text_of(storage.at),
        total=storage.total,
        used=storage.used,
        held=storage.held,
        unused=storage.unused,
        unaccounted=storage.unaccounted,
        formula=models.Formula(
            plan=made.plan, base=made.base, users=made.users, per_user=made.per_user, addon=made.addon, cap=made.cap
        ),
        next_return=None
        if storage.next_return is None
        else models.ReturnOf(at=text_of(storage.next_return[0]), millicredits=storage.next_return[1]),
        returns_within_hour=storage.within_hour,
        returns_by_hour=list(storage.hours),
        sentence=sentence(reading, zone_named(reading.org.time_zone)),
        shadow=reading.org.shadow,
        quota_lost_at=None if reading.quota_lost_at is None else text_of(reading.quota_lost_at),
    )


def _usage(parts: Parts, place: Place, by: Dimension) -> models.Usage:
    reading = parts.reading(place)
    consumption = reading.consumption
    if consumption is None:
        raise UsageUnavailableError("usage cannot be read now; the journal keeps everything, try again later")
    section = {Dimension.APP: consumption.apps, Dimension.USER: consumption.users}.get(by)
    if section is not None:
        totals, others, gap = consumption.totals, section.others, consumption.gap
        lines = [
            models.UsageLineOf(
                value=line.id, name=line.name, calls=line.calls, millicredits=line.credits, refusals=line.refusals
            )
            for line in section.lines
        ]
    else:
        spent = parts.readings.breakdown(reading, by)
        totals = spent.totals
        others = totals.credits - sum(line.credits for line in spent.lines)
        stored = reading.storage if reading.quota_lost_at is None else None
        gap = None if stored is None else stored.used - totals.credits
        lines = [
            models.UsageLineOf(
                value=line.value,
                name=line.value,
                calls=line.calls,
                millicredits=line.credits,
                refusals=line.refusals,
            )
            for line in spent.lines
        ]
    as_of = reading.loading.as_of
    return models.Usage(
        org=place.org.id,
        product=place.subscription.product,
        pool=place.pool,
        by=by.value,
        at=text_of(reading.at),
        as_of=None if as_of is None else text_of(as_of),
        problem=reading.loading.problem,
        calls=totals.calls,
        millicredits=totals.credits,
        refusals=totals.refusals,
        unleased_millicredits=totals.unleased,
        would_have_been_refused=totals.shadow_calls,
        would_have_been_refused_millicredits=totals.shadow_credits,
        organisation_less_sum=gap,
        lines=lines,
        others_millicredits=others,
    )
