"""A gateway dies and its journal is damaged before anybody took it over: held, named, given up, and all goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farebox.journal.extents import extents
from farebox.journal.segment import HEADER_BYTES, record_at
from farebox.testing.books import read_books
from farebox.testing.system import RunningFarebox, until
from farebox.testing.upstream import StubUpstream

CALLS = 30

pytestmark = pytest.mark.slow


def farebox_command(farebox: RunningFarebox, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "farebox.cli", "journal", *arguments, "--data", str(farebox.data)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def damage_one_record(directory: Path) -> Path:
    """A byte of the third last record flips: others that were committed follow it."""
    extent = extents(directory)[-1]
    path = directory / f"{extent.header.segment:08d}.seg"
    data, at, places = bytearray(path.read_bytes()), HEADER_BYTES, []
    while at < extent.end:
        places.append(at)
        at = record_at(memoryview(bytes(data)), at, header=extent.header).end
    data[places[-3] + 30] ^= 1
    path.write_bytes(data)
    return path


def test_a_damaged_journal_of_a_dead_gateway_is_held_until_its_loss_is_accepted_and_then_all_goes_on(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        assert farebox_command(farebox, "check")[0] == 0
        farebox.console.stop()
        with farebox.caller("acme", "ada") as ada:
            for _ in range(CALLS):
                assert ada.get("/thing").status_code == 200
        farebox.gateway.kill()
        [directory] = (farebox.data / "journal").iterdir()
        path = damage_one_record(directory)
        farebox.gateway.start()
        until(lambda: "adoption.damaged" in farebox.gateway.log, what="the damage is seen and said")
        farebox.console.start()

        status, said = farebox_command(farebox, "check")
        assert status == 1
        assert str(path) in said
        assert f"accept-loss {directory.name}" in said
        assert "credits of acme (api, api)" in said, said
        report: dict[str, Any] = json.loads(farebox_command(farebox, "check", "--json")[1])
        [damaged] = [each for each in report["journals"] if each["damages"]]
        at_most = sum(each["millicredits"] for each in damaged["lent"])
        assert at_most >= 1_000, "what cannot be read may have been spent"
        assert directory.exists()

        status, said = farebox_command(farebox, "accept-loss", directory.name, "--yes")
        assert status == 0, said
        assert farebox_command(farebox, "check")[0] == 0
        farebox.gateway.stop()  # a new one looks at once, a running one within ten seconds
        farebox.gateway.start()
        until(lambda: not directory.exists(), what="the rest is settled and loaded, and the journal goes")
        with farebox.caller("acme", "ada") as ada:
            assert ada.get("/thing").status_code == 200
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the last journal loaded and removed")
    books = read_books(farebox.data)
    assert books.disagreements() == [], "quota and usage gave up the same"
    assert sum(row.calls for row in books.entries) == CALLS - 1 + 1, "one call is lost, one was made since"
