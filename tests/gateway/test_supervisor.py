"""The supervisor keeps processes running, says what happened, and takes everything with it when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farebox.errors import AddressInUseError
from farebox.gateway.listening import listen

from .conftest import until


class Supervised:
    """A supervisor in a process of its own, over a child that writes its pid to a file each time it starts."""

    def __init__(self, folder: Path, child: str, options: str = "", patience: str = "") -> None:
        self.pids = folder / "pids"
        self.errors = folder / "errors"
        (folder / "child.py").write_text(
            "import os, sys, time\n"
            "from farebox.gateway import inheritance\n"
            f"open({str(self.pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n" + textwrap.dedent(child)
        )
        (folder / "main.py").write_text(
            f"import sys\nfrom farebox.gateway import children, supervisor\n{patience}\n"
            f"child = children.Child(name='child', argv=(sys.executable, {str(folder / 'child.py')!r}){options})\n"
            "sys.exit(supervisor.supervise([child]))\n"
        )
        self.process = subprocess.Popen([sys.executable, folder / "main.py"], stderr=self.errors.open("wb"))

    def started(self, times: int = 1) -> int:
        """The child's pid once it has been started so often."""
        until(lambda: self.pids.exists() and len(self.pids.read_text().split()) >= times)
        return int(self.pids.read_text().split()[times - 1])

    def said(self) -> str:
        return self.errors.read_text()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    made: list[Supervised] = []

    def start(child: str, options: str = "", patience: str = "") -> Supervised:
        made.append(Supervised(tmp_path, child, options, patience))
        return made[-1]

    yield start
    for each in made:
        each.process.kill()
        each.process.wait()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_that_is_killed_is_started_again_and_stderr_says_so(supervised: Callable[..., Supervised]) -> None:
    running = supervised("time.sleep(60)")
    os.kill(running.started(), signal.SIGKILL)
    second = running.started(2)
    assert "child was ended by SIGKILL" in running.said()
    assert running.stop() == 0
    assert is_gone(second)


def test_a_child_that_cannot_start_at_all_stops_everything_with_status_1(supervised: Callable[..., Supervised]) -> None:
    running = supervised("sys.exit(3)")
    assert running.process.wait(60) == 1
    assert "ended with status 3 right after its start" in running.said()


NO_PROCESSES = """
import errno, subprocess
true, starts = subprocess.Popen, []
def scarce(*arguments, **options):
    starts.append(1)
    if len(starts) in (FAILING,):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    return true(*arguments, **options)
children.subprocess.Popen = scarce
"""


def test_a_restart_for_which_the_machine_has_no_process_left_is_tried_again(
    supervised: Callable[..., Supervised],
) -> None:
    running = supervised("time.sleep(60)", ", heartbeat=True", NO_PROCESSES.replace("FAILING", "2, 3"))
    os.kill(running.started(), signal.SIGKILL)
    running.started(2)
    assert running.said().count("child cannot be started: Resource temporarily unavailable; trying again") == 2
    assert running.stop() == 0


def test_a_first_start_for_which_the_machine_has_no_process_left_stops_everything_with_status_1(
    supervised: Callable[..., Supervised],
) -> None:
    running = supervised("time.sleep(60)", ", heartbeat=True", NO_PROCESSES.replace("FAILING", "1"))
    assert running.process.wait(60) == 1
    assert "child cannot be started: Resource temporarily unavailable. Everything is stopped." in running.said()


def test_a_child_that_falls_silent_is_killed_and_replaced(supervised: Callable[..., Supervised]) -> None:
    running = supervised(
        "os.write(inheritance.heartbeat_fd(), b'.'); time.sleep(60)",
        ", heartbeat=True",
        "children.SILENCE_SECONDS_MAX = 0.3",
    )
    first = running.started()
    running.started(2)
    until(lambda: is_gone(first))
    assert "no sign of life" in running.said()


