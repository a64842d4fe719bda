"""One job done twice at one organisation: by a naive program, and by one that does what callers are advised to do.

The job: 200 leads that came in by other ways are in the CRM afterwards (60 of them were before), four changes that a
colleague makes to them are noticed, and 10,000 records of history are imported. Each program has its own app and user,
so that the dashboard shows what each spent, and its own 200 leads.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx

from farebox.demo.cast import Organisation
from farebox.demo.plain import step_of
from farebox.demo.processes import DemoFailedError
from farebox.demo.programs import Done, access_token
from farebox.demo.receiver import Receiver
from farebox.demo.seen import Seen, Step, Upserted
from farebox.domain.credits import text_of

NAIVE: Final = "Lead sync, naive"
THRIFTY: Final = "Lead sync, thrifty"
"""Names of the two apps, as the dashboard shows them."""
PERSON: Final = {NAIVE: 2, THRIFTY: 3}
"""Whose key each app uses, by position among the organisation's people."""

LEADS: Final = 200
KNOWN: Final = 60
CHANGES: Final = 4
POLLS_PER_CHANGE: Final = 10
HISTORY: Final = 10_000
BATCH: Final = 100
CHANNEL: Final = "1000000068001"
TIMEOUT_SECONDS: Final = 60
BULK_COST: Final = 500

Lead = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What each program spent on the same part of the job; millicredits."""

    part: str
    naive: int
    thrifty: int

    def __str__(self) -> str:
        """As the demo prints it.

        >>> print(Spent(part="the same 200 leads", naive=640_000, thrifty=23_000))
        the same 200 leads: 640 credits, 23 credits (27.8 times as many)
        """
        ratio = f"{self.naive / self.thrifty:.1f} times as many" if self.thrifty else "nothing to compare"
        return f"{self.part}: {text_of(self.naive)} credits, {text_of(self.thrifty)} credits ({ratio})"


def both(gateway_url: str, organisation: Organisation, keys: dict[str, str]) -> Iterator[Done]:
    """The job by the one program, then by the other, step by step; `keys` holds the Farebox key of each app."""
    colleague = organisation.people[1]
    token = access_token(gateway_url, organisation, colleague)
    with (
        _client(gateway_url, Authorization=f"Zoho-oauthtoken {token}") as form,
        _client(gateway_url, **{"X-Api-Key": keys[NAIVE]}) as naive,
        _client(gateway_url, **{"X-Api-Key": keys[THRIFTY]}) as thrifty,
        Receiver() as receiver,
    ):
        yield Done(organisation.name, colleague.name, _known_leads(form))
        for name, steps in (
            (NAIVE, _naive(naive, form)),
            (THRIFTY, _thrifty(thrifty, form, receiver, organisation)),
        ):
            for step in steps:
                by_hand = step.name == BY_HAND
                yield Done(organisation.name, colleague.name if by_hand else _person(organisation, name), step)


def spent(done: Sequence[Done], organisation: Organisation) -> list[Spent]:
    """What the answers named, for the leads and for the history; [] when a step's answers named nothing."""
    steps = {name: of_program(name, done, organisation) for name in PERSON}
    if any(step.charged is None for each in steps.values() for step in each):
        return []

    def total(name: str, *, history: bool) -> int:
        return sum(step.charged or 0 for step in steps[name] if step.name.startswith(HISTORY_STEP) is history)

    return [
        Spent(part=f"the same {part}", naive=total(NAIVE, history=history), thrifty=total(THRIFTY, history=history))
        for part, history in ((f"{LEADS} leads", False), (f"{HISTORY:,} records of history", True))
    ]


def of_program(name: str, done: Sequence[Done], organisation: Organisation) -> list[Step]:
    """The steps of one of the two programs."""
    person = _person(organisation, name)
    return [each.step for each in done if (each.organisation, each.person) == (organisation.name, person)]


HISTORY_STEP: Final = "history"
BY_HAND: Final = f"{CHANGES} leads changed by hand"


def _person(organisation: Organisation, app: str) -> str:
    return organisation.people[PERSON[app]].name


def _client(gateway_url: str, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=gateway_url, headers=headers, timeout=TIMEOUT_SECONDS)


def _leads(program: str) -> list[Lead]:
    """The 200 that came in for a program."""
    domain = "naive.example" if program == NAIVE else "thrifty.example"
    return [
        {"Last_Name": f"Visitor {n}", "Company": f"Company {n}", "Email": f"visitor{n}@{domain}"} for n in range(LEADS)
    ]


