"""The steps of the Bigin organisation's program: plain HTTP under /bigin/v2, no SDK."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import httpx

from farebox.demo.plain import step_of
from farebox.demo.seen import Seen, Step, Upserted

PAGE_RECORDS = 50
MODULE = "/Contacts"

Contacts = dict[str, list[dict[str, str]]]


def steps(client: httpx.Client, *, users: int) -> Iterator[Step]:
    """All of them, in order: each builds on the records of those before. `users`: how many the organisation has."""
    answer = client.get("/users", params={"type": "AllUsers"})
    yield step_of("get users", [answer], must_see=[Seen(HTTPStatus.OK, read=users)], must_cost=1)
    yield _single_inserts(client)
    yield _insert_of_twenty(client)
    yield _partial_insert(client)
    yield _upsert(client)
    yield _paging(client)
    yield _delete(client)


def _single_inserts(client: httpx.Client) -> Step:
    answers = [client.post(MODULE, json=_contacts(1, start=number)) for number in range(20)]
    must_see = [Seen(HTTPStatus.CREATED, written=1, of=1)] * 20
    return step_of("20 records, one by one", answers, must_see=must_see, must_cost=20)


def _insert_of_twenty(client: httpx.Client) -> Step:
    answer = client.post(MODULE, json=_contacts(20, start=100))
    must_see = [Seen(HTTPStatus.CREATED, written=20, of=20)]
    return step_of("20 records in one call", [answer], must_see=must_see, must_cost=2)


def _partial_insert(client: httpx.Client) -> Step:
    partial = _contacts(3, start=200)
    del partial["data"][1]["Last_Name"]
    answer = client.post(MODULE, json=partial)
    must_see = [Seen(HTTPStatus.MULTI_STATUS, written=2, of=3, refused=("MANDATORY_NOT_FOUND",))]
    return step_of("3 records, one without a name", [answer], must_see=must_see, must_cost=1)


def _upsert(client: httpx.Client) -> Step:
    """Two that are there already (_insert_of_twenty) and one that is not."""
    contacts = {"data": _contacts(2, start=100)["data"] + _contacts(1, start=300)["data"]}
    answer = client.post(f"{MODULE}/upsert", json={**contacts, "duplicate_check_fields": ["Email"]})
    upserted = (Upserted("update", "Email"), Upserted("update", "Email"), Upserted("insert", None))
    must_see = [Seen(HTTPStatus.CREATED, written=3, of=3, upserted=upserted)]
    return step_of("upsert of 3, 2 of them there", [answer], must_see=must_see, must_cost=1)


def _paging(client: httpx.Client) -> Step:
    answers = [
        client.get(MODULE, params={"fields": "Last_Name,Email", "per_page": PAGE_RECORDS, "page": number})
        for number in (1, 2)
    ]
    must_see = [Seen(HTTPStatus.OK, read=PAGE_RECORDS, more=True)] * 2
    return step_of(f"2 pages of {PAGE_RECORDS}", answers, must_see=must_see, must_cost=2)


def _delete(client: httpx.Client) -> Step:
    created = client.post(MODULE, json=_contacts(2, start=400))
    ids = ",".join(result["details"]["id"] for result in created.json()["data"])
    deleted = client.delete(MODULE, params={"ids": ids})
    gone = client.get(MODULE, params={"ids": ids, "fields": "Last_Name"})
    must_see = [
        Seen(HTTPStatus.CREATED, written=2, of=2),
        Seen(HTTPStatus.OK, written=2, of=2),
        Seen(HTTPStatus.NO_CONTENT, read=0),
    ]
    return step_of("insert 2, delete 2, ask for them", [created, deleted, gone], must_see=must_see, must_cost=3)


def _contacts(count: int, *, start: int) -> Contacts:
    return {"data": [{"Last_Name": f"Guest {start + n}", "Email": f"g{start + n}@demo.example"} for n in range(count)]}
