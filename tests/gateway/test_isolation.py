"""What the gateway itself says - its own routes, refusals and headers - tells no caller of another organisation."""

from __future__ import annotations

import base64

import pytest

from farebox.gateway.local import HEALTH_PATH
from farebox.testing.upstream import StubUpstream

from .conftest import Answer, Gateway, GatewayMaker

SECRETS = ("zebra", "Zebra", "7919")


@pytest.fixture
def gateway(make_gateway: GatewayMaker) -> Gateway:
    return make_gateway(identity="key", start=False)


def told(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All of an answer but when it was made."""
    return answer.status, {name: value for name, value in answer.fields.items() if name != "date"}, answer.body


def credentials(*keys: str) -> list[dict[str, str]]:
    basic = [base64.b64encode(f"{key}:".encode()).decode() for key in keys]
    return [
        {},
        *({"Authorization": f"Bearer {key}"} for key in keys),
        *({"X-Api-Key": key} for key in keys),
        *({"X-Farebox-Key": key} for key in keys),
        *({"Authorization": f"Basic {each}"} for each in basic),
        {"Authorization": "Zoho-oauthtoken 1000.a.b"},
        {"Authorization": "Bearer fbc_console"},
        {"Authorization": "Bearer fbx_unknown"},
    ]


def test_its_own_route_says_the_same_to_everybody(gateway: Gateway) -> None:
    keys = gateway.org("acme", plan="standard"), gateway.org("zebra", plan="standard", base=7_919_000)
    gateway.start()
    heard = [told(gateway.caller().ask("GET", HEALTH_PATH, fields=each)) for each in credentials(*keys)]
    assert heard == [heard[0]] * len(heard)
    assert heard[0][0] == 200
    assert not [secret for secret in SECRETS if secret in str(heard[0])]


def test_a_callers_answers_speak_of_its_own_org_only(gateway: Gateway, upstream: StubUpstream) -> None:
    mine = gateway.org("acme", plan="standard", base=50_000, users=0)
    theirs = gateway.org("zebra", plan="standard", base=7_919_000, users=0)
    gateway.start()
    assert "7918" in str(told(gateway.caller().ask(fields={"X-Api-Key": theirs})))
    for each in credentials(mine):
        assert not [secret for secret in SECRETS if secret in str(told(gateway.caller().ask(fields=each)))]
    assert all("zebra" not in request.head.decode("latin-1") for request in upstream.requests)


def test_two_orgs_credentials_are_refused_alike_whoever_the_other_is(gateway: Gateway, upstream: StubUpstream) -> None:
    mine = gateway.org("acme", plan="standard")
    others = [gateway.org(org, plan="standard") for org in ("zebra", "gnu")]
    gateway.start()
    heard = [told(gateway.caller().ask(fields={"X-Api-Key": mine, "X-Farebox-Key": other})) for other in others]
    assert heard[0] == heard[1]
    assert heard[0][0] == 401
    assert not upstream.requests
