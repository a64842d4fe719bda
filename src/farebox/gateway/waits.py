"""The patience of one worker, by class, made from the settings."""

from __future__ import annotations

import asyncio
from typing import Final

from farebox.config import GatewayConfig
from farebox.gateway.timeouts import Timeouts

LINGER_SECONDS: Final = 2.0
"""How long a closed connection is still read, so that the last answer is not lost to a reset."""

CONNECTION_WAIT_FACTOR: Final = 2
"""A call waits for a connection to come free twice as long as opening one may take."""


class Waits:
    """Every class of time-out of the data plane."""

    def __init__(self, config: GatewayConfig, loop: asyncio.AbstractEventLoop) -> None:
        self.timeouts = Timeouts(loop)
        add = self.timeouts.add
        self.client_idle = add("client_idle", config.idle_connection_seconds)
        self.client_head = add("client_head", config.header_seconds)
        self.client_body = add("client_body", config.body_idle_seconds)
        self.client_write = add("client_write", config.body_idle_seconds)
        self.client_linger = add("client_linger", min(LINGER_SECONDS, config.body_idle_seconds))
        self.upstream_answer = add("upstream_answer", config.answer_seconds)
        self.upstream_body = add("upstream_body", config.body_idle_seconds)
        self.upstream_idle = add("upstream_idle", config.idle_connection_seconds)
        self.upstream_connection = add("upstream_connection", CONNECTION_WAIT_FACTOR * config.connect_seconds)
        self.tunnel_idle = add("tunnel_idle", config.tunnel_idle_seconds)
        self.answer_hold = add("answer_hold", config.answer_hold_seconds)
        self.quota = add("quota", config.quota_wait_seconds)