def _known_leads(form: httpx.Client) -> Step:
    """60 of each program's 200 are in the CRM before it starts."""
    answers = [form.post("/crm/v8/Leads", json={"data": _leads(program)[:KNOWN], "trigger": []}) for program in PERSON]
    must_see = [Seen(HTTPStatus.CREATED, written=KNOWN, of=KNOWN)] * len(PERSON)
    return step_of(f"{KNOWN} known leads for each sync", answers, must_see=must_see, must_cost=2 * KNOWN // 10)


# --- naive ------------------------------------------------------------------------------------------------------------


def _naive(client: httpx.Client, form: httpx.Client) -> Iterator[Step]:
    yield from _search_then_write(client)
    yield from _poll(client, form)
    yield _insert_history(client)


def _search_then_write(client: httpx.Client) -> Iterator[Step]:
    """For each lead: read the fields, search for it, and update or insert it."""
    fields, searches, writes = [], [], []
    for lead in _leads(NAIVE):
        fields.append(client.get("/crm/v8/settings/fields", params={"module": "Leads"}))
        criteria = {"criteria": f"(Email:equals:{lead['Email']})", "fields": "Email"}
        found = client.get("/crm/v8/Leads/search", params=criteria)
        searches.append(found)
        if found.status_code == HTTPStatus.OK:
            path = f"/crm/v8/Leads/{found.json()['data'][0]['id']}"
            writes.append(client.put(path, json={"data": [lead]}))
        else:
            writes.append(client.post("/crm/v8/Leads", json={"data": [lead]}))
    new = LEADS - KNOWN
    known_fields = len(fields[0].json().get("fields", ()))
    yield step_of(
        "the fields before each lead",
        fields,
        must_see=[Seen(HTTPStatus.OK, read=known_fields)] * LEADS,
        must_cost=LEADS,
    )
    must_find = [Seen(HTTPStatus.OK, read=1)] * KNOWN + [Seen(HTTPStatus.NO_CONTENT, read=0)] * new
    yield step_of("a search for each lead", searches, must_see=must_find, must_cost=LEADS)
    must_write = [Seen(HTTPStatus.OK, written=1, of=1)] * KNOWN + [Seen(HTTPStatus.CREATED, written=1, of=1)] * new
    yield step_of("each lead updated or inserted", writes, must_see=must_write, must_cost=LEADS)


def _poll(client: httpx.Client, form: httpx.Client) -> Iterator[Step]:
    """Ask ten times for every change that a colleague makes; the tenth time it is there."""
    changes, polls, noticed = [], [], set()
    for number in range(CHANGES):
        for poll in range(POLLS_PER_CHANGE):
            if poll == POLLS_PER_CHANGE - 1:
                changes.append(_change(form, NAIVE, number))
            newest: dict[str, str | int] = {"fields": "Company", "sort_by": "Modified_Time", "per_page": 10}
            polls.append(client.get("/crm/v8/Leads", params=newest))
            noticed |= {lead["Company"] for lead in polls[-1].json()["data"]} & set(CHANGED)
    _must_notice(noticed, NAIVE)
    yield step_of(BY_HAND, changes, must_see=CHANGES_SEEN, must_cost=CHANGES)
    count = CHANGES * POLLS_PER_CHANGE
    must_see = [Seen(HTTPStatus.OK, read=10, more=True)] * count
    yield step_of(f"asked for changes, {count} times", polls, must_see=must_see, must_cost=count)


def _insert_history(client: httpx.Client) -> Step:
    """The most that one insert takes, again and again."""
    rows = _history(NAIVE)
    stretches = [rows[start : start + BATCH] for start in range(0, HISTORY, BATCH)]
    answers = [client.post("/crm/v8/Contacts", json={"data": rows, "trigger": []}) for rows in stretches]
    must_see = [Seen(HTTPStatus.CREATED, written=BATCH, of=BATCH)] * len(stretches)
    return step_of(f"{HISTORY_STEP}, {BATCH} records a call", answers, must_see=must_see, must_cost=HISTORY // 10)


# --- thrifty ----------------------------------------------------------------------------------------------------------


def _thrifty(
    client: httpx.Client, form: httpx.Client, receiver: Receiver, organisation: Organisation
) -> Iterator[Step]:
    yield from _upsert(client)
    yield from _be_told(client, form, receiver)
    yield _bulk_write(client, receiver, organisation)


def _upsert(client: httpx.Client) -> Iterator[Step]:
    """Read the fields once and keep them; then two calls that update what is there and insert what is not."""
    fields = client.get("/crm/v8/settings/fields", params={"module": "Leads"})
    known = {field["api_name"] for field in fields.json().get("fields", ())}
    yield step_of("the fields once, then kept", [fields], must_see=[Seen(HTTPStatus.OK, read=len(known))], must_cost=1)
    leads = [{name: value for name, value in lead.items() if name in known} for lead in _leads(THRIFTY)]
    answers = [
        client.post(
            "/crm/v8/Leads/upsert",
            json={"data": leads[start : start + BATCH], "duplicate_check_fields": ["Email"]},
        )
        for start in range(0, LEADS, BATCH)
    ]
    updated, inserted = Upserted("update", "Email"), Upserted("insert", None)
    first = (updated,) * KNOWN + (inserted,) * (BATCH - KNOWN)
    must_see = [
        Seen(HTTPStatus.CREATED, written=BATCH, of=BATCH, upserted=upserted)
        for upserted in (first, (inserted,) * BATCH)
    ]
    yield step_of("upserts of 100", answers, must_see=must_see, must_cost=LEADS // 10)


def _be_told(client: httpx.Client, form: httpx.Client, receiver: Receiver) -> Iterator[Step]:
    """Subscribe, be told of the same changes, unsubscribe: two calls, however long it takes."""
    watch: dict[str, Any] = {
        "channel_id": CHANNEL,
        "events": ["Leads.edit"],
        "notify_url": receiver.url,
        "return_affected_field_values": True,
    }
    subscribed = client.post("/crm/v8/actions/watch", json={"watch": [watch]})
    changes = [_change(form, THRIFTY, number) for number in range(CHANGES)]
    told = receiver.wait(lambda each: each.get("channel_id") == CHANNEL, count=CHANGES, what="notifications")
    noticed = {value["values"].get("Company", "") for each in told for value in each["affected_values"]}
    _must_notice(noticed & set(CHANGED), THRIFTY)
    ended = client.delete("/crm/v8/actions/watch", params={"channel_ids": CHANNEL})
    yield step_of(BY_HAND, changes, must_see=CHANGES_SEEN, must_cost=CHANGES)
    must_see = [Seen(HTTPStatus.CREATED, written=1, of=1), Seen(HTTPStatus.OK, written=1, of=1)]
    yield step_of("subscribed, told, unsubscribed", [subscribed, ended], must_see=must_see, must_cost=2)


def _bulk_write(client: httpx.Client, receiver: Receiver, organisation: Organisation) -> Step:
    """Upload a file, start the job, be called back when it is done, fetch what became of each row."""
    rows = _history(THRIFTY)
    upload = client.post(
        "/crm/v8/upload",
        headers={"feature": "bulk-write", "X-CRM-ORG": organisation.org},
        files={"file": ("history.zip", _zipped(rows), "application/zip")},
    )
    file_id = upload.json()["details"]["file_id"]
    resource = {"type": "data", "module": {"api_name": "Contacts"}, "file_id": file_id}
    body = {
        "operation": "insert",
        "callback": {"url": receiver.url, "method": "post"},
        "resource": [resource],
    }
    job = client.post("/crm/bulk/v8/write", content=json.dumps(body), headers={"Content-Type": "application/json"})
    job_id = job.json()["details"]["id"]
    (done,) = receiver.wait(lambda each: each.get("id") == job_id, count=1, what="the bulk write's callback")
    if done["status"] != "COMPLETED":
        raise DemoFailedError(f"The bulk write of {HISTORY:,} rows ended as {done['status']}: {json.dumps(done)[:500]}")
    result = client.get(done["result"]["download_url"])
    must_see = [Seen(HTTPStatus.OK), Seen(HTTPStatus.CREATED), Seen(HTTPStatus.OK, read=HISTORY)]
    return step_of(f"{HISTORY_STEP}, one bulk write", [upload, job, result], must_see=must_see, must_cost=BULK_COST + 2)


# --- both -------------------------------------------------------------------------------------------------------------

CHANGED: Final = tuple(f"Moved {number}" for number in range(CHANGES))
CHANGES_SEEN: Final = (Seen(HTTPStatus.OK, written=1, of=1, upserted=(Upserted("update", "Email"),)),) * CHANGES


def _change(form: httpx.Client, program: str, number: int) -> httpx.Response:
    """A colleague moves one of the newest leads of a program to another company."""
    lead = {**_leads(program)[-1 - number], "Company": CHANGED[number]}
    return form.post("/crm/v8/Leads/upsert", json={"data": [lead], "duplicate_check_fields": ["Email"]})


def _must_notice(noticed: set[str], program: str) -> None:
    if noticed != set(CHANGED):
        missing = sorted(set(CHANGED) - noticed)
        raise DemoFailedError(f"{program} noticed {len(noticed)} of {CHANGES} changes; it missed {', '.join(missing)}")


def _history(program: str) -> list[Lead]:
    domain = "naive.example" if program == NAIVE else "thrifty.example"
    return [{"Last_Name": f"Buyer {n}", "Email": f"buyer{n}@{domain}"} for n in range(HISTORY)]


def _zipped(rows: Sequence[Lead]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("history.csv", text.getvalue())
    return made.getvalue()
