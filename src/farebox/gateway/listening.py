"""Listening sockets: several workers share one port, a stranger on it is found and said."""

from __future__ import annotations

import socket
from typing import Final

from farebox.config import host_port
from farebox.errors import AddressInUseError

BACKLOG: Final = 4_096


def listen_all(address: str, *, count: int) -> list[socket.socket]:
    """One listening socket per worker, all on one address; the kernel spreads connections over them.

    They are opened together and never one by one: closing one of them resets what waits in its queue.
    """
    first = listen(address)
    host, port = first.getsockname()[:2]
    sockets = [first]
    try:
        sockets += [_listening(first.family, host, port) for _ in range(count - 1)]
    except OSError as error:
        for each in sockets:
            each.close()
        raise _refused(address, error) from error
    return sockets


def listen(address: str) -> socket.socket:
    """A listening socket on host:port, with SO_REUSEPORT; raises AddressInUseError with a sentence.

    Its kernel queue keeps connections while nobody accepts: a worker can be replaced without a caller being refused.
    """
    host, port = host_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # With SO_REUSEPORT a stranger of the same user would silently share the port: look without it first.
        _probe(family, host, port)
        return _listening(family, host, port)
    except OSError as error:
        raise _refused(address, error) from error


def _listening(family: int, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _refused(address: str, error: OSError) -> AddressInUseError:
    return AddressInUseError(
        f"{address} cannot be listened on: {error.strerror or error}. "
        "Stop what uses it (`ss -ltnp` shows what), or give another address as gateway.listen."
    )


def _probe(family: int, host: str, port: int) -> None:
    if port == 0:
        return
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)
