"""An open-loop load: calls begin when the schedule says, whatever became of those before.

A call's latency counts from the moment it was to be sent, so that a gateway that stands still for a second shows as a
second of late calls, and not as one (coordinated omission). Plain sockets and select(): 25 us a call, bounds in
microseconds.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

ANSWER_BYTES_MAX = 1 << 20
SILENCE_SECONDS_MAX = 30.0
END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True)
class Latencies:
    """Microseconds, by three leading digits: at most 0.5 % off, however many there are."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, microseconds: int) -> None:
        """One more."""
        unit = 1
        while microseconds >= 1_000 * unit:
            unit *= 10
        self.counts[microseconds // unit * unit] += 1

    def __add__(self, other: Latencies) -> Latencies:
        return Latencies(self.counts + other.counts)

    def percentile_ms(self, percent: float) -> float:
        """The latency that so many per cent of all calls do not exceed; 0 without any."""
        wanted = self.counts.total() * percent / 100
        for microseconds, number in sorted(self.counts.items()):
            wanted -= number
            if wanted <= 0:
                return microseconds / 1_000
        return 0.0


@dataclass(slots=True)
class Outcome:
    """What became of the calls of a stretch of time."""

    latencies: Latencies = field(default_factory=Latencies)
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[int] = field(default_factory=Counter)
    """Calls answered with 2xx, by the index of their kind."""
    late_max: float = 0.0
    """Seconds by which a call was sent later than planned, for want of a free connection or of processor time."""

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.latencies + other.latencies,
            self.statuses + other.statuses,
            self.kinds + other.kinds,
            max(self.late_max, other.late_max),
        )


class _Connection:
    __slots__ = ("call", "due", "kind", "said", "socket", "wanted")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.said = b""
        self.wanted = 0
        self.due = 0.0
        self.kind = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def status(self) -> int:
        """Read what there is; the status of the answer once it is whole, else 0."""
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the gateway closed a connection under a call")
        self.said += data
        if not self.wanted:
            end = self.said.find(END_OF_HEAD)
            if end < 0:
                return 0
            head = self.said[:end].lower()
            length = head.find(b"content-length:")
            self.wanted = end + 4 + (0 if length < 0 else int(head[length + 15 :].split(b"\r\n", 1)[0]))
            if self.wanted > ANSWER_BYTES_MAX:
                raise ConnectionError("an answer of more than a mebibyte")
        if len(self.said) < self.wanted:
            return 0
        status = int(self.said[9:12])
        self.said, self.wanted = b"", 0
        return status


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it goes over the wire, and the index of its kind."""

    wire: bytes
    kind: int


class Load:
    """Calls of `calls`, round and round, over at most `connections` connections to a port of this machine."""

    def __init__(self, port: int, calls: Sequence[Call], *, connections: int) -> None:
        self._calls = self._forever(calls)
        self._idle = deque(_Connection(port) for _ in range(connections))
        self._busy: set[_Connection] = set()

    def run(self, seconds: float, *, rate: float | None) -> Outcome:
        """Send `rate` calls a second for so long and hear their answers; without a rate, as fast as they are answered.

        Raises ConnectionError when a call gets no (whole) answer.
        """
        outcome = Outcome()
        start = due = time.perf_counter()
        planned = None if rate is None else round(seconds * rate)
        sent = 0
        while True:
            now = time.perf_counter()
            more = now < start + seconds if planned is None else sent < planned
            while more and due <= now and self._idle:
                self._send(due, now, outcome)
                sent += 1
                due = start + sent / rate if rate else now
                more = planned is None or sent < planned
            if not more and not self._busy:
                return outcome
            waits = more and self._idle  # for the next planned instant, not only for answers
            patience = max(0.0, due - time.perf_counter()) if waits else SILENCE_SECONDS_MAX
            readable, _, _ = select.select(self._busy, (), (), patience)
            if not readable and patience == SILENCE_SECONDS_MAX:
                raise ConnectionError(f"no answer for {SILENCE_SECONDS_MAX:g} s")
            for connection in readable:
                self._hear(connection, outcome)

    def close(self) -> None:
        """Close the connections, idle ones between two runs."""
        for connection in (*self._idle, *self._busy):
            connection.socket.close()

    def _send(self, due: float, now: float, outcome: Outcome) -> None:
        connection, call = self._idle.popleft(), next(self._calls)
        connection.due, connection.kind = due, call.kind
        connection.socket.sendall(call.wire)
        self._busy.add(connection)
        outcome.late_max = max(outcome.late_max, now - due)

    def _hear(self, connection: _Connection, outcome: Outcome) -> None:
        status = connection.status()
        if not status:
            return
        outcome.latencies.add(int((time.perf_counter() - connection.due) * 1e6))
        outcome.statuses[status] += 1
        if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110 15.3
            outcome.kinds[connection.kind] += 1
        self._busy.discard(connection)
        self._idle.append(connection)

    @staticmethod
    def _forever(calls: Sequence[Call]) -> Iterator[Call]:
        while True:
            yield from calls
