"""One gateway worker, from its parts, and the order of its end. Long because it is where all the parts meet.

Order of stopping: no new connections, calls under way end (or are cut after `stop_grace_seconds`), idle connections
close after `drain_idle_seconds`, what calls cost is committed, the last sync returns every lease and closes the
incarnation, and only then is the journal's directory free.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog
import uvloop

from farebox.config import Address, Config, GatewayConfig, Upstream, UpstreamTls
from farebox.domain.cards import CompiledCard
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS
from farebox.domain.routing import place
from farebox.errors import DataDirectoryError, QuotaUnavailableError
from farebox.gateway.certificates import Certificates
from farebox.gateway.concurrency import LimitsOf, concurrency_for
from farebox.gateway.counter_page import CounterPage, Counters
from farebox.gateway.directory_age import DirectoryAge
from farebox.gateway.figures import LoopLag, Sources, read_in_loop
from farebox.gateway.handshakes import Handshakes
from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.http1_pool import UpstreamPool
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.identify import Identifier
from farebox.gateway.leading_back import LedBackCall
from farebox.gateway.listening import BACKLOG, listen
from farebox.gateway.meter import Call
from farebox.gateway.plane import JOURNAL_FILLING, Journal, Matches, Plane, Route
from farebox.gateway.proxies import TrustedProxies
from farebox.gateway.stalled import StallWatch
from farebox.gateway.standing import Standing
from farebox.gateway.tls import upstream_verification
from farebox.gateway.token_books import TokenBooks
from farebox.gateway.tunnel import Tunnels
from farebox.gateway.upstream import IN_ORDER, Balance, Servers, connections
from farebox.gateway.waits import Waits
from farebox.journal.position import Position
from farebox.journal.records import Entry
from farebox.journal.writer import JournalWriter
from farebox.metrics.endpoint import ProcessEndpoint
from farebox.quota.adoption import Adopter
from farebox.quota.directory_image import DirectoryImage
from farebox.quota.leases import LeaseBook
from farebox.quota.port import Gateway, QuotaStore
from farebox.quota.syncer import StoreThread, Syncer

DIRECTORY_SECONDS: Final = 0.5
"""How often the directory's version is looked at: a revoked key is refused well within one lease time."""

ACCOUNTS_MAX: Final = 100_000
"""Accounts remembered by their names: making one anew for every entry cost 1 us."""

HEARTBEAT_SECONDS: Final = 1.0
DRAIN_LOOK_SECONDS: Final = 0.02
GC_THRESHOLD: Final = 20_000
"""Young objects before a collection: at Python's 700 it ran every 30 calls and took 4 % of the time."""

_log = structlog.get_logger("farebox.gateway")


class Watch(Protocol):
    """The directory, kept fresh; `farebox.quota.directory.DirectoryWatch`."""

    image: DirectoryImage

    def refresh(self) -> bool:
        """Load the image again if its version grew."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a worker is made of. `cards` are by upstream name; `open_store` runs in the worker's quota thread."""

    config: Config
    cards: Mapping[str, CompiledCard]
    watch: Callable[[], Watch]
    open_store: Callable[[Watch], QuotaStore]
    journal_root: Path
    target_salt: bytes
    """Keys the hash of paths in entries; the same for all workers and restarts, so that repeats can be seen."""
    limits_of: LimitsOf
    """What an org's plan allows in flight."""
    slot: int = 0
    page: CounterPage | None = None
    """Where the workers of this machine count what is in flight; None: this one counts alone."""
    seat: int = 0
    """Its place in the page: no other living process has it."""


