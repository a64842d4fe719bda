"""How the service of a data directory stands: every process asked by its own file, and what is wrong in plain words.

Nothing here needs the supervisor, the console or the gateway to be up: what does not answer is said, the rest is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from farebox.app import QUOTA_FILE
from farebox.domain.credits import text_of
from farebox.domain.identity import Account
from farebox.errors import FareboxError
from farebox.gateway import supervision
from farebox.metrics.endpoint import ask, processes
from farebox.metrics.figures import Figures
from farebox.quota.port import AllowanceInForce
from farebox.quota.sqlite_view import SpendFile

SUPERVISOR: Final = "supervisor"
CONSOLE: Final = "console"
GATEWAY_PREFIX: Final = "gateway"

USAGE_LAG_SECONDS_MAX: Final = 60.0
DIRECTORY_AGE_SECONDS_MAX: Final = 2.0
"""One lease time, which a change may take."""
DISK_FREE_BYTES_MIN: Final = 256 << 20
CONNECTIONS_SHARE_MAX: Final = 0.9
LOOP_LAG_SECONDS_MAX: Final = 0.5
MIB: Final = 1 << 20


class State(StrEnum):
    """Of a process."""

    UP = "up"
    SILENT = "silent"
    """It runs and gives no answer."""
    DOWN = "down"
    FORBIDDEN = "forbidden"
    """It may not be asked by this user."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process; `figures` only when it is up."""

    name: str
    state: State
    figures: Figures | None = None

    @property
    def is_gateway(self) -> bool:
        """Whether it is a gateway worker."""
        return self.name.startswith(GATEWAY_PREFIX)

    def value(self, name: str) -> float:
        """A figure of it; 0 while it is not up."""
        return 0 if self.figures is None else self.figures.value(name)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know. `wrong`: somebody has to do something."""

    wrong: bool
    subject: str
    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that is known. `unaccounted` in millicredits, None when quota cannot be read (or is not there yet)."""

    data: Path
    processes: tuple[Process, ...]
    unaccounted: int | None
    findings: tuple[Finding, ...]
    supervision: Mapping[str, Any] = field(default_factory=dict)
    """What the supervisor wrote down (gateway/supervision.py); empty without one."""

    @property
    def running(self) -> bool:
        """Whether any process of the service runs."""
        return any(process.state is not State.DOWN for process in self.processes)

    @property
    def well(self) -> bool:
        """Whether nobody has to do anything."""
        return self.running and not any(finding.wrong for finding in self.findings)

    @property
    def gateways(self) -> tuple[Process, ...]:
        """The workers that are up."""
        return tuple(each for each in self.processes if each.is_gateway and each.figures is not None)

    def total(self, name: str) -> float:
        """The sum of a figure over all workers that are up."""
        return sum(each.value(name) for each in self.gateways)

    def most(self, name: str) -> float:
        """The largest of a figure over all workers that are up."""
        return max((each.value(name) for each in self.gateways), default=0)


def status_of(data: Path) -> Status:
    """How the service of this data directory stands now; takes at most 2 s for each process that hangs."""
    supervisor = _asked(data, SUPERVISOR)
    names = {*processes(data), CONSOLE}
    if supervisor.figures is not None:
        names |= {child for (child,) in supervisor.figures.by_label("child_up")}
    found = (supervisor, *(_asked(data, name) for name in sorted(names - {SUPERVISOR})))
    unaccounted, trouble = _unaccounted(data)
    status = Status(data, found, unaccounted, (), _supervision(data))
    if not status.running:
        return status
    return replace(status, findings=(*trouble, *findings_of(status)))


def _asked(data: Path, name: str) -> Process:
    try:
        return Process(name, State.UP, ask(data, name))
    except TimeoutError:
        return Process(name, State.SILENT)
    except PermissionError:
        return Process(name, State.FORBIDDEN)
    except OSError:
        return Process(name, State.DOWN)


def _supervision(data: Path) -> Mapping[str, Any]:
    try:
        return supervision.running(data)
    except FareboxError:  # it does not run, or just starts: `_asked` says so
        return {}


def _unaccounted(data: Path) -> tuple[int | None, list[Finding]]:
    if not (data / QUOTA_FILE).exists():
        return None, []
    try:
        return SpendFile(data / QUOTA_FILE, allowance_of=_not_asked).unaccounted(), []
    except FareboxError as error:
        return None, [Finding(True, "quota", str(error), "See `farebox check`, and the disk and permissions there.")]


