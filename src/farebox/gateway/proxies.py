"""Who is at the other end: forwarding fields are believed only from trusted proxies, and replaced otherwise."""

from __future__ import annotations

import ipaddress
from typing import Final

from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.http1_request import RequestHead

HOPS_MAX: Final = 32
"""Addresses looked at in one X-Forwarded-For field."""

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The networks whose word counts."""

    __slots__ = ("_networks",)

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks: tuple[IpNetwork, ...] = tuple(ipaddress.ip_network(network) for network in networks)

    def trusts(self, address: str) -> bool:
        """Whether a proxy at that address is believed."""
        if not self._networks:
            return False
        ip = _address(address)
        return ip is not None and any(ip.version == network.version and ip in network for network in self._networks)

    def client_ip(self, peer: str, forwarded_for: bytes) -> str:
        """The caller's address: the peer's, or behind trusted proxies the last one they do not vouch for themselves."""
        if not forwarded_for or not self.trusts(peer):
            return peer
        client = peer
        for hop in reversed(forwarded_for.decode("latin-1").split(",")[-HOPS_MAX:]):
            address = _address(hop.strip())
            if address is None:
                return client
            client = str(address)
            if not self.trusts(client):
                return client
        return client

    def constant(self, client: ClientConnection) -> bytes:
        """The forwarding fields of all that comes on a connection, up to the host; made once."""
        constant = client.forwarded_lines
        if constant is None:
            constant = client.forwarded_lines = (
                b"X-Forwarded-For: "
                + client.peer.encode("ascii")
                + b"\r\nX-Forwarded-Proto: "
                + (b"https" if client.is_secure() else b"http")
                + b"\r\nX-Forwarded-Host: "
            )
        return constant

    def lines(self, client: ClientConnection, head: RequestHead) -> list[bytes]:
        """The forwarding fields an upstream gets."""
        if head.forwarded_for and self.trusts(client.peer):
            chain = head.forwarded_for + b", " + client.peer.encode("ascii")
            lines = [b"X-Forwarded-For: ", chain, b"\r\n"]
            said = {name.lower() for name, _ in head.forwarded or ()}
            for name, value in head.forwarded or ():
                lines += (name, b": ", value, b"\r\n")
            if b"x-forwarded-host" not in said:
                lines += (b"X-Forwarded-Host: ", head.host, b"\r\n")
            return lines
        constant = self.constant(client)
        return [constant, head.host, b"\r\n"]


def neighbourhood(address: str) -> str:
    """All addresses that one stranger surely has if it has this one: of IPv6 a /64, in which a host chooses its own.

    >>> neighbourhood("192.0.2.7"), neighbourhood("2001:db8:1:2:3::4"), neighbourhood("::ffff:192.0.2.7")
    ('192.0.2.7', '2001:db8:1:2::/64', '192.0.2.7')
    """
    ip = _address(address) if ":" in address else None
    if ip is None:
        return address
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))  # noqa: PLR2004 - IPv4


def _address(text: str) -> IpAddress | None:
    """The address, an IPv4 one also where a dual-stack socket writes it as IPv6; None: it is none.

    Without the zone of a link-local address, which may be of any length and means nothing elsewhere (RFC 4007 6).
    """
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip
