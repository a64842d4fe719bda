"""What holds whatever is written: upserts repeat, pages add up while others write, undone composites leave nothing."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from tests.crm.receiver import Receiver

from farebox.crm.deliveries import pending
from farebox.testing.crm import Caller, RunningCrm, running_crm

SEED = int(os.environ.get("FAREBOX_SEED", random.randrange(2**32)))
RECORDS = 2_100
"""More than numbered pages reach."""
UPSERTS = 6
COMPOSITES = 20
SETTLE_S = 60

Record = dict[str, Any]


@pytest.fixture
def chance() -> random.Random:
    print(f"FAREBOX_SEED={SEED}")
    return random.Random(SEED)


def some_leads(chance: random.Random, *, count: int) -> list[Record]:
    """Leads of which some have the same e-mail address, some none."""
    emails = [f"x{n}@x.example" for n in range(1 + count * 2 // 3)]
    leads: list[Record] = []
    for _ in range(count):
        lead: Record = {"Last_Name": f"L{chance.randrange(1_000)}", "City": chance.choice(["Oslo", "Rome", None])}
        if chance.random() < 0.9:
            lead["Email"] = chance.choice(emails)
        leads.append(lead)
    return leads


def upsert(caller: Caller, leads: list[Record]) -> list[Record]:
    answer = caller.send("POST", "Leads/upsert", {"data": leads, "duplicate_check_fields": ["Email"]})
    assert answer.status_code in (200, 201), answer.text
    results: list[Record] = answer.json()["data"]
    return results


def all_leads(caller: Caller) -> dict[str, Record]:
    answer = caller.get("Leads", fields="Last_Name,City,Email,Owner,Created_Time,Created_By", per_page=200)
    return {each["id"]: each for each in answer.json()["data"]}


def test_an_upsert_done_twice_leaves_what_it_left_when_done_once(crm: RunningCrm, chance: random.Random) -> None:
    for _ in range(UPSERTS):
        with crm.caller(crm.create_organisation(users=1)) as caller:
            caller.insert("Leads", *some_leads(chance, count=10))
            leads = [each for each in some_leads(chance, count=chance.randint(1, 40)) if "Email" in each]
            if not leads:
                continue
            first = upsert(caller, leads)
            once = all_leads(caller)
            again = upsert(caller, leads)
            assert all_leads(caller) == once
            assert [each["details"]["id"] for each in again] == [each["details"]["id"] for each in first]
            assert {each["action"] for each in again} == {"update"}


@contextmanager
def others_writing(crm: RunningCrm, caller: Caller, chance: random.Random, ids: list[str]) -> Iterator[list[int]]:
    """Another program inserts, edits and deletes without a pause; the list's length is how often it did so far.

    It edits records that were there, inserts others and deletes only what it inserted.
    """
    written: list[int] = []
    ended = threading.Event()

    def write() -> None:
        with crm.caller(caller.credentials) as other:
            while not ended.is_set():
                made = other.insert("Leads", *({"Last_Name": f"new {n}"} for n in range(3)))
                edited = [{"id": each, "City": f"c{len(written)}"} for each in chance.sample(ids, 20)]
                assert other.send("PUT", "Leads", {"data": edited}).status_code == 200
                assert other.send("DELETE", f"Leads/{made[0]}").status_code == 200
                written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def big(crm: RunningCrm) -> Iterator[Caller]:
    with crm.caller(crm.create_organisation(users=1, sample_records=RECORDS)) as made:
        yield made


@pytest.mark.parametrize(("sort_by", "sort_order"), [("id", "desc"), ("id", "asc"), ("Created_Time", "desc")])
def test_pages_by_token_add_up_to_the_whole_while_others_write(
    crm: RunningCrm, big: Caller, chance: random.Random, sort_by: str, sort_order: str
) -> None:
    params = {"fields": "id", "sort_by": sort_by, "sort_order": sort_order, "per_page": 200}
    before = pages(big, params)
    assert len(before) == len(set(before)) >= RECORDS
    with others_writing(crm, big, chance, before) as written:
        deadline = time.monotonic() + SETTLE_S
        while True:
            begun = len(written)
            seen = pages(big, params)
            assert len(seen) == len(set(seen)), "a record came twice"
            known = set(before)
            assert [each for each in seen if each in known] == before, "a record was left out or moved"
            if len(written) > begun:
                return
            assert time.monotonic() < deadline, "the others did not come to write"


def pages(caller: Caller, params: dict[str, Any]) -> list[str]:
    """The ids of every page, by token from the second one on."""
    found: list[str] = []
    token = None
    while True:
        answer = caller.get("Leads", **params, **({"page_token": token} if token else {}))
        assert answer.status_code == 200, answer.text
        content = answer.json()
        found += [each["id"] for each in content["data"]]
        token = content["info"]["next_page_token"]
        if not content["info"]["more_records"]:
            return found


def test_numbered_pages_add_up_to_the_whole_while_others_edit(
    crm: RunningCrm, big: Caller, chance: random.Random
) -> None:
    numbers = range(1, 11)
    whole = [each for number in numbers for each in page(big, number)]
    assert len(set(whole)) == 2_000
    ended = threading.Event()

    def edit() -> None:
        with crm.caller(big.credentials) as other:
            while not ended.is_set():
                edited = [{"id": each, "City": "X"} for each in chance.sample(whole, 50)]
                other.send("PUT", "Leads", {"data": edited})

    thread = threading.Thread(target=edit)
    thread.start()
    try:
        for _ in range(3):
            assert [each for number in numbers for each in page(big, number)] == whole
    finally:
        ended.set()
        thread.join()


def page(caller: Caller, number: int) -> list[str]:
    answer = caller.get("Leads", fields="id", page=number, per_page=200)
    return [each["id"] for each in answer.json()["data"]]


def test_an_undone_composite_leaves_nothing_anywhere(chance: random.Random) -> None:
    with ExitStack() as stack:
        crm = stack.enter_context(running_crm())
        receiver = stack.enter_context(Receiver())
        caller = stack.enter_context(crm.caller(crm.create_organisation(users=1)))
        watch = {"channel_id": "1000000068001", "events": ["Leads.all", "Contacts.all"], "notify_url": receiver.url}
        assert caller.send("POST", "actions/watch", {"watch": [watch]}).status_code == 201
        ids = caller.insert("Leads", *({"Last_Name": f"Kept{n}", "Email": f"k{n}@x.example"} for n in range(8)))
        until_all_is_told(crm)
        for round_ in range(COMPOSITES):
            before = everything(crm)
            subs = some_subs(chance, ids, f"Gone{round_}x")
            failing = chance.randint(1, len(subs))
            subs.insert(failing, {"method": "POST", "uri": "/crm/v8/Leads", "body": {"data": [{"City": "no name"}]}})
            named = [{**each, "sub_request_id": f"s{n}"} for n, each in enumerate(subs)]
            answer = caller.send(
                "POST", "__composite_requests", {"rollback_on_fail": True, "__composite_requests": named}
            )
            assert answer.status_code == 400, answer.text
            found = [each["code"] for each in answer.json()["__composite_requests"]]
            assert "ROLLBACK_PERFORMED" in found, (found, named)
            assert everything(crm) == before, named
            assert caller.get("Leads/search", word=f"Gone{round_}x").status_code == 204
        (following,) = caller.insert("Leads", {"Last_Name": "Next"})
        assert int(following) == int(ids[-1]) + 1, "a gap shows where records were undone"
        until_all_is_told(crm)
        assert [each["ids"] for each in receiver.bodies] == [ids, [following]], "something undone was told"


def until_all_is_told(crm: RunningCrm) -> None:
    deadline = time.monotonic() + SETTLE_S
    while pending(crm.store):
        assert time.monotonic() < deadline, "notifications are not delivered"
        time.sleep(0.01)


def some_subs(chance: random.Random, ids: list[str], word: str) -> list[Record]:
    """One to four sub-requests that would all succeed and change something."""
    chosen = chance.sample(ids, 4)
    email = f"k{chance.randrange(16)}@x.example"
    makers: tuple[Callable[[int], Record], ...] = (
        lambda n: {"method": "POST", "uri": "/crm/v8/Leads", "body": {"data": [{"Last_Name": f"{word} {n}"}]}},
        lambda n: {"method": "POST", "uri": "/crm/v8/Contacts", "body": {"data": [{"Last_Name": f"{word} {n}"}]}},
        lambda n: {"method": "PUT", "uri": f"/crm/v8/Leads/{chosen[n]}", "body": {"data": [{"Company": word}]}},
        lambda n: {"method": "DELETE", "uri": f"/crm/v8/Leads/{chosen[n]}"},
        lambda n: {
            "method": "POST",
            "uri": "/crm/v8/Leads/upsert",
            "body": {"data": [{"Last_Name": f"{word} {n}", "Email": email}]},
        },
    )
    return [chance.choice(makers)(n) for n in range(chance.randint(1, 4))]


def everything(crm: RunningCrm) -> str:
    """Every row of every table of the store."""
    with crm.store.reading() as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        tables = {
            name: sorted(map(repr, map(tuple, db.execute(f'SELECT * FROM "{name}"'))))
            for name in names
            if name not in ("token", "setting")
        }
    return json.dumps(tables)
