"""A real upstream on a free port that records what it gets and behaves as it is told, well or badly.

    with StubUpstream() as upstream:
        upstream.answer("/slow", Behaviour(delay_seconds=1))
        ...
        assert upstream.requests[0].fields["via"] == "1.1 farebox"

It runs in a thread of its own on plain sockets, so that it can also do what no HTTP library would let it do.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from typing import Final, Self

RECEIVE_BYTES: Final = 256 * 1024
HEAD_BYTES_MAX: Final = 1024 * 1024
WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What happens to a request.

    `raw` is sent as it is instead of status, fields and body. `after`: the answer waits until it is set.
    `reset_after`: so many bytes of the answer, then a reset; -1: never reset. `close_after`: the connection ends
    after it. `stream_bytes`: a body of so many zero bytes is made on the fly after the head, `chunked` or with a
    Content-Length.
    """

    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b"{}"
    raw: bytes | None = None
    interim: bytes = b""
    continue_first: bool = True
    delay_seconds: float = 0.0
    after: threading.Event | None = None
    never_answer: bool = False
    reset_after: int = -1
    close_after: bool = False
    chunked: bool = False
    stream_bytes: int = 0
    read_body: bool = True
    slow_read_bytes_per_second: int = 0


@dataclass(slots=True)
class Received:
    """A request as the upstream saw it. Names are in lower case; repeated fields are joined with ", "."""

    method: str
    target: str
    version: str
    fields: dict[str, str]
    head: bytes
    body: bytes = b""
    body_bytes: int = 0
    """Counted also where `keep_bodies` is off."""
    connection: int = 0
    complete: bool = False


@dataclass(slots=True)
class _Buffer:
    connection: socket.socket
    data: bytes = b""

    def until(self, mark: bytes) -> bytes | None:
        """Everything up to and with `mark`; None at the end of the stream."""
        while mark not in self.data:
            more = self.connection.recv(RECEIVE_BYTES)
            if not more or len(self.data) > HEAD_BYTES_MAX:
                return None
            self.data += more
        found, _, self.data = self.data.partition(mark)
        return found + mark

    def some(self, most: int) -> bytes:
        """At least one byte, at most `most`; empty at the end of the stream."""
        if self.data:
            found, self.data = self.data[:most], self.data[most:]
            return found
        return self.connection.recv(min(most, RECEIVE_BYTES))


