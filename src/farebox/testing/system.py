"""A whole Farebox as real processes over one data directory: to be called, killed, paused and started again.

    with RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=[Provision(org="acme", base=20)]) as farebox:
        answer = httpx.get(f"{farebox.gateway_url}/things", headers=farebox.as_caller("acme", "ada"))

Only processes started here are ever signalled, by their id. Their logs lie beside the data, as `gateway.log`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from farebox.domain.credits import credits_of
from farebox.gateway.inheritance import LIFELINE_VARIABLE
from farebox.quota.directory import Directory, NewKey

START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 60.0
CALL_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
HEALTH_SECONDS: Final = 20.0
LOG_LINES_SHOWN: Final = 15
TRIES: Final = 10

PORT_FIRST: Final = 20_000
PORT_LAST: Final = 32_000
"""Below Linux's ephemeral range: no outgoing connection takes a port between two starts of a process."""

GATEWAY_HEALTH: Final = "/-/farebox/healthz"
CONSOLE_HEALTH: Final = "/healthz"
CONSOLE_ACCESS: Final = "console.token"
"""The file in the data directory that lets programs of this machine in."""

_GIVEN: Final[set[int]] = set()

PATIENCE: Final = {"drain_idle_seconds": 0.0, "quota_wait_seconds": 30.0}
"""No idle connection keeps a gateway from ending; a machine that is busy elsewhere makes no call a 503."""

Value = TypeVar("Value")
TomlValue = str | int | float | Sequence[str]


def until(
    condition: Callable[[], Value | None],
    *,
    what: str,
    within_seconds: float = START_SECONDS,
    every_seconds: float = POLL_SECONDS,
) -> Value:
    """The first true value of `condition`; AssertionError naming `what` when there is none in time."""
    deadline = time.monotonic() + within_seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s: {what}"
        time.sleep(every_seconds)
    return value


def in_time(attempt: Callable[[], float], *, seconds: float) -> None:
    """`attempt`, which says how many seconds something took, says at most `seconds` in one of its tries.

    For promises about time: a machine that is busy elsewhere makes some tries late, a broken promise all of them.
    """
    took: list[float] = []
    while not took or took[-1] > seconds:
        assert len(took) < TRIES, f"promised within {seconds:g} s, took {', '.join(f'{each:.2f}' for each in took)} s"
        took.append(attempt())


def seconds_until(condition: Callable[[], object], *, what: str) -> float:
    """How long it took until `condition` was true."""
    began = time.monotonic()
    until(condition, what=what)
    return time.monotonic() - began


