"""The whole store in one file and back, starting anew, and what waits to be delivered."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from farebox.crm import deliveries
from farebox.crm.errors import StoreError
from farebox.crm.provision import create_organisation
from farebox.crm.seed_file import load_seed
from farebox.crm.store import Store
from farebox.crm.transfer import export_store, import_store
from farebox.testing.crm import Caller, RunningCrm, running_crm

PROGRAM = "from farebox.cli.crm import crm; crm()"


def run_program(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments, "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, stdin=subprocess.DEVNULL)


def fill(crm: RunningCrm) -> tuple[Caller, list[str]]:
    """An organisation with some of everything, and calls whose answers say what is in the store."""
    made = crm.create_organisation(name="Zylker", users=3, sample_records=30, unique_fields={"Leads": ["Email"]})
    caller = crm.caller(made)
    (lead,) = caller.insert("Leads", {"Last_Name": "Nakamura", "Company": "Größe & Söhne", "Email": "n@x.example"})
    entry = {"channel_id": "7", "events": ["Leads.all"], "notify_url": "http://127.0.0.1:9/hook"}
    assert caller.send("POST", "actions/watch", {"watch": [entry]}).status_code == 201
    caller.send("PUT", f"Leads/{lead}", {"data": [{"Company": "Changed"}]})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("leads.csv", "Last_Name\nZ\n")
    upload = caller.http.post(
        f"{caller.base}/upload",
        files={"file": ("leads.zip", packed.getvalue())},
        headers={"feature": "bulk-write", "X-CRM-ORG": made.zgid},
    )
    assert upload.status_code == 200, upload.text
    calls = [
        "org",
        "users",
        f"Leads/{lead}",
        "Leads?fields=Last_Name,Email&per_page=7",
        "Deals?fields=Deal_Name,Account_Name&per_page=200",
        "Leads/search?word=nakamura",
        "Leads/search?email=n@x.example",
        "Contacts/actions/count",
        "actions/watch",
        "settings/modules",
    ]
    return caller, calls


def answers(url: str, caller: Caller, calls: list[str]) -> list[tuple[int, str]]:
    got = [httpx.get(f"{url}{caller.base}/{call}", headers=caller.http.headers) for call in calls]
    # tokens of pages are fresh with every answer
    return [(each.status_code, json.dumps(_without_page_tokens(each.json()))) for each in got]


def _without_page_tokens(content: dict[str, object]) -> dict[str, object]:
    info = content.get("info")
    if isinstance(info, dict):
        content["info"] = {name: value for name, value in info.items() if "page_token" not in name}
    return content


def test_an_imported_store_gives_the_same_answers_to_the_same_calls(tmp_path: Path) -> None:
    exported = tmp_path / "all.zip"
    with running_crm(path=tmp_path / "a" / "crm.sqlite3") as crm:
        caller, calls = fill(crm)
        before = answers(crm.url, caller, calls)
        token = caller.get("Deals", fields="Deal_Name", per_page=10).json()["info"]["next_page_token"]
        done = export_store(crm.store, exported)  # beside the running API
        assert (done.organisations, done.records, done.files) == (1, 121, 1)
        url = crm.url
    assert exported.stat().st_mode & 0o077 == 0
    for secret in (caller.access_token, caller.credentials.client_secret, caller.credentials.refresh_token):
        with zipfile.ZipFile(exported) as archive:
            assert not any(secret.encode() in archive.read(name) for name in archive.namelist())
    assert import_store(exported, tmp_path / "b") == done
    with running_crm(path=tmp_path / "b" / "crm.sqlite3", public_url=url) as crm:
        assert [each for each in answers(crm.url, caller, calls) if each not in before] == []
        further = httpx.get(
            f"{crm.url}/crm/v8/Deals",
            params={"fields": "Deal_Name", "per_page": 10, "page_token": token},
            headers=caller.http.headers,
        )
        assert further.json()["info"]["count"] == 10
        with crm.caller(caller.credentials, user=2) as other:
            double = other.send("POST", "Leads", {"data": [{"Last_Name": "N", "Email": "n@x.example"}]})
            assert double.json()["data"][0]["code"] == "DUPLICATE_DATA"
            assert other.insert("Leads", {"Last_Name": "Next"})
        assert list(crm.store.files.glob("upload-*.zip"))
    caller.http.close()


def changed(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Rewrite a zip, member by member; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            now = change(name, content)
            if now is not None:
                archive.writestr(name, now)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3_000])


def bit_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x40
    path.write_bytes(content)


def of_a_newer_version(path: Path) -> None:
    def newer(name: str, content: bytes) -> bytes:
        return content if name != "manifest.json" else json.dumps(json.loads(content) | {"schema": 10**6}).encode()

    changed(path, newer)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "torn": torn,
    "one bit": bit_flipped,
    "newer": of_a_newer_version,
    "no manifest": lambda path: changed(path, lambda name, content: None if name == "manifest.json" else content),
    "a table less": lambda path: changed(path, lambda name, content: None if "token" in name else content),
    "a row less": lambda path: changed(
        path, lambda name, content: b"\n".join(content.split(b"\n")[1:]) if name.endswith("record.jsonl") else content
    ),
    "a value changed": lambda path: changed(path, lambda _, content: content.replace(b'"Leads"', b'"Deals"', 1)),
    "no zip": lambda path: path.write_text("hello"),
    "nothing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_whole_is_refused_and_changes_nothing(tmp_path: Path, damage: str) -> None:
    store = Store()
    create_organisation(store, name="Z", users=2, sample_records=20)
    exported = tmp_path / "all.zip"
    export_store(store, exported)
    store.close()
    DAMAGES[damage](exported)
    with pytest.raises(StoreError, match="nothing was changed"):
        import_store(exported, tmp_path / "data")
    assert list((tmp_path / "data").glob("*")) == []


def test_nothing_is_imported_over_an_organisation_and_nothing_exported_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data" / "crm.sqlite3"
    store = Store(path)
    exported = tmp_path / "all.zip"
    export_store(store, exported)
    with pytest.raises(StoreError, match="exists already"):
        export_store(store, exported)
    with pytest.raises(StoreError, match="Stop the `farebox crm` that uses it"):
        import_store(exported, path.parent)  # empty, but open
    create_organisation(store, name="Z", users=1)
    store.close()
    with pytest.raises(StoreError, match="has organisations already"):
        import_store(exported, path.parent)
    store = Store(path)
    assert not store.is_empty()
    store.close()


def test_reset_asks_and_removes_only_what_is_the_stores(tmp_path: Path) -> None:
    path = tmp_path / "crm.sqlite3"
    store = Store(path)
    create_organisation(store, name="Z", users=1)
    (tmp_path / "mine.txt").write_text("mine")
    start = ("--port", "1", "--host", "192.0.2.1", "--reset")  # an address that nothing can listen on
    in_use = run_program(*start, "--yes", data=tmp_path)
    assert (in_use.returncode, "Stop the `farebox crm`" in in_use.stderr) == (1, True)
    store.close()
    unasked = run_program(*start, data=tmp_path)
    assert (unasked.returncode, "only with --yes" in unasked.stderr) == (1, True)
    (tmp_path / "crm-credentials.json").write_text('{"organisations": [{"name": "old"}], "resource_servers": []}')
    seeds = tmp_path / "seeds.json"
    seeds.write_text('[{"name": "New", "users": 1}]')
    assert "cannot listen" in run_program(*start, "--yes", "--seed-file", str(seeds), data=tmp_path).stderr
    assert [each["name"] for each in json.loads((tmp_path / "crm-credentials.json").read_text())["organisations"]] == [
        "New"
    ]
    store = Store(path)
    with store.reading() as db:
        assert [row["name"] for row in db.execute("SELECT name FROM organisation")] == ["New"]
    store.close()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_program_exports_imports_and_lists_deliveries(tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "crm.sqlite3")
    made = create_organisation(store, name="Z", users=1, sample_records=2)
    with store.transaction() as db:
        deliveries.call_back(db, zgid=int(made.zgid), url="https://x.example/cb", content={}, at=store.now())
        db.execute("UPDATE callback SET due = NULL, attempts = 8, problem = 'answered 500'")
    store.close()
    done = run_program("export", str(tmp_path / "all.zip"), data=tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 organisations, 8 records" in done.stdout
    assert run_program("import", str(tmp_path / "all.zip"), data=tmp_path / "b").returncode == 0
    listed = run_program("deliveries", data=tmp_path / "b")
    assert listed.stdout == "given up, 8 attempts: callback to https://x.example/cb: answered 500\n"
    assert json.loads(run_program("deliveries", "--json", data=tmp_path / "b").stdout)["due"] is None
    nowhere = run_program("export", str(tmp_path / "more.zip"), data=tmp_path / "nowhere")
    assert (nowhere.returncode, "There is no store in" in nowhere.stderr) == (1, True)
    assert not (tmp_path / "nowhere").exists()
    shutil.rmtree(tmp_path / "b")


def test_a_seed_files_records_are_related_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "seeds.json"
    records = {
        "Accounts": [{"Account_Name": f"A{n}"} for n in range(150)],
        "Contacts": [{"Last_Name": "Ada", "Account_Name": "@Accounts:149"}],
    }
    path.write_text(json.dumps([{"name": "Z", "users": 1, "records": records}]))
    with running_crm() as crm:
        load_seed(crm.store, path)
        with crm.store.reading() as db:
            (ada,) = db.execute("SELECT body FROM record WHERE module = 'Contacts'").fetchall()
            account = db.execute("SELECT id FROM record WHERE name = 'A149'").fetchone()["id"]
        assert json.loads(ada["body"])["Account_Name"] == account


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"Leads": [{"Last_Name": "A"}, {"Company": "x"}]}, r"records.Leads\[1\]: MANDATORY_NOT_FOUND"),
        ({"Nope": [{"Name": "A"}]}, "records.Nope: INVALID_MODULE"),
        ({"Leads": {}}, "records.Leads must be a list"),
        ({"Contacts": [{"Last_Name": "A", "Account_Name": "@Accounts:0"}]}, "no such record stands above"),
    ],
)
def test_a_wrong_record_of_a_seed_file_is_named_and_nothing_is_made(
    tmp_path: Path, records: object, message: str
) -> None:
    path = tmp_path / "seeds.json"
    path.write_text(json.dumps([{"name": "Z", "users": 1, "records": records}]))
    store = Store()
    with pytest.raises(StoreError, match=message):
        load_seed(store, path)
    assert store.is_empty()
    store.close()
