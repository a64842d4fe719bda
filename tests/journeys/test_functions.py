"""A function behind the gateway: its run is paid from function credits, its tasks from API credits under its name."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest

from farebox.testing.books import read_books
from farebox.testing.system import ChildProcess, Provision, RunningFarebox, free_port, until

ROOT = Path(__file__).parents[2]
CARD = ROOT / "src/farebox/cards/zoho-crm.toml"
ORG = "6196138"
CREDIT = 1_000
ROW = 'name = "execute_serverless_function"\n'
PLACE = 'methods = ["GET", "POST"]\npath = "/crm/{version}/functions/heavy/actions/execute"\n'
BY_DURATION = ((500_000, 250), (1_000_000, 500), (5_000_000, 1_000), (10_000_000, 2_000), (15_000_000, 4_000))
"""Shorter than so many microseconds, millicredits: the card's first rows."""
MEMORY_FACTOR = 2

FUNCTIONS = {
    "rate_lead": (ROOT / "docs/functions/rate_lead.py").read_text(encoding="utf-8"),
    "import_leads": """
        def run(crm):
            ids = [crm.createRecord("Leads", {"Last_Name": f"L{n}"})["id"] for n in range(3)]
            query = "select id from Leads where Last_Name is not null limit 1000"
            answer = crm.invokeurl("/crm/v8/coql", "POST", '{"select_query": "' + query + '"}')
            return [len(ids), answer["responseCode"]]
    """,
    "heavy": """
        import time

        def run(crm):
            time.sleep(0.6)
            return crm.getRecords("Leads", 1, 1, {"fields": "id"})[0]["id"]
    """,
}


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarebox]:
    """A gateway that knows callers by their tokens, in front of the CRM API with functions that call it there."""
    folder = tmp_path_factory.mktemp("functions")
    (folder / "functions").mkdir()
    for name, source in FUNCTIONS.items():
        (folder / "functions" / f"{name}.py").write_text(dedent(source), encoding="utf-8")
    user = {"email": f"ada@{ORG}.example", "access_token": "1000.ada"}
    seed = {
        "organisations": [{"name": "Acme", "zgid": int(ORG), "edition": "enterprise", "users": [user]}],
        "resource_servers": [{"name": "Gateway", "client_id": "gateway", "client_secret": "secret"}],
    }
    (folder / "seed.json").write_text(json.dumps(seed), encoding="utf-8")
    text = CARD.read_text(encoding="utf-8").replace(ROW, ROW + PLACE)
    text = text.replace("memory_mb_default = 128", "memory_mb_default = 256")
    (folder / "card.toml").write_text(text, encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    running = RunningFarebox(
        folder / "farebox",
        upstream_url=url,
        orgs=[Provision(org=ORG, plan="enterprise", users=())],
        card=str(folder / "card.toml"),
        product="crm",
        upstream={"identity": "introspection"},
    )
    with running.config_path.open("a", encoding="utf-8") as file:
        file.write(f'\n[upstream.introspection]\nurl = "{url}/oauth/v2/introspect"\n')
        file.write('client_id = "gateway"\nclient_secret = "secret"\n')
    arguments = ["-m", "farebox.cli", "crm", "--port", url.rpartition(":")[2], "--data", str(folder / "crm")]
    arguments += ["--seed-file", str(folder / "seed.json"), "--functions", str(folder / "functions")]
    arguments += ["--gateway-url", running.gateway_url]
    crm = ChildProcess("crm", arguments, health_url=f"{url}/crm/v8/org", health_status=401, log=folder / "crm.log")
    with ExitStack() as stack:
        crm.start()
        stack.callback(crm.stop)
        yield stack.enter_context(running)
    assert read_books(running.data).disagreements() == []


def call(farebox: RunningFarebox, method: str, path: str, body: object = None) -> dict[str, Any]:
    headers = {"Authorization": "Zoho-oauthtoken 1000.ada"}
    answer = httpx.request(method, f"{farebox.gateway_url}/crm/v8/{path}", json=body, headers=headers, timeout=60)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


def execute(farebox: RunningFarebox, name: str, **arguments: object) -> str:
    path = f"functions/{name}/actions/execute?auth_type=oauth"
    return str(call(farebox, "POST", path, {"arguments": arguments})["details"]["output"])


def spent(farebox: RunningFarebox, by: str, *, pool: str = "api", calls: int) -> dict[str, tuple[int, int]]:
    """Value -> (calls, millicredits), once so many calls are in usage."""

    def complete() -> dict[str, Any] | None:
        found = farebox.ask_console("usage", ORG, by=by, pool=pool)
        return found if found["calls"] >= calls else None

    found = until(complete, what=f"{calls} calls in usage")
    assert found["calls"] == calls
    return {line["value"]: (line["calls"], line["millicredits"]) for line in found["lines"]}


def test_a_run_is_paid_from_function_credits_and_its_tasks_from_api_credits_under_both_names(
    farebox: RunningFarebox,
) -> None:
    (made,) = call(farebox, "POST", "Leads", {"data": [{"Last_Name": "Ada", "Email": "a@b.example"}]})["data"]
    assert execute(farebox, "rate_lead", lead_id=made["details"]["id"]) == "Market Failed"
    assert json.loads(execute(farebox, "import_leads")) == [3, 200]

    coql = 2 * CREDIT  # limit 1,000
    assert spent(farebox, "function", calls=7) == {
        "": (1, CREDIT),
        "rate_lead": (2, 2 * CREDIT),
        "import_leads": (4, 3 * CREDIT + coql),
    }
    assert spent(farebox, "task", calls=7) == {
        "": (1, CREDIT),
        "getRecordById": (1, CREDIT),
        "updateRecord": (1, CREDIT),
        "createRecord": (3, 3 * CREDIT),
        "invokeurl": (1, coql),
    }
    assert spent(farebox, "operation", pool="functions", calls=2) == {"execute_function": (2, 2 * CREDIT)}

    arguments = ["usage", "--org", ORG, "--by", "function", "--json", "--data", str(farebox.data)]
    told = subprocess.run(
        [sys.executable, "-m", "farebox.cli", *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    by_pool = {each["usage"]["pool"]: each["usage"]["lines"] for each in json.loads(told.stdout)["accounts"]}
    assert {line["value"]: line["millicredits"] for line in by_pool["api"]} == {
        "": CREDIT,
        "rate_lead": 2 * CREDIT,
        "import_leads": 3 * CREDIT + coql,
    }
    assert sum(line["millicredits"] for line in by_pool["functions"]) == 2 * CREDIT


def test_a_function_whose_row_says_so_is_priced_by_its_duration_and_memory(farebox: RunningFarebox) -> None:
    call(farebox, "POST", "Leads", {"data": [{"Last_Name": "Ada"}]})
    begun = time.monotonic_ns()
    assert execute(farebox, "heavy")
    elapsed = (time.monotonic_ns() - begun) // 1_000

    def charged() -> list[int]:
        lines = farebox.ask_console("usage", ORG, by="operation", pool="functions")["lines"]
        return [line["millicredits"] for line in lines if line["value"] == "execute_serverless_function"]

    # it slept for 0.6 s within what the gateway measured, which lies within what was measured here
    (amount,) = until(charged, what="the run is in usage")
    assert price_of(600_000) <= amount <= price_of(elapsed)
    assert amount in {step * MEMORY_FACTOR for _, step in BY_DURATION}


def price_of(duration: int) -> int:
    return next(step for below, step in BY_DURATION if duration < below) * MEMORY_FACTOR
