"""The processes of one machine: which there are, and how the supervisor starts them."""

from __future__ import annotations

import sys
from pathlib import Path

from farebox import config
from farebox.app.metrics import machine_metrics
from farebox.gateway import supervisor
from farebox.gateway.listening import listen


def supervise(settings: config.Config, path: Path) -> int:
    """Run and watch gateway and console until SIGTERM; the exit status. Raises AddressInUseError.

    The gateway's socket is opened here and outlives every worker: callers wait in its queue while one is replaced.
    """
    program = (sys.executable, "-m", "farebox.app")
    listener = listen(settings.gateway.listen)
    stop_seconds = settings.gateway.stop_grace_seconds + 10
    children = [
        supervisor.Child(
            name="gateway-0",
            argv=(*program, "gateway", str(path), "0"),
            heartbeat=True,
            listener=listener,
            stop_seconds=stop_seconds,
        ),
        # Calls go on without a console (G7), also when it cannot even start.
        supervisor.Child(name="console", argv=(*program, "console", str(path)), essential=False),
    ]
    _say_where(settings)
    starts: dict[str, int] = {}
    with machine_metrics(settings, [child.name for child in children], starts):
        return supervisor.supervise(children, starts=starts)


def _say_where(settings: config.Config) -> None:
    """For the person who started it. What happens from now on is in the log lines of the processes."""
    upstreams = ", ".join(f"{upstream.name} ({upstream.url}, card {upstream.card})" for upstream in settings.upstream)
    print(
        f"farebox: callers reach the gateway at {config.gateway_url(settings.gateway)}, in front of {upstreams}\n"
        f"farebox: people reach the console at {settings.console.public_url or config.url_of(settings.console.listen)}"
        " (first sign-in: farebox login add LOGIN --operator)",
        file=sys.stderr,
        flush=True,
    )
