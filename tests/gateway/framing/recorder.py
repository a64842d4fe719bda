"""Upstreams that read what they are sent with h11, a strict parser that shares nothing with ours."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from pathlib import Path
from typing import Final, Self

import h11

DEADLINE_SECONDS: Final = 60.0
HEAD_BYTES_MAX: Final = 256 * 1024
ESCAPED_UNRESERVED: Final = re.compile(r"%(?:2[de]|3[0-9]|[46][1-9a-f]|[57][0-9a]|5f|7e)", re.IGNORECASE)

Seen = tuple[str, str, bytes]
"""Method, target, body."""


class Listener:
    """A server on a free port, a thread per connection; what one does is for whoever derives from it."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="recorder", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def serve(self, connection: socket.socket, number: int) -> None:
        """Everything that happens on a connection; it is closed afterwards."""
        raise NotImplementedError

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(connection)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):  # the proxy may go away in the middle
            self.serve(connection, number)
        self._open.discard(connection)
        connection.close()


class Recorder(Listener):
    """`taken` are the whole requests in the order they became whole; `faults` what a strict parser does not take."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._seen: list[Seen] = []
        super().__init__()

    def taken(self) -> list[Seen]:
        """What was seen since the last time."""
        seen, self._seen = self._seen, []
        return seen

    def serve(self, connection: socket.socket, number: int) -> None:  # noqa: ARG002 - it records all alike
        """Record and answer, until the proxy ends."""
        reading = Reading()
        try:
            while data := connection.recv(65536):
                reading.feed(data)
                while (request := reading.next_request()) is not None:
                    self._seen.append(request)
                    connection.sendall(reading.answer())
                connection.sendall(reading.go_on())
        except h11.RemoteProtocolError as error:
            self.faults.append(f"{error}: {reading.said[-500:]!r}")


class Liar(Listener):
    """Answers a target with the bytes it was given for it, everything else well. `asked`: (target, connection)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.lies: dict[str, tuple[bytes, bool]] = {}
        """By target: the bytes, and whether the connection ends after them."""
        self.pieces: dict[str, tuple[bytes, bytes]] = {}
        """By target: bytes that are surely read apart."""
        super().__init__()

    def serve(self, connection: socket.socket, number: int) -> None:
        """Lie and stay, as one does that wants the connection used again, unless told to end."""
        reading = Reading()
        while data := connection.recv(65536):
            reading.feed(data)
            while (request := reading.next_request()) is not None:
                self.asked.append((request[1], number))
                good = reading.answer()
                if request[1] in self.pieces:
                    first, second = self.pieces[request[1]]
                    connection.sendall(first)
                    _until_read(connection)
                    connection.sendall(second)
                    continue
                lie, ends = self.lies.get(request[1], (good, False))
                connection.sendall(lie)
                if ends:
                    return


def _parser() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)


class Reading:
    """The requests in a stream of bytes. Raises h11.RemoteProtocolError for what is not strictly framed."""

    def __init__(self) -> None:
        self.said = b""
        self._parser = _parser()
        self._head = h11.Request(method="GET", target="/", headers=[("Host", "")])
        self._body = b""

    def feed(self, data: bytes) -> None:
        """More bytes."""
        self.said += data
        self._parser.receive_data(data)

    def next_request(self) -> Seen | None:
        """The next whole request; None: there is none yet."""
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Request):
                self._head, self._body = event, b""
                _strict(event)
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return self._head.method.decode(), plain(self._head.target.decode("latin-1")), self._body
            else:
                return None

    def answer(self) -> bytes:
        """A small 200, and ready for the next request."""
        body = b"" if self._head.method == b"HEAD" else b"ok"
        fields = [("Content-Length", "2")]
        said = self._parser.send(h11.Response(status_code=200, headers=fields)) or b""
        if body:
            said += self._parser.send(h11.Data(data=body)) or b""
        said += self._parser.send(h11.EndOfMessage()) or b""
        if self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE:
            self._parser.start_next_cycle()
        return said

    def skip_empty_lines(self) -> None:
        """Pass over the line ends before the next request, which h11 does not take (RFC 9112 2.2: a server should)."""
        rest = self._parser.trailing_data[0]
        if self._parser.their_state is h11.IDLE and rest.startswith((b"\r", b"\n")):
            self._parser = _parser()
            self._parser.receive_data(rest.lstrip(b"\r\n"))

    def go_on(self) -> bytes:
        """100 Continue where it is waited for."""
        if not self._parser.they_are_waiting_for_100_continue:
            return b""
        return self._parser.send(h11.InformationalResponse(status_code=100, headers=[])) or b""


def requests_in(said: bytes, *, empty_lines: bool = False) -> list[Seen]:
    """The whole requests that h11 reads in a caller's bytes, up to what it does not take, or past `empty_lines`."""
    reading, found = Reading(), []
    reading.feed(said)
    with contextlib.suppress(h11.RemoteProtocolError):
        while (request := reading.next_request()) is not None:
            found.append(request)
            reading.answer()
            if empty_lines:
                reading.skip_empty_lines()
    return found


def _until_read(connection: socket.socket) -> None:
    """Wait until the other side's kernel has handed over all that was sent: its receive queue is empty."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while _unread(connection):
        assert time.monotonic() < deadline, "what was sent is not read"
        time.sleep(0.001)


def _unread(connection: socket.socket) -> bool:
    """Whether the other side, on this machine, has bytes of ours that it did not read (Linux: /proc/net/tcp)."""
    here, there = connection.getsockname()[1], connection.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, _, queues = line.split()[:5]
        if (int(local[-4:], 16), int(remote[-4:], 16)) == (there, here):
            return int(queues.split(":")[1], 16) > 0
    return False


def plain(target: str) -> str:
    """A target with its escapes in one spelling (RFC 3986 6.2.2): unreserved characters as they are."""
    path, mark, query = target.partition("?")
    decoded = ESCAPED_UNRESERVED.sub(lambda escape: chr(int(escape[0][1:], 16)), path)
    return re.sub("%..", lambda escape: escape[0].upper(), decoded) + mark + query


def _strict(head: h11.Request) -> None:
    """What h11 forgives and a smuggler needs."""
    names = [bytes(name) for name, _ in head.headers]
    if names.count(b"host") != 1:
        raise h11.RemoteProtocolError("Host is not given once")
    if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
        raise h11.RemoteProtocolError("more than one framing field")
