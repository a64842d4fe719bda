"""Drives a lease book: a thread of its own talks to the store, the event loop only builds and applies.

A sync goes out at once when a call waits (one in flight, so those that come meanwhile share the next), and every half
second while anything is in use. A store that cannot answer is asked the same again, byte for byte, with back-off.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from farebox.domain.instants import MICROSECONDS
from farebox.errors import FareboxError, QuotaUnavailableError
from farebox.quota.leases import LeaseBook
from farebox.quota.port import QuotaStore, SyncReply, SyncRequest

BACKOFF_FIRST_SECONDS: Final = 0.05
BACKOFF_MAX_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 0.5
"""How often to look again while nothing is in use."""
CLOSE_SECONDS_MAX: Final = 5.0
"""For the last sync: longer than a disk or a machine that is busy elsewhere stands still, shorter than the ten seconds
that a supervisor gives a gateway beyond its grace."""

Answer = TypeVar("Answer")
_Job = tuple[Callable[[QuotaStore], object], "asyncio.Future[object]"]

_log = structlog.get_logger("farebox.quota")


class StoreThread:
    """The one thread that uses a store. `open_store` runs in it, and is tried again for every job until it works."""

    def __init__(self, open_store: Callable[[], QuotaStore]) -> None:
        self._open_store = open_store
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._store: QuotaStore | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="farebox-quota", daemon=True)
        self._thread.start()

    async def do(self, job: Callable[[QuotaStore], Answer]) -> Answer:
        """Run `job` with the store in the thread, after those asked for before; its result or error comes back."""
        future: asyncio.Future[object] = self._loop.create_future()
        self._jobs.put((job, future))
        return await future  # type: ignore[return-value]  # the queue does not know each job's type

    async def close(self) -> None:
        """Close the store and end the thread, after what was asked for before."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, future = entry
            try:
                if self._store is None:
                    self._store = self._open_store()
                result = job(self._store)
            except BaseException as error:  # noqa: BLE001 - belongs to who asked; the thread lives on
                self._loop.call_soon_threadsafe(_fail, future, error)
            else:
                self._loop.call_soon_threadsafe(_finish, future, result)
        if self._store is not None:
            self._store.close()


def _finish(future: asyncio.Future[object], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[object], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


class Syncer:
    """Keeps one lease book in step with the store. `start` once, `close` once; use from one event loop."""

    def __init__(
        self,
        book: LeaseBook,
        thread: StoreThread,
        *,
        clock: Callable[[], int],
        on_fault: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self._book = book
        self._thread = thread
        self._clock = clock
        self._on_fault = on_fault
        self._wanted = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.syncs = 0
        """Syncs answered since the start."""
        self.failures = 0
        """Attempts that the store did not answer."""
        self.microseconds = 0
        """From sending to reply, of all syncs answered."""
        self.answered_at = clock()
        """When the last reply came, by `clock`; at first, the start."""
        book.wake = self._wanted.set

    def start(self) -> None:
        """Begin to sync."""
        self._task = asyncio.create_task(self._run(), name="farebox-quota-syncer")

    async def close(self, *, within_seconds: float = CLOSE_SECONDS_MAX) -> None:
        """The last sync gives everything back; the incarnation is closed where its journal was settled to the end.

        With the store unreachable for longer than that the leases lapse and an adopter settles the journal. Afterwards
        nothing is admitted any more. Safe to repeat.
        """
        self._closing = True
        self._wanted.set()
        task, self._task = self._task, None
        if task is None:
            return
        try:
            async with asyncio.timeout(within_seconds):
                await asyncio.shield(task)
        except TimeoutError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            _log.warning("quota.not_returned", advice="the leases lapse and the journal is adopted")

    async def _run(self) -> None:
        try:
            while not self._closing:
                await self._until_due()
                await self._sync()
            while self._book.due_in() == 0:
                await self._sync()
            await self._sync(last=True)
        except Exception as error:  # noqa: BLE001 - a dead syncer must fail admission closed, whatever killed it
            code = error.code if isinstance(error, FareboxError) else type(error).__name__
            _log.exception("quota.fault", code=code, advice="admission fails closed until the gateway is restarted")
            self._on_fault(error)
        finally:
            self._book.unreachable()  # nobody may wait for a sync that never comes

    async def _until_due(self) -> None:
        due = self._book.due_in()
        if due != 0 and not self._closing:
            seconds = IDLE_SECONDS if due is None else due / MICROSECONDS
            try:
                async with asyncio.timeout(seconds):
                    await self._wanted.wait()
            except TimeoutError:
                pass
        self._wanted.clear()

    async def _sync(self, *, last: bool = False) -> None:
        request = self._book.build_sync(closing=last and self._book.may_close())
        if request is None:
            return
        first_sent_at = self._clock()
        reply = await self._until_answered(request)
        received_at = self._clock()
        self._book.apply(reply, first_sent_at, received_at)
        self.syncs += 1
        self.microseconds += received_at - first_sent_at
        self.answered_at = received_at

    async def _until_answered(self, request: SyncRequest) -> SyncReply:
        backoff = BACKOFF_FIRST_SECONDS
        while True:
            try:
                return await self._thread.do(lambda store: store.sync(request))
            except QuotaUnavailableError as error:
                self.failures += 1
                if self._book.reachable():
                    _log.warning("quota.unavailable", code=error.code, message=str(error))
                self._book.unreachable(error.why)
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, BACKOFF_MAX_SECONDS)
