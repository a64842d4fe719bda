"""Calls that the API makes itself, for callbacks, notifications and functions, and the addresses it makes them to.

https to a public address; with `allow_local` also http and https to loopback, for tests on one machine. What is
checked is the address that is connected to, so that no name can lead elsewhere in between. Redirects are not followed.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

TIMEOUT_S: Final = 10.0
"""For connecting, and again for sending and the whole answer."""
ANSWER_BYTES_MAX: Final = 64 * 1024
URL_LENGTH_MAX: Final = 2_048
SUCCESSES = range(200, 300)
GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that IANA has given out for hosts anywhere; other IPv6 addresses are local, reserved or IPv4 in disguise."""
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address, to which a translator leads."""


class UrlRefusedError(Exception):
    """The URL is none that the API calls; the text says why."""


class UndeliveredError(Exception):
    """The call was not taken: no connection, no answer in time, or a status other than 2xx. The text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def check_url(url: object, *, allow_local: bool) -> str:
    """The URL, if it has a form that may be called; raises UrlRefusedError. Names are looked up when it is called."""
    if (
        not isinstance(url, str)
        or len(url) > URL_LENGTH_MAX
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise UrlRefusedError(f"a URL of at most {URL_LENGTH_MAX} characters is expected")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")  # no empty or endless label
    except ValueError as error:
        raise UrlRefusedError(f"not a URL: {error}") from error
    if not host or parts.scheme not in ("http", "https") or port == 0:
        raise UrlRefusedError("an https URL with a host is expected")
    if parts.username is not None or parts.password is not None:
        raise UrlRefusedError("the URL must not hold a user name or password")
    if parts.scheme == "http" and not (allow_local and _is_loopback_name(host)):
        raise UrlRefusedError("the URL must begin with https://")
    address = _literal(host)
    if address is not None:
        _check_address(address, allow_local=allow_local)
    elif host == "localhost" and not allow_local:
        raise UrlRefusedError("the host is this machine itself")
    return url


def post(url: str, body: bytes, *, content_type: str = "application/json", allow_local: bool) -> None:
    """POST the body once. Raises UrlRefusedError or UndeliveredError; nothing is retried here."""
    answer = request("POST", url, body=body, headers={"content-type": content_type}, allow_local=allow_local)
    if answer.status not in SUCCESSES:
        raise UndeliveredError(f"answered {answer.status}")


def request(
    method: str,
    url: str,
    *,
    body: bytes | None,
    headers: Mapping[str, str],
    allow_local: bool,
    answer_bytes_max: int = ANSWER_BYTES_MAX,
) -> Answered:
    """One call, whatever its status says. Raises UrlRefusedError, or UndeliveredError when there is no answer.

    Of a body longer than `answer_bytes_max` a part is read that is longer too.
    """
    check_url(url, allow_local=allow_local)
    fields = {"user-agent": "farebox-crm", **{name.lower(): value for name, value in headers.items()}}
    fields["connection"] = "close"
    limits = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
    backend = _CheckedBackend(allow_local=allow_local)
    try:
        with (
            httpcore.ConnectionPool(network_backend=backend, ssl_context=ssl.create_default_context()) as pool,
            pool.stream(
                method, url, headers=list(fields.items()), content=body, extensions={"timeout": limits}
            ) as answer,
        ):
            chunks, size = [], 0
            for chunk in answer.iter_stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > answer_bytes_max:
                    break
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
            return Answered(status=answer.status, headers=found, body=b"".join(chunks))
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise UndeliveredError(f"{type(error).__name__}: {error}".rstrip(": ")) from error


class _CheckedBackend(httpcore.SyncBackend):
    """Connects to addresses only that pass the check, whatever name led there."""

    def __init__(self, *, allow_local: bool) -> None:
        super().__init__()
        self._allow_local = allow_local

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} is not known: {error}") from error
        address = str(found[0][4][0])
        _check_address(ipaddress.ip_address(address.partition("%")[0]), allow_local=self._allow_local)
        stream = super().connect_tcp(address, port, timeout, local_address, socket_options)
        return _Timed(stream, time.monotonic() + TIMEOUT_S)


class _Timed(httpcore.NetworkStream):
    """A connection that lasts until `deadline`, however slowly the other side drips."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout(f"not done within {TIMEOUT_S:g} s")
        return left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 (one deadline for all)
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 (one deadline for all)
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 (one deadline for all)
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 (httpcore's)
        return self._stream.get_extra_info(info)


def _check_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address, *, allow_local: bool) -> None:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback and allow_local:
        return
    if not all(map(_is_public, (address, *_led_to(address)))):
        raise UrlRefusedError(f"{address} is no public address")


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in GLOBAL_UNICAST and address not in NAT64:
        return False
    return address.is_global and not address.is_multicast


def _led_to(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 one, at which a translator or a tunnel ends: NAT64, 6to4, Teredo."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address in NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF),)
    return address.teredo or (() if address.sixtofour is None else (address.sixtofour,))


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback_name(host: str) -> bool:
    address = _literal(host)
    return host == "localhost" or (address is not None and address.is_loopback)
