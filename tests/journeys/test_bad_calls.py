"""What goes wrong on the way of a call is answered in clear words, costs what it should (G6), and stops nobody else."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from farebox.testing.books import read_books
from farebox.testing.system import Provision, RunningFarebox, free_port, until
from farebox.testing.upstream import Behaviour, StubUpstream

GARBAGE_CONNECTIONS = 60
TOO_LONG = b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: gateway\r\n\r\n"

pytestmark = pytest.mark.slow


def test_an_upstream_that_is_down_costs_nothing_and_is_used_again_once_it_is_up(tmp_path: Path) -> None:
    port = free_port()
    with RunningFarebox(tmp_path, upstream_url=f"http://127.0.0.1:{port}") as farebox:
        with farebox.caller("acme", "ada") as ada:
            down = [ada.get("/") for _ in range(3)]
            assert {(each.status_code, each.json()["code"]) for each in down} == {(502, "UPSTREAM_UNREACHABLE")}
            assert "X-Farebox-Credits-Charged" in down[0].headers
            assert {each.headers["X-Farebox-Credits-Charged"] for each in down} == {"0"}
            assert farebox.ask_console("allowance", "acme")["used"] == 0
            with socket.create_server(("127.0.0.1", port)) as listener:
                listener.settimeout(60)
                with ThreadAnswer(listener):
                    until(lambda: ada.get("/").status_code == 200, what="the upstream is used again")
        until(lambda: farebox.ask_console("usage", "acme")["calls"] == 1, what="the one call that got through")
        assert farebox.ask_console("usage", "acme")["millicredits"] == 1_000


class ThreadAnswer:
    """Accepts one connection and answers 200 to what comes."""

    def __init__(self, listener: socket.socket) -> None:
        import threading

        self._listener = listener
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)

    def _answer(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


def test_a_call_that_reached_the_upstream_is_charged_whatever_follows(tmp_path: Path, upstream: StubUpstream) -> None:
    upstream.answer("/resets", Behaviour(reset_after=0))
    upstream.answer("/cut", Behaviour(reset_after=100, body=b"x" * 1_000))
    upstream.answer("/500", Behaviour(status=500))
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        with farebox.caller("acme", "ada") as ada:
            assert ada.post("/resets").status_code == 502
            assert ada.post("/cut").status_code == 502
            assert ada.get("/500").status_code == 500
        until(lambda: farebox.ask_console("usage", "acme")["calls"] == 3, what="three charged calls")
        assert farebox.ask_console("usage", "acme")["millicredits"] == 3_000


def test_callers_who_are_not_known_are_told_what_to_do_and_nothing_is_recorded(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        without = httpx.get(farebox.gateway_url)
        unknown = httpx.get(farebox.gateway_url, headers={"Authorization": "Bearer fbx_nobody"})
        assert (without.status_code, without.json()["code"]) == (401, "CREDENTIALS_MISSING")
        assert (unknown.status_code, unknown.json()["code"]) == (401, "CREDENTIALS_UNKNOWN")
        assert "farebox key add" in unknown.json()["detail"]
        assert upstream.requests == []
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is gone")
    assert read_books(farebox.data).entries == ()


def test_an_org_that_only_the_configuration_knows_is_refused_with_the_command_that_adds_it(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    farebox = RunningFarebox(
        tmp_path, upstream_url=upstream.url, orgs=[Provision(org="acme")], upstream={"identity": "fixed"}
    )
    with farebox.config_path.open("a") as config:
        config.write('[upstream.fixed]\norg = "acmee"\n')
    with farebox:
        refused = httpx.get(farebox.gateway_url)
        assert (refused.status_code, refused.json()["code"]) == (403, "ORG_UNKNOWN")
        assert "farebox org add" in refused.json()["detail"]
        with farebox.directory() as directory:
            directory.add_org("acmee", name="Acmee")
            directory.subscribe("acmee", "api", card="generic", plan="standard")
        until(lambda: httpx.get(farebox.gateway_url).status_code == 200, what="the added org is let through")


def test_garbage_on_the_socket_is_refused_and_hurts_nobody_else(tmp_path: Path, upstream: StubUpstream) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox, farebox.caller("acme", "ada") as ada:
        pid = farebox.gateway.pid
        for number in range(GARBAGE_CONNECTIONS):
            said = _say(farebox.gateway_url, _garbage(rng) if number else TOO_LONG)
            assert said == b"" or said.startswith(b"HTTP/1.1 4"), said[:200]
            assert ada.get("/").status_code == 200
        assert farebox.gateway.pid == pid
        assert farebox.gateway.is_running
        assert "Traceback" not in farebox.gateway.log
        until(lambda: farebox.ask_console("usage", "acme")["calls"] == GARBAGE_CONNECTIONS, what="the good calls")
        assert len(upstream.requests) == GARBAGE_CONNECTIONS


def _garbage(rng: random.Random) -> bytes:
    """Noise, a TLS hello, or a request with something wrong in it."""
    request = b"GET / HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer fbx_nobody\r\n\r\n"
    match rng.randrange(5):
        case 0:
            return rng.randbytes(rng.randrange(1, 5_000))
        case 1:
            return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(508)
        case 2:
            place = rng.randrange(len(request))
            return request[:place] + rng.randbytes(rng.randrange(1, 9)) + request[place:]
        case 3:
            return request[: rng.randrange(1, len(request))]
        case _:
            return (
                b"GET /" + b"a" * rng.randrange(70_000) + b" HTTP/1.1\r\n" + b"X: y\r\n" * rng.randrange(300) + b"\r\n"
            )


def _say(url: str, data: bytes) -> bytes:
    """What comes back for these bytes until the gateway closes, after we have ended our side."""
    parts = urlsplit(url)
    heard = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65_536):
                heard += more
        except ConnectionError:
            return heard
    return heard
