"""What answers and refusals say: credits in every style, the limit by name, a true time to come back."""

from __future__ import annotations

import re
import time

import pytest

from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import GatewayMaker, until


def test_every_answer_says_what_was_charged_and_what_is_left(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(credits=1000)
    caller = gateway.caller()
    caller.ask()
    answer = caller.ask()
    assert answer.fields["ratelimit-policy"] == '"api";q=1000;w=86400'
    assert re.fullmatch(r'"api";r=998;t=864\d\d', answer.fields["ratelimit"])
    assert answer.fields["x-farebox-credits-charged"] == "1"
    assert answer.fields["x-farebox-credits-left"] == "998"
    assert answer.fields["x-farebox-credits-held"] == "0"


def test_zohos_header_appears_from_half_of_the_plans_own_credits_on(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm", credits=10)
    upstream.default = Behaviour(fields=(("X-API-CREDITS-REMAINING", "77"),))
    caller = gateway.caller()
    said = [caller.ask("GET", "/crm/v8/Leads").fields.get("x-api-credits-remaining") for _ in range(6)]
    assert said == [None, None, None, None, "5", "4"]


def test_a_429_in_zohos_dialect_names_the_limit_and_when_to_come_back(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(card="zoho-crm", credits=3)
    caller = gateway.caller()
    for _ in range(3):
        assert caller.ask("GET", "/crm/v8/Leads").status == 200
    answer = caller.ask("GET", "/crm/v8/Leads")
    assert (answer.status, answer.fields["content-type"]) == (429, "application/json")
    said = answer.json()
    assert (said["code"], said["status"]) == ("TOO_MANY_REQUESTS", "error")
    assert said["details"]["farebox_code"] == "CREDITS_EXHAUSTED"
    assert said["details"]["allowance"] == "3"
    assert 86_390 <= int(answer.fields["retry-after"]) <= 86_410
    assert answer.fields["x-api-credits-remaining"] == "0"
    assert answer.fields["x-farebox-credits-charged"] == "0"
    assert answer.fields["ratelimit"].startswith('"api";r=0;t=')


def test_a_429_elsewhere_is_a_problem_of_rfc_9457(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(credits=1)
    caller = gateway.caller()
    caller.ask()
    answer = caller.ask()
    assert answer.fields["content-type"] == "application/problem+json"
    said = answer.json()
    assert (said["status"], said["code"], said["title"]) == (429, "CREDITS_EXHAUSTED", "Too Many Requests")
    assert "24 hours" in said["limit_reached"]


def test_a_call_that_can_never_fit_has_a_code_of_its_own_and_no_retry_after(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(card="zoho-crm", credits=100)
    answer = gateway.caller().ask("POST", "/crm/bulk/v8/write", body=b"{}")
    assert answer.status == 429
    assert answer.json()["details"]["farebox_code"] == "CEILING_NEVER_FITS"
    assert "retry-after" not in answer.fields
    assert gateway.caller().ask("GET", "/crm/v8/Leads").status == 200


def test_a_path_that_belongs_to_no_upstream_is_404(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(more={"paths": ("/api",)})
    caller = gateway.caller()
    assert caller.ask("GET", "/apiary").json()["code"] == "NO_SUCH_UPSTREAM"
    assert caller.ask("GET", "/api/x").status == 200
    assert caller.ask("GET", "/api").status == 200


def test_health_is_answered_here(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway()
    answer = gateway.caller().ask("GET", "/-/farebox/healthz")
    assert (answer.status, answer.json()) == (200, {"ready": True, "reason": ""})
    assert not upstream.requests


def test_a_quota_store_that_cannot_be_used_refuses_clearly(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(quota_wait_seconds=0.5, start=False)
    gateway.org(plan="standard")
    (gateway.folder / "spend.db").mkdir()
    gateway.start()
    answer = gateway.caller().ask()
    assert (answer.status, answer.json()["code"]) == (503, "QUOTA_UNAVAILABLE")
    assert answer.fields["retry-after"]
    assert not upstream.requests


@pytest.mark.parametrize("fields", [{"X-Farebox-Function": "f" * 5000}, {"baggage": "farebox.function=" + "f" * 5000}])
def test_names_from_outside_are_cut(make_gateway: GatewayMaker, fields: dict[str, str]) -> None:
    gateway = make_gateway()
    assert gateway.caller().ask(fields=fields).status == 200
    assert gateway.entry().function == "f" * 100


def test_refusals_are_one_record_per_second_with_their_number(make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(credits=1)
    caller, began = gateway.caller(), time.monotonic()
    statuses = [caller.ask().status for _ in range(201)]
    assert statuses.count(429) == 200
    until(lambda: sum(entry.refusals for entry in gateway.entries()) == 200)
    refused = [entry for entry in gateway.entries() if entry.refusals]
    assert len(refused) <= time.monotonic() - began + 2
    assert {(e.reason, e.status, e.credits) for e in refused} == {("credits_exhausted", 429, 0)}


def test_health_says_when_the_journal_fills_up(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(journal_segment_bytes=512 * 1024, journal_bytes_max=2 * 1024 * 1024)
    caller = gateway.caller()

    def filling() -> bool:
        assert caller.ask().status in (200, 503)
        return "journal_bytes_max" in gateway.caller().ask("GET", "/-/farebox/healthz").json()["reason"]

    until(filling)


def test_what_failed_says_whether_it_is_charged(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(card="zoho-crm", answer_seconds=0.3)
    upstream.default = Behaviour(never_answer=True)
    assert "so it is charged." in gateway.caller().ask("GET", "/crm/v8/Leads").json()["message"]
    for path in ("/crm/v8/settings/modules", "/oauth/v2/token"):
        answer = gateway.caller().ask("GET", path)
        charged = answer.fields.get("x-farebox-credits-charged", "0") != "0"
        assert answer.status == 504
        assert ("so it is charged." in answer.json()["message"]) == charged
        assert ("Nothing was charged." in answer.json()["message"]) == (not charged)


def test_a_call_sent_on_a_stale_connection_to_an_upstream_that_is_gone_says_that_it_is_charged(
    make_gateway: GatewayMaker,
) -> None:
    with StubUpstream() as gone:
        gone.answer("/stale", Behaviour(never_answer=True))
        gateway = make_gateway(url=gone.url)
        caller = gateway.caller()
        assert caller.ask("GET", "/first").status == 200
        caller.say("GET /stale HTTP/1.1\r\nHost: g\r\n\r\n")
        gone.wait_for(2)
    answer = caller.hear()
    assert (answer.status, answer.fields["x-farebox-credits-charged"]) == (502, "1")
    assert answer.json()["code"] == "UPSTREAM_UNREACHABLE"
    assert "so it is charged." in answer.json()["detail"]
    assert "Nothing was charged." in gateway.caller().ask().json()["detail"]