def main(parts: Parts, *, listener: socket.socket | None = None, heartbeat: int | None = None) -> None:
    """Run a worker in this process until SIGTERM or SIGINT."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(parts, listener=listener, heartbeat=heartbeat))


async def run(
    parts: Parts,
    *,
    listener: socket.socket | None = None,
    heartbeat: int | None = None,
    stop: asyncio.Event | None = None,
    started: Callable[[Worker], None] = lambda _: None,
) -> None:
    """Take calls until `stop` is set or SIGTERM or SIGINT comes; returns when everything is given back.

    `listener`: an inherited listening socket; without one, `gateway.listen` is bound here. `heartbeat`: a pipe to write
    a byte to every second. Raises FareboxErrors for what keeps it from starting, and what made it stop by itself (a
    broken quota protocol, a bug): whoever started it then starts a fresh incarnation.
    """
    stop = stop or asyncio.Event()
    worker = Worker(parts, listener or listen(parts.config.gateway.listen), heartbeat, stop=stop)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: whoever runs us sets `stop`
            loop.add_signal_handler(number, stop.set)
    await worker.start()
    try:
        started(worker)
        await stop.wait()
    finally:
        await worker.stop()
    if worker.fault is not None:
        raise worker.fault


class Worker:
    """The running parts of one worker."""

    def __init__(self, parts: Parts, listener: socket.socket, heartbeat: int | None, *, stop: asyncio.Event) -> None:
        self._parts = parts
        self._stop_asked = stop
        self.fault: BaseException | None = None
        """What made it ask to be stopped."""
        self._listener = listener
        self._heartbeat = heartbeat
        self._beaten_at = 0.0
        self._filling = False
        self._pools: list[UpstreamPool | Servers] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._accounts: dict[tuple[str, str, str], Account] = {}
        self._certificates = self._tls_files()
        self._handshakes: Handshakes | None = None
        host, port = listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        """Where it listens, with the port it got."""

    def _tls_files(self) -> Certificates | None:
        """Every certificate file can be used, or TlsFilesError: found out before anything is opened."""
        config = self._parts.config
        for upstream in config.upstream:
            for asked in (upstream, upstream.introspection, upstream.lookup):
                if asked is not None and asked.tls is not None:
                    upstream_verification(asked.tls, host="")
        settings = config.gateway
        return Certificates(settings.tls_certificate, settings.tls_key) if settings.tls_certificate else None

    async def start(self) -> None:
        """Open journal and quota, take over what dead gateways left, and accept; long: all parts, in their order."""
        parts, settings = self._parts, self._parts.config.gateway
        loop = self._loop = asyncio.get_running_loop()
        self._directory_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="farebox-directory")
        self._watch = watch = await loop.run_in_executor(self._directory_thread, parts.watch)
        incarnation = f"{time.time_ns() // 1_000_000:012x}-{parts.slot}-{os.urandom(6).hex()}"
        gateway = Gateway(socket.gethostname(), parts.slot, incarnation)
        self.book = LeaseBook(gateway, boottime, fail_open=settings.quota_out_of_reach == "open")
        self._thread = StoreThread(lambda: parts.open_store(watch))
        await self._open_quota()
        self._syncer = Syncer(self.book, self._thread, clock=boottime, on_fault=self._fault)
        self.journal = JournalWriter(
            parts.journal_root,
            incarnation,
            durability=settings.durability,
            loop=loop,
            on_committed=self._committed,
            segment_bytes=settings.journal_segment_bytes,
            journal_bytes_max=settings.journal_bytes_max,
        )
        self.counters = Counters(parts.page or CounterPage(), seat=parts.seat)
        self.waits = Waits(settings, loop)
        self._tunnels = Tunnels(tunnels_max=settings.tunnels_max, idle=self.waits.tunnel_idle)
        self._token_books = TokenBooks(
            settings,
            loop=loop,
            connect=self._connections,
            plane=lambda: self.plane,
            directory=lambda: watch.image,
        )
        self.plane = Plane(
            settings,
            loop=loop,
            waits=self.waits,
            routes=tuple(self._route(upstream) for upstream in parts.config.upstream),
            book=self.book,
            journal=self.journal,
            target_salt=parts.target_salt,
            new_call=_led_back_or_not if any(each.api_domain for each in parts.config.upstream) else Call,
            new_upgrade=self._tunnels.new_call,
        )
        self.waits.timeouts.every_tick(self.plane.refusals.flush_if_due)
        self.waits.timeouts.every_tick(self.plane.refusal_log.write_if_due)
        self.waits.timeouts.every_tick(self._look_at_journal)
        self._stall_watch = StallWatch(
            self.journal, folder=str(parts.journal_root), now=loop.time, use=self._use_journal
        )
        self.waits.timeouts.every_tick(self._stall_watch.look)
        self.waits.timeouts.run()
        self._syncer.start()
        self._adopter = Adopter(parts.journal_root, self._thread)
        self._adopter.start()
        self._directory_age = DirectoryAge(now=loop.time, say=self._say_of_directory)
        self.waits.timeouts.every_tick(self._directory_age.look)
        self._tasks.append(loop.create_task(self._watch_directory()))
        self._metrics = ProcessEndpoint(
            parts.config.data,
            f"gateway-{parts.slot}",
            read_in_loop(loop, self._sources()),
            leaves=self._heartbeat is not None,
        )
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        self._server = await self._accept(settings)
        self._beat()  # the first one says that calls are taken
        self.waits.timeouts.every_tick(self._beat)
        _log.info("gateway.listening", address=self.address, incarnation=incarnation)

    async def _accept(self, settings: GatewayConfig) -> asyncio.Server | Handshakes:
        certificates = self._certificates
        if certificates is None:
            return await self._loop.create_server(
                lambda: ClientConnection(self.plane), sock=self._listener, backlog=BACKLOG
            )
        self.waits.timeouts.every_tick(lambda: certificates.look_if_due(self._loop.time()))
        self._handshakes = Handshakes(
            self.plane,
            self._listener,
            certificates.context,
            seconds=settings.header_seconds,
            # A caller may take as long over its last answer as over any other, and then says that it ends, too.
            shutdown_seconds=settings.body_idle_seconds,
        )
        return self._handshakes

    def _sources(self) -> Sources:
        """What metrics are read from."""
        lag, timeouts = LoopLag(self._loop), self.waits.timeouts
        timeouts.every_tick(lambda: lag.tick(timeouts.tick_seconds))
        return Sources(
            config=self._parts.config,
            plane=self.plane,
            book=self.book,
            journal=self.journal,
            stall_watch=self._stall_watch,
            syncer=self._syncer,
            adopter=self._adopter,
            lag=lag,
            tunnels=self._tunnels,
            certificates=self._certificates,
            directory_version=lambda: self._watch.image.version,
            directory_age=self._directory_age,
            now=boottime,
        )

    async def _open_quota(self) -> None:
        """Make or migrate the quota file now, so that the console has one to read; DataVersionError ends the start."""
        try:
            await self._thread.do(lambda store: store.now())
        except QuotaUnavailableError as error:  # calls are refused until it works: every sync tries again
            _log.warning("quota.unavailable", code=error.code, message=str(error))

    async def stop(self) -> None:
        """Stop as the module says; safe after a failed start of accepting."""
        self.plane.draining = True
        self._server.close()
        await self._drain()
        for client in list(self.plane.clients):
            client.abort()
        await asyncio.sleep(0)  # aborted connections tell their calls, which are charged
        await asyncio.sleep(0.01)
        self._token_books.close()
        if self._handshakes is not None:
            self._handshakes.abort()
        self._tunnels.close()
        for pool in self._pools:
            pool.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.waits.timeouts.stop()
        self.plane.refusals.flush()
        self.plane.refusal_log.write()
        await self._adopter.close()
        self.journal.seal()
        try:
            await self._syncer.close()
        finally:
            self.journal.release()  # only now: before, whoever adopts the dead could have closed the incarnation
        await self._thread.close()
        await asyncio.to_thread(self._metrics.close)
        await self._loop.run_in_executor(self._directory_thread, self._watch.close)
        self._directory_thread.shutdown()
        _log.info("gateway.stopped", address=self.address)

    async def _drain(self) -> None:
        """Until every connection is closed or `stop_grace_seconds` are over.

        Callers keep their idle connections for `drain_idle_seconds`: what they send on one meanwhile is answered, and
        the answer tells them to come again on another. Closed at once, a request on its way would be lost.
        """
        settings, begun = self._parts.config.gateway, self._loop.time()
        while self.plane.clients and (waited := self._loop.time() - begun) < settings.stop_grace_seconds:
            if waited >= settings.drain_idle_seconds:
                for client in list(self.plane.clients):
                    client.close_if_idle()
            await asyncio.sleep(DRAIN_LOOK_SECONDS)  # an event would cost every call

    def _committed(self, entries: list[Entry], position: Position) -> None:
        """A group of entries is on disk: what it charges goes into the next sync."""
        self.plane.tally.entries(entries)
        settled, accounts = self.book.settled, self._accounts
        for entry in entries:
            if entry.credits:
                names = (entry.org, entry.product, entry.pool)
                account = accounts.get(names)
                if account is None:
                    if len(accounts) >= ACCOUNTS_MAX:
                        accounts.clear()
                    account = accounts[names] = Account(*names)
                settled(account, entry.stamp // MICROSECONDS, entry.credits)
        self.book.settled_to(position)

    def _route(self, upstream: Upstream) -> Route:
        card = self._parts.cards[upstream.name]
        pool = self._connections(
            upstream.name, upstream.url, upstream.tls, addresses=upstream.addresses, balance=upstream.balance
        )
        fixed = None if upstream.fixed is None else (upstream.fixed.org, upstream.fixed.app)
        return Route(
            name=upstream.name,
            places=tuple(place(host, path) for host in upstream.hosts or ("",) for path in upstream.paths),
            card=card,
            matches=Matches(card),
            pool=pool,
            identifier=Identifier(
                upstream=upstream.name,
                product=card.card.product,
                directory=lambda: self._watch.image,
                concurrency=concurrency_for(self.counters, self._parts.limits_of, card.card.product),
                fixed=fixed if upstream.identity == "fixed" else None,
                tokens=self._token_books.of(upstream, card, pool),
                proxies=TrustedProxies(self._parts.config.gateway.trusted_proxies),
                asks_for="" if upstream.identity != "lookup" or upstream.lookup is None else upstream.lookup.org,
            ),
            standing=Standing(self.book, card.card.dialect),
            api_domain=upstream.api_domain,
        )

    def _connections(  # the worker's settings and patience are the same for all
        self,
        name: str,
        url: str,
        tls: UpstreamTls | None,
        *,
        addresses: tuple[Address, ...] = (),
        balance: Balance = IN_ORDER,
    ) -> UpstreamPool | Servers:
        made = connections(
            self._parts.config.gateway,
            name=name,
            url=url,
            waits=self.waits,
            tls=tls,
            addresses=addresses,
            balance=balance,
        )
        self._pools.append(made)
        return made

    async def _watch_directory(self) -> None:
        while True:
            await asyncio.sleep(DIRECTORY_SECONDS)
            try:
                await self._loop.run_in_executor(self._directory_thread, self._watch.refresh)
            except DataDirectoryError as error:  # the last image stays in force
                self._directory_age.failed(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it was, a key revoked afterwards must be refused
                self._directory_age.failed(repr(error))
                _log.error("directory.failed", message=repr(error), exc_info=error)
            else:
                self._directory_age.was_read()

    def _say_of_directory(self, trouble: str) -> None:
        self.plane.directory_trouble = trouble

    def _use_journal(self, journal: Journal) -> None:
        self.plane.journal = journal

    def _look_at_journal(self) -> None:
        """Say once that the journal fills up, and once that it is well again."""
        filling = self.journal.warning
        if filling != self._filling:
            self._filling = filling
            if filling:
                _log.warning("journal.filling", bytes_used=self.journal.bytes_used, message=JOURNAL_FILLING)
            else:
                _log.info("journal.well", bytes_used=self.journal.bytes_used)

    def _beat(self) -> None:
        now = self._loop.time()
        if self._heartbeat is not None and now - self._beaten_at >= HEARTBEAT_SECONDS:
            self._beaten_at = now
            with contextlib.suppress(OSError):  # the supervisor is gone: its death ends us by SIGTERM, not by this
                os.write(self._heartbeat, b".")

    def _fault(self, error: BaseException) -> None:
        """The quota protocol was broken, a bug: stop and let a fresh incarnation take over."""
        _log.error("gateway.fault", message=str(error))
        self.fault = error
        self._stop_asked.set()


def _led_back_or_not(plane: Plane, client: ClientConnection, head: RequestHead, route: Route) -> Call:
    return (LedBackCall if route.api_domain else Call)(plane, client, head, route)


def boottime() -> int:
    """CLOCK_BOOTTIME in microseconds: never stepped, counts through suspend."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000