def free_port() -> int:
    """A loopback port that nobody listens on now, no outgoing connection will take, and this process was not given."""
    for port in random.sample([port for port in range(PORT_FIRST, PORT_LAST) if port not in _GIVEN], 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _GIVEN.add(port)
            return port
    raise RuntimeError(f"no free port between {PORT_FIRST} and {PORT_LAST}; stop what listens there")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """An organisation to make: what it bought, and its users, each with a key. `base` and `addon` in credits."""

    org: str
    plan: str = "standard"
    licences: int = 0
    base: int | None = None
    addon: int = 0
    users: tuple[str, ...] = ("ada", "ben")


class ChildProcess:
    """One process of ours: started, asked whether it is well, signalled by its id.

    `arguments` are Python's; it is well once `health_url` answers `health_status`.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        health_url: str,
        log: Path,
        health_status: int = HTTPStatus.OK,
    ) -> None:
        self.name = name
        self.log_path = log
        self._arguments = arguments
        self._health_url = health_url
        self._health_status = health_status
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None

    def __del__(self) -> None:
        self._let_go_of_lifeline()

    @property
    def pid(self) -> int:
        """The id of the process last started."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything it wrote, over all its starts."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def launch(self) -> None:
        """Start it and return at once."""
        assert not self.is_running, f"{self.name} runs already"
        self._let_go_of_lifeline()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("FAREBOX_")}
        lifeline, self._lifeline = os.pipe()  # ends with this process, however it ends: no child is left behind
        with self.log_path.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**ours, LIFELINE_VARIABLE: str(lifeline)},
                pass_fds=[lifeline],
            )
        os.close(lifeline)

    def start(self) -> None:
        """Start it and wait until it is well; RuntimeError with the end of its log when it ends instead."""
        self.launch()
        self.wait_until_well()

    def wait_until_well(self) -> None:
        """Until its health address answers as it should."""
        until(self._well_or_ended, what=f"{self.name} answers at {self._health_url}\n{self._log_end()}")

    def wait_until_ended(self, *, within_seconds: float = STOP_SECONDS) -> int:
        """Its exit status, once it has ended by itself."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.wait(within_seconds)

    def stop(self) -> int:
        """Ask it to end, as an operator does; its exit status. Killed, with a RuntimeError, when it does not."""
        assert self._process is not None, f"{self.name} was never started"
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"{self.name} did not end within {STOP_SECONDS:g} s of SIGTERM") from None

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        assert self._process is not None, f"{self.name} was never started"
        self.signal(signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def pause(self) -> None:
        """SIGSTOP: it stands still until `resume`."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.is_running:
            os.kill(self.pid, number)

    def answers(self) -> bool:
        """Whether its health address answers as it should now."""
        parts = urlsplit(self._health_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=HEALTH_SECONDS)
        try:
            connection.request("GET", parts.path)
            return connection.getresponse().status == self._health_status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _let_go_of_lifeline(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            os.close(lifeline)

    def _well_or_ended(self) -> bool:
        if not self.is_running:
            raise RuntimeError(f"{self.name} ended instead of starting:\n{self._log_end()}")
        return self.answers()

    def _log_end(self) -> str:
        return "\n".join(self.log.splitlines()[-LOG_LINES_SHOWN:])


class RunningFarebox:
    """Gateway worker and console of one data directory in `folder`, on free ports.

    Entering the block starts both, leaving it stops whatever still runs; in between each can be stopped, killed, paused
    and started as a test likes; idle connections keep none of them from ending. `gateway` and `console`: settings of
    those tables of farebox.toml; `upstream`: further settings of the upstream, `card` a packaged card or a file, whose
    `product` the orgs subscribe to.
    """

    def __init__(
        self,
        folder: Path,
        *,
        upstream_url: str,
        orgs: Sequence[Provision] = (Provision(org="acme"),),
        card: str = "generic",
        product: str = "api",
        gateway: Mapping[str, TomlValue] | None = None,
        console: Mapping[str, TomlValue] | None = None,
        upstream: Mapping[str, TomlValue] | None = None,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config_path = folder / "farebox.toml"
        self.card, self.product = card, product
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        self.gateway_url, self.console_url, self.metrics_url = (f"http://{address}" for address in addresses)
        self._keys: dict[tuple[str, str], NewKey] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(
            'data = "data"\n'
            + _table("[gateway]", {**PATIENCE, "listen": addresses[0], **(gateway or {})})
            + _table("[console]", {"listen": addresses[1], **(console or {})})
            + _table("[metrics]", {"listen": addresses[2]})
            + _table("[[upstream]]", {"name": "api", "url": upstream_url, "card": card, **(upstream or {})}),
            encoding="utf-8",
        )
        with self.directory() as directory:
            for provision in orgs:
                self._provide(directory, provision)
        self.gateway = self._child("gateway", f"{self.gateway_url}{GATEWAY_HEALTH}", "0")
        self.console = self._child("console", f"{self.console_url}{CONSOLE_HEALTH}")

    def __enter__(self) -> Self:
        try:
            self.gateway.launch()
            self.console.launch()
            self.gateway.wait_until_well()
            self.console.wait_until_well()
        except BaseException:
            self._end_all()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._end_all()
            return
        for child in (self.gateway, self.console):
            child.resume()
            if child.is_running:
                child.stop()

    def key(self, org: str, user: str = "") -> NewKey:
        """The key of an org's user; of the org itself without one."""
        return self._keys[org, user]

    def as_caller(self, org: str, user: str = "") -> dict[str, str]:
        """The header that makes a call to the gateway that user's."""
        return {"Authorization": f"Bearer {self.key(org, user).key}"}

    def as_operator(self) -> dict[str, str]:
        """The header that lets a program of this machine ask the console anything, as long as the console runs."""
        found = json.loads((self.data / CONSOLE_ACCESS).read_text(encoding="ascii"))
        return {"Authorization": f"Bearer {found['token']}"}

    def caller(self, org: str, user: str = "") -> httpx.Client:
        """A client of the gateway that calls as that user."""
        return httpx.Client(base_url=self.gateway_url, headers=self.as_caller(org, user), timeout=CALL_SECONDS)

    def ask_console(self, what: str, org: str, **query: str) -> dict[str, Any]:
        """`allowance` or `usage` of an org, as the JSON API of the console says it."""
        path = f"/api/v1/organisations/{org}/{self.product}/{what}"
        answer = httpx.get(self.console_url + path, params=query, headers=self.as_operator(), timeout=CALL_SECONDS)
        assert answer.status_code == HTTPStatus.OK, answer.text
        found: dict[str, Any] = answer.json()
        return found

    @contextmanager
    def directory(self) -> Iterator[Directory]:
        """The directory of orgs, users and keys, to look at or change while everything runs."""
        directory = Directory.open(self.data)
        try:
            yield directory
        finally:
            directory.close()

    def set_base(self, org: str, base: int, *, plan: str = "standard") -> None:
        """Another base allowance for an org, in credits."""
        with self.directory() as directory:
            directory.subscribe(org, self.product, card=self.card, plan=plan, users=0, base=credits_of(base), addon=0)

    def _provide(self, directory: Directory, provision: Provision) -> None:
        directory.add_org(provision.org, name=provision.org.title())
        directory.subscribe(
            provision.org,
            self.product,
            card=self.card,
            plan=provision.plan,
            users=provision.licences,
            base=None if provision.base is None else credits_of(provision.base),
            addon=credits_of(provision.addon),
        )
        self._keys[provision.org, ""] = directory.add_key(provision.org)
        for user in provision.users:
            directory.add_user(provision.org, user, name=user.title(), email=f"{user}@{provision.org}.example")
            self._keys[provision.org, user] = directory.add_key(provision.org, user=user)

    def _child(self, role: str, health_url: str, *more: str) -> ChildProcess:
        arguments = ["-m", "farebox.app", role, str(self.config_path), *more]
        return ChildProcess(role, arguments, health_url=health_url, log=self.folder / f"{role}.log")

    def _end_all(self) -> None:
        for child in (self.gateway, self.console):
            if child.is_running:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()


def _table(head: str, settings: Mapping[str, TomlValue]) -> str:
    lines = [
        f"{name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}" for name, value in settings.items()
    ]
    return "\n".join(["", head, *lines, ""])