class StubUpstream:
    """The upstream. Every request of a connection is answered in turn; connections are served by a thread each."""

    def __init__(self, *, keep_bodies: bool = True, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.keep_bodies = keep_bodies
        self.default = Behaviour()
        self._behaviours: dict[str, list[Behaviour]] = {}
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._closing = False
        threading.Thread(target=self._accept, name="stub-upstream", daemon=True).start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Its address as a configuration has it."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def answer(self, path: str, *behaviours: Behaviour) -> None:
        """Requests for `path` (without query) get these one after the other; the last one for ever."""
        self._behaviours[path] = list(behaviours)

    def wait_for(self, count: int, *, within_seconds: float = WAIT_SECONDS) -> list[Received]:
        """The requests so far, as soon as there are `count` of them; AssertionError when there are not in time."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.requests) >= count, within_seconds)
        assert arrived, f"{len(self.requests)} requests instead of {count} after {within_seconds} s"
        return self.requests

    def close(self) -> None:
        """Stop listening and end every connection."""
        self.stop_listening()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop_listening(self) -> None:
        """Refuse new connections; open ones go on."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close_connections(self) -> None:
        """End every open connection, as a server does that restarts."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:  # the handshake comes with the first read, in the connection's own thread
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            self._open.add(connection)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        buffer = _Buffer(connection)
        try:
            while self._serve_one(buffer, number):
                pass
        except OSError:
            pass  # the gateway went away, as many tests make it
        finally:
            self._open.discard(connection)
            connection.close()

    def _serve_one(self, buffer: _Buffer, number: int) -> bool:
        head = buffer.until(b"\r\n\r\n")
        if head is None:
            return False
        received = _received(head, number)
        behaviour = self._next(received.target.partition("?")[0])
        with self._changed:
            self.requests.append(received)
            self._changed.notify_all()
        if behaviour.continue_first and received.fields.get("expect") == "100-continue":
            buffer.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if behaviour.read_body:
            self._read_body(buffer, received, behaviour)
        return self._answer(buffer.connection, received, behaviour)

    def _next(self, path: str) -> Behaviour:
        waiting = self._behaviours.get(path)
        if not waiting:
            return self.default
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def _read_body(self, buffer: _Buffer, received: Received, behaviour: Behaviour) -> None:
        kept: list[bytes] = []
        if received.fields.get("transfer-encoding") == "chunked":
            while size := int((buffer.until(b"\r\n") or b"0\r\n").split(b";")[0], 16):
                self._take(buffer, size, received, kept, behaviour)
                buffer.until(b"\r\n")
            buffer.until(b"\r\n")
        else:
            self._take(buffer, int(received.fields.get("content-length", "0")), received, kept, behaviour)
        received.body = b"".join(kept)
        received.complete = True

    def _take(self, buffer: _Buffer, size: int, received: Received, kept: list[bytes], behaviour: Behaviour) -> None:
        while size:
            data = buffer.some(size)
            if not data:
                raise ConnectionResetError
            size -= len(data)
            received.body_bytes += len(data)
            if self.keep_bodies:
                kept.append(data)
            if behaviour.slow_read_bytes_per_second:
                time.sleep(len(data) / behaviour.slow_read_bytes_per_second)

    def _answer(self, connection: socket.socket, received: Received, behaviour: Behaviour) -> bool:
        if behaviour.delay_seconds:
            time.sleep(behaviour.delay_seconds)
        if behaviour.after is not None:
            behaviour.after.wait()
        if behaviour.interim:
            connection.sendall(behaviour.interim)
        if behaviour.never_answer:
            connection.recv(1)
            return False
        answer = behaviour.raw if behaviour.raw is not None else _answer_bytes(received, behaviour)
        if behaviour.reset_after >= 0:
            connection.sendall(answer[: behaviour.reset_after])
            # Linger 0: close sends a reset, not an end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        connection.sendall(answer)
        if behaviour.stream_bytes and received.method != "HEAD":
            _stream(connection, behaviour)
        if behaviour.close_after and isinstance(connection, ssl.SSLSocket):
            connection.unwrap()  # says that this was all
        return not behaviour.close_after and behaviour.raw is None


def _received(head: bytes, number: int) -> Received:
    lines = head.decode("latin-1").split("\r\n")
    method, target, version = lines[0].split(" ", 2)
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            fields[key] = f"{fields[key]}, {value.strip()}" if key in fields else value.strip()
    return Received(method, target, version, fields, head, connection=number)


def _answer_bytes(received: Received, behaviour: Behaviour) -> bytes:
    lines = [f"HTTP/1.1 {behaviour.status} Stub"]
    names = {name.lower() for name, _ in behaviour.fields}
    lines += [f"{name}: {value}" for name, value in behaviour.fields]
    if "content-type" not in names and behaviour.body:
        lines.append("Content-Type: application/json")
    bodiless = behaviour.status in (204, 304)
    if behaviour.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif not bodiless and not behaviour.close_after:
        lines.append(f"Content-Length: {behaviour.stream_bytes or len(behaviour.body)}")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    if bodiless or received.method == "HEAD" or behaviour.stream_bytes:
        return head
    if behaviour.chunked:
        return head + b"%x\r\n" % len(behaviour.body) + behaviour.body + b"\r\n0\r\n\r\n"
    return head + behaviour.body


def _stream(connection: socket.socket, behaviour: Behaviour) -> None:
    piece = bytes(RECEIVE_BYTES)
    left = behaviour.stream_bytes
    while left:
        part = piece[:left]
        left -= len(part)
        connection.sendall(b"%x\r\n%b\r\n" % (len(part), part) if behaviour.chunked else part)
    if behaviour.chunked:
        connection.sendall(b"0\r\n\r\n")
