"""The metrics of one machine: the supervisor asks every process and answers for all of them at one address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, socket

from farebox import config
from farebox.app.totals import Totals
from farebox.metrics.endpoint import BACKLOG, Endpoint, ProcessEndpoint, ask
from farebox.metrics.figures import Figures
from farebox.metrics.own import own_figures

SUPERVISOR = "supervisor"


@contextmanager
def machine_metrics(settings: config.Config, children: Sequence[str], starts: Mapping[str, int]) -> Iterator[None]:
    """Answer at `metrics.listen`, and on the supervisor's own socket file, while the service runs."""
    totals = Totals(settings.data)

    def everything() -> dict[str, Figures]:
        asked = {child: totals.of(child, partial(_asked, settings.data, child)) for child in children}
        found = {child: figures for child, figures in asked.items() if figures is not None}
        return {SUPERVISOR: _supervisor(children, found, starts), **found}

    machine = Endpoint(lambda: _listener(settings.metrics.listen), everything)
    own = ProcessEndpoint(settings.data, SUPERVISOR, lambda: everything()[SUPERVISOR])
    try:
        yield
    finally:
        machine.close()
        own.close()


def _supervisor(children: Sequence[str], up: Mapping[str, Figures], starts: Mapping[str, int]) -> Figures:
    figures = own_figures()
    for child in children:
        figures.add("child_up", int(child in up), child=child)
        figures.add("child_starts_total", starts.get(child, 0), child=child)
    return figures


def _asked(data: Path, process: str) -> Figures | None:
    """None while it does not answer, which is what `farebox_child_up` then says."""
    try:
        return ask(data, process)
    except OSError:
        return None


def _listener(address: str) -> socket:
    host, port = config.host_port(address)
    listener = socket(AF_INET6 if ":" in host else AF_INET)
    try:
        listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"metrics.listen {address}: {error.strerror}") from error
    return listener
