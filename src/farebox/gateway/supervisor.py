"""The supervisor of `farebox serve`: starts processes, replaces those that die or fall silent, stops them all.

It imports next to nothing and does nothing but wait, because it lives as long as the service. Listening sockets stay
open here whatever happens to who accepts on them. On request (SIGHUP, SIGUSR1: gateway/renewal.py) every gateway worker
is replaced by a fresh one, which takes calls before the old one stops taking them.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from farebox.gateway.children import BACKOFF_FIRST_SECONDS, Child, Inherited, Place, Process, how_it_ended
from farebox.gateway.counter_page import CounterPage, shared_memory
from farebox.gateway.renewal import Renewal, Steps
from farebox.gateway.supervision import RELOAD, RESTART, State, StateFile

STEADY_SECONDS: Final = 5.0
"""A child that lived so long was up: its next restart is prompt, and its death does not stop the rest."""

BACKOFF_MAX_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What makes supervised processes a service that can be reloaded.

    `prepare`: a command that looks at the configuration anew and writes what is to be in force to a descriptor of its
    own; `in_force`: the descriptor of what is now.
    """

    configuration: str
    prepare: tuple[str, ...]
    in_force: int
    state: StateFile


def supervise(
    children: Sequence[Child],
    service: Service | None = None,
    *,
    starts: dict[str, int] | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Run the children until SIGTERM or SIGINT; the exit status.

    `starts` is kept: how often each was started, by name; not counting the starts that a reload or restart asked for.

    `say` is told what happens, in sentences for people; without one they stand on standard error.
    0 when stopped by a signal; 1 when an essential child could not start at all: then all are stopped, since the
    service as it is configured does not work. A child that was up and dies is restarted, however often.
    """
    return Supervisor(children, service, {} if starts is None else starts, say or on_stderr).run()


class Supervisor:
    """The loop: wait for heartbeats, ends, signals and moments; look at every place; go on with a request."""

    def __init__(
        self, children: Sequence[Child], service: Service | None, starts: dict[str, int], say: Callable[[str], None]
    ) -> None:
        self.places = [Place(child) for child in children]
        self._say = say
        self._starts = starts
        self._service = service
        self._lifeline_read, self._lifeline_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        seats = 1 + max((seat for child in children for seat in child.seats), default=-1)
        self._counters = (shared_memory(seats), seats) if seats else None
        self._page = None if self._counters is None else CounterPage(self._counters[0], seats=seats)
        self._in_force = None if service is None else service.in_force
        self._asked: list[str] = []
        self._doing: tuple[str, Steps] | None = None
        self._done = 0
        self._last: dict[str, object] = {}
        self._since = int(time.time())
        self._in_terminal = sys.stderr.isatty()
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        """Until a signal, or an essential child that cannot start; the exit status."""
        handlers = {signal.SIGTERM: self._told_to_stop, signal.SIGINT: self._told_to_stop, signal.SIGCHLD: _nothing}
        if self._service is not None:
            handlers |= {signal.SIGHUP: self._told_to_reload, signal.SIGUSR1: self._told_to_restart}
        old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        old_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            for place in self.places:
                self._start(place)
            while not self._stopping:
                self._tell()
                self._wait()
                for place in self.places:
                    self._look(place)
                self._go_on()
        finally:
            self._stop_all()
            signal.set_wakeup_fd(old_wakeup)
            for number, handler in old.items():
                signal.signal(number, handler)
            self._close()
        return self._status

    # -- signals ----------------------------------------------------------------------------------------------------

    def _told_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _told_to_reload(self, *_: object) -> None:
        if self._in_terminal and not sys.stderr.isatty():  # the terminal it was started in was closed
            self._stopping = True
        elif RELOAD not in self._asked:
            self._asked.append(RELOAD)

    def _told_to_restart(self, *_: object) -> None:
        if RESTART not in self._asked:
            self._asked.append(RESTART)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """One step of the request under way; the next request once the processes of the last one are gone."""
        service = self._service
        if self._doing is None:
            if service is None or not self._asked or any(place.leaving for place in self.places):
                return
            request = self._asked.pop(0)
            renewal = Renewal(self, prepare=service.prepare)
            self._doing = (request, renewal.reload() if request == RELOAD else renewal.restart())
        request, steps = self._doing
        try:
            next(steps)
        except StopIteration as end:
            well, text = end.value
            self._say(text)
            self._doing = None
            self._done += 1
            self._last = {"request": request, "ok": well, "text": text, "at": int(time.time())}

    def bring(self, place: Place, in_force: int | None = None) -> None:
        """Start the process that is to take the place of the present one; OSError when that cannot be."""
        place.coming = self._process(place, in_force)

    def hand_over(self, place: Place) -> None:
        """The process that came takes the place; the one before it ends its calls and then itself."""
        place.leaving, place.current, place.coming = place.current, place.coming, None
        place.was_started = place.was_steady = True
        if place.leaving is not None:
            place.leaving.ask_to_end(within_seconds=place.stop_seconds)

    def turn_away(self, place: Place) -> None:
        """The process that was to come is not wanted; it may have taken calls already, which it may end."""
        place.leaving, place.coming = place.coming, None
        if place.leaving is not None:
            place.leaving.ask_to_end(within_seconds=place.stop_seconds)

    def renew(self, place: Place) -> None:
        """End a process without a seat; it is started anew as soon as it is gone."""
        if place.current is not None:
            place.renewing = True
            place.current.ask_to_end(within_seconds=place.stop_seconds)

    @property
    def in_force(self) -> int | None:
        """The descriptor of the configuration that processes are started with."""
        return self._in_force

    def put_in_force(self, descriptor: int, *, stop_seconds: float) -> None:
        """From now on processes are started with that configuration."""
        old, self._in_force = self._in_force, descriptor
        if old is not None:
            os.close(old)
        for place in self.places:
            if place.child.seats:
                place.stop_seconds = stop_seconds

    # -- one child --------------------------------------------------------------------------------------------------

    def _process(self, place: Place, in_force: int | None = None) -> Process:
        inherited = Inherited(
            lifeline=self._lifeline_read,
            in_force=self._in_force if in_force is None else in_force,
            counters=self._counters,
        )
        process = Process(place.child, inherited, seat=place.free_seat())
        if process.beats is not None:
            self._selector.register(process.beats, selectors.EVENT_READ, process)
        return process

    def _start(self, place: Place) -> None:
        """Start the child, or have it tried again with back-off when the machine cannot start a process just now."""
        name = place.child.name
        try:
            place.current = self._process(place)
        except OSError as error:
            if place.child.essential and not place.was_started:
                self._say(f"{name} cannot be started: {error.strerror or error}. Everything is stopped.")
                self._status = 1
                self._stopping = True
                return
            self._say(f"{name} cannot be started: {error.strerror or error}; trying again in {place.backoff:.1f} s")
            self._restart_later(place, time.monotonic())
            return
        if not place.renewing:
            self._starts[name] = self._starts.get(name, 0) + 1
        place.renewing = False
        place.was_started = True

    def _wait(self) -> None:
        moments = [place.restart_at for place in self.places if place.current is None]
        for place in self.places:
            for process in place.living():
                if process.kill_at is not None:
                    moments.append(process.kill_at)
                elif process.beats is not None:
                    moments.append(process.silent_at)
        timeout = max(0.0, min(moments) - time.monotonic()) if moments else None
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                _drain(self._wake_read)
            elif _drain(key.fd):
                key.data.beaten_at = time.monotonic()
            else:  # the child closed its end: it is dying
                self._forget_beats(key.data)

    def _look(self, place: Place) -> None:
        now = time.monotonic()
        for process in place.living():
            self._kill_if_due(process, now)
        if place.leaving is not None and place.leaving.ended() is not None:
            self._bury(place.leaving)
            place.leaving = None
        current = place.current
        if current is None:
            if now >= place.restart_at and not self._stopping:
                self._start(place)
            return
        status = current.ended()
        if status is not None:
            self._bury(current)
            place.current = None
            self._ended(place, current, status, now)

    def _kill_if_due(self, process: Process, now: float) -> None:
        name = process.child.name
        if process.kill_at is not None:
            if now < process.kill_at:
                return
            self._say(f"{name} (pid {process.pid}) did not end in time: killed")
        elif process.beats is not None and now >= process.silent_at:
            self._say(f"{name} gave no sign of life for {now - process.beaten_at:.0f} s: killed, restarting")
        else:
            return
        process.kill()
        process.kill_at = now + STEADY_SECONDS  # wait for its end, which SIGCHLD tells

    def _ended(self, place: Place, process: Process, status: int, now: float) -> None:
        name, lived, how = place.child.name, now - process.started_at, how_it_ended(status)
        if self._stopping:
            return
        if place.renewing:
            place.restart_at = now
            return
        if lived >= STEADY_SECONDS:
            place.was_steady = True
            place.backoff = BACKOFF_FIRST_SECONDS
        elif place.child.essential and not place.was_steady and status > 0:
            self._say(f"{name} {how} right after its start; what it wrote above says why. Everything is stopped.")
            self._status = 1
            self._stopping = True
            return
        rest = "" if place.child.essential else "; the rest goes on"
        self._say(f"{name} {how} after {lived:.1f} s; restarting in {place.backoff:.1f} s{rest}")
        self._restart_later(place, now)

    @staticmethod
    def _restart_later(place: Place, now: float) -> None:
        place.restarts += 1
        place.restart_at = now + place.backoff
        place.backoff = min(2 * place.backoff, BACKOFF_MAX_SECONDS)

    def _bury(self, process: Process) -> None:
        """It has ended: nothing of it is in flight any more, and its pipe is closed."""
        self._forget_beats(process)
        if self._page is not None and process.seat is not None:
            self._page.clear(process.seat)

    def _forget_beats(self, process: Process) -> None:
        if process.beats is not None:
            self._selector.unregister(process.beats)
            process.forget_beats()

    # -- the end ----------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """The essential children first: the others see their end, and the console loads what they wrote last."""
        if self._doing is not None:
            self._doing[1].close()
        for essential in (True, False):
            self._stop([place for place in self.places if place.child.essential is essential])

    def _stop(self, places: Sequence[Place]) -> None:
        living = [(place, process) for place in places for process in place.living()]
        now = time.monotonic()
        for place, process in living:
            if process.kill_at is None:
                process.ask_to_end(within_seconds=place.stop_seconds)
        for _, process in living:
            deadline = now if process.kill_at is None else process.kill_at
            if not process.wait(deadline - time.monotonic()):
                self._say(f"{process.child.name} (pid {process.pid}) did not end in time: killed")
                process.kill()
                process.wait(STEADY_SECONDS)
            self._bury(process)

    def _close(self) -> None:
        for descriptor in (self._lifeline_read, self._lifeline_write, self._wake_read, self._wake_write):
            os.close(descriptor)
        self._selector.close()
        if self._page is not None and self._counters is not None:
            self._page.close()
            os.close(self._counters[0])
        if self._service is not None:
            self._service.state.close()

    # -- what it says -----------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        if self._service is None:
            return
        error = self._service.state.write(self._state(self._service.configuration))
        if error is not None:
            self._say(f"what runs cannot be written down: {error}; `farebox reload` and `farebox status` see old news")

    def _state(self, configuration: str) -> State:
        processes = []
        for place in self.places:
            kinds = ((place.current, "serving"), (place.coming, "coming"), (place.leaving, "draining"))
            for process, state in kinds:
                if process is not None:
                    shown = state if process.is_ready or state == "draining" else "starting"
                    name = place.child.name
                    processes.append({"name": name, "pid": process.pid, "state": shown, "since": process.since})
            if place.current is None:
                processes.append({"name": place.child.name, "pid": 0, "state": "down", "since": 0})
        return {
            "pid": os.getpid(),
            "configuration": configuration,
            "since": self._since,
            "doing": "" if self._doing is None else self._doing[0],
            "waiting": list(self._asked),
            "done": self._done,
            "last": self._last,
            "restarts": {place.child.name: place.restarts for place in self.places},
            "processes": processes,
        }


def on_stderr(text: str) -> None:
    """For whoever reads the log; a log that is gone stops nothing."""
    try:
        print(f"farebox: {text}", file=sys.stderr, flush=True)
    except OSError:
        return


def _nothing(*_: object) -> None:
    """A signal that only wakes the loop."""


def _drain(fd: int) -> bool:
    """Read what is there; False at the end of the stream."""
    try:
        return bool(os.read(fd, 4096))
    except BlockingIOError:
        return True
