"""What the three organisations do: their programs, run for real against the gateway, step by step."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from farebox.demo.cast import Organisation, Person
from farebox.demo.processes import DemoFailedError

CHARGED_HEADER = "X-Farebox-Credits-Charged"
PROGRAM_SECONDS_MAX = 120
BULK_RECORDS = 100
BULK_CALLS = 488
"""488 calls at 10 credits, and a little of what came before, leave a plan of 5,000 nearly used up."""
BULK_PARALLEL = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one organisation: what was done, by whom, how many calls the program saw, what they cost."""

    organisation: str
    person: str
    name: str
    calls: int
    saw: str
    credits: str | None


def zylker(gateway_url: str, organisation: Organisation, folder: Path) -> Iterator[Step]:
    """Two people of the CRM standard organisation: the official SDK doing all kinds of things."""
    first, second = organisation.people[:2]
    steps = ["get_users", "single_inserts", "one_insert_of_twenty", "partial_insert", "upsert", "paging", "delete"]
    yield from _sdk(gateway_url, organisation, first, folder, steps)
    yield from _sdk(gateway_url, organisation, second, folder, ["get_users", "paging"])


def cloud_nine(gateway_url: str, organisation: Organisation, folder: Path) -> Iterator[Step]:
    """The CRM free organisation: a migration by plain HTTP uses nearly everything up, then the SDK sees the 429."""
    first, second = organisation.people[:2]
    token = access_token(gateway_url, organisation, second)
    body = json.dumps(
        {"data": [{"Last_Name": f"Migrated {n}", "Company": "Old CRM"} for n in range(BULK_RECORDS)], "trigger": []}
    )
    headers = {
        "Authorization": f"Zoho-oauthtoken {token}",
        "X-Farebox-Function": "migration",
        "X-Farebox-Task": "createRecords",
    }
    with httpx.Client(base_url=gateway_url, headers=headers, timeout=60) as client:

        def insert(_: int) -> httpx.Response:
            return client.post("/crm/v8/Leads", content=body)

        with ThreadPoolExecutor(BULK_PARALLEL) as pool:
            answers = list(pool.map(insert, range(BULK_CALLS)))
    yield _plain(organisation, second, "migration: 100 records a call", answers)
    yield from _sdk(gateway_url, organisation, first, folder, ["until_refused"])


def corner_bakery(gateway_url: str, organisation: Organisation, _: Path) -> Iterator[Step]:
    """The Bigin organisation, by plain HTTP under /bigin/v2."""
    person = organisation.people[0]
    token = access_token(gateway_url, organisation, person)
    with httpx.Client(
        base_url=f"{gateway_url}/bigin/v2", headers={"Authorization": f"Zoho-oauthtoken {token}"}, timeout=30
    ) as client:
        yield _plain(organisation, person, "get users", [client.get("/users", params={"type": "AllUsers"})])
        yield _plain(organisation, person, "list contacts", [client.get("/Contacts", params={"fields": "Last_Name"})])
        one_by_one = [client.post("/Contacts", json=_contacts(1, start=n)) for n in range(20)]
        yield _plain(organisation, person, "20 records, one by one", one_by_one)
        yield _plain(
            organisation, person, "20 records in one call", [client.post("/Contacts", json=_contacts(20, start=100))]
        )
        partial = _contacts(3, start=200)
        del partial["data"][1]["Last_Name"]
        yield _plain(organisation, person, "3 records, one without a name", [client.post("/Contacts", json=partial)])


def access_token(gateway_url: str, organisation: Organisation, person: Person) -> str:
    """A token for a person, asked for through the gateway: its /oauth/ paths are open and cost nothing."""
    answer = httpx.post(
        f"{gateway_url}/oauth/v2/token",
        data={
            "grant_type": "refresh_token",
            "client_id": organisation.client_id,
            "client_secret": organisation.client_secret,
            "refresh_token": person.refresh_token,
        },
        timeout=10,
    )
    token = answer.json().get("access_token")
    if not isinstance(token, str):
        raise DemoFailedError(f"No access token for {person.email}: {answer.status_code} {answer.text[:200]}")
    return token


PROGRAMS: dict[str, Callable[[str, Organisation, Path], Iterator[Step]]] = {
    "Zylker": zylker,
    "Cloud Nine": cloud_nine,
    "Corner Bakery": corner_bakery,
}


def _contacts(count: int, *, start: int) -> dict[str, list[dict[str, str]]]:
    return {"data": [{"Last_Name": f"Guest {start + n}", "Email": f"g{start + n}@demo.example"} for n in range(count)]}


def _plain(organisation: Organisation, person: Person, name: str, answers: list[httpx.Response]) -> Step:
    named = [answer.headers.get(CHARGED_HEADER) for answer in answers]
    total = sum(float(value) for value in named if value is not None)
    statuses = sorted({answer.status_code for answer in answers})
    saw = ", ".join(map(str, statuses))
    return Step(organisation.name, person.name, name, len(answers), saw, f"{total:g}")


def _sdk(
    gateway_url: str, organisation: Organisation, person: Person, folder: Path, steps: list[str]
) -> Iterator[Step]:
    own = folder / f"{organisation.org}-{person.name.split()[0].lower()}"
    own.mkdir(parents=True, exist_ok=True)
    settings = own / "settings.json"
    settings.touch(mode=0o600)
    settings.write_text(
        json.dumps(
            {
                "gateway_url": gateway_url,
                "client_id": organisation.client_id,
                "client_secret": organisation.client_secret,
                "refresh_token": person.refresh_token,
                "folder": str(own),
                "steps": steps,
            }
        )
    )
    command = [sys.executable, "-m", "farebox.demo.sdk_program", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_SECONDS_MAX, check=False)  # noqa: S603 - our own program
    if done.returncode:
        raise DemoFailedError(f"The SDK program of {organisation.name} failed:\n{done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        step = json.loads(line)
        yield Step(organisation.name, person.name, step["name"], step["calls"], step["saw"], step["credits"])
