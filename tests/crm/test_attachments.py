"""Attachments and files: kept byte for byte, called what is harmless, gone with their record."""

import pytest

from farebox.crm import attachments
from farebox.testing.crm import Caller, RunningCrm


def attach(caller: Caller, record_id: str, name: str, content: bytes) -> str:
    path = f"/crm/v8/Leads/{record_id}/Attachments"
    answer = caller.http.post(path, files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"][0]["details"]["id"])


@pytest.fixture
def lead(caller: Caller) -> str:
    return caller.insert("Leads", {"Last_Name": "Lee"})[0]


def test_a_file_comes_back_byte_for_byte(caller: Caller, lead: str) -> None:
    content = bytes(range(256)) * 100
    attached = attach(caller, lead, "a b.bin", content)
    (shown,) = caller.get(f"Leads/{lead}/Attachments", fields="id").json()["data"]
    assert (shown["id"], shown["File_Name"], shown["Size"]) == (attached, "a b.bin", "25600")
    assert shown["Parent_Id"] == {"name": "Lee", "id": lead}
    answer = caller.get(f"Leads/{lead}/Attachments/{attached}")
    assert answer.content == content
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "C:\\x\\evil.exe", "a\rb\nSet-Cookie: c=d", 'q".html', "\u202e\x00", "ü" * 400, ".."],
)
def test_a_hostile_name_leads_nowhere(crm: RunningCrm, caller: Caller, lead: str, name: str) -> None:
    attached = attach(caller, lead, name, b"x")
    answer = caller.get(f"Leads/{lead}/Attachments/{attached}")
    assert answer.content == b"x"
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"].isascii()
    (shown,) = caller.get(f"Leads/{lead}/Attachments").json()["data"]
    assert shown["File_Name"].isprintable()
    assert not {"/", "\\"} & set(shown["File_Name"])
    assert attachments.path_of(crm.store, int(attached)).parent == crm.store.files


def test_an_address_becomes_a_link(caller: Caller, lead: str) -> None:
    path = f"Leads/{lead}/Attachments"
    url = "https://files.example/a.pdf"
    assert caller.send("POST", path, params={"attachmentUrl": url, "title": "Plan"}).status_code == 200
    (shown,) = caller.get(path).json()["data"]
    assert (shown["$type"], shown["$link_url"], shown["File_Name"]) == ("Link URL", url, "Plan")
    assert caller.get(f"{path}/{shown['id']}").json()["code"] == "NOT_SUPPORTED"
    assert caller.send("POST", path, params={"attachmentUrl": "javascript:x"}).json()["code"] == "INVALID_DATA"
    assert caller.send("POST", path).json()["code"] == "MANDATORY_NOT_FOUND"


def test_a_file_that_is_too_large_is_refused(caller: Caller, lead: str) -> None:
    files = {"file": ("a", b"x" * (attachments.BYTES_MAX + 1))}
    answer = caller.http.post(f"/crm/v8/Leads/{lead}/Attachments", files=files)
    assert (answer.status_code, answer.json()["code"]) == (400, "FILE_SIZE_MORE_THAN_ALLOWED_SIZE")
    assert caller.get(f"Leads/{lead}/Attachments").status_code == 204


def test_attachments_are_deleted_one_and_many(crm: RunningCrm, caller: Caller, lead: str) -> None:
    ids = [attach(caller, lead, "a", b"x") for _ in range(3)]
    assert caller.send("DELETE", f"Leads/{lead}/Attachments/{ids[0]}").status_code == 200
    answer = caller.send("DELETE", f"Leads/{lead}/Attachments", params={"ids": f"{ids[1]},{ids[0]}"})
    assert answer.status_code == 207
    (left,) = caller.get(f"Leads/{lead}/Attachments").json()["data"]
    assert left["id"] == ids[2]
    assert [attachments.path_of(crm.store, int(each)).exists() for each in ids] == [False, False, True]


def test_contents_go_when_their_record_is_gone_for_good(
    crm: RunningCrm, caller: Caller, lead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "UNFINISHED_S", -10)
    path = attachments.path_of(crm.store, int(attach(caller, lead, "a", b"x")))
    caller.send("DELETE", f"Leads/{lead}")
    attachments.trim(crm.store)
    assert path.exists()
    now = crm.store.now
    monkeypatch.setattr(crm.store, "now", lambda: now() + 61 * 86_400)
    attachments.trim(crm.store)
    assert not path.exists()


def test_another_records_and_another_organisations_attachment_is_nobodys(
    crm: RunningCrm, caller: Caller, lead: str
) -> None:
    attached = attach(caller, lead, "a", b"secret")
    (other,) = caller.insert("Leads", {"Last_Name": "M"})
    assert caller.get(f"Leads/{other}/Attachments/{attached}").status_code == 400
    uploaded = caller.http.post("/crm/v8/files", files={"file": ("b", b"secret")}).json()["data"][0]["details"]["id"]
    with crm.caller(crm.create_organisation(name="Other")) as stranger:
        assert stranger.get(f"Leads/{lead}/Attachments/{attached}").status_code == 400
        assert stranger.get("files", id=uploaded).status_code == 400


def test_files_are_uploaded_and_taken_back(caller: Caller) -> None:
    files = [("file", ("../a.txt", b"one")), ("file", ("b.txt", b"two"))]
    answer = caller.http.post("/crm/v8/files", files=files)
    first, second = answer.json()["data"]
    assert (first["details"]["name"], second["details"]["name"]) == ("a.txt", "b.txt")
    assert caller.get("files", id=second["details"]["id"]).content == b"two"
    assert caller.get("files", id="../../x").json()["code"] == "INVALID_DATA"
    assert caller.get("files").json()["code"] == "REQUIRED_PARAM_MISSING"
