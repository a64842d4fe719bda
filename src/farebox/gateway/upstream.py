"""The servers behind one upstream: which of them a call goes to, and where it goes when that one is down.

Each address has a pool of its own; an upstream with one address is that pool, and nothing of this stands in its way.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from farebox.config import PORTS, Address, GatewayConfig, UpstreamTls
from farebox.gateway.http1_pool import PoolWaits, UpstreamPool
from farebox.gateway.http1_upstream import PooledCall
from farebox.gateway.tls import upstream_verification

Balance = Literal["in-order", "round-robin"]
IN_ORDER: Final = "in-order"


class Connections(Protocol):
    """Where calls get their connections: a pool, or several behind one name."""

    authority: str
    host_field: bytes

    @property
    def pools(self) -> tuple[UpstreamPool, ...]:
        """One for each address."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for a connection."""
        ...

    def acquire(self, call: PooledCall) -> None:
        """Give `call`, which was sent nowhere yet, a connection, now or later."""
        ...

    def forget(self, call: PooledCall) -> None:
        """The call waits no longer."""
        ...

    def close(self) -> None:
        """Close every connection; calls under way are told."""
        ...


class Servers:
    """Several addresses of one upstream. A call goes to the first that is up, or to the next in turn."""

    def __init__(self, pools: tuple[UpstreamPool, ...], *, balance: Balance) -> None:
        self.pools = pools
        self.authority = pools[0].authority
        self.host_field = pools[0].host_field
        self._in_order = balance == IN_ORDER
        self._turn = 0
        for pool in pools:
            pool.siblings = self

    @property
    def waiting(self) -> int:
        """Calls that wait for a connection."""
        return sum(pool.waiting for pool in self.pools)

    def acquire(self, call: PooledCall) -> None:
        """Give `call` a connection to an address that is up; unreachable when none is."""
        pool = self.next_up() or next((pool for pool in self.pools if pool.is_busy), None)
        if pool is not None:
            pool.acquire(call)
        else:
            call.unreachable(self.all_down(), busy=False)

    def forget(self, call: PooledCall) -> None:
        """The call waits no longer."""
        for pool in self.pools:
            pool.forget(call)

    def close(self) -> None:
        """Close every connection; calls under way are told."""
        for pool in self.pools:
            pool.close()

    def next_up(self) -> UpstreamPool | None:
        """The address that has the next call; None when all are down."""
        pools = self.pools
        for step in range(len(pools)):
            pool = pools[step if self._in_order else (self._turn + step) % len(pools)]
            if not pool.health.is_down:
                self._turn = (self._turn + step + 1) % len(pools)
                return pool
        return None

    def all_down(self) -> str:
        """Why each address is down."""
        return "; ".join(f"{pool.label} {pool.health.reason}" for pool in self.pools)


def connections(
    settings: GatewayConfig,
    *,
    name: str,
    url: str,
    waits: PoolWaits,
    tls: UpstreamTls | None,
    addresses: tuple[Address, ...] = (),
    balance: Balance = IN_ORDER,
) -> UpstreamPool | Servers:
    """The way to what `url` names, by `addresses` where they are given; raises TlsFilesError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = upstream_verification(tls, host=host) if parts.scheme == "https" else None
    bracketed = f"[{host}]" if ":" in host else host
    own = Address(f"{bracketed}:{parts.port or PORTS[parts.scheme]}")
    pools = tuple(
        UpstreamPool(
            name=name,
            authority=parts.netloc,
            address=address,
            tls=secure,
            waits=waits,
            connections_max=settings.upstream_connections_max,
            waiting_max=settings.upstream_waiting_max,
            connect_seconds=settings.connect_seconds,
            header_bytes_max=settings.header_bytes_max,
            header_fields_max=settings.header_fields_max,
            stream_buffer_bytes=settings.stream_buffer_bytes,
            down_seconds_max=settings.upstream_down_seconds,
        )
        for address in addresses or (own,)
    )
    return pools[0] if len(pools) == 1 else Servers(pools, balance=balance)
