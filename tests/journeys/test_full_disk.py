"""A file system that is really full under a running system: refused before the upstream is reached, well again alone.

A tmpfs of 8 MiB holds all data, or the journal alone. Where mounting is not allowed the tests skip and say why.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from farebox.console.auth import OPERATOR, Logins
from farebox.domain.identity import Account
from farebox.testing.books import hash_of, read_books
from farebox.testing.system import Provision, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

DISK_BYTES = 8 << 20
CALLS_MAX = 60_000
REFUSED = 40
ALLOWANCE = 1_000_000
PASSWORD = "a long enough password"

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The mount, at the place the test names."""
    mount = tmp_path / request.param
    mount.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"a file system of 8 MiB cannot be mounted here: {made.stderr.strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


class Caller:
    """Calls one after the other and keeps account of what came of them."""

    def __init__(self, farebox: RunningFarebox) -> None:
        self._client = farebox.caller("acme", "ada")
        self._client.headers.update({"X-Farebox-Task": "t" * 200, "X-Farebox-Function": "f" * 200})  # long entries
        self.answered: list[str] = []
        self.refused: list[httpx.Response] = []

    def call(self) -> bool:
        """Whether it was answered; otherwise it must have been refused before it cost anything."""
        target = f"/thing?call={len(self.answered) + len(self.refused)}"
        answer = self._client.get(target)
        if answer.status_code == 200:
            self.answered.append(target)
            return True
        assert answer.status_code == 503, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers.get("X-Farebox-Credits-Charged", "0") == "0"
        assert int(answer.headers["Retry-After"]) >= 1
        self.refused.append(answer)
        return False

    def close(self) -> None:
        self._client.close()


def fill(disk: Path) -> Path:
    """A file that takes all that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


def running(folder: Path, upstream: StubUpstream) -> RunningFarebox:
    return RunningFarebox(
        folder,
        upstream_url=upstream.url,
        orgs=[Provision(org="acme", base=ALLOWANCE)],
        gateway={"journal_segment_bytes": 256 * 1024},
    )


@pytest.mark.parametrize("disk", ["data", "data/journal"], indirect=True)
def test_a_full_disk_refuses_before_the_upstream_is_reached_and_all_goes_on_by_itself_once_there_is_room(
    tmp_path: Path, upstream: StubUpstream, disk: Path
) -> None:
    with running(tmp_path, upstream) as farebox:
        pids = farebox.gateway.pid, farebox.console.pid
        caller = Caller(farebox)
        assert all(caller.call() for _ in range(20))
        farebox.console.pause()  # loading would make room as long as it can
        filler = fill(disk)
        while caller.call():
            assert len(caller.answered) < CALLS_MAX, "the disk never got full"
        for _ in range(REFUSED):
            caller.call()
        first = caller.refused[0].json()
        assert first["code"] in ("JOURNAL_FULL", "QUOTA_UNAVAILABLE")
        assert "No space left on device" in first["detail"] or "disk is full" in first["detail"]
        assert len(upstream.requests) == len(caller.answered), "a refused call reached the upstream"
        farebox.console.resume()
        assert farebox.ask_console("allowance", "acme")["total"] == ALLOWANCE * 1_000, "the console answers"
        filler.unlink()
        until(lambda: all(caller.call() for _ in range(200)), what="calls go on, one after the other")
        assert (farebox.gateway.pid, farebox.console.pid) == pids
        assert farebox.gateway.is_running
        assert farebox.console.is_running
        caller.close()
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    print(f"{disk.name}: {len(caller.answered)} answered, {len(caller.refused)} refused ({first['code']})")
    books = read_books(farebox.data)
    assert books.disagreements() == []
    assert books.over(Account("acme", "api", "api"), [(0, ALLOWANCE * 1_000)]) == []
    charged = sorted(row.target_hash for row in books.entries if row.calls)
    assert charged == sorted(hash_of(farebox.data, target) for target in caller.answered)
    assert len(upstream.requests) == len(caller.answered)


@pytest.mark.parametrize("disk", ["data"], indirect=True)
def test_on_a_full_disk_the_console_says_so_to_who_signs_in_and_lets_them_in_once_there_is_room(
    tmp_path: Path, upstream: StubUpstream, disk: Path
) -> None:
    farebox = running(tmp_path, upstream)
    logins = Logins(farebox.data / "console.db")
    logins.make_login("ops", org=OPERATOR, password=PASSWORD)
    logins.close()
    with farebox, httpx.Client(base_url=farebox.console_url) as browser:
        filler = fill(disk)
        refused = sign_in(browser)
        assert refused.status_code == 503, refused.text
        assert "disk" in refused.text
        filler.unlink()
        assert sign_in(browser).status_code == 303


def sign_in(browser: httpx.Client) -> httpx.Response:
    token = browser.get("/sign-in").text.partition('name="form_token" value="')[2].partition('"')[0]
    return browser.post("/sign-in", data={"login": "ops", "password": PASSWORD, "form_token": token})
