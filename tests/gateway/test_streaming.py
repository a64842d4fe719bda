"""Bodies of any size pass through in bounded memory: the slower side sets the pace."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from farebox.testing.upstream import Behaviour, StubUpstream

from .conftest import Caller, Gateway, GatewayMaker, until

MIB = 1024 * 1024
GIB = 1024 * MIB

# A worker in a process of its own, so that what it needs of memory can be told from what the test does.
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from farebox import cards
from farebox.config import Config, Fixed, GatewayConfig, Upstream
from farebox.domain.cards import CompiledCard
from farebox.gateway.listening import listen
from farebox.gateway.worker import Parts, main
from farebox.quota.allowances import allowance_of
from farebox.quota.directory import Directory, DirectoryWatch
from farebox.quota.sqlite import SqliteQuotaStore

folder = Path(sys.argv[1])
card = cards.load("generic")
directory = Directory.open(folder)
directory.add_org("acme", name="Acme")
directory.subscribe("acme", card.product, card=card.name, plan="standard", users=1)
settings = GatewayConfig(listen="127.0.0.1:0")
upstream = Upstream(name="api", url=sys.argv[2], card="generic", identity="fixed", fixed=Fixed(org="acme"))
listener = listen(settings.listen)
print(listener.getsockname()[1], flush=True)
main(
    Parts(
        config=Config(data=folder, gateway=settings, upstream=(upstream,)),
        cards={"api": CompiledCard(card)},
        watch=lambda: DirectoryWatch(folder),
        open_store=lambda watch: SqliteQuotaStore(
            folder / "spend.db", allowance_of=allowance_of(lambda: watch.image, lambda _: card)
        ),
        journal_root=folder / "journal",
        target_salt=b"s" * 16,
        limits_of=lambda *_: None,
    ),
    listener=listener,
)
"""


class Process:
    def __init__(self, folder: Path, upstream: StubUpstream) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), upstream.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.most = 0
        self._watching = True
        threading.Thread(target=self._watch, daemon=True).start()

    def caller(self) -> Caller:
        return Caller(("127.0.0.1", self.port))

    def _watch(self) -> None:
        seen = psutil.Process(self.process.pid)
        while self._watching:
            try:
                self.most = max(self.most, seen.memory_info().rss)
            except psutil.Error:
                return
            time.sleep(0.02)

    def stop(self) -> None:
        self._watching = False
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture
def big_upstream() -> Iterator[StubUpstream]:
    with StubUpstream(keep_bodies=False) as stub:
        yield stub


@pytest.fixture
def process(tmp_path: Path, big_upstream: StubUpstream) -> Iterator[Process]:
    running = Process(tmp_path, big_upstream)
    yield running
    running.stop()


def drain(caller: Caller) -> int:
    """Read everything until the end; how much it was."""
    size = 0
    while data := caller.socket.recv(MIB):
        size += len(data)
    return size


