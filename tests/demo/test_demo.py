"""`farebox demo` as a person runs it: it leaves everything running, says where, and stops it again."""

from __future__ import annotations

import json
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

SECONDS_MAX = 600
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Ran:
    """One `farebox demo`, what it left in demo.json, and the processes it left running."""

    folder: Path
    output: str
    content: dict[str, Any]
    left: tuple[psutil.Process, ...]

    @property
    def zylker(self) -> dict[str, str]:
        org: dict[str, str] = next(org for org in self.content["orgs"] if org["name"] == "Zylker")
        return org


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "farebox.cli", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)


def _processes(folder: Path) -> tuple[psutil.Process, ...]:
    """Those the demo noted, and their children."""
    path = folder / "demo" / "processes.json"
    noted = json.loads(path.read_text()).values() if path.is_file() else ()
    found = [psutil.Process(pid) for pid in noted if psutil.pid_exists(pid)]
    return tuple(found + [child for process in found for child in process.children(recursive=True)])


def _kill(processes: tuple[psutil.Process, ...]) -> None:
    for process in processes:
        if process.is_running():  # psutil compares the time of its start: a reused id is not killed
            process.kill()
    psutil.wait_procs(processes, timeout=60)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("demo") / "data"
    left: tuple[psutil.Process, ...] = ()
    try:
        done = _demo("--data", str(folder), "--free-ports")
        left = _processes(folder)
        assert done.returncode == 0, done.stdout + done.stderr
        content = json.loads((folder / "demo.json").read_text())
        yield Ran(folder, done.stdout, content, left)
    finally:
        _kill(left or _processes(folder))


def test_gateway_console_and_crm_api_are_left_running(ran: Ran) -> None:
    assert httpx.get(f"{ran.content['gateway_url']}/-/farebox/healthz").status_code == 200
    assert httpx.get(f"{ran.content['console_url']}/healthz").status_code == 200
    assert httpx.get(f"{ran.content['crm_url']}/crm/v8/org").status_code == 401
    assert len(ran.left) >= 3


def test_the_demo_file_names_addresses_and_everything_to_sign_in_with(ran: Ran) -> None:
    assert [(org["name"], org["product"], org["plan"]) for org in ran.content["orgs"]] == [
        ("Zylker", "crm", "standard"),
        ("Cloud Nine", "crm", "free"),
        ("Corner Bakery", "bigin", "express"),
    ]
    for org in ran.content["orgs"]:
        wanted = ("client_id", "client_secret", "refresh_token", "api_key", "login", "password")
        assert all(isinstance(org[name], str) and org[name] for name in wanted)


def test_only_the_owner_can_read_what_the_demo_keeps(ran: Ran) -> None:
    assert stat.S_IMODE(ran.folder.stat().st_mode) == 0o700
    secret = [ran.folder / "demo.json", ran.folder / "farebox.toml", ran.folder / "demo" / "organisations.json"]
    secret += ran.folder.glob("demo/programs/*/settings.json")
    assert len(secret) == 6, "two people of Zylker and one of Cloud Nine use the SDK"
    assert not [path for path in secret if stat.S_IMODE(path.stat().st_mode) != 0o600]


def test_every_step_of_every_organisation_is_printed_with_what_it_saw(ran: Ran) -> None:
    for seen in (
        "207, 2 of 3 records, the other MANDATORY_NOT_FOUND",
        "201, 3 of 3 records, 2 update by Email, 1 insert",
        "200, 2 of 2 records; 204, nothing there",
    ):
        assert ran.output.count(seen) == 3, ran.output
    assert re.search(r"429 APIException TOO_MANY_REQUESTS, Retry-After \d+\n", ran.output), ran.output


def test_what_the_same_job_cost_a_naive_and_a_thrifty_program_is_printed(ran: Ran) -> None:
    for line in (
        "One job done twice at Zylker, by Amelia Burrows's Lead sync, naive and by Daniel Okafor's Lead sync, thrifty:",
        "the same 200 leads: 640 credits, 23 credits (27.8 times as many)",
        "the same 10,000 records of history: 1,000 credits, 502 credits (2.0 times as many)",
    ):
        assert line in ran.output, ran.output


def test_the_printed_call_works_as_it_stands(ran: Ran) -> None:
    printed = re.search(r"^ +curl (.*?\\\n.*?)$", ran.output, re.MULTILINE)
    assert printed is not None, ran.output
    _, _, header, url = shlex.split(printed[1].replace("\\\n", " "))
    answer = httpx.get(url, headers=dict([header.split(": ")]))
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 3
    assert answer.headers["X-Farebox-Credits-Charged"] == "1"


def test_the_farebox_key_of_every_organisation_works(ran: Ran) -> None:
    for org in ran.content["orgs"]:
        path = "/crm/v8/users" if org["product"] == "crm" else "/bigin/v2/users"
        answer = httpx.get(ran.content["gateway_url"] + path, headers={"X-Api-Key": org["api_key"]})
        assert answer.status_code == 200, (org["name"], answer.text)


def test_the_printed_login_opens_the_dashboard_of_its_organisation(ran: Ran) -> None:
    for org in ran.content["orgs"]:
        assert re.search(f"{re.escape(org['login'])} +password {re.escape(org['password'])}", ran.output)
        with httpx.Client(base_url=ran.content["console_url"]) as client:
            form = client.get("/sign-in")
            token = re.search(r'name="form_token" value="([^"]+)"', form.text)
            assert token is not None
            entered = {"login": org["login"], "password": org["password"], "form_token": unescape(token[1])}
            answer = client.post("/sign-in", data=entered)
            assert answer.status_code == 303, answer.text
            page = client.get("/setup/storage/api-dashboard", follow_redirects=True)
            assert page.status_code == 200
            assert org["name"] in page.text


def test_a_second_demo_on_the_same_folder_is_refused_in_a_sentence(ran: Ran) -> None:
    before = (ran.folder / "demo.json").read_bytes()
    second = _demo("--data", str(ran.folder), "--free-ports")
    assert second.returncode == 1
    assert f"A demo is running on {ran.folder}" in second.stderr
    assert f"farebox demo --stop --data {ran.folder}" in second.stderr
    assert "Traceback" not in second.stderr
    assert (ran.folder / "demo.json").read_bytes() == before
    assert httpx.get(f"{ran.content['gateway_url']}/-/farebox/healthz").status_code == 200


def test_stop_ends_every_process_and_a_second_stop_finds_none(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    left: tuple[psutil.Process, ...] = ()
    try:
        assert _demo("--data", str(folder), "--free-ports").returncode == 0
        left = _processes(folder)
        stopped = _demo("--stop", "--data", str(folder))
        assert (stopped.returncode, stopped.stdout) == (0, "The demo is stopped.\n"), stopped.stderr
        assert not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        again = _demo("--stop", "--data", str(folder))
        assert (again.returncode, again.stdout) == (0, f"No demo is running on {folder}.\n")
    finally:
        _kill(left or _processes(folder))


def test_a_folder_with_other_data_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    tmp_path.chmod(0o755)
    done = _demo("--data", str(tmp_path), "--free-ports")
    assert done.returncode == 1
    assert "holds data that no demo made" in done.stderr
    assert "Traceback" not in done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("thesis.txt", "three years of work")]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_process_that_took_a_noted_id_is_not_the_demos(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        try:
            (tmp_path / "demo" / "processes.json").write_text(json.dumps({"Farebox": other.pid}))
            done = _demo("--stop", "--data", str(tmp_path))
            assert (done.returncode, done.stdout) == (0, f"No demo is running on {tmp_path}.\n")
            assert other.poll() is None
        finally:
            other.kill()
