"""The accounts server: three grants, three ways to send parameters, scopes, revocation, introspection."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from farebox.crm import oauth, scopes, tokens
from farebox.crm.app import create_app
from farebox.crm.organisations import UserSeed
from farebox.crm.provision import Credentials, create_client, create_organisation
from farebox.crm.route import Route
from farebox.crm.routes import NEWEST, routes_of
from farebox.crm.settings import Rate, Settings, TokenLimits
from farebox.crm.store import Store
from farebox.testing.crm import Caller, RunningCrm, running_crm


def ask_token(crm: RunningCrm, **form: Any) -> dict[str, Any]:
    answer = httpx.post(crm.token_url, data=form)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json;charset=utf-8"
    found: dict[str, Any] = answer.json()
    return found


def refresh_form(made: Credentials) -> dict[str, str]:
    return {
        "grant_type": "refresh_token",
        "client_id": made.client_id,
        "client_secret": made.client_secret,
        "refresh_token": made.refresh_token,
    }


def introspect(crm: RunningCrm, token: str, who: Any = None) -> httpx.Response:
    client = who or crm.introspection
    return httpx.post(crm.introspection_url, data={"token": token}, auth=(client.client_id, client.client_secret))


@pytest.mark.parametrize("way", ["form", "multipart", "query"])
def test_parameters_come_as_form_multipart_or_query(crm: RunningCrm, credentials: Credentials, way: str) -> None:
    form = refresh_form(credentials)
    match way:
        case "form":
            answer = httpx.post(crm.token_url, data=form)
        case "multipart":
            answer = httpx.post(crm.token_url, files={name: (None, value) for name, value in form.items()})
        case _:
            answer = httpx.post(crm.token_url, params=form)
    assert answer.json()["expires_in"] == 3600
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["access_token"].startswith("1000.")
    assert "refresh_token" not in answer.json()


def test_api_domain_is_the_address_of_this_api_so_that_the_sdk_stays_here(
    crm: RunningCrm, credentials: Credentials
) -> None:
    assert ask_token(crm, **refresh_form(credentials))["api_domain"] == crm.url


async def _token_by_asgi(store: Store, public_url: str, form: dict[str, str]) -> dict[str, Any]:
    transport = httpx.ASGITransport(app=create_app(store, Settings(public_url=public_url)))
    async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
        found: dict[str, Any] = (await client.post("/oauth/v2/token", data=form)).json()
        return found


def test_api_domain_is_the_public_url_when_something_stands_in_front() -> None:
    import asyncio

    store = Store()
    made = create_organisation(store, name="Fronted", users=1)
    answer = asyncio.run(_token_by_asgi(store, "https://gateway.example/", refresh_form(made)))
    assert answer["api_domain"] == "https://gateway.example"
    store.close()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_secret": "wrong"}, "invalid_client_secret"),
        ({"refresh_token": "1000.wrong.wrong"}, "invalid_code"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_refused_token_requests_are_200_with_a_word(
    crm: RunningCrm, credentials: Credentials, change: dict[str, str], error: str
) -> None:
    assert ask_token(crm, **(refresh_form(credentials) | change)) == {"error": error}


def test_another_clients_refresh_token_buys_nothing(crm: RunningCrm, credentials: Credentials) -> None:
    other = crm.create_organisation(users=1)
    form = refresh_form(credentials) | {"refresh_token": other.refresh_token}
    assert ask_token(crm, **form) == {"error": "invalid_code"}


def test_an_authorization_code_buys_both_tokens_once(crm: RunningCrm) -> None:
    made = crm.create_organisation(users=2, redirect_uri="https://app.example/back")
    asked = {
        "response_type": "code",
        "client_id": made.client_id,
        "scope": "ZohoCRM.users.READ",
        "redirect_uri": "https://app.example/back",
        "access_type": "offline",
        "state": "s1",
        "login_hint": made.users[1].email,
    }
    answer = httpx.get(f"{crm.url}/oauth/v2/auth", params=asked)
    assert answer.status_code == 302
    back = parse_qs(urlsplit(answer.headers["location"]).query)
    assert back["state"] == ["s1"]
    form = {
        "grant_type": "authorization_code",
        "client_id": made.client_id,
        "client_secret": made.client_secret,
        "redirect_uri": "https://app.example/back",
        "code": back["code"][0],
    }
    assert ask_token(crm, **(form | {"redirect_uri": "https://evil.example"})) == {"error": "invalid_redirect_uri"}
    bought = ask_token(crm, **form)
    assert bought["scope"] == "ZohoCRM.users.READ"
    assert introspect(crm, bought["access_token"]).json()["user"] == made.users[1].email
    assert ask_token(crm, **form) == {"error": "invalid_code"}
    again = ask_token(crm, **(refresh_form(made) | {"refresh_token": bought["refresh_token"]}))
    assert again["scope"] == "ZohoCRM.users.READ"


def test_an_unregistered_redirect_uri_is_never_followed(crm: RunningCrm, credentials: Credentials) -> None:
    asked = {"response_type": "code", "client_id": credentials.client_id, "scope": "ZohoCRM.users.READ"}
    answer = httpx.get(f"{crm.url}/oauth/v2/auth", params={**asked, "redirect_uri": "https://evil.example"})
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_redirect_uri"})


def test_client_credentials_stand_for_the_clients_user(crm: RunningCrm, credentials: Credentials) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
    }
    bought = ask_token(crm, **form, scope="ZohoCRM.modules.READ")
    found = introspect(crm, bought["access_token"]).json()
    assert found["user_id"] == credentials.users[0].id
    assert found["scope"] == "ZohoCRM.modules.READ"
    assert ask_token(crm, **form, scope="ZohoBigin.modules.ALL") == {"error": "invalid_scope"}


def test_introspection_says_org_user_and_app(crm: RunningCrm, credentials: Credentials, caller: Caller) -> None:
    found = introspect(crm, caller.access_token).json()
    assert found["active"] is True
    assert found["client_id"] == credentials.client_id
    assert found["org"] == credentials.zgid
    assert found["user"] == found["username"] == credentials.users[0].email
    assert found["user_id"] == found["sub"] == credentials.users[0].id
    assert found["app"] == "Integration"
    assert found["exp"] - crm.store.now() in range(3595, 3601)


def test_introspection_takes_basic_or_form_and_refuses_strangers(crm: RunningCrm, caller: Caller) -> None:
    client = crm.introspection
    form = {"token": caller.access_token, "client_id": client.client_id, "client_secret": client.client_secret}
    assert httpx.post(crm.introspection_url, data=form).json()["active"] is True
    refused = httpx.post(crm.introspection_url, data={"token": caller.access_token})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")


def test_a_client_learns_nothing_about_another_organisations_tokens(crm: RunningCrm, caller: Caller) -> None:
    other = crm.create_organisation(users=1)
    assert introspect(crm, caller.access_token, who=other).json() == {"active": False}
    assert introspect(crm, caller.access_token, who=caller.credentials).json()["active"] is True


def test_revoking_a_refresh_token_ends_its_access_tokens_too(crm: RunningCrm, caller: Caller) -> None:
    refresh_token = caller.credentials.refresh_token
    assert httpx.post(f"{crm.token_url}/revoke", params={"token": refresh_token}).json() == {"status": "success"}
    answer = caller.get("org")
    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN")
    assert introspect(crm, caller.access_token).json() == {"active": False}
    assert ask_token(crm, **refresh_form(caller.credentials)) == {"error": "invalid_code"}


def test_an_access_token_ends_after_an_hour() -> None:
    now = 1_800_000_000.0
    store = Store(clock=lambda: now)
    made = create_organisation(store, name="Clocked", users=1)
    token = tokens.issue_access_token(
        store, client_id=made.client_id, user_id=int(made.users[0].id), scope="ZohoCRM.org.READ"
    )
    with store.reading() as db:
        assert tokens.find_grant(db, token, kind="access", at=int(now) + 3599) is not None
        assert tokens.find_grant(db, token, kind="access", at=int(now) + 3600) is None
    store.close()


def test_the_thirty_first_access_token_of_a_refresh_token_ends_the_oldest(
    crm: RunningCrm, credentials: Credentials
) -> None:
    bought = [ask_token(crm, **refresh_form(credentials))["access_token"] for _ in range(31)]
    alive = [introspect(crm, token).json()["active"] for token in bought]
    assert alive.count(True) == 30
    assert alive[-1] is True


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Zoho-oauthtoken"])
def test_no_token_is_an_authentication_failure(crm: RunningCrm, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.get(f"{crm.url}/crm/v8/org", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "AUTHENTICATION_FAILURE")


@pytest.mark.parametrize(
    ("scope", "request_line", "verdict"),
    [
        ("ZohoCRM.modules.leads.READ", "GET Leads?fields=id", "opens"),
        ("ZohoCRM.modules.leads.READ", "GET Contacts?fields=id", "refused"),
        ("ZohoCRM.modules.leads.READ", "POST Leads", "refused"),
        ("ZohoCRM.modules.leads.WRITE", "POST Leads", "opens"),
        ("ZohoCRM.modules.leads.WRITE", "DELETE Leads?ids=1", "refused"),
        ("ZohoCRM.modules.CREATE", "POST Leads/upsert", "refused"),
        ("ZohoCRM.modules.CREATE,ZohoCRM.modules.UPDATE", "POST Leads/upsert", "opens"),
        ("ZohoCRM.settings.fields.READ", "GET settings/fields?module=Leads", "opens"),
        ("ZohoCRM.settings.fields.READ", "GET settings/modules", "refused"),
        ("ZohoCRM.settings.ALL", "GET settings/modules", "opens"),
        ("ZohoCRM.users.READ", "GET users", "opens"),
        ("ZohoCRM.users.READ", "GET org", "refused"),
        ("ZohoBigin.modules.ALL", "GET Leads?fields=id", "refused"),
    ],
)
def test_scopes_open_their_paths_and_no_other(
    crm: RunningCrm, credentials: Credentials, scope: str, request_line: str, verdict: str
) -> None:
    method, _, path = request_line.partition(" ")
    token = tokens.issue_access_token(
        crm.store, client_id=credentials.client_id, user_id=int(credentials.users[0].id), scope=scope
    )
    headers = {"Authorization": f"Zoho-oauthtoken {token}"}
    answer = httpx.request(method, f"{crm.url}/crm/v8/{path}", content=b'{"data": [{}]}', headers=headers)
    refused = answer.status_code == 401 and answer.json()["code"] == "OAUTH_SCOPE_MISMATCH"
    assert refused is (verdict == "refused"), answer.text


def test_a_second_client_of_an_organisation_has_its_own_name(crm: RunningCrm, credentials: Credentials) -> None:
    made = create_client(
        crm.store, zgid=int(credentials.zgid), name="Warehouse sync", user_id=int(credentials.users[1].id)
    )
    form = {"grant_type": "client_credentials", "client_id": made.client_id, "client_secret": made.client_secret}
    found = introspect(crm, ask_token(crm, **form)["access_token"]).json()
    assert (found["app"], found["user"]) == ("Warehouse sync", credentials.users[1].email)


def test_an_access_token_given_when_seeding_lasts_until_it_is_revoked(crm: RunningCrm) -> None:
    user = UserSeed(email="ada@zylker.example", last_name="Ada", access_token="1000.lasting")
    crm.create_organisation(name="Lasting", users=[user])
    headers = {"Authorization": "Zoho-oauthtoken 1000.lasting"}
    assert httpx.get(f"{crm.url}/crm/v8/org", headers=headers).json()["org"][0]["company_name"] == "Lasting"
    httpx.post(f"{crm.url}/oauth/v2/token/revoke", params={"token": "1000.lasting"}).raise_for_status()
    assert httpx.get(f"{crm.url}/crm/v8/org", headers=headers).status_code == 401


def limited_forms(crm: RunningCrm) -> tuple[Credentials, dict[str, str]]:
    made = crm.create_organisation(users=2, redirect_uri="https://app.example/back")
    return made, refresh_form(made)


def test_the_eleventh_access_token_within_ten_minutes_is_denied_as_the_original_does() -> None:
    limits = TokenLimits(access_tokens=Rate(count=3, seconds=600))
    assert TokenLimits().access_tokens == Rate(count=10, seconds=600)
    now = 1_800_000_000.0
    store = Store(clock=lambda: now)
    made = create_organisation(store, name="Limited", users=2)

    def ask(user: int = 0) -> dict[str, Any]:
        form = refresh_form(made) | {"refresh_token": made.users[user].refresh_token}
        return oauth.token(store, form, api_domain="http://x", limits=limits)

    for _ in range(3):
        assert tokens.revoke(store, ask()["access_token"])  # giving one back takes nothing back
    for later in (0, 599):
        now = 1_800_000_000.0 + later
        with pytest.raises(oauth.TooManyTokensError):
            ask()
    assert ask(user=1)["access_token"]
    now = 1_800_000_600.0
    assert ask()["access_token"]
    store.close()


def test_denied_requests_are_400_in_the_originals_words_and_an_unspent_code_stays_good() -> None:
    with running_crm(token_limits=TokenLimits(refresh_tokens=Rate(count=1, seconds=60))) as crm:
        made, form = limited_forms(crm)
        for _ in range(10):
            assert ask_token(crm, **form)["access_token"]
        denied = httpx.post(crm.token_url, data=form)
        assert denied.status_code == 400
        assert (denied.json()["error"], denied.json()["status"]) == ("Access Denied", "failure")
        assert "too many requests" in denied.json()["error_description"]
        asked = {
            "response_type": "code",
            "client_id": made.client_id,
            "scope": "ZohoCRM.users.READ",
            "redirect_uri": "https://app.example/back",
            "access_type": "offline",
        }
        codes = []
        for _ in range(10):
            back = httpx.get(f"{crm.url}/oauth/v2/auth", params=asked).headers["location"]
            codes.append(parse_qs(urlsplit(back).query)["code"][0])
        eleventh = httpx.get(f"{crm.url}/oauth/v2/auth", params=asked)
        assert (eleventh.status_code, eleventh.json()["error"]) == (400, "access_denied")
        exchange = form | {"grant_type": "authorization_code", "redirect_uri": "https://app.example/back"}
        assert ask_token(crm, **(exchange | {"code": codes[0]}))["refresh_token"]
        assert httpx.post(crm.token_url, data=exchange | {"code": codes[1]}).json()["error"] == "Access Denied"
        with crm.store.transaction() as db:
            db.execute("DELETE FROM token_request")
        assert ask_token(crm, **(exchange | {"code": codes[1]}))["refresh_token"]


def paths_of(product: str) -> list[tuple[str, str, Route]]:
    """Every line of the table as a path that a call could have: product, method with path, line."""
    found = []
    module = "Contacts"
    for each in routes_of(product):
        parts = [{"{module}": module, "{organisation}": "org1"}.get(part, part) for part in each.pattern]
        parts = [re.sub(r"^\{.*\}$", "1", part) for part in parts]
        version = NEWEST[product]
        match parts:
            case ["bulk", *rest]:
                path = "/".join(["", product, "bulk", version, *rest])
            case ["content", *rest]:
                path = "/".join(["", version, product, *rest])
            case _:
                path = "/".join(["", product, version, *parts])
        found.append((path, each.method, each))
    return found


@pytest.mark.parametrize("product", ["crm", "bigin"])
def test_every_path_refuses_a_token_that_has_every_scope_but_its_own(crm: RunningCrm, product: str) -> None:
    made = crm.create_organisation(product=product, users=1)
    service = scopes.SERVICES[product]
    everything = [
        (service if each.service is None else each.service, each.group, each.thing, operation)
        for line in routes_of(product)
        for each in line.scopes
        for operation in ("read", "create", "update", "delete", "custom")
    ]
    with httpx.Client(base_url=crm.url) as http:
        for path, method, line in paths_of(product):
            for missing in line.scopes:
                for operation in missing.operations:
                    lacking = (missing.service or service, missing.group, missing.thing, operation)
                    others = sorted(
                        {
                            ".".join(filter(None, (*each[:3], each[3].upper())))
                            for each in everything
                            if not _opens(each, lacking)
                        }
                    )
                    token = tokens.issue_access_token(
                        crm.store, client_id=made.client_id, user_id=int(made.users[0].id), scope=" ".join(others)
                    )
                    body = b"{}" if method not in ("GET", "DELETE") and not line.takes_form else None
                    answer = http.request(method, path, headers={"Authorization": f"Bearer {token}"}, content=body)
                    refused = (answer.status_code, answer.json()["code"])
                    assert refused == (401, "OAUTH_SCOPE_MISMATCH"), (method, path, lacking, answer.text)


def _opens(have: tuple[str, str, str | None, str], wanted: tuple[str, str, str | None, str]) -> bool:
    """Whether a scope without its thing, or with the same one, opens what is wanted."""
    return have[0] == wanted[0] and have[1] == wanted[1] and have[2] in (None, wanted[2]) and have[3] == wanted[3]
