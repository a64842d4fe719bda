"""`farebox usage` as a program of its own: asks the console; without one, the quota file."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from tests.console.world import PASSWORD, World
from typer.testing import CliRunner

from farebox.cli import usage as command
from farebox.console.secret import write_local_access
from farebox.quota.directory import Directory


def farebox_usage(world: World, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FAREBOX_")}
    return subprocess.run(
        [sys.executable, "-m", "farebox.cli", "usage", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=world.folder,
        env={**clean, **environment},
        check=False,
    )


@pytest.fixture
def busy(world: World) -> World:
    world.directory.add_app("acme", "erp", name="ERP bridge")
    world.call("ada", credits=5, times=3, app="erp")
    world.call("olga", org="other", credits=1)
    return world


def test_on_the_consoles_machine_it_asks_as_the_operator(busy: World) -> None:
    busy.serve()
    busy.loaded()
    report = json.loads(farebox_usage(busy, "--data", str(busy.folder), "--json").stdout)
    assert report["source"].rstrip("/") == busy.url
    assert {each["org"] for each in report["accounts"]} == {"acme", "other"}
    told = farebox_usage(busy, "--data", str(busy.folder), "--org", "acme", "--product", "crm", "--by", "app").stdout
    assert "15 of 52,500 used (1 %), 3 calls." in told
    assert re.search(r"ERP bridge +3 +15 +0", told)
    assert "organisation less sum: 0" in told


def test_shadow_mode_and_unleased_spend_have_lines_of_their_own(busy: World) -> None:
    told = farebox_usage(busy, "--data", str(busy.folder), "--org", "acme", "--product", "crm").stdout
    assert "shadow" not in told
    busy.directory.set_org("acme", shadow=True)
    told = farebox_usage(busy, "--data", str(busy.folder), "--org", "acme", "--product", "crm").stdout
    assert "in shadow mode: nothing is refused" in told
    busy.call("ada", credits=3, times=2, shadow="allowance", leased=False)
    busy.call("ada", credits=4, leased=False)
    busy.serve()
    busy.loaded()
    told = farebox_usage(busy, "--data", str(busy.folder), "--org", "acme", "--product", "crm").stdout
    assert "would have been refused: 2 calls of 6 credits, let through in shadow mode" in told
    assert "of it unleased" in told


def test_elsewhere_it_signs_in_by_login_or_token_and_sees_that_org_only(busy: World) -> None:
    busy.serve()
    busy.loaded()
    token = busy.logins.make_token("olga@other.example")
    by_token = farebox_usage(busy, "--console-url", busy.url, "--json", FAREBOX_CONSOLE_TOKEN=token)
    assert {each["org"] for each in json.loads(by_token.stdout)["accounts"]} == {"other"}
    login = ("--login", "ada@acme.example", "--password", PASSWORD)
    by_login = farebox_usage(busy, "--console-url", busy.url, *login, "--json")
    assert {each["org"] for each in json.loads(by_login.stdout)["accounts"]} == {"acme"}
    refused = farebox_usage(
        busy, "--console-url", busy.url, "--login", "ada@acme.example", "--password", "not this one"
    )
    assert refused.returncode == 1
    assert "CONSOLE_UNAVAILABLE" in refused.stderr
    assert "login or password is not right" in refused.stderr


def test_without_a_console_the_totals_come_from_quota_and_it_says_so(busy: World) -> None:
    told = farebox_usage(busy, "--data", str(busy.folder), "--org", "acme", "--product", "crm")
    assert told.returncode == 0, told.stderr
    assert "no console runs on this data directory" in told.stdout
    assert "total 52,500   used 15" in told.stdout
    report = json.loads(farebox_usage(busy, "--data", str(busy.folder), "--json").stdout)
    assert report["note"]
    assert all(each["usage"] is None for each in report["accounts"])


def test_a_console_that_is_not_there_and_an_org_that_is_not_are_clear_errors(busy: World) -> None:
    nobody = farebox_usage(busy, "--console-url", "http://127.0.0.1:1", "--token", "fbc_x")
    assert nobody.returncode == 1
    assert "did not answer" in nobody.stderr
    unknown = farebox_usage(busy, "--data", str(busy.folder), "--org", "nobody")
    assert unknown.returncode == 1
    assert "UNKNOWN_NAME" in unknown.stderr
    assert "acme (crm)" in unknown.stderr


@contextmanager
def _console_that(*, ends: bool) -> Iterator[str]:
    """A console's address where connections are taken and never answered: ended at once, or left hanging."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                taken.append(connection)
                if ends:
                    connection.recv(1)
                    connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("ends", [True, False], ids=["dying", "hanging"])
def test_a_console_that_takes_the_question_and_never_answers_is_said_and_quota_asked(
    busy: World, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    monkeypatch.setattr(command, "ASK_SECONDS_MAX", 0.3)
    app = typer.Typer()
    app.command()(command.usage)
    with _console_that(ends=ends) as url:
        write_local_access(busy.folder, url)
        asked = ["--data", str(busy.folder), "--org", "acme", "--product", "crm"]
        told = CliRunner().invoke(app, asked, catch_exceptions=False)
        assert told.exit_code == 0
        assert f"the console at {url} does not answer" in told.output
        assert "total 52,500   used 15" in told.output


def test_before_the_first_serve_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    def told() -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FAREBOX_")}
        words = [sys.executable, "-m", "farebox.cli", "usage", "--data", str(tmp_path / "data")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=180, cwd=tmp_path, env=clean, check=False)
        assert done.returncode == 1
        return done.stderr

    none_yet = told()
    assert "does not exist yet" in none_yet
    assert "farebox org add" in none_yet
    assert not (tmp_path / "data").exists()
    Directory.open(tmp_path / "data").close()
    unserved = told()
    assert "Nothing was served from the data directory" in unserved
    assert "farebox serve" in unserved
    assert "DATA_DIRECTORY" in unserved