def test_a_child_that_beats_is_left_alone(supervised: Callable[..., Supervised]) -> None:
    running = supervised(
        "beats = inheritance.heartbeat_fd()\n"
        "for _ in range(30): os.write(beats, b'.'); time.sleep(0.05)\n"
        "time.sleep(60)",
        ", heartbeat=True",
        "children.SILENCE_SECONDS_MAX = 1.0",
    )
    running.started()
    running.started(2)  # silent only after 1.5 s of beats
    assert "no sign of life" in running.said()


def test_children_end_with_a_supervisor_that_was_killed(supervised: Callable[..., Supervised]) -> None:
    running = supervised("inheritance.follow_supervisor(); time.sleep(60)")
    pid = running.started()
    running.process.kill()
    until(lambda: is_gone(pid))


def test_a_child_that_hangs_ends_too_when_its_supervisor_was_killed(supervised: Callable[..., Supervised]) -> None:
    running = supervised(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "inheritance.follow_supervisor(stop_seconds=0.2); time.sleep(60)"
    )
    pid = running.started()
    running.process.kill()
    until(lambda: is_gone(pid))


def test_a_child_that_ignores_sigterm_is_killed_after_its_time(supervised: Callable[..., Supervised]) -> None:
    running = supervised(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)\n"
        f"open({'ready'!r} if False else os.devnull, 'w'); time.sleep(60)",
        ", stop_seconds=0.3",
    )
    pid = running.started()
    assert running.stop() == 0
    assert is_gone(pid)


def test_children_the_service_can_do_without_end_after_all_others(tmp_path: Path) -> None:
    ends, started = tmp_path / "ends", tmp_path / "started"
    (tmp_path / "child.py").write_text(
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep(float(sys.argv[2]))\n"
        f"    open({str(ends)!r}, 'a').write(sys.argv[1] + '\\n')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"open({str(started)!r}, 'a').write('.')\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "main.py").write_text(
        "import sys\nfrom farebox.gateway import children, supervisor\n"
        f"argv = (sys.executable, {str(tmp_path / 'child.py')!r})\n"
        "made = [children.Child(name=name, argv=(*argv, name, slow), essential=name != 'console')\n"
        "        for name, slow in (('console', '0'), ('one', '0.3'), ('two', '0.1'))]\n"
        "sys.exit(supervisor.supervise(made))\n"
    )
    process = subprocess.Popen([sys.executable, tmp_path / "main.py"])
    try:
        until(lambda: started.exists() and started.read_text() == "...")
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
    *first, last = ends.read_text().split()
    assert (sorted(first), last) == (["one", "two"], "console")


def test_a_taken_port_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            AddressInUseError, match=rf"127.0.0.1:{port} cannot be listened on: .*in use.*gateway.listen"
        ):
            listen(f"127.0.0.1:{port}")


def test_a_child_the_service_can_do_without_is_tried_again_and_ends_nothing(
    supervised: Callable[..., Supervised],
) -> None:
    made = supervised("sys.exit(1)\n", options=", essential=False")
    made.started(times=3)
    assert made.process.poll() is None
    assert "the rest goes on" in made.said()
    assert made.stop() == 0


COUNTING = """
page, seat = inheritance.counters()
flying = page.in_flight()
counters = Counters(page, seat=seat)
counters.add(counters.cell('acme', 'api', 'app'), 2)
open({told!r}, 'a').write(f'{{seat}} {{flying[0]}}\\n')
time.sleep(60)
"""


def test_what_a_worker_that_died_had_in_flight_counts_no_longer(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    running = supervised(
        "from farebox.gateway.counter_page import Counters\n" + COUNTING.format(told=str(told)), ", seats=(0, 1)"
    )
    for times in range(1, 4):
        until(lambda times=times: told.exists() and len(told.read_text().splitlines()) == times)  # type: ignore[misc]
        os.kill(running.started(times), signal.SIGKILL)
    until(lambda: len(told.read_text().splitlines()) == 4)
    assert [line.split()[1] for line in told.read_text().splitlines()] == ["0"] * 4
