"""Stopped with SIGTERM under load and started again: no answered call is lost and every number is as it was."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from farebox.testing.books import hash_of, read_books
from farebox.testing.system import Provision, RunningFarebox, until
from farebox.testing.upstream import Behaviour, StubUpstream

CLIENTS = 6
ROUNDS = 3

pytestmark = pytest.mark.slow


class Callers:
    """Callers that go on until the gateway is gone, and remember what was answered."""

    def __init__(self, farebox: RunningFarebox, name: str) -> None:
        self.answered: list[str] = []
        self._farebox = farebox
        self._threads = [threading.Thread(target=self._call_on, args=(f"{name}-{n}",)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def wait_for_a_load(self) -> None:
        until(lambda: len(self.answered) > 100, what="a load")

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)

    def _call_on(self, name: str) -> None:
        with self._farebox.caller("acme", "ada") as ada:
            for call in range(100_000):
                target = f"{'/slow' if call % 3 else '/quick'}?call={name}-{call}"
                try:
                    answer = ada.get(target)
                except httpx.HTTPError:
                    return
                if answer.status_code != 200:
                    return
                self.answered.append(target)


def test_stopped_under_load_and_started_again_nothing_answered_is_lost_and_numbers_stay(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    upstream.answer("/slow", Behaviour(delay_seconds=0.05))
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=[Provision(org="acme", base=100_000)])
    answered: list[str] = []
    for number in range(ROUNDS):
        with farebox:
            before = _numbers(farebox)
            assert before == (len(answered), len(answered) * 1_000), "numbers changed over the stop"
            callers = Callers(farebox, str(number))
            callers.wait_for_a_load()
            assert farebox.gateway.stop() == 0
            callers.join()
            answered += callers.answered
            if number % 2:  # with the console gone first, the next one loads the rest
                assert farebox.console.stop() == 0
        books = read_books(farebox.data)
        assert books.quota.open_incarnations == ()
        assert books.quota.lent == books.quota.unaccounted == 0
    with farebox:
        until(lambda: _numbers(farebox) == (len(answered), len(answered) * 1_000), what="all numbers are there")
        assert farebox.gateway.stop() == 0
        until(lambda: not list((farebox.data / "journal").iterdir()), what="the journal is loaded and removed")
    books = read_books(farebox.data)
    assert books.disagreements() == []
    hashes = {row.target_hash for row in books.entries}
    assert {hash_of(farebox.data, target) for target in answered} == hashes
    assert len(books.entries) == len(answered)


def _numbers(farebox: RunningFarebox) -> tuple[int, int]:
    """(calls by usage, used by quota) once usage has loaded what the journal holds."""
    until(lambda: farebox.ask_console("usage", "acme")["as_of"], what="a first whole round of loading")
    return farebox.ask_console("usage", "acme")["calls"], farebox.ask_console("allowance", "acme")["used"]
