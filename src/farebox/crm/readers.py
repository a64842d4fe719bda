"""Calls that only read and may read long: each in a thread of its own with one state of the store, beside all others.

SQLite lets go of Python while it looks through records, so that the event loop goes on answering.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from farebox.crm.call import Answer
from farebox.crm.store import Store

AT_ONCE_MAX: Final = 4
"""Reads that go on at the same time, each with a page cache of its own; the next waits for the first that ends."""


class Readers:
    """The threads of one API; there are none before the first long read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="crm-reader")

    async def answer(self, read: Callable[[], Answer]) -> Answer:
        """What `read` answers; whatever it reads of the store is of one state, which holds up nobody."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, read)

    def stop(self) -> None:
        """End after the reads in hand; those that wait for their turn are not begun."""
        self._threads.shutdown(cancel_futures=True)

    def _read(self, read: Callable[[], Answer]) -> Answer:
        with self._store.reading_one_state():
            return read()
