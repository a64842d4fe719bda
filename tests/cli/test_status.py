"""`farebox status`: what stands how, what is wrong, and what to do; also while parts of the service are down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from farebox.app.status import Process, State, Status, findings_of, status_of
from farebox.cli.commands import build
from farebox.metrics.endpoint import ask
from farebox.metrics.figures import Figures
from farebox.testing.system import RunningFarebox, until
from farebox.testing.upstream import StubUpstream

WELL = {
    "quota_reachable": 1.0,
    "journal_healthy": 1.0,
    "journal_bytes": 16e6,
    "journal_bytes_max": 4e9,
    "disk_free_bytes": 9e9,
    "connections": 3.0,
    "connections_max": 10.0,
}


def _status(*, unaccounted: int = 0, console: dict[str, float] | None = None, **gateway: float) -> Status:
    worker, pages = Figures(), Figures()
    for name, value in (WELL | gateway).items():
        worker.add(name, value)
    for name, value in (console or {}).items():
        pages.add(name, value)
    processes = (
        Process("supervisor", State.UP, Figures()),
        Process("console", State.UP, pages),
        Process("gateway-0", State.UP, worker),
    )
    return Status(Path("data"), processes, unaccounted, ())


def test_nothing_is_found_where_all_is_well() -> None:
    assert findings_of(_status()) == []


@pytest.mark.parametrize(
    ("status", "subject", "wrong", "advice"),
    [
        (_status(quota_reachable=0), "gateway-0", True, "permissions of the data directory"),
        (_status(journal_healthy=0), "gateway-0", True, "Check the disk"),
        (_status(journal_healthy=0, journal_stalled_seconds=7), "gateway-0", True, "`dmesg`"),
        (_status(directory_age_seconds=3), "gateway-0", True, "`directory.unreadable`"),
        (_status(journal_bytes=2.1e9), "journal", True, "See that the console runs"),
        (_status(disk_free_bytes=1e6), "disk", True, "Free some"),
        (_status(adoptions_damaged=1), "journal", True, "put the file back"),
        (_status(connections=10), "gateway-0", True, "client_connections_max"),
        (_status(loop_lag_seconds=2), "gateway-0", False, "another worker"),
        (_status(draining=1), "gateway-0", False, "ends by itself"),
        (_status(console={"usage_hindered": 1}), "console", True, "usage.hindered"),
        (_status(console={"usage_lag_seconds": 61}), "console", True, "calls are not affected"),
        (_status(console={"quota_alarms": 1}), "quota", True, "report it"),
        (_status(unaccounted=2_500), "quota", False, "return after 24 hours"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    status: Status,
    subject: str,
    wrong: bool,  # noqa: FBT001 - a column of the table above
    advice: str,
) -> None:
    (finding,) = findings_of(status)
    assert (finding.subject, finding.wrong) == (subject, wrong)
    assert advice in finding.advice


def test_a_reload_that_changed_nothing_is_wrong_until_one_succeeds_and_deaths_are_told() -> None:
    failed = {"request": "reload", "ok": False, "text": "farebox.toml: no such setting", "at": 0}
    (finding,) = findings_of(replace(_status(), supervision={"last": failed, "doing": "", "restarts": {}}))
    assert finding.wrong
    assert "no such setting" in finding.what
    assert "`farebox reload`" in finding.advice
    well = {"last": {**failed, "ok": True}, "doing": "restart", "restarts": {"gateway-0": 2, "console": 0}}
    died, doing = findings_of(replace(_status(), supervision=well))
    assert (died.subject, died.what, died.wrong) == ("gateway-0", "It died and was started again 2 times.", False)
    assert (doing.what, doing.wrong) == ("A restart is under way.", False)


@pytest.mark.parametrize("state", [State.DOWN, State.SILENT, State.FORBIDDEN])
@pytest.mark.parametrize("name", ["supervisor", "console", "gateway-0"])
def test_a_process_that_does_not_answer_is_wrong_and_the_others_are_shown(name: str, state: State) -> None:
    whole = _status()
    processes = tuple(Process(name, state) if each.name == name else each for each in whole.processes)
    (finding,) = findings_of(Status(whole.data, processes, 0, ()))
    assert (finding.subject, finding.wrong) == (name, True)


def _run(data: Path, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(build(), ["status", "--data", str(data), *more])
    return done.exit_code, done.output


def _json(data: Path) -> tuple[int, dict[str, Any]]:
    status, output = _run(data, "--json")
    return status, json.loads(output)


def test_where_nothing_runs_that_is_the_answer(tmp_path: Path) -> None:
    status, output = _run(tmp_path / "nothing here")
    assert status == 3
    assert "Not running" in output
    assert "`farebox serve`" in output
    assert not (tmp_path / "nothing here").exists(), "looking made a data directory"
    status, found = _json(tmp_path)
    assert (status, found["running"], found["well"]) == (3, False, False)


@pytest.mark.slow
def test_status_tells_of_each_process_also_while_one_hangs_or_is_gone(tmp_path: Path, stub: StubUpstream) -> None:
    with RunningFarebox(tmp_path, upstream_url=stub.url) as farebox:
        until(lambda: _is_told(farebox.data, "console"), what="both tell their figures")
        with farebox.caller("acme", "ada") as ada:
            assert ada.get("/").status_code == 200
        status, found = until(lambda: _unhurried(farebox.data), what="nobody has too much to do at the moment")
        told = {each["name"]: each for each in found["processes"]}
        assert {name: each["state"] for name, each in told.items()} == {
            "supervisor": "down",  # gateway and console were started by hand
            "console": "up",
            "gateway-0": "up",
        }
        assert (status, found["running"], found["unaccounted_millicredits"]) == (1, True, 0)
        assert told["gateway-0"]["figures"]["calls_total"] == 1
        farebox.gateway.pause()
        status, output = _run(farebox.data)
        farebox.gateway.resume()
        assert status == 1
        assert "gateway-0   silent" in output
        assert "gives no answer" in output
        farebox.console.kill()
        until(lambda: _is_told(farebox.data, "gateway-0"), what="the gateway tells again")
        status, output = _run(farebox.data)
        assert status == 1
        assert "console     down" in output
        assert "1 calls, 0 refused" in output
        farebox.console.start()
        until(lambda: _is_told(farebox.data, "console"), what="the console tells again")
    assert status_of(farebox.data).running is False
    assert _run(farebox.data)[0] == 3


def _unhurried(data: Path) -> tuple[int, dict[str, Any]] | None:
    """Status and figures once the only finding is the supervisor that is not there: no other machine's load."""
    status, found = _json(data)
    return (status, found) if [each["subject"] for each in found["findings"]] == ["supervisor"] else None


def _is_told(data: Path, process: str) -> bool:
    try:
        ask(data, process)
    except OSError:
        return False
    return True
