"""How many files a worker may have open: as many as its connections need, where the system allows it."""

from __future__ import annotations

import resource
from typing import Final

import structlog

from farebox.config import GatewayConfig

BESIDE_CONNECTIONS: Final = 256
"""Segments, databases, sockets of its own, look-ups."""


def needed(gateway: GatewayConfig) -> int:
    """Every caller's connection may have one upstream, for as long as its call or tunnel takes."""
    return 2 * gateway.client_connections_max + BESIDE_CONNECTIONS


def raise_open_files(gateway: GatewayConfig) -> None:
    """Raise this process's limit to what is needed or to the hard limit; a hard limit below it is said in the log."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed(gateway)
    reached = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < reached:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reached, hard))
    if reached < wanted:
        structlog.get_logger("farebox.gateway").warning(
            "gateway.few_open_files",
            allowed=reached,
            wanted=wanted,
            advice="raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower gateway.client_connections_max",
        )
