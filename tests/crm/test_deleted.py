"""Deleted records: what was ever inserted is living or deleted, for as long as the bin remembers."""

import os
import random

import pytest

from farebox.crm import deleted
from farebox.crm.deleted import DAY_S
from farebox.crm.provision import Credentials
from farebox.testing.crm import Caller, RunningCrm


@pytest.fixture
def days(crm: RunningCrm, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many days the store's clock is ahead, to be changed by the test."""
    ahead = [0]
    now = crm.store.now
    monkeypatch.setattr(crm.store, "now", lambda: now() + ahead[0] * DAY_S)
    return ahead


def test_a_deleted_record_says_who_deleted_it_and_when(caller: Caller, crm: RunningCrm) -> None:
    (record_id,) = caller.insert("Leads", {"First_Name": "Ann", "Last_Name": "Lee"})
    assert caller.get("Leads/deleted", type="all").status_code == 204
    with crm.caller(caller.credentials, user=1) as other:
        assert other.send("DELETE", f"Leads/{record_id}").status_code == 200
    answer = caller.get("Leads/deleted", type="all").json()
    assert answer["info"] == {"per_page": 200, "count": 1, "page": 1, "more_records": False}
    (one,) = answer["data"]
    first, second = caller.credentials.users[:2]
    assert one.pop("deleted_time")
    assert one == {
        "id": record_id,
        "display_name": "Ann Lee",
        "type": "recycle",
        "deleted_by": {"name": second.full_name, "id": second.id},
        "created_by": {"name": first.full_name, "id": first.id},
    }
    assert caller.get("Contacts/deleted").status_code == 204


def test_after_60_days_it_is_gone_for_good_and_after_120_forgotten(
    caller: Caller, crm: RunningCrm, days: list[int]
) -> None:
    (record_id,) = caller.insert("Leads", {"Last_Name": "Lee"})
    caller.send("DELETE", f"Leads/{record_id}")

    def found(kind: str) -> list[str]:
        with crm.caller(caller.credentials) as fresh:
            answer = fresh.get("Leads/deleted", type=kind)
        return [] if answer.status_code == 204 else [each["type"] for each in answer.json()["data"]]

    assert [found(kind) for kind in deleted.TYPES] == [["recycle"], ["recycle"], []]
    days[0] = 61
    assert [found(kind) for kind in deleted.TYPES] == [["permanent"], [], ["permanent"]]
    days[0] = 121
    assert [found(kind) for kind in deleted.TYPES] == [[], [], []]
    deleted.trim(crm.store)
    with crm.store.reading() as db:
        assert db.execute("SELECT 1 FROM deleted_record WHERE id = ?", (record_id,)).fetchone() is None


def test_a_type_that_is_none_does_not_match_the_pattern(caller: Caller) -> None:
    answer = caller.get("Leads/deleted", type="some")
    assert (answer.status_code, answer.json()["code"]) == (400, "PATTERN_NOT_MATCHED")
    assert answer.json()["details"]["param_name"] == "type"


def test_nothing_deleted_since_the_header_is_304(caller: Caller) -> None:
    caller.send("DELETE", f"Leads/{caller.insert('Leads', {'Last_Name': 'Lee'})[0]}")
    ahead = {"If-Modified-Since": "2126-01-01T00:00:00+00:00"}
    before = {"If-Modified-Since": "2020-01-01T00:00:00+00:00"}
    assert caller.get("Leads/deleted", headers=ahead).status_code == 304
    assert caller.get("Leads/deleted", headers=before).status_code == 200


def test_organisations_do_not_see_each_others_deleted_records(crm: RunningCrm, caller: Caller) -> None:
    caller.send("DELETE", f"Leads/{caller.insert('Leads', {'Last_Name': 'Lee'})[0]}")
    other: Credentials = crm.create_organisation(name="Other")
    with crm.caller(other) as stranger:
        assert stranger.get("Leads/deleted").status_code == 204


def test_living_and_deleted_together_are_all_that_were_ever_inserted(caller: Caller) -> None:
    seed = int(os.environ.get("FAREBOX_SEED", random.randrange(2**32)))
    print(f"FAREBOX_SEED={seed}")
    chance = random.Random(seed)
    ever: set[str] = set()
    living: set[str] = set()
    for _ in range(12):
        new = caller.insert("Leads", *({"Last_Name": "L"} for _ in range(chance.randint(1, 30))))
        ever.update(new)
        living.update(new)
        gone = set(chance.sample(sorted(living), chance.randint(0, len(living))))
        if gone:
            caller.send("DELETE", "Leads", params={"ids": ",".join(list(gone)[:100])})
            living -= set(list(gone)[:100])
    per_page = chance.randint(5, 50)
    bin_: list[str] = []
    for page in range(1, 1_000):
        answer = caller.get("Leads/deleted", page=page, per_page=per_page)
        if answer.status_code == 204:
            break
        bin_ += [each["id"] for each in answer.json()["data"]]
        if not answer.json()["info"]["more_records"]:
            break
    listed: list[str] = []
    params = {"fields": "id"}
    while True:
        answer = caller.get("Leads", None, **params)
        if answer.status_code == 204:
            break
        listed += [each["id"] for each in answer.json()["data"]]
        if not answer.json()["info"]["more_records"]:
            break
        params["page_token"] = answer.json()["info"]["next_page_token"]
    assert len(bin_) == len(set(bin_))
    assert set(listed) == living
    assert set(bin_) | set(listed) == ever
    assert not set(bin_) & set(listed)
