"""The processes of one machine: which there are, and how the supervisor starts them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Final

import structlog

from farebox import config
from farebox.app import STOP_SECONDS_BEYOND_GRACE
from farebox.app.in_force import InForce
from farebox.app.metrics import machine_metrics
from farebox.gateway import supervisor
from farebox.gateway.children import Child
from farebox.gateway.listening import listen_all
from farebox.gateway.supervision import StateFile

_log = structlog.get_logger("farebox.supervisor")
PROGRAM: Final = (sys.executable, "-m", "farebox.app")


def supervise(kept: InForce, path: Path) -> int:
    """Run and watch the gateway workers and the console until SIGTERM; the exit status.

    The workers' sockets are opened here, one for each, and outlive them: callers wait in their queues while a worker is
    replaced. Raises AddressInUseError, and DataDirectoryError where another supervisor has the data directory.
    """
    settings = kept.settings
    state = StateFile(settings.data)
    service = supervisor.Service(
        configuration=str(path),
        prepare=(*PROGRAM, "prepare", str(path)),
        in_force=_in_memory({"in_force": kept.encoded()}),
        state=state,
    )
    # Calls go on without a console (G7), also when it cannot even start.
    console = Child(name="console", argv=(*PROGRAM, "console", str(path)), essential=False)
    children = [*_workers(settings.gateway, path), console]
    _say_where(settings)
    starts: dict[str, int] = {}
    with machine_metrics(settings, [child.name for child in children], starts):
        return supervisor.supervise(children, service, starts=starts, say=_logged)


def _workers(settings: config.GatewayConfig, path: Path) -> list[Child]:
    listeners = listen_all(settings.listen, count=settings.workers)
    return [
        Child(
            name=f"gateway-{slot}",
            argv=(*PROGRAM, "gateway", str(path), str(slot)),
            heartbeat=True,
            listener=listener,
            stop_seconds=settings.stop_grace_seconds + STOP_SECONDS_BEYOND_GRACE,
            seats=(2 * slot, 2 * slot + 1),
        )
        for slot, listener in enumerate(listeners)
    ]


def _logged(text: str) -> None:
    """What the supervisor says, in the form of all other lines; a log that is gone stops nothing."""
    with contextlib.suppress(OSError):
        _log.warning("supervisor", message=text)


def _in_memory(value: object) -> int:
    descriptor = os.memfd_create("farebox-in-force")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(json.dumps(value).encode())
    return descriptor


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
