"""What must hold under bad input, many callers, a full disk and kill -9."""

import json
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farebox.crm.catalogue_bigin import CATALOGUES
from farebox.crm.errors import ApiError
from farebox.crm.provision import create_organisation
from farebox.crm.schema import ANY_MODULE, DataType
from farebox.crm.store import Store
from farebox.crm.validate import check_record
from farebox.testing.crm import Caller, RunningCrm, running_crm

MODULES = [module for catalogue in CATALOGUES.values() for module in catalogue.values()]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("id"), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_in_any_field_is_stored_or_refused_in_the_envelope(data: st.DataObject) -> None:
    module = data.draw(st.sampled_from(MODULES))
    catalogue = next(each for each in CATALOGUES.values() if module in each.values())
    names = st.sampled_from([each.api_name for each in module.fields])
    record = data.draw(st.dictionaries(names, JSON_VALUES, max_size=4) | JSON_VALUES)
    inserting = data.draw(st.booleans())
    refused: list[ApiError] = []
    try:
        checked = check_record(module, record, catalogue=catalogue, path="$.data[0]", inserting=inserting)
    except ApiError as refusal:
        refused.append(refusal)
    else:
        assert checked.values.keys() <= module.by_name.keys()
    assert all(each.details["json_path"].startswith("$.data[0]") for each in refused)


def test_every_lookup_and_subform_of_the_catalogues_leads_to_a_module() -> None:
    for catalogue in CATALOGUES.values():
        for module in catalogue.values():
            for each in module.fields:
                if each.data_type in (DataType.LOOKUP, DataType.SUBFORM) and each.target != ANY_MODULE:
                    assert each.target in catalogue, f"{module.api_name}.{each.api_name}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": [{"Name": "S", "Monthly_Fee": 1e999}]}',
        b'{"data": [{"Name": "S", "Usage_Units": 99999999999999999999999999}]}',
        b'{"data": [{"Name": "S", "Renews_At": "9999-12-31T23:59:59+00:00"}]}',
        b'{"data": [{"Name": "S", "Renews_At": "0001-01-01T00:00:00+00:00"}]}',
        b'{"data": [{"Name": "\\ud800"}]}',
        b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"data": [{"id": 99999999999999999999, "Name": "S", "Account": {"id": 1e400}}]}',
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_extreme_bodies_are_the_callers_fault(caller: Caller, method: str, body: bytes) -> None:
    answer = caller.http.request(method, "/crm/v8/Subscriptions", content=body)
    assert answer.status_code == 400, answer.text
    assert caller.get("Subscriptions", fields="Name,Renews_At").status_code == 204


@pytest.mark.parametrize("path", ["/crm/v8/upload", "/oauth/v2/token"])
def test_a_form_that_cannot_be_read_is_the_callers_fault(caller: Caller, path: str) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"--x\r\nbroken", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--", b"\0" * 9):
        answer = caller.http.post(path, content=body, headers=headers)
        assert answer.status_code in (200, 400), answer.text
        assert {"code", "error", "ERROR_CODE"} & set(answer.json())


def test_odd_requests_never_come_to_500(caller: Caller) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    words = ["Leads", "1", "", "%00", "%ff", "..", "settings", "fields", "ü", "users", "a" * 300, "upsert", "7" * 40]
    for _ in range(300):
        path = "/".join(["/crm/v8", *chance.choices(words, k=chance.randint(1, 4))])
        name = chance.choice(["fields", "page", "per_page", "page_token", "ids", "sort_by", "type", "module", "cvid"])
        value = chance.choice(["", "0", "٣", "-1", "1,2", "id", "%00", "x" * 500, "9" * 30, "Leads"])
        answer = caller.http.request(
            chance.choice(["GET", "POST", "PUT", "DELETE"]), f"{path}?{name}={value}", content=chance.randbytes(20)
        )
        assert answer.status_code < 500, (path, name, value, answer.text)
        if answer.content:
            assert answer.headers["content-type"] == "application/json;charset=utf-8"


def test_inserts_of_many_callers_at_once_all_count(crm: RunningCrm, caller: Caller) -> None:
    def insert(number: int) -> list[str]:
        with crm.caller(caller.credentials, user=number % 3) as each:
            return [each.insert("Leads", {"Last_Name": f"L{number}.{n}"})[0] for n in range(20)]

    with ThreadPoolExecutor(8) as pool:
        ids = [record_id for made in pool.map(insert, range(8)) for record_id in made]
    assert len(set(ids)) == 160
    assert caller.get("Leads", fields="id").json()["info"]["count"] == 160


def test_a_full_disk_fails_the_call_and_nothing_else(tmp_path: Path) -> None:
    with running_crm(path=tmp_path / "crm.sqlite3") as crm, crm.caller(crm.create_organisation(users=1)) as caller:
        before = caller.insert("Leads", {"Last_Name": "Before"})
        with crm.store.reading() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages}")
        big = {"data": [{"Last_Name": "Big", "Description": "x" * 30_000} for _ in range(10)]}
        assert caller.send("POST", "Leads", big).status_code == 500
        with crm.store.reading() as db:
            db.execute("PRAGMA max_page_count = 1000000")
        after = caller.insert("Leads", {"Last_Name": "After"})
        listed = caller.get("Leads", fields="id").json()["data"]
        assert [each["id"] for each in listed] == after + before


def start_program(data: Path, *options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    program = "from farebox.cli.crm import crm; crm()"
    command = [sys.executable, "-c", program, "--port", "0", "--data", str(data), "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def test_an_answered_insert_survives_kill_9(tmp_path: Path) -> None:
    ids: list[str] = []
    for _ in range(3):
        process, said = start_program(tmp_path)
        try:
            made = said["organisations"][1]
            form = {name: made[name] for name in ("client_id", "client_secret", "refresh_token")}
            with httpx.Client(base_url=said["url"]) as http:
                token = http.post("/oauth/v2/token", data={**form, "grant_type": "refresh_token"}).json()[
                    "access_token"
                ]
                http.headers["Authorization"] = f"Zoho-oauthtoken {token}"
                if ids:
                    found = http.get("/crm/v8/Leads", params={"fields": "id", "ids": ",".join(ids)}).json()
                    assert {each["id"] for each in found["data"]} == set(ids)
                for _ in range(10):
                    answer = http.post("/crm/v8/Leads", content=b'{"data": [{"Last_Name": "A"}]}')
                    ids.append(answer.json()["data"][0]["details"]["id"])
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
    assert len(set(ids)) == 30


def test_provisioning_a_thousand_organisations_is_a_matter_of_seconds() -> None:
    store = Store()
    made = [create_organisation(store, name=f"Org {n}", users=1) for n in range(1_000)]
    assert len({each.zgid for each in made}) == 1_000
    store.close()
