"""A run ends when its tests have ended: a thread left behind fails it by name instead of keeping it for ever."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import thread as pools

import httpx
import hypothesis
import pytest

# No test may fail because the machine is slow just now: only the bounds of whole runs are left. With a seed, as in
# `make test`, a commit is judged by the same cases as the one before; `make fuzz` and `make soak` go on to others.
slow = (hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large)
seeded = "FAREBOX_SEED" in os.environ
hypothesis.settings.register_profile("farebox", deadline=None, derandomize=seeded, suppress_health_check=slow)
hypothesis.settings.load_profile("farebox")

LEFT = pytest.StashKey[list[str]]()

CALL_SECONDS = 60.0


def pytest_configure() -> None:
    """A test's own call waits for a machine that is busy elsewhere; httpx by itself gives up after five seconds."""
    patience = httpx._config.DEFAULT_TIMEOUT_CONFIG
    patience.connect = patience.read = patience.write = patience.pool = CALL_SECONDS


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After every fixture was taken down nothing may run that keeps the interpreter from ending."""
    pooled = set(pools._threads_queues)  # idle ones end with the interpreter
    known = {threading.main_thread(), threading.current_thread(), *pooled}
    left = [thread.name for thread in threading.enumerate() if not thread.daemon and thread not in known]
    if left:
        session.config.stash[LEFT] = left
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last word: end now and say whose fault it is."""
    left = config.stash.get(LEFT, [])
    if left:
        sys.stderr.write(f"still running after the last test: {', '.join(left)}; a test must stop what it started\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(pytest.ExitCode.TESTS_FAILED)
