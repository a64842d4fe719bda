"""A plan's limit of calls in flight, over two real workers: never more at the upstream at once, and all of it used."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from farebox.testing.system import GATEWAY_HEALTH, ChildProcess, Provision, RunningFarebox, until

pytestmark = pytest.mark.slow

REFUSED, ANSWERED = 300, 800
CALLERS = 24
STANDARD = 10
"""Zoho CRM's Standard edition: so many calls in flight per organisation and app (facts 1.7, L8)."""


class CountingUpstream:
    """Answers after a moment and remembers how many calls it ever had at once."""

    def __init__(self) -> None:
        self.most = self.calls = self._now = 0
        self._counting = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while b"\r\n\r\n" in connection.recv(65_536):  # one call at a time, without a body
                with self._counting:
                    self._now += 1
                    self.calls += 1
                    self.most = max(self.most, self._now)
                time.sleep(random.uniform(0, 0.03))
                with self._counting:
                    self._now -= 1
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")


@pytest.fixture
def counting() -> Iterator[CountingUpstream]:
    upstream = CountingUpstream()
    yield upstream
    upstream.close()


def test_two_workers_together_let_as_many_calls_through_at_once_as_the_plan_allows_and_never_more(
    tmp_path: Path, counting: CountingUpstream
) -> None:
    farebox = RunningFarebox(
        tmp_path,
        upstream_url=counting.url,
        card="zoho-crm",
        product="crm",
        orgs=[Provision(org="acme", licences=100)],
        gateway={"workers": 2, "durability": "os"},
    )
    serve = ChildProcess(
        "serve",
        ["-m", "farebox.cli", "serve", "--config", str(farebox.config_path)],
        health_url=farebox.gateway_url + GATEWAY_HEALTH,
        log=tmp_path / "serve.log",
    )
    serve.start()
    answers: Counter[str] = Counter()
    ended = threading.Event()

    def call() -> None:
        place = urlsplit(farebox.gateway_url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        while not ended.is_set():
            connection.request("GET", "/crm/v8/Leads/1", headers=farebox.as_caller("acme"))
            answer = connection.getresponse()
            said = json.loads(answer.read())
            answers[said["details"]["farebox_code"] if answer.status == 429 else str(answer.status)] += 1
            ended.wait(0.01)
        connection.close()

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    try:
        for caller in callers:
            caller.start()
        until(lambda: answers["CONCURRENCY_EXCEEDED"] > REFUSED and answers["200"] > ANSWERED, what="enough calls")
        until(lambda: counting.most >= STANDARD, what="as many calls at once as the plan allows")
    finally:
        ended.set()
        for caller in callers:
            caller.join(60)
        serve.stop()
    print(f"{dict(answers)}, at most {counting.most} at once")
    assert set(answers) == {"200", "CONCURRENCY_EXCEEDED"}
    assert counting.most == STANDARD
    assert counting.calls == answers["200"], "what was refused never reached the upstream"