def _not_asked(account: Account) -> AllowanceInForce:
    raise AssertionError(f"nobody asked for the allowance of {account}")


def findings_of(status: Status) -> list[Finding]:
    """What there is to know, what is wrong first."""
    found = [finding for process in status.processes for finding in _of_process(process, status)]
    found += [finding for rule in _RULES for finding in rule(status)]
    return sorted(found, key=lambda finding: not finding.wrong)


def _of_process(process: Process, status: Status) -> Iterator[Finding]:
    name = process.name
    match process.state:
        case State.DOWN if name == SUPERVISOR:
            yield Finding(
                True, name, "The supervisor does not run: nobody starts again what dies.", "Start `farebox serve`."
            )
        case State.DOWN if name == CONSOLE:
            yield Finding(
                True,
                name,
                "The console does not run. Calls go on; pages stand still and the journal grows.",
                "The supervisor starts it again; its log says why it ends. Without one: `farebox serve`.",
            )
        case State.DOWN:
            yield Finding(
                True,
                name,
                "The worker does not run. Callers wait until it is back.",
                "The supervisor starts it again; its log says why it ends.",
            )
        case State.SILENT:
            yield Finding(
                True,
                name,
                "It runs and gives no answer: it hangs, is paused, or the machine is overloaded.",
                "A gateway that is silent for 5 s is replaced by itself; else look at `top`, and restart the service.",
            )
        case State.FORBIDDEN:
            yield Finding(
                True, name, "This user may not ask it.", "Run this as the user that runs `farebox serve`, or as root."
            )
        case State.UP:
            yield from _deaths(name, status.supervision)


def _deaths(name: str, said: Mapping[str, Any]) -> Iterator[Finding]:
    if times := said.get("restarts", {}).get(name, 0):
        what = f"It died and was started again {times} {'time' if times == 1 else 'times'}."
        yield Finding(False, name, what, "The log says why, where it could say anything before it died.")


def _requests(status: Status) -> Iterator[Finding]:
    """Reloads and restarts that were asked for."""
    said = status.supervision
    if said.get("doing"):
        what = f"A {said['doing']} is under way."
        yield Finding(False, SUPERVISOR, what, "Nothing: old workers take calls until the fresh ones do.")
    last = said.get("last") or {"ok": True}
    if not last["ok"]:
        yield Finding(
            True,
            SUPERVISOR,
            f"The last {last['request']} changed nothing, what was in force stays: {last['text']}",
            f"Correct what is named, and repeat `farebox {last['request']}`.",
        )


def _quota(status: Status) -> Iterator[Finding]:
    for each in status.gateways:
        if not each.value("quota_reachable"):
            yield Finding(
                True,
                each.name,
                "The quota store does not answer. Calls go on within the credits lent, then they are refused (503).",
                "Look at the disk and the permissions of the data directory; calls go on by themselves then.",
            )
    if status.unaccounted:
        yield Finding(
            False,
            "quota",
            f"{text_of(status.unaccounted)} credits were lent to a gateway that died; they count as used.",
            "A running gateway finds its journal within 10 s and puts it right; else they return after 24 hours.",
        )
    if status.most("adoptions_damaged"):
        yield Finding(
            True,
            "journal",
            f"{status.most('adoptions_damaged'):.0f} journals of dead workers cannot be read to their end.",
            "`farebox journal check` names file and offset: put the file back from a copy, or give up what cannot be "
            "read with `farebox journal accept-loss`. Until then what was lent stays counted.",
        )
    if alarms := sum(each.value("quota_alarms") for each in status.processes):
        what = f"{alarms:.0f} times more was settled than was lent."
        yield Finding(True, "quota", what, "This is a bug: please report it with the gateway's log.")


