"""Reload and restart at the supervisor: whatever fresh and old processes do, what works stays, and nobody is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from farebox.errors import DataDirectoryError, NotRunningError
from farebox.gateway import supervision
from farebox.gateway.supervision import RELOAD, RESTART, StateFile, running

from .conftest import until
from .test_supervisor import is_gone

KILLED = "did not end in time: killed"
MAIN = """
import os, sys
from pathlib import Path
from farebox.gateway import children, supervisor, supervision
folder = Path(sys.argv[1])
children.STARTING_SECONDS_MAX, stop_seconds = (float(each) for each in sys.argv[2:])
in_force = os.memfd_create("first")
os.write(in_force, b'{"in_force": "first"}')
workers = [
    children.Child(
        name=f"worker-{number}", argv=(sys.executable, str(folder / "worker.py"), str(folder)),
        heartbeat=True, seats=(2 * number, 2 * number + 1), stop_seconds=stop_seconds,
    )
    for number in range(2)
]
service = supervisor.Service(
    configuration="test", in_force=in_force,
    prepare=(sys.executable, str(folder / "prepare.py"), str(folder), str(stop_seconds)),
    state=supervision.StateFile(folder),
)
sys.exit(supervisor.supervise(workers, service))
"""
WORKER = """
import json, os, signal, sys, time
from pathlib import Path
from farebox.gateway import inheritance
folder = Path(sys.argv[1])
word = json.loads(inheritance.in_force())["in_force"]
inheritance.follow_supervisor()
if (folder / "deaf").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if (folder / "slow to end").exists():
    def end(*_):
        while (folder / "slow to end").exists():
            os.write(inheritance.heartbeat_fd(), b".")
            time.sleep(0.01)
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
if word == "dies":
    sys.exit(4)
with open(folder / "started", "a") as started:
    started.write(f"{os.getpid()} {word}\\n")
while word != "hangs":
    os.write(inheritance.heartbeat_fd(), b".")
    time.sleep(0.1)
time.sleep(60)
"""
PREPARE = """
import json, os, sys, time
from pathlib import Path
from farebox.gateway import inheritance
word = (Path(sys.argv[1]) / "next").read_text()
if word == "crashes":
    sys.exit(3)
