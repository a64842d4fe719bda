"""Numbers that change without a reload: one renderer per watched account, any number of watchers.

Each watcher remembers what it was last given and gets what differs now, so a slow browser skips steps instead of
holding anything up, and no queue can grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from typing import Final

from farebox.errors import ConsoleBusyError

TICK_SECONDS: Final = 0.25
"""With the loader's 0.15 s this leaves a second of the 1.5 s between a charge and the screen for quota's own sync."""
REST_FACTOR: Final = 4
"""A rendering that took t is followed by at least 4 t of rest: no account takes more than a fifth of a core."""
HEARTBEAT_SECONDS: Final = 10.0
WATCHERS_MAX: Final = 256
WATCHERS_PER_ORG_MAX: Final = 64
"""A quarter: no organisation's open pages keep those of others from updating."""

Fragments = Mapping[str, str]


class _Watch:
    """What is known of one key, and who waits for more."""

    def __init__(self) -> None:
        self.latest: Fragments = {}
        self.changed = asyncio.Event()
        self.watchers = 0
        self.failure: BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    def publish(self, fragments: Fragments) -> None:
        if fragments != self.latest:
            self.latest = fragments
            self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Live:
    """Watches over keys; `render` makes a key's fragments (id -> HTML) in a thread."""

    def __init__(self, render: Callable[[Hashable], Fragments]) -> None:
        self._render = render
        self._watches: dict[Hashable, _Watch] = {}
        self._watchers: dict[str, int] = {}
        self._stopped = False

    async def changes(self, key: Hashable, *, org: str) -> AsyncGenerator[Fragments, None]:
        """At once all fragments, then those that changed; an empty one every HEARTBEAT_SECONDS. Ends with `stop`.

        `org` is whose login watches (the operator is one). Raises ConsoleBusyError when WATCHERS_PER_ORG_MAX of it or
        WATCHERS_MAX in all watch already, and whatever `render` raises.
        """
        if self.watchers >= WATCHERS_MAX or self._watchers.get(org, 0) >= WATCHERS_PER_ORG_MAX:
            raise ConsoleBusyError(
                "as many pages are open and updating as may be; this one shows its numbers, reload it for newer ones"
            )
        watch = self._joined(key, org)
        sent: Fragments = {}
        try:
            while not self._stopped:
                changed = watch.changed
                latest = watch.latest
                if watch.failure is not None:
                    raise watch.failure
                if latest is not sent or not latest:
                    difference = {name: html for name, html in latest.items() if sent.get(name) != html}
                    sent = latest
                    if difference:
                        yield difference
                        continue
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
                    continue
                yield {}
        finally:
            self._left(key, watch, org)

    @property
    def watchers(self) -> int:
        """Pages that get their numbers live now."""
        return sum(self._watchers.values())

    def stop(self) -> None:
        """End every watch: open pages would keep the server from stopping. Call it from the event loop."""
        self._stopped = True
        for watch in self._watches.values():
            watch.wake()

    def _joined(self, key: Hashable, org: str) -> _Watch:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch()
            watch.task = asyncio.create_task(self._run(key, watch))
        watch.watchers += 1
        self._watchers[org] = self._watchers.get(org, 0) + 1
        return watch

    def _left(self, key: Hashable, watch: _Watch, org: str) -> None:
        self._watchers[org] -= 1
        if not self._watchers[org]:
            del self._watchers[org]
        watch.watchers -= 1
        if watch.watchers == 0:
            if self._watches.get(key) is watch:
                del self._watches[key]
            if watch.task is not None:
                watch.task.cancel()

    async def _run(self, key: Hashable, watch: _Watch) -> None:
        try:
            while not self._stopped:
                began = time.monotonic()
                watch.publish(await asyncio.to_thread(self._render, key))
                took = time.monotonic() - began
                await asyncio.sleep(max(TICK_SECONDS - took, REST_FACTOR * took))
        except Exception as error:  # noqa: BLE001 - handed to the watchers, who raise it
            watch.failure = error
            if self._watches.get(key) is watch:
                del self._watches[key]
            watch.wake()
