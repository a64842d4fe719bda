"""Reading the CRM API's answers by plain HTTP, as a program without the SDK does."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx

from farebox.demo.processes import DemoFailedError
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
    if answer.headers.get("Content-Type") == "application/zip":
        return Seen(status, read=_rows(answer.content))
    return _read_json(answer, answer.json())


def _read_json(answer: httpx.Response, content: dict[str, Any]) -> Seen:
    status = answer.status_code
    match content:
        case {"status": "success"}:
            return Seen(status)
        case {"code": code}:
            return Seen(status, exception=code, retry_after=answer.headers.get("Retry-After", ""))
        case {"fields": fields}:
            return Seen(status, read=len(fields))
        case {"users": found, "info": {"more_records": more}} | {"data": found, "info": {"more_records": more}}:
            return Seen(status, read=len(found), more=more)
        case {"watch": results} | {"data": results}:
            return _written(status, results)
    raise DemoFailedError(f"An answer of a kind that no step asks for: {status} {answer.text[:200]}")


def _rows(archive: bytes) -> int:
    """How many rows the CSV files of a bulk result hold."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        texts = [files.read(name).decode() for name in files.namelist()]
    return sum(len(list(csv.reader(io.StringIO(text, newline="")))) - 1 for text in texts)


def _written(status: int, results: Sequence[dict[str, Any]]) -> Seen:
    good = [result for result in results if result["status"] == "success"]
    return Seen(
        status,
        written=len(good),
        of=len(results),
        refused=tuple(result["code"] for result in results if result["status"] != "success"),
        upserted=tuple(Upserted(result["action"], result["duplicate_field"]) for result in good if "action" in result),
    )
