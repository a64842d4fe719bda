"""The supervisor of `farebox serve`: starts the processes, replaces those that die or fall silent, stops them all.

It imports next to nothing and does nothing but wait, because it lives as long as the service. Children get, by number
in their environment, a pipe to write heartbeats to, a pipe that ends when the supervisor does, and their listening
socket, which stays open here while a child is replaced.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HEARTBEAT_VARIABLE: Final = "FAREBOX_HEARTBEAT_FD"
LIFELINE_VARIABLE: Final = "FAREBOX_LIFELINE_FD"
LISTENER_VARIABLE: Final = "FAREBOX_LISTENER_FD"

SILENCE_SECONDS_MAX: Final = 5.0
STARTING_SECONDS_MAX: Final = 30.0
"""A child that beats may take so long until its first beat: it may have a journal to take over."""

STEADY_SECONDS: Final = 5.0
"""A child that lived so long was up: its next restart is prompt, and its death does not stop the rest."""

BACKOFF_FIRST_SECONDS: Final = 0.1
BACKOFF_MAX_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep running. `stop_seconds`: from SIGTERM to SIGKILL.

    `essential`: without it the service is none, so that one that cannot start at all ends everything.
    """

    name: str
    argv: tuple[str, ...]
    heartbeat: bool = False
    listener: socket.socket | None = None
    essential: bool = True
    stop_seconds: float = 20.0


