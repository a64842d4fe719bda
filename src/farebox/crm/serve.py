"""Running the API as a process of its own: bind first, say where it listens, serve until stopped."""

import socket
from collections.abc import Callable

import uvicorn

from farebox.crm.app import create_app
from farebox.crm.errors import StoreError
from farebox.crm.request_log import RequestLog
from farebox.crm.settings import FunctionSettings, Settings, TokenLimits
from farebox.crm.store import Store

BACKLOG = 1_024
KEEP_ALIVE_S = 65
SHUTDOWN_S = 5


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises StoreError that says what to do."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StoreError(
            f"The CRM API cannot listen on {host}:{port}: {error.strerror or error}. "
            "Stop what uses the address, or choose another with --port (0 takes a free one)."
        ) from error
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """The http URL at which a bound socket is reached."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(store: Store, settings: Settings, request_log: RequestLog | None = None) -> uvicorn.Server:
    """The server, not yet running: httptools and uvloop, no access log."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(store, settings, request_log),
            http="httptools",
            loop="uvloop",
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
    )


def serve(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 8_787,
    public_url: str | None = None,
    on_listening: Callable[[str], None] | None = None,
    request_log: RequestLog | None = None,
    local_callbacks: bool = False,
    token_limits: TokenLimits | None = None,
    functions: FunctionSettings | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. `on_listening` is given the URL once connections are accepted."""
    listener = listen(host, port)
    with listener:
        url = (public_url or url_of(listener)).rstrip("/")
        if on_listening is not None:
            on_listening(url)
        settings = Settings(
            public_url=url, local_callbacks=local_callbacks, token_limits=token_limits, functions=functions
        )
        make_server(store, settings, request_log).run(sockets=[listener])
