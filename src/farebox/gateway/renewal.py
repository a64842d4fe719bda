"""Reload and rolling restart, as sequences of steps the supervisor takes between two looks at its children.

Nothing changes before the new is known to work: a reload first has the configuration looked at by a process of its own,
then starts a fresh worker beside every old one, and only when all of them take calls do the old ones end theirs.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Generator, Sequence
from typing import Any, Final, Protocol

from farebox.gateway.children import Place, Process, how_it_ended
from farebox.gateway.inheritance import IN_FORCE_VARIABLE, PREPARED_VARIABLE, read_all

PREPARE_SECONDS_MAX: Final = 60.0

Steps = Generator[None, None, tuple[bool, str]]
"""Yields while there is something to wait for; ends with (whether it went well, what there is to say)."""


class Places(Protocol):
    """What a renewal needs of the supervisor."""

    places: list[Place]

    @property
    def in_force(self) -> int | None:
        """The descriptor of the configuration that processes are started with."""
        ...

    def bring(self, place: Place, in_force: int | None = None) -> None:
        """Start the process that is to take the place."""
        ...

    def hand_over(self, place: Place) -> None:
        """It takes the place."""
        ...

    def turn_away(self, place: Place) -> None:
        """It does not."""
        ...

    def renew(self, place: Place) -> None:
        """End a process that is to be started anew."""
        ...

    def put_in_force(self, descriptor: int, *, stop_seconds: float) -> None:
        """From now on processes are started with that configuration."""
        ...


class Renewal:
    """One request."""

    def __init__(self, supervisor: Places, *, prepare: Sequence[str]) -> None:
        self._supervisor = supervisor
        self._prepare = prepare
        self._workers = [place for place in supervisor.places if place.child.seats]
        self._others = [place for place in supervisor.places if not place.child.seats]

    def reload(self) -> Steps:
        """Put the configuration as it stands in its file in force; the old one stays where it does not work."""
        descriptor = os.memfd_create("farebox-in-force")
        kept = False
        try:
            prepared = yield from self._prepared(descriptor)
            if not prepared["ok"]:
                return False, _text("not reloaded, the old configuration stays in force", prepared["said"])
            why = yield from self._bring_all(self._workers, descriptor)
            if why:
                return False, f"not reloaded, the old configuration stays in force: {why}"
            for place in self._workers:
                self._supervisor.hand_over(place)
            self._supervisor.put_in_force(descriptor, stop_seconds=prepared["stop_seconds"])
            kept = True
        finally:
            if not kept:
                os.close(descriptor)
        self._renew_others()
        return True, _text(f"reloaded: {_count(self._workers)} with the new configuration", prepared["said"])

    def restart(self) -> Steps:
        """Replace one worker after another, each only when the one before has ended; the configuration stays."""
        for number, place in enumerate(self._workers):
            why = yield from self._bring_all([place], None)
            if why:
                return False, f"restarted {number} of {_count(self._workers)}, then stopped: {why}"
            self._supervisor.hand_over(place)
            while place.leaving is not None:
                yield
        self._renew_others()
        return True, f"restarted: {_count(self._workers)}, one after another"

    def _prepared(self, descriptor: int) -> Generator[None, None, dict[str, Any]]:
        in_force = self._supervisor.in_force
        inherited = {PREPARED_VARIABLE: descriptor} | ({} if in_force is None else {IN_FORCE_VARIABLE: in_force})
        try:
            process = subprocess.Popen(  # noqa: S603 - argv comes from our own code
                self._prepare,
                env={**os.environ, **{name: str(number) for name, number in inherited.items()}},
                pass_fds=list(inherited.values()),
                start_new_session=True,
            )
        except OSError as error:
            return {"ok": False, "said": [f"it cannot be looked at: {error.strerror or error}"]}
        deadline = time.monotonic() + PREPARE_SECONDS_MAX
        try:
            while process.poll() is None and time.monotonic() < deadline:
                yield
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        try:
            found: dict[str, Any] = json.loads(read_all(descriptor))
        except ValueError:
            how = how_it_ended(process.returncode)
            return {"ok": False, "said": [f"looking at it {how}; what it wrote above says why"]}
        return found

    def _bring_all(self, places: Sequence[Place], in_force: int | None) -> Generator[None, None, str]:
        """Start a fresh worker for each place and wait until all take calls; why not, when one does not."""
        why = ""
        try:
            for place in places:
                self._supervisor.bring(place, in_force)
        except OSError as error:
            why = f"no process can be started: {error.strerror or error}"
        try:
            while not why and not all(place.coming is not None and place.coming.is_ready for place in places):
                yield
                why = next((_why(place.coming) for place in places if _why(place.coming)), "")
        finally:
            if why or not all(place.coming is not None and place.coming.is_ready for place in places):
                for place in places:
                    self._supervisor.turn_away(place)
        return why

    def _renew_others(self) -> None:
        """The console has its files to itself: it ends first and starts then; no caller notices."""
        for place in self._others:
            self._supervisor.renew(place)


def _why(process: Process | None) -> str:
    """Why a process that was to come does not; empty while it may."""
    if process is None:
        return ""
    status = process.ended()
    if status is None:
        return ""
    return f"the fresh {process.child.name} {how_it_ended(status)}; what it wrote above says why"


def _count(workers: Sequence[Place]) -> str:
    return "1 worker" if len(workers) == 1 else f"{len(workers)} workers"


def _text(headline: str, said: Sequence[str]) -> str:
    return "\n".join([headline, *(f"  {line}" for line in said)])
