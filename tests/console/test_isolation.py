"""G8, for every route there is: what a route says to whom, tried with every credential and for every organisation.

The routes are asked of the running app, so that a new one is tried without being named here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Mount
from tests.console.world import PASSWORD, World

from farebox.console.doors import Role, RouteWithoutRoleError, every_route, role_of

ACME, OTHER = "acme", "other"
SPENT = {ACME: "6,271", OTHER: "7,919"}
SECRETS = {
    ACME: ("Acme Fahr", "Ada Brandt", "ada@acme", "6,271", "6271"),
    OTHER: ("Other Ltd", "Olga", "olga@other", "7,919", "7919"),
}
VARIANTS = ("product=crm", "product=crm&pool=functions", "product=nope", "pool=nope", "by=app", "by=nope")
STREAM_LINES_MAX = 20
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Credential:
    """Somebody: the orgs they may see, and whether by a session."""

    client: httpx.Client
    sees: frozenset[str]
    by_session: bool = False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("isolation"))
    world.call("ada", credits=6_271)
    world.call("olga", org=OTHER, credits=7_919)
    world.serve()
    world.loaded()
    yield world
    world.close()


@pytest.fixture(scope="module")
def everybody(served: World) -> dict[str, Credential]:
    served.logins.make_login("zoe", org="gone", password=PASSWORD)
    return {
        "nobody": Credential(served.client(), frozenset()),
        "somebody of an org that is gone": Credential(served.client("zoe"), frozenset(), by_session=True),
        "a member": Credential(served.client("ada@acme.example"), frozenset({ACME}), by_session=True),
        "a member of another org": Credential(served.client("olga@other.example"), frozenset({OTHER}), by_session=True),
        "the operator": Credential(served.client("ops"), frozenset({ACME, OTHER}), by_session=True),
        "the local token": _bearing(served, served.local_token, ACME, OTHER),
        "a member's token": _bearing(served, served.logins.make_token("ada@acme.example"), ACME),
        "another member's token": _bearing(served, served.logins.make_token("olga@other.example"), OTHER),
        "a key": _bearing(served, served.directory.add_key(ACME).key, ACME),
        "another org's key": _bearing(served, served.directory.add_key(OTHER).key, OTHER),
        "a token of the CRM API": _bearing(served, "1000.0123456789abcdef.0123456789abcdef"),
        "an unknown token": _bearing(served, "fbc_unknown"),
        "an unknown key": _bearing(served, "fbx_unknown"),
    }


def _bearing(world: World, token: str, *sees: str) -> Credential:
    client = world.client()
    client.headers["Authorization"] = f"Bearer {token}"
    return Credential(client, frozenset(sees))


@dataclass(frozen=True)
class Answer:
    """What is compared: everything an asker can see, form tokens taken out."""

    status: int
    fields: tuple[tuple[str, str], ...]
    text: str


def ask(credential: Credential, method: str, path: str) -> Answer:
    with credential.client.stream(method, path) as response:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            lines = response.iter_lines()
            text = "\n".join(line for _, line in zip(range(STREAM_LINES_MAX), _until_data(lines), strict=False))
        else:
            text = response.read().decode()
    shown = {name: value for name, value in response.headers.items() if name not in ("date", "set-cookie")}
    plain = re.sub(r'name="form_token" value="[^"]*"', "TOKEN", text)
    return Answer(response.status_code, tuple(sorted(shown.items())), plain)


def about(org: str, answer: Answer, *, instead_of: str) -> Answer:
    """The answer as it would read for another org."""
    fields = tuple((name, value.replace(instead_of, org)) for name, value in answer.fields)
    return Answer(answer.status, fields, answer.text.replace(instead_of, org))


def _until_data(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if line.startswith("data: "):
            return


def routes(world: World) -> list[tuple[Role, str, frozenset[str]]]:
    """(role, path, methods) of everything the running console answers."""
    assert world.app is not None
    found = []
    for route in every_route(world.app.routes):
        if isinstance(route, Mount):
            found.append((role_of(route), f"{route.path}/live.js", frozenset({"GET", "HEAD"})))
        else:
            assert isinstance(route, APIRoute)
            found.append((role_of(route), route.path, frozenset(route.methods or ())))
    return found


def addresses(path: str, org: str) -> list[str]:
    """The addresses at which a route could say something of an org."""
    filled = path.replace("{org}", org).replace("{product}", "crm").replace("{token}", "unknown-token")
    assert "{" not in filled, f"{path}: say here what its parameters are"
    prefix = "" if "{org}" in path else f"org={org}&"
    return [filled, *(f"{filled}?{prefix}{variant}" for variant in VARIANTS)]


def test_every_route_has_a_role_and_there_are_routes_of_every_role(served: World) -> None:
    found = routes(served)
    assert len(found) >= 15
    assert {role for role, _, _ in found} == set(Role)


def test_a_console_with_a_route_behind_no_door_does_not_start(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def router(_: object) -> APIRouter:
        made = APIRouter()
        made.get("/api/v1/everything")(lambda: "of everybody")
        return made

    monkeypatch.setattr("farebox.console.app.api.router", router)
    world = World(tmp_path_factory.mktemp("undeclared"))
    try:
        with pytest.raises(RouteWithoutRoleError, match="behind 0 doors"):
            world.serve(load=False)
    finally:
        world.close()


def test_no_route_says_anything_of_another_org_to_anybody(served: World, everybody: dict[str, Credential]) -> None:
    asked = 0
    for role, path, methods in routes(served):
        for who, credential in everybody.items():
            for method in methods:
                asked += _tried(role, method, path, who, credential)
    assert asked > 1_000


def _tried(role: Role, method: str, path: str, who: str, credential: Credential) -> int:
    """One route, one method, one asker, every address: the number of questions asked."""
    asked = 0
    let_in = credential.sees if role is Role.PROGRAM or credential.by_session else frozenset()
    for org in (ACME, OTHER):
        nobodys = "nobody"[: len(org)]
        for address, same_of_nobody in zip(addresses(path, org), addresses(path, nobodys), strict=True):
            answer = ask(credential, method, address)
            asked += 1
            for hidden in {ACME, OTHER} - let_in:
                told = [secret for secret in SECRETS[hidden] if secret in answer.text or secret in str(answer.fields)]
                assert not told, (who, method, address)
            if org not in let_in and org in address:
                same = about(org, ask(credential, method, same_of_nobody), instead_of=nobodys)
                assert answer == same, (who, method, address)
    return asked


def test_each_role_lets_in_whom_it_says(served: World, everybody: dict[str, Credential]) -> None:
    for role, path, methods in routes(served):
        if "GET" not in methods or "{token}" in path:
            continue
        for who, credential in everybody.items():
            org = next(iter(sorted(credential.sees)), ACME)
            address = addresses(path, org)[1]
            status = ask(credential, "GET", address).status
            if role is Role.ANYBODY or (credential.sees and (role is Role.PROGRAM or credential.by_session)):
                assert status in (200, 303), (who, address)
            elif not credential.by_session:
                assert status == (401 if role is Role.PROGRAM or path.endswith("/live") else 303), (who, address)


def test_a_method_a_route_does_not_have_says_nothing_either(served: World, everybody: dict[str, Credential]) -> None:
    member = everybody["a member"]
    there = routes(served)
    for _, path, _ in there:
        for method in METHODS.difference(*(methods for _, same, methods in there if same == path)):
            theirs, nobodys = (ask(member, method, addresses(path, org)[0]) for org in (OTHER, "nobod"))
            assert theirs == about(OTHER, nobodys, instead_of="nobod")
            assert theirs.status == 405, (method, path)


def test_what_ones_own_org_spent_is_shown(served: World, everybody: dict[str, Credential]) -> None:
    """Or the secrets looked for above would be looked for in vain."""
    path = "/setup/storage/api-dashboard"
    for who, org in (("a member", ACME), ("a member of another org", OTHER)):
        text = ask(everybody[who], "GET", f"{path}?org={org}&product=crm").text
        assert SPENT[org] in text
