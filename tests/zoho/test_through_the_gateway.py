"""Both official SDKs, as docs/zoho.md starts them, through a gateway in front of what behaves like Zoho's three hosts.

The reference CRM API stands in Zoho's place and says of itself what Zoho says: that the API is at Zoho's own host. An
SDK that was not led back would go there. What runs here is what the page shows, with addresses and secrets filled in.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.zoho.node import node_and_npm, node_sdk

from farebox import checks
from farebox.domain.names import FAREBOX
from farebox.quota.directory import Directory
from farebox.testing.books import read_books
from farebox.testing.system import ChildProcess, Provision, RunningFarebox, free_port, until
from farebox.testing.upstream import Behaviour, StubUpstream

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = (ROOT / "docs/zoho.md").read_text(encoding="utf-8")
ZOHO = "https://www.zohoapis.com"
CREDIT = 1_000
SECRETS = {"YOUR CLIENT ID": "1000.CLIENT", "YOUR CLIENT SECRET": "secret", "YOUR REFRESH TOKEN": "1000.refresh"}
UPLOADED = {
    "status": "success",
    "code": "FILE_UPLOAD_SUCCESS",
    "message": "file uploaded.",
    "details": {"file_id": "4711", "created_time": "2026-01-02T03:04:05-07:00"},
}

pytestmark = pytest.mark.slow


def block(language: str) -> str:
    """The page's block of that language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoho:
    """What stands in Zoho's place, and the gateway in front of it."""

    farebox: RunningFarebox
    content: StubUpstream
    folder: Path

    def arrived(self) -> list[dict[str, Any]]:
        """Every API call that reached what stands for Zoho's API, in order; the way to tokens not among them."""
        lines = (self.folder / "arrived.jsonl").read_text(encoding="utf-8").splitlines()
        return [call for line in lines if (call := json.loads(line))["path"].startswith("/crm")]

    def look_ups(self) -> int:
        """What Farebox counts as its own calls so far."""
        lines = self.farebox.ask_console("usage", "acme")["lines"]
        return sum(line["calls"] for line in lines if line["value"] == FAREBOX)

    def filled_in(self, text: str, folder: Path) -> str:
        """The page's text with the addresses and secrets of this test."""
        places = {"http://gateway.example:8080": self.farebox.gateway_url, "/var/lib/sync": str(folder), **SECRETS}
        for written, meant in places.items():
            assert written in text
            text = text.replace(written, meant)
        return text


@pytest.fixture(scope="module")
def zoho(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoho]:
    """Zoho's accounts and API (the reference CRM API as a process), its content host (a stub), and Farebox."""
    tmp_path = tmp_path_factory.mktemp("zoho")
    seed = {"name": "Acme", "edition": "enterprise", "users": 3, "client_id": "1000.CLIENT", "client_secret": "secret"}
    (tmp_path / "seed.json").write_text(json.dumps([{**seed, "refresh_token": "1000.refresh"}]), encoding="utf-8")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ["-m", "farebox.cli", "crm", "--port", str(port), "--data", str(tmp_path / "crm"), "--public-url", ZOHO]
    arguments += ["--no-token-limits"]
    arguments += ["--organisations", str(tmp_path / "seed.json"), "--request-log", str(tmp_path / "arrived.jsonl")]
    crm = ChildProcess("crm", arguments, health_url=f"{url}/crm/v8/org", health_status=401, log=tmp_path / "crm.log")
    org = Provision(org="acme", plan="enterprise", licences=3, users=())
    with ExitStack() as stack:
        content = stack.enter_context(StubUpstream())
        crm.start()
        stack.callback(crm.stop)
        farebox = RunningFarebox(
            tmp_path / "farebox", upstream_url=url, orgs=[org], card="zoho-crm", product="crm", gateway={}
        )
        _configure(farebox, api=url, content=content.url)
        (tmp_path / "arrived.jsonl").write_text("", encoding="utf-8")
        content.answer(
            "/crm/v8/upload",
            Behaviour(body=json.dumps(UPLOADED).encode(), fields=(("Content-Type", "application/json"),)),
        )
        yield Zoho(farebox=stack.enter_context(farebox), content=content, folder=tmp_path)
    assert read_books(farebox.data).disagreements() == []


def _configure(farebox: RunningFarebox, *, api: str, content: str) -> None:
    """The page's farebox.toml, with the addresses of this test."""
    text = block("toml")
    gateway, console = (address.removeprefix("http://") for address in (farebox.gateway_url, farebox.console_url))
    places = {
        '"https://accounts.zoho.com"': f'"{api}"',
        f'"{ZOHO}"': f'"{api}"',
        '"https://content.zohoapis.com"': f'"{content}"',
        "http://gateway.example:8080": farebox.gateway_url,
        "127.0.0.1:8080": gateway,
        "127.0.0.1:8081": console,
        '"farebox-data"': '"data"',
        "[gateway]\n": "[gateway]\nquota_wait_seconds = 30.0\n",  # a busy machine makes no call a 503
    }
    for written, meant in places.items():
        assert written in text
        text = text.replace(written, meant)
    farebox.config_path.write_text(text, encoding="utf-8")


