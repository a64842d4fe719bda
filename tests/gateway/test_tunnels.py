"""Upgrade: a tunnel for what the card lists, if the upstream accepts; charged before its 101, closed with its bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from farebox import cards
from farebox.config import Address, FilePath, UpstreamTls
from farebox.domain.cards import CompiledCard, Kind
from farebox.journal.records import Entry
from farebox.testing.upstream import Behaviour, StubUpstream

from .certificates import Authority
from .conftest import Caller, Gateway, GatewayMaker, until

MIB = 1024 * 1024
ASKED = "GET /live HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"

Before = Callable[..., Gateway]


def listing(*protocols: str) -> CompiledCard:
    return CompiledCard(replace(cards.load("generic"), upgrades=protocols))


class Sockets:
    """A websocket server that is not ours: what comes goes back; /count says how much came."""

    def __init__(self, context: Any = None) -> None:
        self.paths: list[str] = []
        self.headers: list[Any] = []
        self.server = serve(self._serve, "127.0.0.1", 0, ssl=context, max_size=64 * MIB, compression=None)
        self.port = self.server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.headers.append(connection.request.headers)
        try:
            for message in connection:
                connection.send(message)
                if message == "bye":
                    return
        except ConnectionClosed:
            return

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    server = Sockets()
    yield server
    server.close()


@pytest.fixture
def before(make_gateway: GatewayMaker) -> Before:
    """A gateway whose card lists websocket."""

    def make(port: int, **more: Any) -> Gateway:
        return make_gateway(url=f"http://127.0.0.1:{port}", compiled=listing("websocket"), **more)

    return make


def connected(gateway: Gateway) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{gateway.address[1]}/live?a=1", compression=None, max_size=64 * MIB)


def closed(gateway: Gateway) -> tuple[Entry, Entry]:
    """Charge and close of the one tunnel."""
    charge, close = until(lambda: entries if len(entries := gateway.entries()) == 2 else None)
    return charge, close


def tunnels(gateway: Gateway) -> int:
    return int(gateway.on_loop(lambda: len(gateway.worker._tunnels.open)))


def test_a_websocket_goes_through_and_is_charged_before_its_101(before: Before, sockets: Sockets) -> None:
    gateway = before(sockets.port)
    with connected(gateway) as client:
        assert client.response is not None
        assert client.response.headers["X-Farebox-Credits-Charged"] == "1"
        (charge,) = gateway.entries()  # on disk before the 101 came
        assert (charge.credits, charge.status, charge.outcome) == (1000, 101, "charged")
        for text in ("one", "two" * 1000, "three"):
            client.send(text)
            assert client.recv() == text
        assert (sockets.paths, tunnels(gateway), gateway.held()) == (["/live?a=1"], 1, 0)
    charge, close = closed(gateway)
    assert (close.kind, close.outcome, close.reason, close.credits, close.calls) == (1, "charged", "", 0, 0)
    # Three frames each way with their heads, and the close frames.
    assert 3008 < close.bytes_in < 3100
    assert 3008 < close.bytes_out < 3100
    until(lambda: not tunnels(gateway))
    until(lambda: not gateway.on_loop(lambda: len(gateway.worker.plane.clients)))
    assert gateway.on_loop(lambda: gateway.worker._pools[0].pools[0].open_connections) == 0


def test_a_websocket_goes_through_tls_on_both_sides(make_gateway: GatewayMaker, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = Sockets(authority.server("api.example.com"))
    pair = authority.pair("gateway.example.com")
    try:
        gateway = make_gateway(
            url="https://api.example.com",
            compiled=listing("websocket"),
            more={
                "addresses": (Address(f"127.0.0.1:{server.port}"),),
                "tls": UpstreamTls(ca_file=FilePath(authority.ca_file)),
            },
            tls_certificate=pair.certificate,
            tls_key=pair.key,
        )
        url = f"wss://127.0.0.1:{gateway.address[1]}/"
        with connect(url, ssl=authority.client(), server_hostname="gateway.example.com") as client:
            client.send("hello" * 100_000)
            assert client.recv() == "hello" * 100_000
        assert closed(gateway)[1].outcome == "charged"
    finally:
        server.close()


def test_large_messages_go_both_ways_at_the_pace_of_the_slower_side(before: Before, sockets: Sockets) -> None:
    gateway = before(sockets.port, stream_buffer_bytes=64 * 1024)
    message = bytes(range(256)) * (16 * MIB // 256)
    with connected(gateway) as client:
        client.send(message)
        assert client.recv() == message
    assert closed(gateway)[1].bytes_in > 16 * MIB


def test_what_the_card_does_not_list_goes_on_without_its_upgrade(
    make_gateway: GatewayMaker, upstream: StubUpstream, sockets: Sockets
) -> None:
    gateway = make_gateway(compiled=listing("websocket"))
    caller = gateway.caller()
    for protocol in ("h2c", "websocket2", "foo/2, bar"):
        assert caller.ask(fields={"Connection": "Upgrade", "Upgrade": protocol}).status == 200
    assert caller.ask("POST", fields={"Connection": "Upgrade", "Upgrade": "websocket"}).status == 200
    assert caller.ask(fields={"Upgrade": "websocket"}).status == 200  # not nominated: RFC 9110 7.8
    assert not any("upgrade" in request.fields for request in upstream.requests)
    assert caller.ask(fields={"Connection": "Upgrade", "Upgrade": "h2c, WebSocket"}).status == 200
    assert upstream.requests[-1].fields["upgrade"] == "WebSocket"
    assert upstream.requests[-1].fields["connection"] == "Upgrade"


def test_a_card_that_lists_nothing_lets_no_websocket_through(make_gateway: GatewayMaker, sockets: Sockets) -> None:
    gateway = make_gateway(url=f"http://127.0.0.1:{sockets.port}")
    with pytest.raises(InvalidStatus) as refused, connected(gateway):
        pass
    assert refused.value.response.status_code == 426


def test_an_upstream_that_answers_200_answers_and_the_connection_goes_on(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(compiled=listing("websocket"))
    caller = gateway.caller().say(ASKED + "\r\n" + "GET /next HTTP/1.1\r\nHost: g\r\n\r\n")
    assert [caller.hear().status, caller.hear().status] == [200, 200]
    assert [request.target for request in upstream.requests] == ["/live", "/next"]
    assert [entry.kind for entry in gateway.entries()] == [0, 0]
    assert tunnels(gateway) == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        b"HTTP/1.0 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        SWITCHED + b"Content-Length: 5\r\n\r\nhello",
        SWITCHED + b"Connection: Host\r\n\r\n",
    ],
)
def test_a_101_to_something_else_than_was_asked_for_is_502_and_charged(
    make_gateway: GatewayMaker, upstream: StubUpstream, answer: bytes
) -> None:
    upstream.default = Behaviour(raw=answer)
    gateway = make_gateway(compiled=listing("websocket"))
    caller = gateway.caller().say(ASKED + "\r\n")
    answer_heard = caller.hear()
    assert (answer_heard.status, answer_heard.json()["code"]) == (502, "UPSTREAM_FAILED")
    assert gateway.entry().credits == 1000
    assert tunnels(gateway) == 0


def test_a_101_that_nobody_asked_for_is_502(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    upstream.default = Behaviour(raw=SWITCHED + b"\r\n")
    gateway = make_gateway(compiled=listing("websocket"))
    assert gateway.caller().ask("GET", "/").status == 502


def test_an_upgrade_with_a_body_is_400_and_reaches_nobody(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(compiled=listing("websocket"))
    caller = gateway.caller().say(ASKED + "Content-Length: 5\r\n\r\nhello")
    answer = caller.hear()
    assert (answer.status, answer.json()["code"]) == (400, "UPGRADE_WITH_BODY")
    assert not upstream.requests


class Ends:
    """A tunnel whose upstream end the test holds in its hand."""

    def __init__(self, gateway: Gateway, listener: socket.socket, *, early: bytes = b"", first: bytes = b"") -> None:
        self.caller = gateway.caller().say(ASKED + "\r\n", early)
        listener.settimeout(60)
        self.upstream, _ = listener.accept()
        self.upstream.settimeout(60)
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self.upstream.recv(1)
        self.upstream.sendall(SWITCHED + b"\r\n" + first)
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            said += self.caller.socket.recv(1)
        assert said.startswith(b"HTTP/1.1 101 ")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def ends(before: Before, listener: socket.socket) -> Iterator[Callable[..., tuple[Gateway, Ends]]]:
    made: list[Ends] = []

    def make(*, early: bytes = b"", first: bytes = b"", **settings: Any) -> tuple[Gateway, Ends]:
        gateway = before(listener.getsockname()[1], **settings)
        made.append(Ends(gateway, listener, early=early, first=first))
        return gateway, made[-1]

    yield make
    for each in made:
        each.upstream.close()


Opened = Callable[..., tuple[Gateway, Ends]]


def test_bytes_that_came_too_early_reach_the_other_side_after_the_101(ends: Opened) -> None:
    _, tunnel = ends(early=b"too early", first=b"hello at once")
    assert b"too early" not in tunnel.head
    assert tunnel.upstream.recv(100) == b"too early"
    assert tunnel.caller.socket.recv(100) == b"hello at once"


def test_a_side_that_only_stops_sending_still_gets_what_the_other_sends(ends: Opened) -> None:
    gateway, tunnel = ends()
    tunnel.caller.say(b"last words").socket.shutdown(socket.SHUT_WR)
    assert tunnel.upstream.recv(100) == b"last words"
    assert tunnel.upstream.recv(100) == b""
    tunnel.upstream.sendall(b"answer")
    assert tunnel.caller.socket.recv(100) == b"answer"
    tunnel.upstream.close()
    assert tunnel.caller.raw() == b""
    close = closed(gateway)[1]
    assert (close.outcome, close.bytes_in, close.bytes_out) == ("charged", 10, 6)


def test_a_half_open_tunnel_is_ended_when_nothing_moves(ends: Opened) -> None:
    gateway, tunnel = ends()
    tunnel.caller.socket.shutdown(socket.SHUT_WR)
    assert tunnel.upstream.recv(100) == b""
    gateway.age("tunnel_idle", gateway.config.gateway.tunnel_idle_seconds)
    assert tunnel.caller.is_closed()
    close = closed(gateway)[1]
    assert (close.outcome, close.reason) == ("cut_off", "tunnel_idle")
    until(lambda: not tunnels(gateway))


def test_a_silent_tunnel_is_ended_and_a_moving_one_is_not(ends: Opened) -> None:
    gateway, tunnel = ends(tunnel_idle_seconds=300.0)
    for number in range(6):  # longer than the time-out together, shorter each
        tunnel.caller.say(b"%d" % number)
        assert tunnel.upstream.recv(1) == b"%d" % number
        gateway.age("tunnel_idle", 200.0)
    assert len(gateway.entries()) == 1
    gateway.age("tunnel_idle", 200.0)
    assert tunnel.caller.is_closed()
    assert closed(gateway)[1].reason == "tunnel_idle"


def test_a_side_that_takes_nothing_stops_the_other_and_is_given_up(ends: Opened) -> None:
    gateway, tunnel = ends(tunnel_idle_seconds=0.5, stream_buffer_bytes=16 * 1024)
    piece, sent = bytes(MIB), 0
    with contextlib.suppress(OSError):  # the reset that ends it
        while sent < 1024 * MIB:
            sent += tunnel.caller.socket.send(piece)
    assert sent < 64 * MIB
    assert closed(gateway)[1].reason == "tunnel_idle"


@pytest.mark.parametrize("side", ["caller", "upstream"])
def test_a_side_that_resets_ends_the_tunnel_for_both(ends: Opened, side: str) -> None:
    gateway, tunnel = ends()
    reset = tunnel.caller.socket if side == "caller" else tunnel.upstream
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    reset.close()
    other = tunnel.upstream if side == "caller" else tunnel.caller.socket
    assert other.recv(100) == b""
    assert closed(gateway)[1].calls == 0
    until(lambda: not tunnels(gateway))


def test_an_upstream_that_dies_between_its_101_and_the_record_is_said_and_charged(
    before: Before, listener: socket.socket
) -> None:
    gateway = before(listener.getsockname()[1])
    caller: Caller = gateway.caller().say(ASKED + "\r\n")
    listener.settimeout(60)
    upstream, _ = listener.accept()
    upstream.recv(65536)
    upstream.sendall(SWITCHED + b"\r\n")
    upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    upstream.close()
    assert caller.raw()[:12] in (b"HTTP/1.1 502", b"HTTP/1.1 101")
    charge, _ = closed(gateway)
    assert charge.credits == 1000


def test_more_tunnels_than_may_be_are_refused_and_free(before: Before, sockets: Sockets) -> None:
    gateway = before(sockets.port, tunnels_max=1)
    with connected(gateway):
        answer = gateway.caller().say(ASKED + "\r\n").hear()
        assert (answer.status, answer.json()["code"]) == (503, "TOO_MANY_TUNNELS")
        assert gateway.caller().ask("GET", "/").status == 426  # an ordinary call is not concerned
    until(lambda: not tunnels(gateway))
    with connected(gateway):
        pass


def test_tunnels_take_no_connection_away_from_calls(before: Before, sockets: Sockets) -> None:
    gateway = before(sockets.port, upstream_connections_max=1)
    with connected(gateway), connected(gateway):
        assert tunnels(gateway) == 2
        assert gateway.caller().ask("GET", "/").status == 426


def test_a_stopping_gateway_ends_tunnels_after_its_grace_and_records_them(before: Before, sockets: Sockets) -> None:
    gateway = before(sockets.port, stop_grace_seconds=0.2)
    with connected(gateway) as client:
        client.send("hello")
        assert client.recv() == "hello"
        gateway.stop()
        with pytest.raises(ConnectionClosed):
            client.recv()
    assert [entry.kind for entry in gateway.entries()] == [0, 1]
    assert gateway.entries()[1].bytes_in > 5


def test_a_tunnel_of_an_operation_that_costs_nothing_is_open_at_once(
    make_gateway: GatewayMaker, sockets: Sockets
) -> None:
    card = listing("websocket").card
    free = CompiledCard(replace(card, default_operation=replace(card.default_operation, kind=Kind.FREE)))
    gateway = make_gateway(url=f"http://127.0.0.1:{sockets.port}", compiled=free)
    with connected(gateway) as client:
        client.send("hello")
        assert client.recv() == "hello"
    until(lambda: not tunnels(gateway))
    assert not gateway.entries()


def test_a_tunnel_is_in_flight_until_it_ends(make_gateway: GatewayMaker, sockets: Sockets) -> None:
    card = listing("websocket").card
    single = CompiledCard(replace(card, plans=tuple(replace(plan, concurrency=1) for plan in card.plans)))
    gateway = make_gateway(url=f"http://127.0.0.1:{sockets.port}", compiled=single)
    with connected(gateway):
        assert gateway.caller().ask("GET", "/").status == 429
    until(lambda: not tunnels(gateway))
    assert gateway.caller().ask("GET", "/").status == 426


def test_a_caller_that_stopped_sending_before_the_101_gets_what_the_other_side_sends(
    before: Before, listener: socket.socket
) -> None:
    gateway = before(listener.getsockname()[1])
    caller = gateway.caller().say(ASKED + "\r\n", b"all I say")
    caller.socket.shutdown(socket.SHUT_WR)
    listener.settimeout(60)
    upstream, _ = listener.accept()
    upstream.settimeout(60)
    assert upstream.recv(65536).endswith(b"\r\n\r\n")
    until(lambda: any(each._eof for each in gateway.worker.plane.clients))
    upstream.sendall(SWITCHED + b"\r\n")
    assert upstream.recv(100) == b"all I say"
    assert upstream.recv(100) == b""
    upstream.sendall(b"answer")
    upstream.close()
    assert caller.raw().endswith(b"\r\n\r\nanswer")
    assert closed(gateway)[1].outcome == "charged"


def test_upgrades_at_once_become_no_more_tunnels_than_may_be(before: Before, upstream: StubUpstream) -> None:
    upstream.default = Behaviour(interim=SWITCHED + b"\r\n", never_answer=True, delay_seconds=0.2)
    gateway = before(upstream.port, tunnels_max=1)
    callers = [gateway.caller().say(ASKED + "\r\n") for _ in range(8)]
    assert sorted(caller.socket.recv(12) for caller in callers) == [b"HTTP/1.1 101"] + [b"HTTP/1.1 503"] * 7


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(status=403),
        Behaviour(status=403, chunked=True, body=b"x" * 300_000),
        Behaviour(reset_after=0),
        Behaviour(raw=b"nonsense"),
        Behaviour(raw=SWITCHED + b"\r\n"),
        Behaviour(never_answer=True),
    ],
)
@pytest.mark.parametrize("kind", [Kind.METERED, Kind.FREE, Kind.OPEN])
def test_however_a_call_ends_that_asked_for_a_tunnel_the_next_one_has_its_place(
    make_gateway: GatewayMaker, upstream: StubUpstream, behaviour: Behaviour, kind: Kind
) -> None:
    upstream.default = behaviour
    card = replace(cards.load("generic"), upgrades=("websocket",))
    card = replace(card, default_operation=replace(card.default_operation, kind=kind))
    gateway = make_gateway(compiled=CompiledCard(card), tunnels_max=1)
    caller = gateway.caller().say(ASKED + "\r\n")
    upstream.wait_for(1)
    if not behaviour.never_answer:
        caller.socket.recv(12)
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close resets
    caller.close()
    until(lambda: gateway.on_loop(gateway.worker._tunnels.has_room))
    assert (tunnels(gateway), gateway.on_loop(lambda: len(gateway.worker._tunnels.asked))) == (0, 0)