@pytest.mark.slow
def test_a_gibibyte_both_ways_takes_less_than_100_mib(process: Process, big_upstream: StubUpstream) -> None:
    big_upstream.answer("/down", Behaviour(stream_bytes=GIB))
    caller = process.caller().say("GET /down HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    assert drain(caller) > GIB
    caller = process.caller().say(f"PUT /up HTTP/1.1\r\nHost: g\r\nContent-Length: {GIB}\r\n\r\n")
    piece = bytes(MIB)
    for _ in range(GIB // MIB):
        caller.say(piece)
    assert caller.hear().status == 200
    assert big_upstream.requests[1].body_bytes == GIB
    assert process.most < 100 * MIB, f"{process.most / MIB:.0f} MiB"


@pytest.mark.slow
def test_a_chunked_upload_to_an_upstream_that_reads_slowly_takes_little_memory(
    process: Process, big_upstream: StubUpstream
) -> None:
    big_upstream.answer("/up", Behaviour(slow_read_bytes_per_second=60 * MIB))
    caller = process.caller().say("PUT /up HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
    caller.socket.settimeout(60)
    piece = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
    for _ in range(100):
        caller.say(piece)
    assert caller.say("0\r\n\r\n").hear().status == 200
    assert big_upstream.requests[0].body_bytes == 100 * MIB
    assert process.most < 100 * MIB, f"{process.most / MIB:.0f} MiB"


def test_a_caller_that_reads_nothing_stops_the_upstream(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(stream_bytes=GIB))
    caller = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    client = until(lambda: next(iter(gateway.worker.plane.clients), None))
    until(lambda: client.write_paused)
    buffered = gateway.on_loop(client.transport.get_write_buffer_size)
    assert buffered < 4 * MIB
    assert len(caller.socket.recv(1000)) == 1000


def test_a_caller_that_reads_nothing_is_given_up(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway(body_idle_seconds=0.3)
    upstream.answer("/", Behaviour(stream_bytes=GIB))
    gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    charge, close = until(lambda: entries if len(entries := gateway.entries()) == 2 else None)
    assert (charge.credits, close.outcome) == (1000, "cut_off")
    until(lambda: not gateway.on_loop(lambda: len(gateway.worker.plane.clients)))


def test_a_caller_that_reads_slowly_gets_everything(make_gateway: GatewayMaker, upstream: StubUpstream) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(stream_bytes=20 * MIB))
    caller = gateway.caller().say("GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    said = 0
    while data := caller.socket.recv(MIB):
        said += len(data)
        time.sleep(len(data) / (40 * MIB))  # the pace of this caller, not a wait for something to happen
    assert said > 20 * MIB


def test_a_body_in_many_pieces_to_a_slow_upstream_arrives_in_order(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(stream_buffer_bytes=16 * 1024)
    upstream.answer("/", Behaviour(slow_read_bytes_per_second=20 * MIB))
    body = b"".join(b"%08d" % number for number in range(500_000))
    caller = gateway.caller().say(f"PUT / HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n", body)
    assert caller.hear().status == 200
    assert upstream.requests[0].body == body


def test_an_upstream_that_takes_a_large_body_and_never_answers_is_given_up(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(card="zoho-crm", answer_seconds=0.3, body_idle_seconds=5, stream_buffer_bytes=16 * 1024)
    upstream.default = Behaviour(never_answer=True, slow_read_bytes_per_second=10 * MIB)
    body = b'{"data":[{"a":"' + b"x" * 900_000 + b'"}]}'
    caller = gateway.caller()
    assert caller.ask("POST", "/crm/v8/Leads", body=body).status == 504
    caller = gateway.caller()
    assert caller.ask("PUT", "/crm/v8/files", body=bytes(2 * MIB)).status == 504


def test_an_upstream_that_takes_nothing_of_a_body_is_given_up(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway(body_idle_seconds=0.3, answer_seconds=30)
    upstream.default = Behaviour(read_body=False, after=threading.Event())
    caller = gateway.caller().say(f"PUT / HTTP/1.1\r\nHost: g\r\nContent-Length: {GIB}\r\n\r\n")
    piece = bytes(64 * 1024)

    def fill() -> None:
        try:
            while True:
                caller.socket.sendall(piece)
        except OSError:
            return

    threading.Thread(target=fill, daemon=True).start()
    assert gateway.entry().reason == "upstream_timeout"


def test_a_broken_request_body_breaks_an_answer_that_has_begun(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway = make_gateway()
    upstream.answer("/", Behaviour(stream_bytes=GIB, read_body=False))
    caller = gateway.caller().say("PUT / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    assert caller.socket.recv(5) == b"HTTP/"
    said = caller.say("not a chunk\r\n").raw()
    assert b"HTTP/1.1 400" not in said


def test_an_answer_that_comes_before_its_request_is_whole_ends_the_connection(
    make_gateway: GatewayMaker, upstream: StubUpstream
) -> None:
    gateway: Gateway = make_gateway()
    upstream.answer("/", Behaviour(status=413, read_body=False, close_after=True))
    caller = gateway.caller().say(f"PUT / HTTP/1.1\r\nHost: g\r\nContent-Length: {10 * MIB}\r\n\r\n", b"x" * 1000)
    answer = caller.hear()
    assert (answer.status, answer.fields["connection"]) == (413, "close")
    assert gateway.entry().status == 413
