"""The store and what is put into it: restarts, versions, sample data, seed files, the program itself."""

import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from farebox.crm.errors import StoreError
from farebox.crm.organisations import UserSeed
from farebox.crm.provision import create_organisation
from farebox.crm.seed_file import load_seed
from farebox.crm.store import SCHEMA_VERSION, Store
from farebox.testing.crm import RunningCrm, running_crm

PROGRAM = "from farebox.cli.crm import crm; crm()"


def test_data_and_tokens_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "crm.sqlite3"
    with running_crm(path=path) as crm:
        made = crm.create_organisation(name="Lasting", users=2)
        with crm.caller(made) as caller:
            (record_id,) = caller.insert("Leads", {"Last_Name": "Meyer"})
            token = caller.access_token
    with running_crm(path=path) as crm:
        headers = {"Authorization": f"Zoho-oauthtoken {token}"}
        answer = httpx.get(f"{crm.url}/crm/v8/Leads/{record_id}", headers=headers)
        assert answer.json()["data"][0]["Last_Name"] == "Meyer"
        with crm.caller(made, user=1) as caller:
            assert caller.insert("Leads", {"Last_Name": "Next"}) > [record_id]


def test_an_older_version_refuses_a_newer_store(tmp_path: Path) -> None:
    path = tmp_path / "crm.sqlite3"
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match=r"newer version.*another --data"):
        Store(path)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "crm.sqlite3"
    path.write_text("hello " * 1000)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(path)


def test_sample_data_is_the_same_for_the_same_seed_and_related() -> None:
    def contents(seed: int) -> list[tuple[str, str]]:
        store = Store(clock=lambda: 1_800_000_000.0)
        create_organisation(store, name="Sampled", users=3, sample_records=40, seed=seed)
        with store.reading() as db:
            found = [(row["name"], row["body"]) for row in db.execute("SELECT name, body FROM record ORDER BY id")]
        store.close()
        return found

    seed = random.randrange(10**6)
    print(f"seed {seed}")
    first = contents(seed)
    assert len(first) == 4 * 40
    assert first == contents(seed)
    assert first != contents(seed + 1)


def test_two_thousand_records_each_are_there_after_seeding(crm: RunningCrm) -> None:
    made = crm.create_organisation(name="Full", users=10, sample_records=2_000)
    with crm.caller(made) as caller:
        for module in ("Leads", "Contacts", "Accounts", "Deals"):
            assert caller.get(module, fields="id", page=10).json()["info"]["count"] == 200
        deal = caller.get("Deals", fields="Account_Name,Contact_Name", per_page=1).json()["data"][0]
        contact = caller.record("Contacts", deal["Contact_Name"]["id"])
        assert contact["Account_Name"] == deal["Account_Name"]
        assert contact["Account_Name"]["name"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"product": "desk"}, "Unknown product"),
        ({"users": 0}, "1 to 5000 users"),
        ({"users": [UserSeed(email="a@x"), UserSeed(email="A@x")]}, "same e-mail"),
        ({"users": [UserSeed(email="a@x"), UserSeed(email="b@x", status="asleep")]}, "status is one of"),
        ({"users": [UserSeed(email="a@x", time_zone="Moon/Base")]}, "no time zone"),
        ({"unique_fields": {"Leads": ["Nope"]}}, "no field Nope"),
        ({"unique_fields": {"Nope": ["Email"]}}, "Nope"),
        ({"sample_records": -1}, "sample_records"),
        ({"redirect_uri": "here"}, "absolute URL"),
        ({"client_id": "known"}, "a client known already"),
        ({"zgid": 7}, "already"),
        ({"refresh_token": "1000.known"}, "already"),
    ],
)
def test_an_impossible_organisation_is_refused_and_leaves_nothing(options: dict[str, object], message: str) -> None:
    store = Store()
    create_organisation(store, name="First", users=1, client_id="known", zgid=7, refresh_token="1000.known")
    with pytest.raises(StoreError, match=message):
        create_organisation(store, name="Second", **options)  # type: ignore[arg-type]
    with store.reading() as db:
        assert [row["name"] for row in db.execute("SELECT name FROM organisation")] == ["First"]
    store.close()


def test_a_seed_file_makes_known_credentials_once(tmp_path: Path) -> None:
    path = tmp_path / "organisations.json"
    entry = {
        "name": "Known",
        "product": "bigin",
        "edition": "express",
        "users": [{"email": "a@x.example", "refresh_token": "1000.a"}, {"email": "b@x.example"}],
        "client_id": "1000.KNOWN",
        "client_secret": "s",
        "zgid": 4711,
        "sample_records": 3,
    }
    server = {"name": "Gateway", "client_id": "gateway", "client_secret": "g"}
    path.write_text(json.dumps({"organisations": [entry], "resource_servers": [server]}))
    store = Store()
    made = load_seed(store, path)
    assert made["organisations"][0]["refresh_token"] == "1000.a"
    assert made["organisations"][0]["zgid"] == "4711"
    assert made["resource_servers"] == [server]
    assert load_seed(store, path) == {"organisations": [], "resource_servers": []}
    store.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"orgs": []}', "must be a list"),
        ('"x"', "must be a list"),
        ('[{"product": "crm"}]', r"organisations\[0\] must be an object with at least 'name'"),
        ('[{"name": "x", "prodct": "crm"}]', "unknown word 'prodct'; known are name"),
        ('[{"name": "x", "users": "ten"}]', "users must be int or list"),
        ('[{"name": "x", "users": [{"first_name": "A"}]}]', r"users\[0\] must be an object with at least 'email'"),
        ('[{"name": "x", "users": true}]', "users must be int or list"),
        ('[{"name": "x", "product": "desk"}]', r"organisations\[0\]: Unknown product"),
        ('[{"name": "fine"}, {"name": "x", "product": "desk"}]', r"organisations\[1\]"),
    ],
)
def test_a_wrong_seed_file_is_named_with_the_entry_and_makes_nothing(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "organisations.json"
    path.write_text(content)
    store = Store()
    with pytest.raises(StoreError, match=message):
        load_seed(store, path)
    assert store.is_empty()
    store.close()


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=180, check=False
    )


def test_the_program_says_where_it_listens_serves_stays_small_and_keeps_its_credentials(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    command = [sys.executable, "-c", PROGRAM, "--port", "0", "--data", str(tmp_path), "--json"]
    announced = []
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            announced.append(said["organisations"])
            form = {name: said["organisations"][0][name] for name in ("client_id", "client_secret", "refresh_token")}
            answer = httpx.post(f"{said['url']}/oauth/v2/token", data={**form, "grant_type": "refresh_token"})
            assert answer.json()["api_domain"] == said["url"]
            assert psutil.Process(process.pid).memory_info().rss < 75 * 1024 * 1024
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert announced[0] == announced[1]
    assert [each["name"] for each in announced[0]] == ["Zylker CRM standard", "crm free", "Bigin Express"]
    assert [len(each["users"]) for each in announced[0]] == [10, 3, 10]
    assert (tmp_path / "crm-credentials.json").stat().st_mode & 0o077 == 0


def test_a_port_in_use_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_program("--port", port, "--data", str(tmp_path))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unwritable_directory_is_said_in_a_sentence() -> None:
    done = run_program("--port", "0", "--data", "/proc/nowhere")
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr
