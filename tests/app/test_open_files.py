"""A worker gets the open files its connections need, or says that the system does not allow them."""

from __future__ import annotations

import subprocess
import sys

STARTS = """
import resource, sys
from farebox.app.logs import configure_logs
from farebox.app.open_files import raise_open_files
from farebox.config import GatewayConfig
configure_logs("gateway-0", "json")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
raise_open_files(GatewayConfig(client_connections_max=100))
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def _start(hard: int) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", STARTS, str(hard)], capture_output=True, text=True, timeout=180, check=True
    )
    return done.stdout.strip(), done.stderr


def test_a_low_soft_limit_is_raised_to_what_the_connections_need() -> None:
    limits, said = _start(1_000)
    assert limits == "456 1000"
    assert said == ""


def test_a_hard_limit_below_that_is_said_with_what_to_do() -> None:
    limits, said = _start(300)
    assert limits == "300 300"
    assert "gateway.few_open_files" in said
    assert "client_connections_max" in said
