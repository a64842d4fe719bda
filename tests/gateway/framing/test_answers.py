"""What an upstream answers is believed only if it is framed without a doubt; the connection of any other ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import h11
import pytest
from tests.gateway.conftest import GatewayMaker

from farebox.testing.upstream import StubUpstream

from .answers_corpus import KINDS
from .cases import Answered, rows
from .proxies import DEADLINE_SECONDS, NGINX_RECORDED, Address, nginx_before, nginx_version
from .recorder import Liar

ROWS = rows(KINDS)
NOT_BELIEVED = 502


@dataclass(frozen=True)
class Proxy:
    """A proxy and what stands behind it."""

    address: Address
    upstream: Liar


class Caller:
    """A caller that reads its answers with h11."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address, timeout=DEADLINE_SECONDS)
        self._parser = h11.Connection(h11.CLIENT)
        self.names: set[str] = set()
        """The fields of the last answer."""

    def ask(self, method: str, target: str, *, last: bool = False) -> tuple[int, bytes]:
        """(status, body); (0, ...) where there was no answer, as much of the body as came where it broke off."""
        body = b"x" if method == "POST" else b""
        fields = [("Host", "g")]
        fields += [("Content-Length", "1")] if body else []
        fields += [("Connection", "close")] if last else []
        said = self._parser.send(h11.Request(method=method, target=target, headers=fields)) or b""
        said += (self._parser.send(h11.Data(data=body)) or b"") if body else b""
        self._socket.sendall(said + (self._parser.send(h11.EndOfMessage()) or b""))
        status, got = 0, b""
        try:
            while not isinstance(event := self._parser.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    self._parser.receive_data(self._socket.recv(65536))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    self.names = {bytes(name).decode() for name, _ in event.headers}
                elif isinstance(event, h11.Data):
                    got += bytes(event.data)
        except (h11.RemoteProtocolError, ConnectionResetError):
            return status, got
        if not last:
            self._parser.start_next_cycle()
        return status, got

    def close(self) -> None:
        """End."""
        self._socket.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Liar() as liar, StubUpstream() as unused:
        maker = GatewayMaker(tmp_path_factory.mktemp("framing"), unused)
        running = maker(url=f"http://127.0.0.1:{liar.port}", header_bytes_max=8192, header_fields_max=100)
        yield Proxy(running.address, liar)
        maker.stop()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Liar() as liar, nginx_before(liar.port, tmp_path_factory.mktemp("nginx")) as address:
        yield Proxy(address, liar)


@pytest.mark.parametrize("row", ROWS)
def test_is_believed_without_a_doubt_or_not_at_all(gateway: Proxy, nginx: Proxy, row: str) -> None:
    answered = ROWS[row]
    gateway.upstream.lies["/lie"] = (answered.data, answered.ends)
    gateway.upstream.asked.clear()
    caller = Caller(gateway.address)
    told = []
    for _ in range(2):  # what is tried once only, on whatever connection is left
        assert caller.ask("POST", "/good") == (200, b"ok")
        told.append(caller.ask(answered.method, "/lie"))
    assert caller.ask("POST", "/good") == (200, b"ok")
    caller.close()
    assert [target for target, _ in gateway.upstream.asked] == ["/good", "/lie", "/good", "/lie", "/good"]
    assert [status for status, _ in told] == [answered.status] * 2
    assert answered.reused == (len({number for _, number in gateway.upstream.asked}) == 1)
    told_by_nginx = by_nginx(nginx, answered)
    if nginx_version().startswith(NGINX_RECORDED):
        assert told_by_nginx[0] == answered.nginx
    if answered.status == told_by_nginx[0] < NOT_BELIEVED:
        assert told == [told_by_nginx] * 2


def by_nginx(nginx: Proxy, answered: Answered) -> tuple[int, bytes]:
    """What nginx tells its caller; its upstream ends after each lie, so that nginx does not wait for more."""
    nginx.upstream.lies["/lie"] = (answered.data, True)
    caller = Caller(nginx.address)
    try:
        return caller.ask(answered.method, "/lie", last=True)
    finally:
        caller.close()


def test_the_rest_of_an_answer_is_not_learnt_as_a_whole_one(gateway: Proxy) -> None:
    """An answer read in two pieces, the second of which looks like one by itself."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    gateway.upstream.lies["/end"] = (whole + b"end", False)
    first, second = Caller(gateway.address), Caller(gateway.address)
    gateway.upstream.pieces["/halves"] = (b"HTTP/1.1 200 OK\r\nX-Reflected: ", whole + b"one")
    assert first.ask("GET", "/halves") == (200, b"one")
    assert "x-reflected" in first.names
    assert second.ask("GET", "/end") == (200, b"end")
    assert "x-reflected" not in second.names
    first.close()
    second.close()
