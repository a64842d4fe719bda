"""What the three organisations do: their programs, run for real against the gateway, step by step."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx
import msgspec

from farebox.demo import bigin
from farebox.demo.cast import Organisation, Person
from farebox.demo.plain import step_of
from farebox.demo.private import write_private
from farebox.demo.processes import DemoFailedError
from farebox.demo.seen import Seen, Step

PROGRAM_SECONDS_MAX = 600
BULK_RECORDS = 100
BULK_CALLS = 488
BULK_COST = 10
"""1 credit per 10 records; 488 calls, and a little of what came before, leave a plan of 5,000 nearly used up."""
BULK_PARALLEL = 4


@dataclass(frozen=True, slots=True)
class Done:
    """One step of one organisation, and the person whose program did it."""

    organisation: str
    person: str
    step: Step


ALL_KINDS = ("get_users", "single_inserts", "one_insert_of_twenty", "partial_insert", "upsert", "paging", "delete")
"""The steps of sdk_program, but for the refusal."""


def zylker(gateway_url: str, organisation: Organisation, folder: Path) -> Iterator[Done]:
    """Two people of the CRM standard organisation: the official SDK doing all kinds of things."""
    first, second = organisation.people[:2]
    yield from _sdk(gateway_url, organisation, first, folder, ALL_KINDS)
    yield from _sdk(gateway_url, organisation, second, folder, ("get_users", "paging"))


def cloud_nine(gateway_url: str, organisation: Organisation, folder: Path) -> Iterator[Done]:
    """The CRM free organisation: the SDK, a migration by plain HTTP that uses nearly everything up, the SDK's 429."""
    first, second = organisation.people[:2]
    yield from _sdk(gateway_url, organisation, first, folder, ALL_KINDS)
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
    must_see = [Seen(HTTPStatus.CREATED, written=BULK_RECORDS, of=BULK_RECORDS)] * BULK_CALLS
    step = step_of("migration: 100 records a call", answers, must_see=must_see, must_cost=BULK_COST * BULK_CALLS)
    yield Done(organisation.name, second.name, step)
    yield from _sdk(gateway_url, organisation, first, folder, ("until_refused",))


def corner_bakery(gateway_url: str, organisation: Organisation, _: Path) -> Iterator[Done]:
    """The Bigin organisation, by plain HTTP under /bigin/v2."""
    person = organisation.people[0]
    headers = {"Authorization": f"Zoho-oauthtoken {access_token(gateway_url, organisation, person)}"}
    with httpx.Client(base_url=f"{gateway_url}/bigin/v2", headers=headers, timeout=30) as client:
        for step in bigin.steps(client, users=organisation.licences):
            yield Done(organisation.name, person.name, step)


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


PROGRAMS: dict[str, Callable[[str, Organisation, Path], Iterator[Done]]] = {
    "Zylker": zylker,
    "Cloud Nine": cloud_nine,
    "Corner Bakery": corner_bakery,
}


def _sdk(
    gateway_url: str, organisation: Organisation, person: Person, folder: Path, steps: tuple[str, ...]
) -> Iterator[Done]:
    own = folder / f"{organisation.org}-{person.name.split()[0].lower()}"
    own.mkdir(parents=True, exist_ok=True)
    settings = own / "settings.json"
    write_private(
        settings,
        json.dumps(
            {
                "gateway_url": gateway_url,
                "client_id": organisation.client_id,
                "client_secret": organisation.client_secret,
                "refresh_token": person.refresh_token,
                "folder": str(own),
                "users": organisation.licences,
                "steps": steps,
            }
        ),
    )
    command = [sys.executable, "-m", "farebox.demo.sdk_program", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_SECONDS_MAX, check=False)  # noqa: S603 - our own program
    if done.returncode:
        raise DemoFailedError(f"The SDK program of {organisation.name} failed:\n{done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        yield Done(organisation.name, person.name, msgspec.json.decode(line, type=Step))
