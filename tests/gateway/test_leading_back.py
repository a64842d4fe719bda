"""`api_domain` of a foreign API leads back to the gateway; nothing else of its answer changes."""

from __future__ import annotations

import gzip
import json

import msgspec
import pytest

from farebox.gateway.leading_back import led_back
from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Gateway, GatewayMaker

HERE = "https://gateway.acme.test:8443"
TOKEN = "/oauth/v2/token"
SAID = b'{ "access_token":"1000.x",\n "api_domain" : "https:\\/\\/www.zohoapis.com", "expires_in":3600}'
LED_BACK = b'{ "access_token":"1000.x",\n "api_domain" : "https://gateway.acme.test:8443", "expires_in":3600}'
JSON = (("Content-Type", "application/json;charset=UTF-8"),)


@pytest.fixture
def gateway(make_gateway: GatewayMaker) -> Gateway:
    return make_gateway(card="zoho-crm", api_domain=HERE)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_token_answer_leads_back_and_nothing_else_of_it_changes(
    gateway: Gateway, upstream: StubUpstream, *, chunked: bool
) -> None:
    fields = (*JSON, ("ETag", '"abc"'), ("X-Other", "kept"), ("Set-Cookie", "a=b"))
    upstream.answer(TOKEN, Behaviour(body=SAID, fields=fields, chunked=chunked))
    caller = gateway.caller()
    for _ in range(2):  # on one connection: the framing is right
        answer = caller.ask("POST", TOKEN, body=b"grant_type=refresh_token", fields={"Accept-Encoding": "gzip, br"})
        assert (answer.status, answer.body) == (200, LED_BACK)
        assert answer.fields["content-length"] == str(len(LED_BACK))
        assert (answer.fields["x-other"], answer.fields["set-cookie"]) == ("kept", "a=b")
        assert "etag" not in answer.fields, "it was of another body"
    asked = upstream.requests[0]
    assert (asked.fields["accept-encoding"], asked.body) == ("identity", b"grant_type=refresh_token")
    assert gateway.entries() == []


def test_a_metered_call_whose_answer_has_the_same_head_keeps_all_of_it(
    gateway: Gateway, upstream: StubUpstream
) -> None:
    same = Behaviour(body=SAID, fields=(*JSON, ("ETag", '"abc"')))
    upstream.answer(TOKEN, same)
    upstream.answer("/crm/v8/Leads", same)
    caller = gateway.caller()
    for _ in range(3):
        assert "etag" not in caller.ask("POST", TOKEN, body=b"grant_type=refresh_token").fields
    answer = caller.ask("GET", "/crm/v8/Leads")
    assert (answer.fields["etag"], answer.body) == ('"abc"', SAID)


UNCHANGED = {
    "an error": b'{"error":"invalid_client"}',
    "no text": b'{"api_domain":null}',
    "a list": b'["api_domain"]',
    "deeper down": b'{"a":{"api_domain":"https://www.zohoapis.com"}}',
    "a mention": b'{"message":"no \\"api_domain\\": \\"x\\" here"}',
    "led back already": b'{"api_domain":"https://gateway.acme.test:8443"}',
    "empty": b"",
}


@pytest.mark.parametrize("case", UNCHANGED)
def test_an_answer_without_api_domain_is_passed_on_as_it_came(
    gateway: Gateway, upstream: StubUpstream, case: str
) -> None:
    upstream.answer(TOKEN, Behaviour(body=UNCHANGED[case], fields=(*JSON, ("ETag", '"abc"'))))
    answer = gateway.caller().ask("POST", TOKEN, body=b"x=y")
    assert (answer.body, answer.fields["etag"]) == (UNCHANGED[case], '"abc"')


def test_a_page_and_metered_calls_are_left_alone_and_streamed(gateway: Gateway, upstream: StubUpstream) -> None:
    page = b"<html>" + SAID * 1_000
    upstream.answer("/oauth/v2/auth", Behaviour(body=page, fields=(("Content-Type", "text/html"),)))
    upstream.answer("/crm/v8/Leads", Behaviour(body=SAID, fields=JSON))
    caller = gateway.caller()
    assert caller.ask("GET", "/oauth/v2/auth").body == page
    answer = caller.ask("GET", "/crm/v8/Leads", fields={"Accept-Encoding": "gzip"})
    assert answer.body == SAID
    assert upstream.requests[-1].fields["accept-encoding"] == "gzip"


UNREADABLE = {
    "compressed": Behaviour(body=gzip.compress(SAID), fields=(*JSON, ("Content-Encoding", "gzip"))),
    "too long": Behaviour(body=b" " * 100_000 + SAID, fields=JSON),
    "endless": Behaviour(stream_bytes=50_000_000, fields=JSON),
    "broken": Behaviour(body=SAID[:-1], fields=JSON),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_json_answer_that_cannot_be_looked_into_is_not_passed_on(
    gateway: Gateway, upstream: StubUpstream, case: str
) -> None:
    upstream.answer(TOKEN, UNREADABLE[case])
    caller = gateway.caller()
    answer = caller.ask("POST", TOKEN, body=b"x=y")
    assert (answer.status, answer.json()["details"]["farebox_code"]) == (502, "UPSTREAM_FAILED")
    assert "round this gateway" in answer.json()["message"]
    upstream.answer(TOKEN, Behaviour(body=SAID, fields=JSON))
    assert caller.ask("POST", TOKEN, body=b"x=y").body == LED_BACK


def test_without_the_setting_nothing_is_touched(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    upstream.answer(TOKEN, Behaviour(body=SAID, fields=JSON))
    answer = make_gateway(card="zoho-crm").caller().ask("POST", TOKEN, body=b"x=y")
    assert answer.body == SAID


@pytest.mark.parametrize(
    ("came", "led"),
    [
        (b'{"api_domain":"x","a":{"api_domain":"y"}}', b'{"api_domain":"HERE","a":{"api_domain":"y"}}'),
        (b'{"a":{"api_domain":"y"},"api_domain":"x"}', b'{"a":{"api_domain":"y"},"api_domain":"HERE"}'),
        (b'{"a":"\\"api_domain\\":\\"z\\"","api_domain":"x"}', b'{"a":"\\"api_domain\\":\\"z\\"","api_domain":"HERE"}'),
        (b'{"\\u0061pi_domain":"x"}', b'{"\\u0061pi_domain":"HERE"}'),
        (b'{"n":1.10,"api_domain":"x"}', b'{"n":1.10,"api_domain":"HERE"}'),
    ],
)
def test_only_the_fields_own_value_is_written_over(came: bytes, led: bytes) -> None:
    assert led_back(came, "HERE") == led
    assert json.loads(led)["n" if b'"n"' in led else "api_domain"] in ("HERE", 1.1) or b"u0061" in led


def test_what_names_the_field_and_is_no_json_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        led_back(b'{"api_domain":', "HERE")
