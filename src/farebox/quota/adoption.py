"""Settling for the dead: who finds the journal of a gateway that is gone ships its rest and closes its incarnation.

Until then everything lent to that gateway stays counted, as lent or as unaccounted; afterwards only what it charged.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from farebox.domain.identity import Account
from farebox.domain.instants import second_of
from farebox.errors import FareboxError, JournalCorruptError, QuotaUnavailableError
from farebox.journal import reader
from farebox.journal.position import Position
from farebox.journal.records import Entry
from farebox.quota.chunks import Chunk
from farebox.quota.port import AccountSync, Gateway, QuotaStore, SyncRequest
from farebox.quota.protocol import ACCOUNTS_PER_SYNC_MAX
from farebox.quota.syncer import StoreThread

ADOPT_EVERY_SECONDS: Final = 10.0
ADOPTER_SLOT: Final = -1
"""The slot in syncs made for a dead incarnation."""

_log = structlog.get_logger("farebox.quota")


@dataclass(slots=True)
class Rest:
    """What a dead incarnation's journal holds beyond its last sync. `damaged` says where it cannot be read further."""

    chunks: list[Chunk]
    damaged: JournalCorruptError | None = None


def rest_of(entries: Iterable[tuple[Entry, Position]], *, accounts_max: int = ACCOUNTS_PER_SYNC_MAX) -> Rest:
    """Sum entries into chunks, each of whole journal bytes and at most `accounts_max` accounts."""
    rest = Rest([])
    chunk: Chunk | None = None
    try:
        for entry, position in entries:
            account = Account(entry.org, entry.product, entry.pool)
            full = chunk is not None and account not in chunk.rows and len(chunk.rows) >= accounts_max
            if chunk is None or (full and entry.credits):
                chunk = Chunk(position)
                rest.chunks.append(chunk)
            chunk.to = position
            if entry.credits:
                chunk.add(account, second_of(entry.stamp), entry.credits)
                if not entry.leased and entry.credits > 0:
                    chunk.unleased[account] = chunk.unleased.get(account, 0) + entry.credits
    except JournalCorruptError as error:
        rest.damaged = error
    return rest


def settle_one(store: QuotaStore, incarnation: str, rest: Rest) -> bool:
    """Ship the first chunk of `rest` in one sync; whether there is more to do.

    The last chunk closes the incarnation, unless its journal is damaged: then all that was lent and is not settled here
    stays counted, since it may have been spent beyond the damage. Charges of later chunks are kept, so that nothing is
    free in between. Raises `QuotaUnavailableError`: begin again with
    `rest_of`, from where the store then is.
    """
    closing = len(rest.chunks) <= 1 and rest.damaged is None
    if not rest.chunks and not closing:
        return False
    settled_from = store.settled_to(incarnation)
    chunk = rest.chunks[0] if rest.chunks else Chunk(settled_from)
    request = SyncRequest(
        gateway=Gateway(platform.node(), ADOPTER_SLOT, incarnation),
        sequence=store.sequence_of(incarnation) + 1,
        settled_from=settled_from,
        settled_to=chunk.to,
        accounts=tuple(
            AccountSync(
                org=account.org,
                product=account.product,
                pool=account.pool,
                settled=tuple(sorted(rows.items())),
                keeps=_keeps(store, incarnation, rest, account),
                needs=(),
                likes=0,
                unleased=sum(each.unleased.get(account, 0) for each in rest.chunks),
            )
            for account, rows in chunk.rows.items()
        ),
        closing=closing,
    )
    store.sync(request)
    for account in chunk.rows:  # said with this sync for all of them: it is in what was kept, or settled
        for each in rest.chunks:
            each.unleased.pop(account, None)
    del rest.chunks[:1]
    return not closing and bool(rest.chunks)


def _keeps(store: QuotaStore, incarnation: str, rest: Rest, account: Account) -> int:
    """What the first chunk of `rest` leaves lent of one of its accounts: of what is counted now, never more.

    A journal found so late that its charges have left the window keeps nothing: they would be held once more.
    """
    charged_later = sum(later.charges.get(account, 0) for later in rest.chunks[1:])
    on_loan = store.on_loan(incarnation, account)
    if rest.damaged is None:
        return min(charged_later, on_loan + sum(later.unleased.get(account, 0) for later in rest.chunks[1:]))
    settled = max(0, sum(rest.chunks[0].rows[account].values()))
    return max(charged_later, on_loan - settled)


class Adopter:
    """Looks for journals without an owner at start and every 10 s, settles them to their end and closes them.

    Reading happens in a thread of its own, each sync in the store's thread between the gateway's own.
    """

    def __init__(self, root: Path, thread: StoreThread) -> None:
        self._root = root
        self._thread = thread
        self._damaged: dict[str, str] = {}
        self.adopted = 0
        """Incarnations closed here since the start."""
        self._task: asyncio.Task[None] | None = None

    @property
    def damaged(self) -> int:
        """Journals of the dead that cannot be read to their end."""
        return len(self._damaged)

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="farebox-adopter")

    async def close(self) -> None:
        """Stop after the sync under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self.adopt_all()
            await asyncio.sleep(ADOPT_EVERY_SECONDS)

    async def adopt_all(self) -> list[str]:
        """One round; the incarnations closed in it. What cannot be done now is logged and tried in the next round."""
        closed = [name for name in await self._orphans() if await self._try_to_adopt(name)]
        self.adopted += len(closed)
        for incarnation in closed:
            _log.info("adoption.closed", incarnation=incarnation)
        return closed

    async def _orphans(self) -> list[str]:
        try:
            return await asyncio.to_thread(reader.orphans, self._root)
        except Exception as error:  # noqa: BLE001 - nothing in one round may end all that would follow
            _failed(error)
            return []

    async def _try_to_adopt(self, incarnation: str) -> bool:
        try:
            return await self._adopt(incarnation)
        except JournalCorruptError as error:
            self._note_damage(incarnation, str(error))
        except QuotaUnavailableError as error:
            _log.warning("adoption.postponed", incarnation=incarnation, code=error.code, message=str(error))
        except Exception as error:  # noqa: BLE001 - one journal's trouble is not the others', nor the next round's
            _failed(error, incarnation=incarnation)
        return False

    async def _adopt(self, incarnation: str) -> bool:
        if await self._thread.do(lambda store: store.is_closed(incarnation)):
            return False
        adopted = await asyncio.to_thread(reader.adopt, self._root / incarnation)
        if adopted is None:
            return False
        with adopted:
            start = await self._thread.do(lambda store: store.settled_to(incarnation))
            rest = await asyncio.to_thread(lambda: rest_of(reader.read(adopted.path, start)))
            while await self._thread.do(lambda store: settle_one(store, incarnation, rest)):
                pass
        if rest.damaged is not None:
            self._note_damage(incarnation, str(rest.damaged))
            return False
        self._damaged.pop(incarnation, None)
        return True

    def _note_damage(self, incarnation: str, message: str) -> None:
        """Said once. It is looked at again in every round: the file may have been restored, or the loss accepted."""
        if self._damaged.get(incarnation) != message:
            self._damaged[incarnation] = message
            _log.error("adoption.damaged", incarnation=incarnation, message=message)


def _failed(error: Exception, **where: str) -> None:
    code = error.code if isinstance(error, FareboxError) else type(error).__name__
    _log.error("adoption.failed", code=code, message=str(error), advice="tried again in the next round", **where)
