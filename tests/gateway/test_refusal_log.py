"""Refusals in the log: one line per reason and second at most, none forgotten."""

from __future__ import annotations

from typing import NamedTuple

from structlog.testing import capture_logs

from farebox.gateway.refusal_log import RefusalLog
from farebox.gateway.refuse import Refusal

EXHAUSTED = Refusal(status=429, code="CREDITS_EXHAUSTED", text="No credits.")
UNREACHABLE = Refusal(status=502, code="UPSTREAM_UNREACHABLE", text="No upstream.")


class Caller(NamedTuple):
    org: str
    product: str
    app: str


ADA = Caller(org="acme", product="crm", app="erp")


def test_a_storm_of_refusals_is_one_line_per_reason_and_second_and_every_call_is_in_one() -> None:
    at = 100.0
    log = RefusalLog(lambda: at)
    with capture_logs() as lines:
        for step in range(2_500):  # 2.5 s, a refusal each millisecond
            at = 100.0 + step / 1_000
            log.note(EXHAUSTED, ADA, "list")
            if step % 10 == 0:
                log.note(UNREACHABLE)
            if step % 50 == 0:
                log.write_if_due()
        log.write()
    by_reason = {
        code: [line for line in lines if line["reason"] == code] for code in {line["reason"] for line in lines}
    }
    assert {code: len(found) for code, found in by_reason.items()} == {
        "CREDITS_EXHAUSTED": 3,
        "UPSTREAM_UNREACHABLE": 3,
    }
    assert sum(line["calls"] for line in by_reason["CREDITS_EXHAUSTED"]) == 2_500
    assert sum(line["calls"] for line in by_reason["UPSTREAM_UNREACHABLE"]) == 250
    assert all(line["suppressed"] == line["calls"] - 1 for line in lines)


def test_a_line_says_who_what_and_why_and_a_fault_of_the_servers_is_a_warning() -> None:
    at = 5.0
    log = RefusalLog(lambda: at)
    log.note(EXHAUSTED, ADA, "list")
    log.note(UNREACHABLE)
    with capture_logs() as lines:
        log.write_if_due()
        assert lines == [], "the second is not over"
        at = 6.0
        log.write_if_due()
    exhausted, unreachable = lines
    assert exhausted == {
        "event": "refused",
        "log_level": "info",
        "reason": "CREDITS_EXHAUSTED",
        "status": 429,
        "calls": 1,
        "suppressed": 0,
        "message": "No credits.",
        "operation": "list",
        "org": "acme",
        "product": "crm",
        "app": "erp",
    }
    assert unreachable["log_level"] == "warning"
    assert "org" not in unreachable
