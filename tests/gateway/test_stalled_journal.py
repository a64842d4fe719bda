"""A disk that hangs under the journal: no call is sent that could not be recorded, and it is said where it hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from farebox.gateway import stalled
from farebox.gateway.figures import figures
from farebox.gateway.plane import Journal
from farebox.gateway.stalled import STALLED_SECONDS, StallWatch
from farebox.journal.commits import Commits
from farebox.journal.disk import OsDisk
from farebox.testing.upstream import StubUpstream

from .conftest import Caller, GatewayMaker, until

HEALTH = "/-/farebox/healthz"


class HangingDisk:
    """Every sync of a file waits until the disk is mended, as in the kernel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mended = threading.Event()
        self.mended.set()
        real = OsDisk.fdatasync

        def fdatasync(disk: OsDisk, fd: int) -> None:
            self.mended.wait()
            real(disk, fd)

        monkeypatch.setattr(OsDisk, "fdatasync", fdatasync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingDisk]:
    hanging = HangingDisk(monkeypatch)
    yield hanging
    hanging.mended.set()


def test_while_the_disk_hangs_calls_are_refused_before_the_upstream_and_health_names_it_until_it_answers(
    disk: HangingDisk, make_gateway: GatewayMaker, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalled, "STALLED_SECONDS", 0.5)
    gateway = make_gateway(durability="disk")
    assert gateway.caller().ask().status == 200
    disk.mended.clear()
    waiting = gateway.caller().say("GET /waits HTTP/1.1\r\nHost: g\r\n\r\n")
    asking = gateway.caller()
    health = until(lambda: (answer := asking.ask(target=HEALTH)).status == 503 and answer)
    assert "has not answered for" in health.json()["reason"]
    assert str(gateway.folder / "journal") in health.json()["reason"]
    sent = len(upstream.requests)
    refused = gateway.caller().ask()
    assert (refused.status, refused.json()["code"]) == (503, "JOURNAL_UNAVAILABLE")
    assert str(gateway.folder / "journal") in refused.json()["detail"]
    assert len(upstream.requests) == sent
    told = gateway.on_loop(lambda: figures(gateway.worker._sources()))
    assert told.value("journal_healthy", 1) == 0
    assert told.value("journal_stalled_seconds") >= 0.5
    assert _silent(waiting)
    disk.mended.set()
    assert waiting.hear().status == 200
    until(lambda: asking.ask(target=HEALTH).status == 200)
    assert gateway.caller().ask().status == 200
    assert sum(entry.credits for entry in gateway.entries()) == 3_000


def _silent(caller: Caller) -> bool:
    caller.socket.setblocking(False)
    try:
        caller.socket.recv(1)
    except BlockingIOError:
        return True
    finally:
        caller.socket.settimeout(10)
    return False


class Counting:
    """A journal's counters, as a test moves them."""

    def __init__(self) -> None:
        self.commits = Commits()
        self.lag, self.healthy, self.trouble, self.warning = 0, True, None, False

    def reserve(self) -> None:
        """Takes every call."""

    unreserve = reserve

    def append(self, *_: object) -> None:
        """Takes every entry."""


def test_a_disk_that_is_slow_but_moves_is_not_said_to_hang_and_a_worker_that_stood_still_blames_nobody() -> None:
    journal, clock = Counting(), [0.0]
    used: list[Journal] = []
    watch = StallWatch(journal, folder="j", now=lambda: clock[0], use=used.append)

    def look(*, after: float = 0.5, moves: bool = False) -> bool:
        clock[0] += after
        journal.commits.groups += moves
        watch.look()
        return watch.stalled

    journal.lag = 100
    assert not any(look(moves=number % 8 == 0) for number in range(100)), "a group each 4 s is slow"
    assert not look(after=3_600, moves=False), "an hour in which the worker stood still is no hour of the disk's"
    journal.lag = 0
    assert not any(look() for _ in range(100)), "nothing waits"
    journal.lag = 100
    looks = [look() for _ in range(2 + int(2 * STALLED_SECONDS))]
    assert looks.index(True) in {2 * STALLED_SECONDS - 1, 2 * STALLED_SECONDS}
    journal.commits.failed += 1
    assert not look(), "a disk that fails answers"
    assert used[1:] == [journal]
