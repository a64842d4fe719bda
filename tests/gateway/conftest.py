"""A whole gateway worker on free ports and a temporary directory, and a caller that speaks bytes."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httptools
import pytest
import uvloop

from farebox import cards
from farebox.config import Config, Fixed, GatewayConfig, HttpUrl, Introspection, Lookup, Upstream
from farebox.domain.cards import CompiledCard
from farebox.gateway.concurrency import limits_of
from farebox.gateway.listening import listen
from farebox.gateway.worker import Parts, Watch, Worker, run
from farebox.journal import reader
from farebox.journal.directory import incarnations
from farebox.journal.records import Entry
from farebox.quota.allowances import allowance_of
from farebox.quota.directory import Directory, DirectoryWatch
from farebox.quota.port import QuotaStore
from farebox.quota.sqlite import SqliteQuotaStore
from farebox.testing.upstream import StubUpstream

DEADLINE_SECONDS = 60.0


def until(condition: Callable[[], Any], *, within_seconds: float = DEADLINE_SECONDS) -> Any:
    """The first true value of `condition`, looked at often; AssertionError when it stays false."""
    deadline = time.monotonic() + within_seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


class Answer:
    """One answer as a caller read it."""

    def __init__(self) -> None:
        self.status = 0
        self.version = ""
        self.fields: dict[str, str] = {}
        self.names: list[str] = []
        self.body = b""
        self.interim: list[int] = []

    def json(self) -> Any:
        return json.loads(self.body)


class _Reading:
    def __init__(self, *, to_head: bool) -> None:
        self.answer = Answer()
        self.body: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)
        self.done = False
        self.to_head = to_head
        self.wants = 1
        """Bytes that surely belong to this answer: one, until its length is known."""

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode().lower()
        self.answer.names.append(name.decode())
        old = self.answer.fields.get(key)
        self.answer.fields[key] = value.decode("latin-1") if old is None else f"{old}, {value.decode('latin-1')}"

    def on_headers_complete(self) -> None:
        self.answer.status = self.parser.get_status_code()
        self.answer.version = self.parser.get_http_version()
        self.wants = int(self.answer.fields.get("content-length", "1"))
        if self.answer.status >= 200 and self.to_head:
            self.done = True

    def on_body(self, data: bytes) -> None:
        self.body.append(data)
        if "content-length" in self.answer.fields:
            self.wants -= len(data)

    def on_message_complete(self) -> None:
        if self.answer.status < 200:
            self.answer.interim.append(self.answer.status)
            self.answer.fields, self.answer.names = {}, []
            self.wants = 1
        else:
            self.done = True


class Caller:
    """A connection to the gateway that says exactly the bytes it is told."""

    def __init__(
        self, address: tuple[str, int], *, tls: ssl.SSLContext | None = None, name: str = "", source: str = ""
    ) -> None:
        self.socket = socket.create_connection(address, DEADLINE_SECONDS, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=name, suppress_ragged_eofs=False)

    def say(self, *data: bytes | str) -> Caller:
        for part in data:
            self.socket.sendall(part.encode("latin-1") if isinstance(part, str) else part)
        return self

    def ask(
        self, method: str = "GET", target: str = "/", *, body: bytes = b"", fields: dict[str, str] | None = None
    ) -> Answer:
        lines = {"Host": "gateway", **(fields or {})}
        if body:
            lines["Content-Length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items()) + "\r\n"
        self.say(head.encode("latin-1") + body)
        return self.hear(to_head=method == "HEAD")

    def hear(self, *, to_head: bool = False) -> Answer:
        """The next answer, and not a byte of what follows it."""
        reading = _Reading(to_head=to_head)
        while not reading.done:
            try:
                data = self.socket.recv(min(reading.wants, 65536))
            except ConnectionResetError:
                data = b""
            if not data:
                assert reading.answer.status, "the connection ended before an answer"
                break
            reading.parser.feed_data(data)
        reading.answer.body = b"".join(reading.body)
        return reading.answer

    def raw(self) -> bytes:
        """Everything until the gateway closes."""
        said = b""
        while True:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return said
            if not data:
                return said
            said += data

    def is_closed(self) -> bool:
        self.socket.settimeout(DEADLINE_SECONDS)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()


class Gateway:
    """A running worker and everything around it."""

    def __init__(
        self, folder: Path, upstreams: tuple[Upstream, ...], settings: GatewayConfig, card: CompiledCard | None
    ) -> None:
        self.folder = folder
        self.config = Config(data=folder, gateway=settings, upstream=upstreams)
        self.cards = {u.name: card or CompiledCard(cards.load(u.card)) for u in upstreams}
        self.directory = Directory.open(folder)
        self.worker: Worker
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._callers: list[Caller] = []
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self.thread = threading.Thread(target=self._run, daemon=True)

    def org(
        self,
        org: str = "acme",
        *,
        plan: str = "standard",
        users: int = 1,
        base: int | None = None,
        upstream: str = "api",
    ) -> str:
        """An org with a plan of the upstream's card; its key."""
        card = self.cards[upstream].card
        self.directory.add_org(org, name=org.title())
        self.directory.subscribe(org, card.product, card=card.name, plan=plan, users=users, base=base)
        return self.directory.add_key(org).key

    def start(self) -> Gateway:
        self.thread.start()
        assert self._started.wait(DEADLINE_SECONDS)
        if self._failure is not None:
            raise self._failure
        return self

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - shown by the test that started it
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()

        def card_named(name: str) -> Any:
            return next(compiled.card for compiled in self.cards.values() if compiled.card.name == name)

        def open_store(watch: Watch) -> QuotaStore:
            return SqliteQuotaStore(
                self.folder / "spend.db",
                allowance_of=allowance_of(lambda: watch.image, card_named),
                directory_version=lambda: watch.image.version,
            )

        parts = Parts(
            config=self.config,
            cards=self.cards,
            watch=lambda: DirectoryWatch(self.folder),
            open_store=open_store,
            journal_root=self.folder / "journal",
            target_salt=b"s" * 16,
            limits_of=limits_of(card_named),
        )

        def started(worker: Worker) -> None:
            self.worker = worker
            self._started.set()

        await run(parts, listener=listen(self.config.gateway.listen), stop=self._stop, started=started)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.worker.address.rpartition(":")
        return host, int(port)

    def caller(self, *, tls: ssl.SSLContext | None = None, name: str = "") -> Caller:
        caller = Caller(self.address, tls=tls, name=name)
        self._callers.append(caller)
        return caller

    def entries(self) -> list[Entry]:
        """What is committed in the journal."""
        found = []
        for incarnation in incarnations(self.folder / "journal"):
            found += [entry for entry, _ in reader.read(self.folder / "journal" / incarnation)]
        return found

    def entry(self, index: int = 0, *, count: int = 1) -> Entry:
        """One entry, once there are `count`."""
        until(lambda: len(self.entries()) >= count)
        return self.entries()[index]

    def on_loop(self, action: Callable[[], Any]) -> Any:
        """Run `action` in the worker's loop; its result."""

        async def act() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(DEADLINE_SECONDS)

    def held(self) -> int:
        return int(self.on_loop(self.worker.book.held))

    def age(self, wait: str, seconds: float) -> None:
        """Everybody who waits in that class of gateway/waits.py has waited for so much longer; and a tick saw it."""

        def shift() -> None:
            since = getattr(self.worker.waits, wait)._since
            since.update({waiter: at - seconds for waiter, at in since.items()})
            self.worker.waits.timeouts._tick()

        self.on_loop(shift)

    def waiting(self, wait: str) -> int:
        """How many wait in that class."""
        return int(self.on_loop(getattr(self.worker.waits, wait).__len__))

    def stop(self) -> None:
        for caller in self._callers:
            caller.close()
        if self.thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self.thread.join(DEADLINE_SECONDS)
            assert not self.thread.is_alive(), "the worker did not stop"
        self.directory.close()
        if self._failure is not None:
            raise self._failure