def run_program(arguments: list[str], *, folder: Path) -> dict[str, Any]:
    """The JSON a program says last."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def agree(zoho: Zoho, *, user: str, look_ups: int) -> None:
    """What reached the API, what Farebox booked, and what it shows are the same calls, to the credit."""
    reached = len(zoho.arrived()) + len(zoho.content.requests)

    def whole() -> dict[str, Any] | None:
        found = zoho.farebox.ask_console("usage", "acme")
        return found if found["calls"] == reached and found["organisation_less_sum"] == 0 else None

    by_user = until(whole, what=f"{reached} calls are loaded, and quota agrees")
    lines = {line["value"]: line for line in by_user["lines"]}
    assert set(lines) == {user, FAREBOX}
    assert lines[FAREBOX]["calls"] == look_ups
    assert lines[FAREBOX]["millicredits"] == look_ups * CREDIT
    by_app = {line["value"]: line["calls"] for line in zoho.farebox.ask_console("usage", "acme", by="app")["lines"]}
    assert by_app == {"": reached - look_ups, FAREBOX: look_ups}


def test_the_python_sdk_runs_through_the_gateway_as_the_page_says(zoho: Zoho, tmp_path: Path) -> None:
    look_ups, uploads = zoho.look_ups(), len(zoho.content.requests)
    (tmp_path / "leads.zip").write_bytes(b"PK")
    program = tmp_path / "program.py"
    scenario = (HERE / "scenario.py").read_text(encoding="utf-8")
    program.write_text(zoho.filled_in(block("python"), tmp_path) + scenario, encoding="utf-8")
    said = run_program([sys.executable, str(program), str(tmp_path / "leads.zip")], folder=tmp_path)
    assert (said["made"], said["one"]) == (201, "From Python")
    assert "From Python" in said["listed"]
    assert str(said["uploaded"]) == "4711"
    assert said["left"] is not None
    (upload,) = zoho.content.requests[uploads:]
    assert (upload.method, upload.target, upload.fields["feature"]) == ("POST", "/crm/v8/upload", "bulk-write")
    agree(zoho, user=str(said["user"]), look_ups=look_ups + 1)


def test_the_node_sdk_runs_through_the_gateway_as_the_page_says(zoho: Zoho, tmp_path: Path) -> None:
    installed, look_ups = node_sdk(), zoho.look_ups()
    program = tmp_path / "program.js"
    scenario = (HERE / "scenario.js").read_text(encoding="utf-8")
    program.write_text(zoho.filled_in(block("js"), tmp_path) + scenario, encoding="utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(installed / "node_modules")
    said = run_program([node_and_npm()[0], str(program)], folder=tmp_path)
    assert (said["made"], said["one"]) == (201, "From Node")
    assert "From Node" in said["listed"]
    agree(zoho, user=str(said["user"]), look_ups=look_ups + 1)


def test_a_token_answer_that_was_not_led_back_would_send_clients_to_zoho_itself(zoho: Zoho) -> None:
    form = {"grant_type": "refresh_token", "client_id": "1000.CLIENT", "client_secret": "secret"}
    form["refresh_token"] = "1000.refresh"
    accounts = re.findall(r'url = "(http://[^"]+)"', zoho.farebox.config_path.read_text(encoding="utf-8"))[0]
    assert httpx.post(f"{accounts}/oauth/v2/token", data=form).json()["api_domain"] == ZOHO
    led_back = httpx.post(f"{zoho.farebox.gateway_url}/oauth/v2/token", data=form).json()
    assert led_back["api_domain"] == zoho.farebox.gateway_url


def test_farebox_check_names_an_org_that_is_not_there_and_a_gateway_that_leads_nobody_back(tmp_path: Path) -> None:
    text = block("toml").replace("https://", "http://127.0.0.1:1/").replace("127.0.0.1:808", "127.0.0.1:")
    text = re.sub(r"http://127\.0\.0\.1:1/[a-z.]+", "http://127.0.0.1:1", text)
    Directory.open(tmp_path / "farebox-data").close()
    path = tmp_path / "farebox.toml"
    path.write_text(text, encoding="utf-8")
    found = {(finding.subject, finding.text) for finding in checks.everything(path)}
    missing = "its organisation 'acme' is not in the directory: every call would be refused (403)"
    assert ("upstream api", missing) in found
    assert "api_domain" not in {subject for subject, _ in found}
    path.write_text(re.sub(r"^api_domain.*\n", "", text, flags=re.MULTILINE), encoding="utf-8")
    assert "api_domain" in {finding.subject for finding in checks.everything(path)}
