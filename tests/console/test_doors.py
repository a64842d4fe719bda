"""Signing in and out over HTTP: form tokens, cookies, throttling, headers."""

from __future__ import annotations

import httpx
import pytest
from tests.console.world import PASSWORD, World, form_token, sign_in

from farebox.console.auth import Logins

PAGE = "/setup/storage/api-dashboard"


@pytest.fixture
def served(world: World) -> World:
    world.serve(load=False)
    return world


def test_who_is_not_signed_in_is_led_to_the_sign_in_page_and_back(served: World) -> None:
    client = served.client()
    answer = client.get(f"{PAGE}?org=acme&product=crm")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=%2Fsetup%2Fstorage")
    page = client.get(answer.headers["location"]).text
    token = form_token(page)
    target = page.partition('name="next" value="')[2].partition('"')[0].replace("&amp;", "&")
    signed_in = client.post(
        "/sign-in",
        data={"login": "ada@acme.example", "password": PASSWORD, "form_token": token, "next": target},
    )
    assert signed_in.status_code == 303
    assert signed_in.headers["location"] == f"{PAGE}?org=acme&product=crm"
    assert client.get(signed_in.headers["location"]).status_code == 200


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/setup/\\evil", "javascript:alert(1)"])
def test_signing_in_leads_nowhere_else(served: World, target: str) -> None:
    client = served.client()
    token = form_token(client.get("/sign-in").text)
    form = {"login": "ada@acme.example", "password": PASSWORD, "form_token": token, "next": target}
    assert client.post("/sign-in", data=form).headers["location"] == "/"


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/first-sign-in/whatever"])
@pytest.mark.parametrize("login", [None, "ada@acme.example"])
def test_a_post_without_its_form_token_is_refused(served: World, path: str, login: str | None) -> None:
    client = served.client(login)
    client.get("/sign-in")
    form = {"login": "ada@acme.example", "password": PASSWORD}
    assert client.post(path, data=form).status_code == 403
    assert client.post(path, data={**form, "form_token": "forged"}).status_code == 403


def test_a_form_token_of_another_session_is_refused(served: World) -> None:
    mine, theirs = served.client("ada@acme.example"), served.client("olga@other.example")
    token = form_token(theirs.get("/sign-in").text)
    assert mine.post("/sign-out", data={"form_token": token}).status_code == 403
    assert mine.get("/", follow_redirects=True).status_code == 200


def test_signing_out_ends_the_session_on_the_server(served: World) -> None:
    client = served.client("ada@acme.example")
    cookies = httpx.Cookies(client.cookies)
    token = form_token(client.get("/", follow_redirects=True).text)
    assert client.post("/sign-out", data={"form_token": token}).status_code == 303
    replayed = httpx.Client(base_url=served.url, cookies=cookies)
    assert replayed.get(PAGE).status_code == 303


def test_a_cookie_that_was_changed_is_none(served: World) -> None:
    client = served.client("ada@acme.example")
    (name,) = [each for each in client.cookies if each.endswith("session")]
    value = client.cookies[name]
    client.cookies.clear()
    client.cookies.set(name, value[:-2] + ("AA" if not value.endswith("AA") else "BB"))
    assert client.get(PAGE).status_code == 303


def test_too_many_failures_are_told_to_wait(served: World) -> None:
    client = served.client()
    for _ in range(5):
        assert sign_in(client, "ada@acme.example", "not this one").status_code == 403
    refusal = sign_in(client, "ada@acme.example", PASSWORD)
    assert refusal.status_code == 429
    assert int(refusal.headers["retry-after"]) > 0
    assert "too many failed sign-ins" in refusal.text.lower()


def test_a_forwarded_address_does_not_get_round_throttling(served: World) -> None:
    client = served.client()
    for number in range(6):
        client.headers["X-Forwarded-For"] = f"203.0.113.{number}"
        answer = sign_in(client, "ada@acme.example", "not this one")
    assert answer.status_code == 429


def test_a_one_time_link_signs_in_once(served: World) -> None:
    served.logins.make_login("new@acme.example", org="acme")
    link = served.logins.one_time_link("new@acme.example", base_url=served.url)
    client = served.client()
    token = form_token(client.get(link).text)
    differing = {"password": "a fine password", "again": "another one here", "form_token": token}
    assert client.post(link, data=differing).status_code == 422
    short = {"password": "short", "again": "short", "form_token": token}
    assert client.post(link, data=short).status_code == 422
    good = {"password": "a fine password", "again": "a fine password", "form_token": token}
    assert client.post(link, data=good).status_code == 303
    assert client.get("/", follow_redirects=True).status_code == 200
    assert served.client().get(link).status_code == 410
    assert sign_in(served.client(), "new@acme.example", "a fine password").status_code == 303


def test_every_answer_carries_the_headers_that_keep_pages_to_themselves(served: World) -> None:
    client = served.client("ada@acme.example")
    for path in ("/sign-in", PAGE, "/static/live.js", "/api/v1/openapi.json", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert client.get(PAGE).headers["cache-control"] == "no-store"


def test_pages_have_no_inline_script_or_style(served: World) -> None:
    client = served.client("ada@acme.example")
    for path in ("/sign-in", PAGE, "/setup/storage/how-credits-are-calculated"):
        page = client.get(path).text
        assert "style=" not in page
        assert "<style" not in page
        assert "onclick" not in page
        assert page.count("<script") == page.count('<script src="/static/')


def test_a_body_too_long_or_without_a_length_is_refused_unread(served: World) -> None:
    client = served.client()
    assert client.post("/sign-in", content=b"x" * 70_000).status_code == 413
    assert client.post("/sign-in", content=iter([b"login=a"])).status_code == 411


def test_cookies_are_out_of_reach_of_scripts(served: World) -> None:
    answer = sign_in(served.client(), "ada@acme.example", PASSWORD)
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith("farebox-session=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))


def test_cookies_are_secure_where_people_type_https(world: World) -> None:
    world.serve(load=False, public_url="https://console.example")
    client = world.client()
    page = client.get("/sign-in")
    assert "max-age" in page.headers["strict-transport-security"]
    visitor = page.headers["set-cookie"].partition(";")[0]  # a browser would not send it over http
    form = {"login": "ada@acme.example", "password": PASSWORD, "form_token": form_token(page.text)}
    answer = client.post("/sign-in", data=form, headers={"Cookie": visitor})
    assert answer.status_code == 303
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-farebox-session=")
    assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))


def test_a_throttled_login_does_not_leak_whether_it_exists(served: World) -> None:
    known, unknown = served.client(), served.client()
    first = sign_in(known, "ada@acme.example", "not this one")
    second = sign_in(unknown, "nobody@acme.example", "not this one")
    strip = [
        text.replace("nobody@acme.example", "X").replace("ada@acme.example", "X") for text in (first.text, second.text)
    ]
    assert [form_token(text) for text in strip] != ["", ""]
    assert strip[0].replace(form_token(strip[0]), "") == strip[1].replace(form_token(strip[1]), "")


def test_logins_survive_a_restart(served: World) -> None:
    again = Logins(served.folder / "console.db")
    assert {each.name for each in again.logins()} >= {"ada@acme.example", "ops"}
    again.close()