class GatewayMaker:
    """Makes gateways in front of a stub upstream, and stops them."""

    def __init__(self, folder: Path, upstream: StubUpstream) -> None:
        self.folder = folder
        self.upstream = upstream
        self._made: list[Gateway] = []

    def __call__(
        self,
        *,
        card: str = "generic",
        compiled: CompiledCard | None = None,
        url: str = "",
        identity: Any = "fixed",
        introspection: Introspection | None = None,
        lookup: Lookup | None = None,
        api_domain: str = "",
        start: bool = True,
        credits: int = 1_000_000,  # noqa: A002 - the word for it
        more: Mapping[str, Any] | None = None,
        others: tuple[Upstream, ...] = (),
        **settings: Any,
    ) -> Gateway:
        """`more`: further settings of the upstream "api"; `others`: upstreams beside it; the rest is of the gateway."""
        upstream = Upstream(
            name="api",
            url=HttpUrl(url or self.upstream.url),
            card=card,
            identity=identity,
            introspection=introspection,
            lookup=lookup,
            api_domain=api_domain,
            fixed=Fixed(org="acme") if identity == "fixed" else None,
            **(more or {}),
        )
        chosen = replace(
            GatewayConfig(),
            **{
                "listen": "127.0.0.1:0",
                "durability": "os",
                "stop_grace_seconds": 3.0,
                "drain_idle_seconds": 0.0,
                "quota_wait_seconds": 30.0,  # a machine that stands still for seconds is no reason for a 503
                **settings,
            },
        )
        gateway = Gateway(self.folder, (upstream, *others), chosen, compiled)
        self._made.append(gateway)
        if start:
            gateway.org(plan="standard", users=0, base=credits * 1000)
            gateway.start()
        return gateway

    def stop(self) -> None:
        for gateway in self._made:
            gateway.stop()


@pytest.fixture
def upstream() -> Iterator[StubUpstream]:
    with StubUpstream() as stub:
        yield stub


@pytest.fixture
def make_gateway(tmp_path: Path, upstream: StubUpstream) -> Iterator[GatewayMaker]:
    maker = GatewayMaker(tmp_path, upstream)
    yield maker
    maker.stop()
