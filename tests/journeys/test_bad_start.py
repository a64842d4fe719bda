"""What keeps a process from starting is said in one sentence that tells what to do, with status 1; nothing is lost."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pytest

from farebox.testing.screen import signed_in
from farebox.testing.system import ChildProcess, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

CALLS = 5

pytestmark = pytest.mark.slow


def refusal_to_start(child: ChildProcess) -> str:
    """What it said on ending by itself with status 1: one line of it, and no traceback."""
    before = len(child.log)
    child.launch()
    status = child.wait_until_ended()
    said = child.log[before:]
    assert status == 1, f"status {status}: {said}"
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if line.startswith("farebox ")]
    assert len(lines) == 1, said
    assert "docs/errors.md" in lines[0]
    return lines[0]


@contextmanager
def taken(url: str) -> Iterator[None]:
    """Somebody else listens there."""
    parts = urlsplit(url)
    with socket.create_server((parts.hostname or "", parts.port or 0)):
        yield


@pytest.mark.parametrize("role", ["gateway", "console"])
def test_a_port_in_use_is_named_and_the_start_works_once_it_is_free(
    tmp_path: Path, upstream: StubUpstream, role: str
) -> None:
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url)
    child, url = {
        "gateway": (farebox.gateway, farebox.gateway_url),
        "console": (farebox.console, farebox.console_url),
    }[role]
    with taken(url):
        said = refusal_to_start(child)
    assert "ADDRESS_IN_USE" in said
    assert url.removeprefix("http://") in said
    assert f"{role}.listen" in said
    with farebox:
        pass


def test_a_second_console_on_the_same_data_says_whose_it_is(tmp_path: Path, upstream: StubUpstream) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        second = RunningFarebox(tmp_path / "second", upstream_url=upstream.url)
        text = second.config_path.read_text().replace('data = "data"', f'data = "{farebox.data}"')
        second.config_path.write_text(text)
        said = refusal_to_start(second.console)
        assert f"another console (process {farebox.console.pid})" in said
        assert farebox.console.answers()


@pytest.mark.parametrize("role", ["gateway", "console"])
@pytest.mark.parametrize("data", ["/proc/farebox-data", "a-file/data"])
def test_a_data_directory_that_cannot_be_written_is_named(
    tmp_path: Path, upstream: StubUpstream, role: str, data: str
) -> None:
    (tmp_path / "a-file").write_text("not a directory")
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url)
    farebox.config_path.write_text(farebox.config_path.read_text().replace('data = "data"', f'data = "{data}"'))
    said = refusal_to_start(getattr(farebox, role))
    assert "DATA_DIRECTORY" in said
    assert data in said


def test_a_broken_card_is_told_with_file_line_and_rule(tmp_path: Path, upstream: StubUpstream, card: str) -> None:
    path = Path(card)
    broken = path.read_text().replace("each = 10", "eech = 10")
    path.write_text(broken)
    line = broken.splitlines().index(next(text for text in broken.splitlines() if "eech" in text)) + 1
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url, card=card)
    said = refusal_to_start(farebox.gateway)
    assert f"{path}:{line}: operations.order.price.eech" in said
    assert 'did you mean "each"' in said


def test_an_unknown_setting_is_told_with_what_was_probably_meant(tmp_path: Path, upstream: StubUpstream) -> None:
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url, gateway={"answer_hold_byte": 1})
    said = refusal_to_start(farebox.gateway)
    assert "gateway.answer_hold_byte: no such setting; did you mean answer_hold_bytes?" in said


# --- data of another version -----------------------------------------------------------------------------------------


def newer_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def strange_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA application_id = 7")
    db.close()


def other_duckdb(version: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with duckdb.connect(str(path)) as db:
            db.execute("UPDATE schema_version SET version = ?", [version])

    return change


@pytest.mark.parametrize(
    ("role", "name", "change"),
    [
        pytest.param("gateway", "quota.db", newer_sqlite, id="newer quota"),
        pytest.param("gateway", "quota.db", strange_sqlite, id="another program's quota"),
        pytest.param("gateway", "directory.db", newer_sqlite, id="newer directory, gateway"),
        pytest.param("console", "directory.db", newer_sqlite, id="newer directory, console"),
        pytest.param("console", "console.db", newer_sqlite, id="newer logins"),
        pytest.param("console", "usage.duckdb", other_duckdb(99), id="newer usage"),
        pytest.param("console", "usage.duckdb", other_duckdb(0), id="older usage that cannot be migrated"),
    ],
)
def test_data_of_another_version_is_refused_untouched_and_nothing_is_lost(
    tmp_path: Path, upstream: StubUpstream, role: str, name: str, change: Callable[[Path], None]
) -> None:
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url)
    with farebox:
        _make_calls(farebox)
    path = farebox.data / name
    kept = tmp_path / "kept"
    shutil.copyfile(path, kept)
    change(path)
    changed = path.read_bytes()
    said = refusal_to_start(getattr(farebox, role))
    assert "DATA_VERSION" in said
    assert str(path) in said
    assert path.read_bytes() == changed, "a file of another version was touched"
    shutil.copyfile(kept, path)
    with farebox:
        until(lambda: _shown(farebox) == (CALLS, CALLS * 1_000), what="all is there again")
        _make_calls(farebox, already=CALLS)


def test_a_journal_of_a_newer_format_stops_only_its_own_loading_visibly_and_is_loaded_once_it_can_be_read(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        farebox.console.kill()
        with farebox.caller("acme", "ada") as ada:
            assert [ada.get("/").status_code for _ in range(CALLS)] == [200] * CALLS
        assert farebox.gateway.stop() == 0
        [segment] = (farebox.data / "journal").glob("*/*.seg")
        kept = segment.read_bytes()
        segment.write_bytes(kept[:8] + b"\x63" + kept[9:])
        farebox.gateway.start()
        farebox.console.start()
        with farebox.caller("acme", "ben") as ben:
            assert ben.get("/").status_code == 200
        until(lambda: farebox.ask_console("usage", "acme")["calls"] == 1, what="the other journal is loaded")
        assert segment.exists()
        assert str(segment.parent) in farebox.ask_console("usage", "acme")["problem"]
        until(lambda: str(segment.parent) in farebox.console.log, what="the log says what hinders loading")
        with signed_in(farebox, "acme") as person:
            assert str(segment.parent) in person.get("/").text
        segment.write_bytes(kept)
        until(lambda: farebox.ask_console("usage", "acme")["calls"] == CALLS + 1, what="the restored journal is loaded")
        until(lambda: not farebox.ask_console("usage", "acme")["problem"], what="nothing hinders loading any more")


def test_a_quota_file_of_rubbish_refuses_calls_in_clear_words_until_it_is_restored(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url)
    with farebox:
        _make_calls(farebox)
    path = farebox.data / "quota.db"
    kept = path.read_bytes()
    path.write_bytes(b"rubbish" * 1_000)
    reached = len(upstream.requests)
    with farebox, farebox.caller("acme", "ada") as ada:
        answer = ada.get("/")
        assert (answer.status_code, answer.json()["code"]) == (503, "QUOTA_UNAVAILABLE")
        assert "integrity_check" in farebox.gateway.log
        assert path.read_bytes() == b"rubbish" * 1_000
        assert len(upstream.requests) == reached
        path.write_bytes(kept)
        until(lambda: ada.get("/").status_code == 200, what="calls go on with the restored file", within_seconds=60)


def _make_calls(farebox: RunningFarebox, *, already: int = 0) -> None:
    with farebox.caller("acme", "ada") as ada:
        assert [ada.get("/").status_code for _ in range(CALLS)] == [200] * CALLS
    calls = already + CALLS
    until(lambda: _shown(farebox) == (calls, calls * 1_000), what="quota and usage have the calls")


def _shown(farebox: RunningFarebox) -> tuple[int, int]:
    """(calls by usage, used by quota)."""
    return farebox.ask_console("usage", "acme")["calls"], farebox.ask_console("allowance", "acme")["used"]
