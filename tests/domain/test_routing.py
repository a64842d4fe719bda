"""Which upstream a host and a path lead to, and which places are none."""

from __future__ import annotations

import pytest

from farebox.domain.routing import (
    HOSTS_REMEMBERED_MAX,
    Place,
    Router,
    host_problem,
    path_problem,
    place,
)

ROUTER = Router(
    [
        (place("", "/"), "everything"),
        (place("", "/crm"), "crm"),
        (place("", "/crm/v8/bulk/"), "bulk"),
        (place("accounts.example.com", "/oauth"), "accounts"),
        (place("*.example.com", "/"), "below"),
        (place("*.eu.example.com", "/"), "below eu"),
        (place("[::1]", "/"), "six"),
    ]
)


@pytest.mark.parametrize(
    ("host", "path", "found"),
    [
        (b"any", "/", "everything"),
        (b"any", "/crm", "crm"),
        (b"any", "/crm/", "crm"),
        (b"any", "/crmx", "everything"),
        (b"any", "/crm/v8/bulk", "bulk"),
        (b"any", "/crm/v8/bulk/read", "bulk"),
        (b"accounts.example.com", "/oauth/v2/token", "accounts"),
        (b"Accounts.Example.COM.:8443", "/oauth", "accounts"),
        (b"accounts.example.com", "/crm", "below"),
        (b"www.example.com", "/crm", "below"),
        (b"a.b.eu.example.com", "/", "below eu"),
        (b"eu.example.com", "/", "below"),
        (b"example.com", "/", "everything"),
        (b"notexample.com", "/", "everything"),
        (b"[::1]:8080", "/crm", "six"),
    ],
)
def test_the_host_that_names_a_call_closest_wins_then_the_longest_prefix(host: bytes, path: str, found: str) -> None:
    assert ROUTER.find(host, path) == found


def test_a_place_of_nobody_is_nobodys() -> None:
    router = Router([(place("api.example.com", "/crm"), 1)])
    assert router.find(b"api.example.com", "/bigin") is None
    assert router.find(b"other.example.com", "/crm") is None


def test_hosts_that_callers_invent_are_not_remembered_without_end() -> None:
    router = Router([(place("", "/"), 1)])
    for number in range(HOSTS_REMEMBERED_MAX + 50):
        assert router.find(b"host-%d" % number, "/") == 1
    assert len(router._remembered) == HOSTS_REMEMBERED_MAX


def test_a_place_is_one_however_it_is_spelled() -> None:
    assert place("API.example.com.", "/crm/") == place("api.example.com", "/crm") == Place("api.example.com", "/crm")


@pytest.mark.parametrize(
    "host", ["api.example.com", "*.example.com", "localhost", "10.0.0.1", "[::1]", "API.Example.com"]
)
def test_a_host_is_a_name_an_address_or_all_below_a_name(host: str) -> None:
    assert not host_problem(host)


@pytest.mark.parametrize("host", ["", "*", "api.example.com:443", "https://api", "a b", "*.*.x", "a..b", "x/y", "-a"])
def test_what_no_host_field_can_say_is_no_host(host: str) -> None:
    assert repr(host) in host_problem(host)


@pytest.mark.parametrize(
    "path", ["crm", "", "/a//b", "/a/../b", "/./a", "/a?x=1", "/a#b", "/a%2Fb", "/-/farebox/healthz", "/a b"]
)
def test_what_no_target_can_begin_with_is_no_path(path: str) -> None:
    assert repr(path) in path_problem(path)


@pytest.mark.parametrize("path", ["/", "/crm", "/crm/", "/crm/v8.1/a-b_c~d", "/-", "/-/fareboxes"])
def test_a_path_prefix_may_end_with_a_slash(path: str) -> None:
    assert not path_problem(path)
