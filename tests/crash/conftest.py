"""The count of kills by what they hit, printed at the end of every run."""

from __future__ import annotations

from collections import Counter

import pytest

KILLS = pytest.StashKey[Counter[str]]()


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> Counter[str]:
    """Tests add one for every process they end by kill -9, under the name of what it was doing."""
    return request.config.stash.setdefault(KILLS, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line: all kills of the crash suite, each part named with its number."""
    counted = config.stash.get(KILLS, Counter())
    if counted:
        parts = ", ".join(f"{name} {number}" for name, number in counted.items())
        terminalreporter.write_line(f"kill -9: {counted.total()} processes: {parts}")