said = json.loads(inheritance.in_force())["in_force"]
answer = {"ok": word != "wrong", "said": [f"{said} -> {word}"], "in_force": word}
answer["stop_seconds"] = float(sys.argv[2])
os.write(inheritance.prepared_fd(), json.dumps(answer).encode())
"""


class Supervised:
    """A supervisor over two workers that say with which configuration they were started."""

    def __init__(self, folder: Path, *, starting_seconds: float = 60.0, stop_seconds: float = 60.0) -> None:
        self.folder = folder
        for name, text in (("main", MAIN), ("worker", WORKER), ("prepare", PREPARE)):
            (folder / f"{name}.py").write_text(text)
        self.errors = folder / "errors"
        self.process = subprocess.Popen(
            [sys.executable, folder / "main.py", folder, str(starting_seconds), str(stop_seconds)],
            stderr=self.errors.open("wb"),
            start_new_session=True,
        )
        until(lambda: len(self.serving()) == 2)

    def serving(self) -> dict[int, str]:
        """Who serves, and with what."""
        try:
            processes = running(self.folder)["processes"]
            started = dict(line.split() for line in (self.folder / "started").read_text().splitlines())
        except (NotRunningError, FileNotFoundError):
            return {}
        now = [each["pid"] for each in processes if each["state"] == "serving"]
        return {pid: started[str(pid)] for pid in now}

    def started(self) -> list[int]:
        return [int(line.split()[0]) for line in (self.folder / "started").read_text().splitlines()]

    def ask(self, request: str, word: str = "") -> tuple[bool, str]:
        if word:
            (self.folder / "next").write_text(word)
        return supervision.ask(self.folder, request, within_seconds=60)


@pytest.fixture
def patience() -> dict[str, float]:
    """Of the supervisor, in seconds: as long as a slow machine may need, but where a test waits for its end."""
    return {}


@pytest.fixture
def supervised(tmp_path: Path, patience: dict[str, float]) -> Iterator[Supervised]:
    made = Supervised(tmp_path, **patience)
    yield made
    made.process.kill()
    made.process.wait()


def test_a_reload_starts_fresh_workers_with_what_was_prepared(supervised: Supervised) -> None:
    before = supervised.serving()
    assert supervised.ask(RELOAD, "second") == (
        True,
        "reloaded: 2 workers with the new configuration\n  first -> second",
    )
    after = supervised.serving()
    assert set(after.values()) == {"second"}
    assert before.keys().isdisjoint(after)
    os.kill(next(iter(after)), signal.SIGKILL)
    until(lambda: len(supervised.serving()) == 2 and supervised.serving().keys() != after.keys())
    assert set(supervised.serving().values()) == {"second"}, "what is in force stays so for whoever is replaced"


@pytest.mark.parametrize(
    ("word", "why", "patience"),
    [
        ("wrong", "first -> wrong", {}),
        ("crashes", "looking at it ended with status 3", {}),
        ("dies", "the fresh worker-", {}),
        ("hangs", "was ended by SIGKILL", {"starting_seconds": 8.0}),
    ],
)
def test_what_does_not_work_leaves_the_old_workers_alone(supervised: Supervised, word: str, why: str) -> None:
    before = supervised.serving()
    well, said = supervised.ask(RELOAD, word)
    assert not well
    assert said.startswith("not reloaded, the old configuration stays in force")
    assert why in said
    assert supervised.serving() == before
    assert supervised.ask(RELOAD, "second")[0], "and the next one is as good as ever"


@pytest.mark.parametrize("patience", [{"stop_seconds": 0.5}])
def test_an_old_worker_that_does_not_end_is_killed_after_its_time_and_the_restart_goes_on(
    supervised: Supervised,
) -> None:
    (supervised.folder / "deaf").touch()
    assert supervised.ask(RESTART)[0]
    deaf = supervised.serving()
    (supervised.folder / "deaf").unlink()
    before = supervised.errors.read_text().count(KILLED)  # of the first two, if this machine is slow
    assert supervised.ask(RESTART) == (True, "restarted: 2 workers, one after another")
    assert deaf.keys().isdisjoint(supervised.serving())
    assert all(is_gone(pid) for pid in deaf)
    assert supervised.errors.read_text().count(KILLED) - before == 2


@pytest.mark.parametrize("patience", [{"stop_seconds": 0.5}])
def test_stopped_in_the_middle_of_a_reload_it_leaves_nobody_behind(supervised: Supervised) -> None:
    (supervised.folder / "next").write_text("hangs")
    supervised.process.send_signal(signal.SIGHUP)
    until(lambda: len(supervised.started()) == 4)
    supervised.process.terminate()
    assert supervised.process.wait(60) == 0
    assert all(is_gone(pid) for pid in supervised.started())
    with pytest.raises(NotRunningError, match="no farebox serve runs on"):
        running(supervised.folder)


def test_requests_that_come_meanwhile_are_done_one_after_another_and_equal_ones_once(supervised: Supervised) -> None:
    (supervised.folder / "next").write_text("second")
    (supervised.folder / "slow to end").touch()
    supervised.process.send_signal(signal.SIGHUP)  # so that all workers are slow to end from here on
    until(lambda: running(supervised.folder)["done"] == 1)
    answers: list[tuple[bool, str]] = []
    asking = threading.Thread(target=lambda: answers.append(supervised.ask(RELOAD)))
    supervised.process.send_signal(signal.SIGUSR1)  # takes until they may end
    until(lambda: running(supervised.folder)["doing"] == RESTART)
    asking.start()
    until(lambda: running(supervised.folder)["waiting"] == [RELOAD])
    supervised.process.send_signal(signal.SIGHUP)
    (supervised.folder / "slow to end").unlink()
    asking.join(60)
    assert [well for well, _ in answers] == [True]
    assert answers[0][1].startswith("reloaded: 2 workers"), "not what was under way before it"
    state = running(supervised.folder)
    assert (state["done"], state["waiting"]) == (3, [])


def test_one_data_directory_has_one_supervisor(tmp_path: Path) -> None:
    first = StateFile(tmp_path)
    with pytest.raises(DataDirectoryError, match="another farebox serve runs on"):
        StateFile(tmp_path)
    with pytest.raises(NotRunningError, match="just starting"):
        running(tmp_path)
    assert first.write({"pid": 1}) is None
    assert json.loads((tmp_path / "run/supervisor.json").read_text()) == {"pid": 1}
    first.close()
    StateFile(tmp_path).close()


def test_starts_that_were_asked_for_are_not_counted_as_deaths(supervised: Supervised) -> None:
    assert supervised.ask(RESTART)[0]
    assert set(running(supervised.folder)["restarts"].values()) == {0}
    os.kill(next(iter(supervised.serving())), signal.SIGKILL)
    until(lambda: sum(running(supervised.folder)["restarts"].values()) == 1)
