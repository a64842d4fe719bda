"""Wires the console: directory, quota's read-only view, usage, the loader, and uvicorn."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, socket
from typing import Final

import uvicorn

from farebox.app import JOURNAL_FOLDER, LOGINS_FILE, QUOTA_FILE, USAGE_FILE
from farebox.app.console_figures import console_figures
from farebox.app.in_force import InForce
from farebox.config import gateway_url, host_port, url_of
from farebox.console.app import create_app
from farebox.console.auth import Logins
from farebox.console.directory import DirectoryOrgs
from farebox.console.ingest import Ingest
from farebox.console.secret import signing_keys, write_local_access
from farebox.domain.instants import Instant
from farebox.errors import AddressInUseError, QuotaUnavailableError
from farebox.journal.position import START, Position
from farebox.journal.shipper import Shipper
from farebox.metrics.endpoint import ProcessEndpoint
from farebox.quota.clock import SystemClock
from farebox.quota.sqlite_view import SpendFile
from farebox.usage.duckdb import DuckdbUsage

STOP_SECONDS_MAX: Final = 5
BACKLOG: Final = 512


def serve_console(kept: InForce) -> None:
    """The console of one machine, until SIGTERM. Raises FareboxError when it cannot start."""
    settings, load_card = kept.settings, kept.card_loader()
    wall = SystemClock()

    def now() -> Instant:
        return Instant(wall.wall())

    with ExitStack() as stack:
        listener = stack.enter_context(_listener(settings.console.listen))
        usage = DuckdbUsage(settings.data / USAGE_FILE, memory=settings.console.usage_memory)
        stack.callback(usage.close)
        orgs = DirectoryOrgs(settings.data, card_of=load_card)
        stack.callback(orgs.close)
        logins = Logins(settings.data / LOGINS_FILE)
        stack.callback(logins.close)
        spend = SpendFile(settings.data / QUOTA_FILE, allowance_of=orgs.allowance)
        shipper = Shipper(settings.data / JOURNAL_FOLDER, usage, _or_start(spend.settled_to), _or_open(spend.is_closed))
        ingest = Ingest(shipper=shipper, usage=usage, history_days=settings.console.history_days, clock=now)
        ingest.start()
        stack.callback(ingest.stop)
        url = settings.console.public_url or url_of(settings.console.listen, port=listener.getsockname()[1])
        app = create_app(
            orgs=orgs,
            card_of=load_card,
            quota=spend,
            usage=usage,
            loading=ingest.loading,
            clock=now,
            logins=logins,
            signing_keys=signing_keys(settings.data),
            gateway_url=gateway_url(settings.gateway),
            public_url=url,
            session_hours=settings.console.session_hours,
            fails_open=settings.gateway.quota_out_of_reach == "open",
            local_token=write_local_access(
                settings.data, url_of(settings.console.listen, port=listener.getsockname()[1])
            ).token,
        )
        metrics = ProcessEndpoint(
            settings.data, "console", lambda: console_figures(settings, ingest=ingest, spend=spend, live=app.state.live)
        )
        stack.callback(metrics.close)
        server = _Server(app)
        server.on_stopping = app.state.live.stop
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn, with the live updates ended before it waits for open connections."""

    on_stopping: Callable[[], None]

    def __init__(self, app: object) -> None:
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type]  # an ASGI app
                http="httptools",
                loop="uvloop",
                ws="none",
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=STOP_SECONDS_MAX,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on the first signal. uvicorn's own raises it again at the end: nothing after `run` would be closed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self.on_stopping()
        await super().shutdown(sockets)


def _or_start(settled_to: Callable[[str], Position]) -> Callable[[str], Position]:
    """While quota cannot be read nothing counts as settled: segments stay."""

    def ask(incarnation: str) -> Position:
        try:
            return settled_to(incarnation)
        except QuotaUnavailableError:
            return START

    return ask


def _or_open(is_closed: Callable[[str], bool]) -> Callable[[str], bool]:
    """While quota cannot be read no incarnation counts as closed: directories stay."""

    def ask(incarnation: str) -> bool:
        try:
            return is_closed(incarnation)
        except QuotaUnavailableError:
            return False

    return ask


def _listener(address: str) -> socket:
    host, port = host_port(address)
    listener = socket(AF_INET6 if ":" in host else AF_INET)
    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AddressInUseError(
            f"the console cannot listen on {address}: {error.strerror}; stop what uses it, or set console.listen"
        ) from error
    listener.listen(BACKLOG)
    return listener
