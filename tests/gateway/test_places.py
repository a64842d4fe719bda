"""One gateway, several upstreams: host and path decide; a place that is taken or can never match is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farebox.config import Fixed, HttpUrl, Upstream, load
from farebox.errors import ConfigInvalidError
from farebox.testing.upstream import StubUpstream

from .conftest import GatewayMaker

BEGINNING = '[[upstream]]\nname = "crm"\nurl = "http://127.0.0.1:1"\ncard = "zoho-crm"\n'
SECOND = '[[upstream]]\nname = "bigin"\nurl = "http://127.0.0.1:2"\ncard = "bigin"\n'


@pytest.fixture
def second() -> Iterator[StubUpstream]:
    with StubUpstream() as stub:
        yield stub


def test_host_and_path_decide_upstream_card_and_product(
    make_gateway: GatewayMaker, upstream: StubUpstream, second: StubUpstream
) -> None:
    bigin = Upstream(
        name="bigin",
        url=HttpUrl(second.url),
        card="bigin",
        hosts=("bigin.example.com",),
        paths=("/bigin",),
        identity="fixed",
        fixed=Fixed(org="acme"),
    )
    gateway = make_gateway(card="zoho-crm", others=(bigin,), start=False)
    gateway.org(plan="standard")
    gateway.directory.subscribe("acme", "bigin", card="bigin", plan="express", users=1)
    caller = gateway.start().caller()
    assert caller.ask("GET", "/crm/v8/Leads").status == 200
    assert caller.ask("GET", "/bigin/v2/Contacts", fields={"Host": "Bigin.Example.com:8080"}).status == 200
    assert caller.ask("GET", "/crm/v8/Deals", fields={"Host": "bigin.example.com"}).status == 200
    assert [request.target for request in upstream.requests] == ["/crm/v8/Leads", "/crm/v8/Deals"]
    assert [request.target for request in second.requests] == ["/bigin/v2/Contacts"]
    gateway.entry(count=3)
    assert [entry.product for entry in gateway.entries()] == ["crm", "bigin", "crm"]


def test_a_host_that_no_upstream_names_gets_404(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(more={"hosts": ("api.example.com", "*.api.example.com")})
    answer = gateway.caller().ask("GET", "/")
    assert (answer.status, answer.json()["code"]) == (404, "NO_SUCH_UPSTREAM")
    assert gateway.caller().ask("GET", "/", fields={"Host": "eu.api.example.com"}).status == 200
    assert len(upstream.requests) == 1


def problems(folder: Path, text: str) -> str:
    """What `load` finds wrong with a configuration."""
    path = folder / "farebox.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigInvalidError) as error:
        load(path)
    return str(error.value)


def test_two_upstreams_in_one_place_are_no_configuration(tmp_path: Path) -> None:
    assert "path '/' belongs to crm already" in problems(tmp_path, BEGINNING + SECOND)
    text = BEGINNING + 'paths = ["/api"]\n' + SECOND + 'paths = ["/api/"]\n'
    assert "path '/api/' belongs to crm already" in problems(tmp_path, text)
    text = BEGINNING + 'hosts = ["api.example.com"]\n' + SECOND + 'hosts = ["API.example.com."]\n'
    assert "path '/' of host API.example.com. belongs to crm already" in problems(tmp_path, text)


def test_a_place_that_no_call_can_reach_is_no_configuration(tmp_path: Path) -> None:
    assert "paths is empty" in problems(tmp_path, BEGINNING + "paths = []\n")
    assert "can never match" in problems(tmp_path, BEGINNING + 'paths = ["/a/../b"]\n')
    assert "is not a name" in problems(tmp_path, BEGINNING + 'hosts = ["api.example.com:8080"]\n')


def test_one_path_on_two_hosts_is_two_places(tmp_path: Path) -> None:
    path = tmp_path / "farebox.toml"
    path.write_text(
        BEGINNING + 'hosts = ["a.example.com"]\n' + SECOND + 'hosts = ["b.example.com"]\n', encoding="utf-8"
    )
    assert [upstream.hosts for upstream in load(path).upstream] == [("a.example.com",), ("b.example.com",)]
