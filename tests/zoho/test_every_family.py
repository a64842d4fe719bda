"""Both official SDKs call the API's families, directly and through a gateway, which charges each call its price.

What the calls cost stands in the scenarios, before each call, as Zoho publishes it. It is compared with the journal,
call by call and in order.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path

import httpx
import pytest
from tests.zoho.node import node_and_npm, node_sdk

from farebox.journal import reader
from farebox.testing.books import read_books
from farebox.testing.system import ChildProcess, Provision, RunningFarebox, free_port

HERE = Path(__file__).parent
FUNCTIONS = HERE.parents[1] / "docs" / "functions"
CREDIT = 1_000
GATEWAY = {"name": "Gateway", "client_id": "gateway", "client_secret": "gateway secret"}
ORGS = {
    name: str(70_000 + number)
    for number, name in enumerate(("python", "python direct", "node", "node direct", "plain"))
}
LEADS = ["Last_Name,Email", *(f"Bulk {n},bulk{n}@acme.example" for n in range(40)), ",nobody@acme.example"]
Priced = list[tuple[str, str, float]]
"""Operation, module and credits of each call, in order."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The CRM API as a process, and Farebox in front of it."""

    crm_url: str
    farebox: RunningFarebox
    folder: Path

    def arrived(self, org: str) -> list[tuple[str, str]]:
        """Method and path of an org's calls that reached the API, in order; runs of the same one once, ids as `*`."""
        lines = map(json.loads, (self.folder / "arrived.jsonl").read_text(encoding="utf-8").splitlines())
        calls = [(line["method"], re.sub(r"\d{5,}", "*", line["path"])) for line in lines if line["zgid"] == ORGS[org]]
        return [call for call, _ in groupby(calls)]

    def charged(self, org: str) -> Priced:
        """What the journal says of each call of an org, in order."""
        calls: dict[bytes, tuple[str, str, int]] = {}
        root = self.farebox.data / "journal"
        for incarnation in reader.incarnations(root):
            for entry, _ in reader.read(root / incarnation):
                if entry.org == ORGS[org]:
                    _, _, so_far = calls.get(entry.call_id, ("", "", 0))
                    calls[entry.call_id] = (entry.operation, entry.module, so_far + entry.credits)
        return [(operation, module, amount / CREDIT) for operation, module, amount in calls.values()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One CRM API with an organisation per run, and a gateway that asks it what tokens stand for."""
    folder = tmp_path_factory.mktemp("families")
    seed = {
        "organisations": [
            {"name": name, "zgid": int(zgid), "edition": "enterprise", "users": 3, "client_id": f"1000.{zgid}"}
            | {"client_secret": "secret", "refresh_token": f"1000.r{zgid}"}
            for name, zgid in ORGS.items()
        ],
        "resource_servers": [GATEWAY],
    }
    (folder / "seed.json").write_text(json.dumps(seed), encoding="utf-8")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    orgs = [Provision(org=zgid, plan="enterprise", licences=3, users=()) for zgid in ORGS.values()]
    farebox = RunningFarebox(
        folder / "farebox",
        upstream_url=url,
        orgs=orgs,
        card="zoho-crm",
        product="crm",
        upstream={"identity": "introspection"},
    )
    arguments = ["-m", "farebox.cli", "crm", "--port", str(port), "--data", str(folder / "crm"), "--local-callbacks"]
    arguments += ["--no-token-limits"]
    arguments += ["--organisations", str(folder / "seed.json"), "--request-log", str(folder / "arrived.jsonl")]
    arguments += ["--functions", str(FUNCTIONS), "--gateway-url", farebox.gateway_url]
    crm = ChildProcess("crm", arguments, health_url=f"{url}/crm/v8/org", health_status=401, log=folder / "crm.log")
    with ExitStack() as stack:
        crm.start()
        stack.callback(crm.stop)
        with farebox.config_path.open("a", encoding="utf-8") as config:
            config.write(f'api_domain = "{farebox.gateway_url}"\n')
            config.write(f'\n[upstream.introspection]\nurl = "{url}/oauth/v2/introspect"\nclient_id = "gateway"\n')
            config.write('client_secret = "gateway secret"\norg_claim = "org"\nuser_claim = "user_id"\n')
        yield World(crm_url=url, farebox=stack.enter_context(farebox), folder=folder)
    assert read_books(farebox.data).disagreements() == []


def run(program: list[str], base: str, org: str, folder: Path) -> Priced:
    """The calls that a scenario says it made."""
    zgid = ORGS[org]
    done = subprocess.run(
        [*program, base, f"1000.{zgid}", "secret", f"1000.r{zgid}", str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [(operation, module, amount) for operation, module, amount in json.loads(done.stdout.splitlines()[-1])]


def composite(count: int, *, rollback: bool) -> dict[str, object]:
    """So many inserts in one request; the last lacks what a lead needs when there are two."""
    leads = [{"Last_Name": "Composite", "Company": "Acme"}, {"Company": "Acme"}][:count]
    return {
        "rollback_on_fail": rollback,
        "__composite_requests": [
            {"sub_request_id": str(n), "method": "POST", "uri": "/crm/v8/Leads", "body": {"data": [lead]}}
            for n, lead in enumerate(leads, start=1)
        ],
    }


def test_what_the_sdks_do_not_offer_is_charged_its_price_by_plain_http(world: World) -> None:
    token = httpx.post(
        f"{world.farebox.gateway_url}/oauth/v2/token",
        data={"grant_type": "refresh_token", "client_id": f"1000.{ORGS['plain']}", "client_secret": "secret"}
        | {"refresh_token": f"1000.r{ORGS['plain']}"},
    ).json()
    assert token["api_domain"] == world.farebox.gateway_url
    headers = {"Authorization": f"Zoho-oauthtoken {token['access_token']}"}
    with httpx.Client(base_url=f"{world.farebox.gateway_url}/crm/v8", headers=headers) as plain:
        # without rollback a composite costs 1 however it ends; with it 2 when all succeed, 1 when all is undone
        statuses = [
            plain.post("/__composite_requests", json=composite(count, rollback=rollback)).status_code
            for count, rollback in ((1, False), (1, True), (2, True))
        ]
        assert statuses == [200, 200, 400]
        leads = plain.get("/Leads", params={"fields": "Last_Name"}).json()["data"]
        assert len(leads) == 2
        # a function's run costs a function credit, and each of its two tasks what the call costs
        arguments = json.dumps({"lead_id": leads[0]["id"]})
        ran = plain.post("/functions/rate_lead/actions/execute", params={"auth_type": "oauth", "arguments": arguments})
        assert ran.json()["code"] == "success", ran.text
    expected = [("composite", "", 1), ("composite", "", 2), ("composite", "", 1), ("get_records", "Leads", 1)]
    expected += [("execute_function", "functions", 1), ("get_record", "Leads", 1), ("update_record", "Leads", 1)]
    assert sorted(world.charged("plain")) == sorted(expected)


def python_program(_: Path) -> list[str]:
    return [sys.executable, str(HERE / "every_family.py")]


def node_program(folder: Path) -> list[str]:
    program = folder / "every_family.js"
    program.write_bytes((HERE / "every_family.js").read_bytes())
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "node_modules").symlink_to(node_sdk() / "node_modules")
    return [node_and_npm()[0], str(program)]


@pytest.mark.parametrize(
    ("sdk", "program"), [("python", python_program), ("node", node_program)], ids=["python", "node"]
)
def test_an_official_sdk_makes_the_same_calls_directly_and_through_the_gateway_each_charged_its_price(
    world: World, tmp_path: Path, sdk: str, program: Callable[[Path], list[str]]
) -> None:
    for name in ("direct", "through"):
        (tmp_path / name).mkdir()
        with zipfile.ZipFile(tmp_path / name / "leads.zip", "w") as archive:
            archive.writestr("leads.csv", "\n".join(LEADS))
    run(program(tmp_path / "direct"), world.crm_url, f"{sdk} direct", tmp_path / "direct")
    expected = run(program(tmp_path / "through"), world.farebox.gateway_url, sdk, tmp_path / "through")
    charged = world.charged(sdk)
    differs = [
        f"charged {ours}, the price is {price}" for ours, price in zip_longest(charged, expected) if ours != price
    ]
    assert not differs, "\n".join(differs)
    assert world.charged(f"{sdk} direct") == []
    assert world.arrived(sdk) == world.arrived(f"{sdk} direct")
