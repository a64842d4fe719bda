"""What a process of the crash suite does until it is killed: be a gateway, ship, adopt, or bring everything to its end.

The parts are the real ones, wired as gateway/worker.py and app/console.py wire them; callers stand for HTTP. What a
caller was answered is written to a file the moment it is: that file is the truth the books are held against.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farebox.app.console import _or_open, _or_start
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS
from farebox.errors import JournalFullError
from farebox.gateway.worker import boottime
from farebox.journal.position import Position
from farebox.journal.reader import incarnations
from farebox.journal.records import CHARGE, CHARGED, CLOSE, Entry
from farebox.journal.shipper import Shipper
from farebox.journal.writer import JournalWriter
from farebox.quota.adoption import Adopter
from farebox.quota.lease import Hold
from farebox.quota.leases import LeaseBook
from farebox.quota.port import AllowanceInForce, Gateway
from farebox.quota.sqlite import SqliteQuotaStore
from farebox.quota.sqlite_view import SpendFile
from farebox.quota.syncer import StoreThread, Syncer
from farebox.usage.duckdb import DuckdbUsage

ACME: Final = Account("acme", "api", "api")
TIGHT: Final = Account("tight", "api", "api")
PLENTY: Final = 10**12
CALLERS: Final = 6
CALLS_MAX: Final = 25
"""Of one caller; a life has any number of them up to here, so that traps meet its end as often as its middle."""
STREAMED_SHARE: Final = 0.2
BEGUN: Final = 0
ANSWERED: Final = 1
TOLD: Final = struct.Struct("<B16sq")
SEGMENT_BYTES: Final = 16 * 1024
ROUNDS_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One data directory; `tight` is the allowance of the org that has always spent nearly everything."""

    data: Path
    tight: int
    name: str = ""
    seed: str = ""

    @property
    def journal(self) -> Path:
        return self.data / "journal"

    @property
    def told(self) -> Path:
        return self.data / "told"

    def allowance(self, account: Account) -> AllowanceInForce:
        total = self.tight if account == TIGHT else PLENTY
        return AllowanceInForce(total, total, "p", total, 0, 0, 0, None, self.tight)

    def store(self) -> SqliteQuotaStore:
        return SqliteQuotaStore(self.data / "quota.db", allowance_of=self.allowance)


class SmallGateway:
    """A gateway without HTTP."""

    def __init__(self, world: World) -> None:
        self._rng = random.Random(world.seed)
        self._world = world
        self._told = os.open(world.told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.book = LeaseBook(Gateway("crash", 0, world.name), boottime)
        self.thread = StoreThread(world.store)
        self._syncer = Syncer(self.book, self.thread, clock=boottime)
        self.journal = JournalWriter(
            world.journal,
            world.name,
            durability=self._rng.choice(("disk", "os")),
            loop=asyncio.get_running_loop(),
            on_committed=self._committed,
            segment_bytes=SEGMENT_BYTES,
            entry_bytes_max=1024,
        )
        self._number = 0
        self._calls = self._rng.randrange(1, CALLS_MAX + 1)

    async def live(self) -> None:
        """All calls, then the order of stopping."""
        self._syncer.start()
        adopter = Adopter(self._world.journal, self.thread)
        adopter.start()
        await asyncio.gather(*(self._caller() for _ in range(CALLERS)))
        await adopter.close()
        self.journal.seal()
        await self._syncer.close()
        self.journal.release()
        await self.thread.close()

    def _committed(self, entries: list[Entry], position: Position) -> None:
        for entry in entries:
            if entry.credits:
                account = Account(entry.org, entry.product, entry.pool)
                self.book.settled(account, entry.stamp // MICROSECONDS, entry.credits)
        self.book.settled_to(position)

    async def _caller(self) -> None:
        for _ in range(self._calls):
            account = self._rng.choice((ACME, ACME, TIGHT))
            ceiling = self._rng.randrange(1, 6) * 1_000
            admitted = self.book.admit(account, ceiling) or await self.book.wait(account, ceiling)
            if isinstance(admitted, Hold):
                await self._call(admitted, self._rng.randrange(0, ceiling + 1, 250))
            else:
                await asyncio.sleep(0.001)

    async def _call(self, hold: Hold, cost: int) -> None:
        try:
            self.journal.reserve()
        except JournalFullError:
            self.book.release(hold)
            await asyncio.sleep(0.001)
            return
        streamed = self._rng.random() < STREAMED_SHARE
        charge = hold.ceiling if streamed else cost
        self._number += 1
        call_id = time.time_ns().to_bytes(8, "big") + self._number.to_bytes(4, "big") + os.urandom(4)
        self._tell(BEGUN, call_id, charge)
        self.book.charge(hold, charge)
        if await self._recorded(_entry(CHARGE, call_id, hold, charge)):
            self._tell(ANSWERED, call_id, charge)
            if streamed:
                await self._recorded(_entry(CLOSE, call_id, hold, cost - charge))
        else:
            self.book.uncharge(hold, charge)
        self.journal.unreserve()

    async def _recorded(self, entry: Entry) -> bool:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.journal.append(entry, future.set_result)
        return await future

    def _tell(self, what: int, call_id: bytes, charged: int) -> None:
        os.write(self._told, TOLD.pack(what, call_id, charged))


def _entry(kind: int, call_id: bytes, hold: Hold, amount: int) -> Entry:
    return Entry(
        kind=kind,
        call_id=call_id,
        stamp=hold.stamp,
        org=hold.account.org,
        product=hold.account.product,
        pool=hold.account.pool,
        user="ada",
        app="",
        function="",
        task="",
        module="",
        operation="call",
        method="GET",
        path_template="/",
        api_version="",
        target_hash=call_id[-8:],
        client_ip="",
        status=200,
        outcome=CHARGED,
        reason="",
        quote=hold.ceiling,
        credits=amount,
        addon=0,
        quantities={},
        records_returned=-1,
        conditional=0,
        duration=1,
        bytes_in=0,
        bytes_out=0,
        calls=int(kind == CHARGE),
    )


def be_gateway(world: World) -> None:
    """Calls until killed, or until all are made."""

    async def run() -> None:
        await SmallGateway(world).live()

    asyncio.run(run())


def ship(world: World) -> None:
    """Load and remove in small batches until nothing changes any more."""
    usage = DuckdbUsage(world.data / "usage.duckdb", memory="64MB")
    spend = SpendFile(world.data / "quota.db", allowance_of=world.allowance)
    shipper = Shipper(world.journal, usage, _or_start(spend.settled_to), _or_open(spend.is_closed), batch_entries=23)
    for _ in range(ROUNDS_MAX):
        before = sorted(world.journal.rglob("*"))
        shipper._cleaned_at = 0.0  # remove at every round: that is what is to be killed
        if not shipper.ship_once() and before == sorted(world.journal.rglob("*")):
            break
    assert shipper.report.stopped == (), shipper.report
    usage.close()


def adopt(world: World) -> None:
    """Settle what the dead left, once."""

    async def run() -> None:
        thread = StoreThread(world.store)
        await Adopter(world.journal, thread).adopt_all()
        await thread.close()

    asyncio.run(run())


def recover(world: World) -> None:
    """Everything adopted, settled, loaded and removed, and quota's running sums proved."""
    adopt(world)
    ship(world)
    store = world.store()
    store.check()
    store.close()
    assert incarnations(world.journal) == [], "a journal is left"


ROLES: Final = {"gateway": be_gateway, "ship": ship, "adopt": adopt, "recover": recover}