class _Running:
    """A child and its present process."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.beats: int | None = None
        self.started_at = 0.0
        self.beaten_at = 0.0
        self.restart_at = 0.0
        self.backoff = BACKOFF_FIRST_SECONDS
        self.was_steady = False
        self.was_started = False


def supervise(children: Sequence[Child], *, starts: dict[str, int] | None = None) -> int:
    """Run the children until SIGTERM or SIGINT; the exit status. `starts` is kept: how often each was started, by name.

    0 when stopped by a signal; 1 when an essential child could not start at all: then all are stopped, since the
    service as it is configured does not work. A child that was up and dies is restarted, however often.
    """
    return _Supervisor(children, {} if starts is None else starts).run()


class _Supervisor:
    def __init__(self, children: Sequence[Child], starts: dict[str, int]) -> None:
        self._all = [_Running(child) for child in children]
        self._starts = starts
        self._lifeline_read, self._lifeline_write = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        old = {n: signal.signal(n, self._signalled) for n in (signal.SIGTERM, signal.SIGINT)}
        old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        old_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            for running in self._all:
                self._start(running)
            while not self._stopping:
                self._wait()
                self._look()
        finally:
            self._stop_all()
            signal.set_wakeup_fd(old_wakeup)
            for number, handler in old.items():
                signal.signal(number, handler)
            for fd in (self._lifeline_read, self._lifeline_write, self._wake_read, self._wake_write):
                os.close(fd)
            self._selector.close()
        return self._status

    def _signalled(self, number: int, frame: object) -> None:  # noqa: ARG002 - a signal handler's signature
        self._stopping = True

    def _start(self, running: _Running) -> None:
        """Start the child, or have it tried again with back-off when the machine cannot start a process just now."""
        running.started_at = running.beaten_at = time.monotonic()
        writing: int | None = None
        try:
            if running.child.heartbeat:
                running.beats, writing = os.pipe()
                os.set_blocking(running.beats, False)
                self._selector.register(running.beats, selectors.EVENT_READ, running)
            running.process = self._process(running.child, writing)
            running.was_started = True
            self._starts[running.child.name] = self._starts.get(running.child.name, 0) + 1
        except OSError as error:
            self._forget_beats(running)
            self._not_started(running, error)
        finally:
            if writing is not None:
                os.close(writing)

    def _process(self, child: Child, writing: int | None) -> subprocess.Popen[bytes]:
        environment = {**os.environ, LIFELINE_VARIABLE: str(self._lifeline_read)}
        inherited = [self._lifeline_read]
        if writing is not None:
            environment[HEARTBEAT_VARIABLE] = str(writing)
            inherited.append(writing)
        if child.listener is not None:
            environment[LISTENER_VARIABLE] = str(child.listener.fileno())
            inherited.append(child.listener.fileno())
        return subprocess.Popen(  # noqa: S603 - argv comes from our own code
            child.argv,
            env=environment,
            pass_fds=inherited,
            # Ctrl-C in a terminal reaches the whole group: only the supervisor is to act on it.
            start_new_session=True,
        )

    def _not_started(self, running: _Running, error: OSError) -> None:
        name = running.child.name
        if running.child.essential and not running.was_started:
            _say(f"{name} cannot be started: {error.strerror or error}. Everything is stopped.")
            self._status = 1
            self._stopping = True
            return
        _say(f"{name} cannot be started: {error.strerror or error}; trying again in {running.backoff:.1f} s")
        self._restart_later(running, running.started_at)

    def _wait(self) -> None:
        now = time.monotonic()
        moments = [running.restart_at for running in self._all if running.process is None]
        moments += [self._silent_at(running) for running in self._all if running.beats is not None]
        timeout = max(0.0, min(moments) - now) if moments else None
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                _drain(self._wake_read)
            elif _drain(key.fd):
                key.data.beaten_at = time.monotonic()
            else:  # the child closed its end: it is dying
                self._forget_beats(key.data)

    def _look(self) -> None:
        now = time.monotonic()
        for running in self._all:
            process = running.process
            if process is None:
                if now >= running.restart_at and not self._stopping:
                    self._start(running)
            elif process.poll() is not None:
                self._ended(running, process.returncode, now)
            elif running.beats is not None and now >= self._silent_at(running):
                _say(
                    f"{running.child.name} gave no sign of life for {now - running.beaten_at:.0f} s: killed, restarting"
                )
                process.kill()
                running.beaten_at = now  # wait for its end, which SIGCHLD tells

    def _silent_at(self, running: _Running) -> float:
        patience = SILENCE_SECONDS_MAX if running.beaten_at > running.started_at else STARTING_SECONDS_MAX
        return running.beaten_at + patience

    def _ended(self, running: _Running, status: int, now: float) -> None:
        name, lived = running.child.name, now - running.started_at
        running.process = None
        self._forget_beats(running)
        if self._stopping:
            return
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        if lived >= STEADY_SECONDS:
            running.was_steady = True
            running.backoff = BACKOFF_FIRST_SECONDS
        elif running.child.essential and not running.was_steady and status > 0:
            _say(f"{name} {how} right after its start; what it wrote above says why. Everything is stopped.")
            self._status = 1
            self._stopping = True
            return
        rest = "" if running.child.essential else "; the rest goes on"
        _say(f"{name} {how} after {lived:.1f} s; restarting in {running.backoff:.1f} s{rest}")
        self._restart_later(running, now)

    @staticmethod
    def _restart_later(running: _Running, now: float) -> None:
        running.restart_at = now + running.backoff
        running.backoff = min(2 * running.backoff, BACKOFF_MAX_SECONDS)

    def _forget_beats(self, running: _Running) -> None:
        if running.beats is not None:
            self._selector.unregister(running.beats)
            os.close(running.beats)
            running.beats = None

    def _stop_all(self) -> None:
        for running in self._all:
            if running.process is not None:
                running.process.terminate()
        now = time.monotonic()
        for running in self._all:
            process = running.process
            if process is None:
                continue
            try:
                process.wait(max(0.0, now + running.child.stop_seconds - time.monotonic()))
            except subprocess.TimeoutExpired:
                _say(f"{running.child.name} did not stop within {running.child.stop_seconds:.0f} s: killed")
                process.kill()
                process.wait()
            running.process = None
            self._forget_beats(running)


def follow_supervisor() -> None:
    """In a child: end by SIGTERM when the supervisor ends, even by kill -9. Does nothing without a supervisor."""
    lifeline = _fd(LIFELINE_VARIABLE)
    if lifeline is None:
        return

    def wait() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="farebox-lifeline", daemon=True).start()


def heartbeat_fd() -> int | None:
    """In a child: where to write a byte every second; None without a supervisor."""
    return _fd(HEARTBEAT_VARIABLE)


def inherited_listener() -> socket.socket | None:
    """In a child: the listening socket the supervisor opened for it; None without one."""
    number = _fd(LISTENER_VARIABLE)
    if number is None:
        return None
    listener = socket.socket(fileno=number)
    listener.setblocking(False)
    return listener


def _fd(variable: str) -> int | None:
    number = os.environ.get(variable)
    return None if number is None else int(number)


def _drain(fd: int) -> bool:
    """Read what is there; False at the end of the stream."""
    try:
        return bool(os.read(fd, 4096))
    except BlockingIOError:
        return True


def _say(text: str) -> None:
    print(f"farebox: {text}", file=sys.stderr, flush=True)
