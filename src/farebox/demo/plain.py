"""Reading the CRM API's answers by plain HTTP, as a program without the SDK does."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx

from farebox.demo.seen import CHARGED_HEADER, Seen, Step, Upserted, charged
from farebox.domain.credits import credits_of


def step_of(name: str, answers: Sequence[httpx.Response], *, must_see: Sequence[Seen], must_cost: int) -> Step:
    """What the answers say; `must_cost` in whole credits, as the card says it."""
    return Step(
        name,
        seen=tuple(map(seen, answers)),
        must_see=tuple(must_see),
        charged=charged(answer.headers.get(CHARGED_HEADER) for answer in answers),
        must_cost=credits_of(must_cost),
    )


def seen(answer: httpx.Response) -> Seen:
    """One answer: what was read, what became of each record, or the code of the refusal."""
    status = answer.status_code
    if status == HTTPStatus.NO_CONTENT:
        return Seen(status, read=0)
    content: dict[str, Any] = answer.json()
    if "code" in content:
        return Seen(status, exception=content["code"], retry_after=answer.headers.get("Retry-After", ""))
    if "users" in content:
        return Seen(status, read=len(content["users"]), more=content["info"]["more_records"])
    if "info" in content:
        return Seen(status, read=len(content["data"]), more=content["info"]["more_records"])
    return _written(status, content["data"])


def _written(status: int, results: Sequence[dict[str, Any]]) -> Seen:
    good = [result for result in results if result["status"] == "success"]
    return Seen(
        status,
        written=len(good),
        of=len(results),
        refused=tuple(result["code"] for result in results if result["status"] != "success"),
        upserted=tuple(Upserted(result["action"], result["duplicate_field"]) for result in good if "action" in result),
    )
