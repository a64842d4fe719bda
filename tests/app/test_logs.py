"""Lines of the log: JSON for programs, readable for people, always with the process they are of."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

WRITES = """
import sys, threading, structlog
from farebox.app.logs import configure_logs
configure_logs("gateway-1", sys.argv[1])
log = structlog.get_logger("farebox.gateway")
thread = threading.Thread(target=lambda: log.warning("refused", reason="CREDITS_EXHAUSTED", calls=3))
thread.start()
thread.join()
log.debug("not written")
"""


def _line(form: str) -> str:
    done = subprocess.run([sys.executable, "-c", WRITES, form], capture_output=True, text=True, timeout=180, check=True)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("form", ["json", "auto"])
def test_a_line_for_programs_is_one_object_that_names_its_process_whichever_thread_wrote_it(form: str) -> None:
    line = json.loads(_line(form))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "process": "gateway-1",
        "event": "refused",
        "level": "warning",
        "reason": "CREDITS_EXHAUSTED",
        "calls": 3,
    }


def test_a_line_for_people_is_readable_without_colours_where_no_terminal_is() -> None:
    line = _line("people")
    assert "\x1b" not in line
    assert "refused" in line
    assert "reason=CREDITS_EXHAUSTED" in line
    assert "process=gateway-1" in line
