"""The request log says what arrived, for people who test which calls their integration makes."""

import asyncio
import json
from pathlib import Path

import httpx

from farebox.crm.app import create_app
from farebox.crm.provision import create_organisation
from farebox.crm.request_log import RequestLog
from farebox.crm.settings import Settings
from farebox.crm.store import Store


async def _calls(store: Store, path: Path) -> str:
    made = create_organisation(store, name="Zylker", users=1)
    log = RequestLog(path)
    transport = httpx.ASGITransport(create_app(store, Settings(public_url="http://crm.test"), log))
    async with httpx.AsyncClient(transport=transport, base_url="http://crm.test") as client:
        form = {
            "grant_type": "refresh_token",
            "client_id": made.client_id,
            "client_secret": made.client_secret,
            "refresh_token": made.refresh_token,
        }
        token = (await client.post("/oauth/v2/token", data=form)).json()["access_token"]
        headers = {"Authorization": f"Zoho-oauthtoken {token}"}
        records = [{"Last_Name": "Ward"}, {"Company": "nameless"}]
        await client.post("/crm/v8/Leads", headers=headers, json={"data": records})
        await client.get("/crm/v8/Leads", headers=headers, params={"fields": "Last_Name"})
        await client.get("/crm/v8/Leads", params={"fields": "Last_Name"})
        await client.post("/crm/v8/Leads", headers=headers, content=b"[" * 100_000)
    log.close()
    return made.zgid


def test_every_api_call_is_one_line_and_token_calls_are_none(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    zgid = asyncio.run(_calls(Store(None), path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["method"], line["path"], line["query"], line["status"], line["records"]) for line in lines] == [
        ("POST", "/crm/v8/Leads", "", 207, 2),
        ("GET", "/crm/v8/Leads", "fields=Last_Name", 200, 0),
        ("GET", "/crm/v8/Leads", "fields=Last_Name", 401, 0),
        ("POST", "/crm/v8/Leads", "", 400, 0),
    ]
    assert [line["zgid"] for line in lines] == [zgid, zgid, None, zgid]