def _journal(status: Status) -> Iterator[Finding]:
    for each in status.gateways:
        if not each.value("journal_healthy") and (seconds := each.value("journal_stalled_seconds")):
            yield Finding(
                True,
                each.name,
                f"The disk has not answered the journal for {seconds:.0f} s: calls are refused (503), and those that "
                "were sent before wait for their record.",
                "Look at the storage of the data directory (`dmesg`); calls go on by themselves when it answers. Where "
                "it is well and this stays, end this process with kill -9: a fresh one settles what it left.",
            )
        elif not each.value("journal_healthy"):
            yield Finding(
                True,
                each.name,
                "The journal cannot be written: calls are refused (503), the upstream is not reached.",
                "Check the disk; calls go on by themselves when it works.",
            )
    used, bound = status.most("journal_bytes"), status.most("journal_bytes_max")
    if used * 2 > bound > 0:
        yield Finding(
            True,
            "journal",
            f"It takes {_mib(used)} of {_mib(bound)}; when it is full, calls are refused (503).",
            "See that the console runs, it removes what is loaded; or raise gateway.journal_bytes_max.",
        )
    free = min((each.value("disk_free_bytes") for each in status.gateways), default=DISK_FREE_BYTES_MIN)
    if free < DISK_FREE_BYTES_MIN:
        what = f"Only {_mib(free)} are free on the disk of the data directory."
        yield Finding(True, "disk", what, "Free some: without space for the journal calls are refused (503).")


def _directory(status: Status) -> Iterator[Finding]:
    for each in status.gateways:
        if (seconds := each.value("directory_age_seconds")) > DIRECTORY_AGE_SECONDS_MAX:
            yield Finding(
                True,
                each.name,
                f"The directory could not be read for {seconds:.0f} s: a key revoked, an org suspended or an allowance "
                "lowered since is still as before here.",
                "Look at directory.db, its disk and its permissions; the worker's log (`directory.unreadable`) says "
                "why. What must end now, end by stopping the service.",
            )


def _usage(status: Status) -> Iterator[Finding]:
    for each in status.processes:
        if each.value("usage_hindered"):
            what = "Loading the journal into usage is hindered; numbers on pages are as of earlier."
            yield Finding(True, each.name, what, "The console's log (`usage.hindered`) and its pages name the cause.")
        elif each.value("usage_lag_seconds") > USAGE_LAG_SECONDS_MAX:
            what = f"Usage is {each.value('usage_lag_seconds'):.0f} s behind."
            yield Finding(True, each.name, what, "The machine may be overloaded; calls are not affected.")


def _room(status: Status) -> Iterator[Finding]:
    for each in status.gateways:
        if each.value("connections") > CONNECTIONS_SHARE_MAX * each.value("connections_max"):
            what = f"{each.value('connections'):.0f} of {each.value('connections_max'):.0f} connections are open."
            yield Finding(True, each.name, what, "Raise gateway.client_connections_max, or close idle ones.")
        if each.value("loop_lag_seconds") > LOOP_LAG_SECONDS_MAX:
            what = f"It was {each.value('loop_lag_seconds'):.1f} s late: it, or the machine, has too much to do."
            yield Finding(False, each.name, what, "Look at `top`; give the gateway another worker or core.")
        if each.value("draining"):
            yield Finding(False, each.name, "It is stopping and takes no new calls.", "Nothing: it ends by itself.")


def _agreement(status: Status) -> Iterator[Finding]:
    digests = {labels for each in status.gateways if each.figures for labels in each.figures.by_label("config_info")}
    if len(digests) > 1:
        what = "Workers run with different configurations."
        yield Finding(False, "gateway", what, "A reload may be under way; else restart the service.")


_RULES: Final[Sequence[Callable[[Status], Iterator[Finding]]]] = (
    _requests,
    _quota,
    _journal,
    _directory,
    _usage,
    _room,
    _agreement,
)


def as_json(status: Status) -> Mapping[str, object]:
    """For programs. Credits are millicredits; figures by their names in docs/metrics.md, without `farebox_`."""
    now = time.time()
    return {
        "data": str(status.data),
        "running": status.running,
        "well": status.well,
        "processes": [
            {
                "name": each.name,
                "state": each.state.value,
                "up_seconds": None if each.figures is None else round(now - each.value("process_start_seconds"), 1),
                "figures": {} if each.figures is None else _plain(each.figures),
            }
            for each in status.processes
        ],
        "unaccounted_millicredits": status.unaccounted,
        "supervision": status.supervision,
        "findings": [
            {"wrong": each.wrong, "subject": each.subject, "what": each.what, "advice": each.advice}
            for each in status.findings
        ],
    }


def _plain(figures: Figures) -> dict[str, float]:
    """Each figure that is a number, summed over its labels."""
    return {
        name.removeprefix("farebox_"): sum(value for _, value in samples)
        for name, samples in figures.samples.items()
        if all(isinstance(value, int | float) for _, value in samples)
    }


def _mib(size: float) -> str:
    return f"{size / MIB:,.0f} MiB"
