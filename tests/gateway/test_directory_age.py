"""The last directory counts while its file cannot be read, and nobody is left to believe otherwise."""

from __future__ import annotations

import json
import sqlite3

import pytest

from farebox.gateway.directory_age import UNSEEN_SECONDS, DirectoryAge
from farebox.gateway.figures import figures

from .conftest import GatewayMaker, until

HEALTH = "/-/farebox/healthz"


def test_while_the_directory_cannot_be_read_the_last_one_counts_and_that_is_said_until_it_can(
    make_gateway: GatewayMaker, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway = make_gateway(identity="key", start=False)
    key = {"X-Farebox-Key": gateway.org()}
    gateway.start()
    assert gateway.caller().ask(fields=key).status == 200
    file = sqlite3.connect(gateway.folder / "directory.db", isolation_level=None)
    file.execute("ALTER TABLE version RENAME TO version_gone")
    file.execute("UPDATE keys SET revoked = 1")
    file.execute("UPDATE version_gone SET version = version + 1")

    def reason() -> str:
        answer = gateway.caller().ask(target=HEALTH)
        assert answer.status == 200
        return str(json.loads(answer.body)["reason"])

    assert "a revoked key" in until(reason)
    assert gateway.caller().ask(fields=key).status == 200, "the last image counts"
    told = gateway.on_loop(lambda: figures(gateway.worker._sources()))
    assert told.value("directory_age_seconds") >= UNSEEN_SECONDS
    file.execute("ALTER TABLE version_gone RENAME TO version")
    file.close()
    until(lambda: gateway.caller().ask(fields=key).status == 401)
    until(lambda: not reason())
    said = capfd.readouterr().out
    assert said.count("directory.unreadable") == 1
    assert "no such table: version" in said
    assert said.count("directory.readable_again") == 1


def test_a_reading_that_does_not_come_back_is_noticed_and_a_worker_that_stood_still_blames_nobody() -> None:
    clock = [0.0]
    said: list[str] = []
    age = DirectoryAge(now=lambda: clock[0], say=said.append)

    def look(*, after: float) -> None:
        clock[0] += after
        age.look()

    for _ in range(10):
        look(after=0.5)
        age.was_read()
    look(after=3_600)
    assert not said
    for _ in range(2):
        look(after=0.5)
    assert "could not be read for 2 s" in said[-1]
    age.was_read()
    look(after=0.5)
    assert said[-1] == ""
