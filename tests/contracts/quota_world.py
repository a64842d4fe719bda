"""A world for quota stores: a clock that passes only when told, allowances that can be changed, gateways that sync."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from farebox.domain.identity import Account
from farebox.errors import CardInvalidError, UnknownNameError
from farebox.quota.clock import ManualClock
from farebox.quota.memory import MemoryQuotaStore
from farebox.quota.port import (
    START,
    AccountReply,
    AccountSync,
    AllowanceInForce,
    Gateway,
    Position,
    QuotaStore,
    SyncReply,
    SyncRequest,
)
from farebox.quota.sqlite import SqliteQuotaStore

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
T0 = 1_800_000_000 * SECOND
ACCOUNT = Account("acme", "crm", "api")
OTHER = Account("acme", "bigin", "api")


def allowance(total: int, *, plan_part: int | None = None) -> AllowanceInForce:
    own = total if plan_part is None else plan_part
    return AllowanceInForce(
        total=total,
        plan_part=own,
        plan="standard",
        base=own,
        users=0,
        per_user=0,
        addon=total - own,
        cap=None,
        version=1,
    )


@dataclass
class World:
    """One store, its clock, and what the directory says."""

    clock: ManualClock
    make: Callable[[World], QuotaStore]
    allowances: dict[Account, AllowanceInForce] = field(default_factory=dict)
    broken: set[Account] = field(default_factory=set)
    """Accounts whose card has become invalid."""
    incarnations: int = 0

    def __post_init__(self) -> None:
        self.allowances = {ACCOUNT: allowance(1_000), OTHER: allowance(1_000)}
        self.store = self.make(self)

    def allowance_of(self, account: Account) -> AllowanceInForce:
        if account in self.broken:
            raise CardInvalidError((f"the card of {account} cannot be read",))
        try:
            return self.allowances[account]
        except KeyError:
            raise UnknownNameError(f"no {account}") from None

    def gateway(self) -> Peer:
        self.incarnations += 1
        return Peer(self, Gateway("host", 0, f"life-{self.incarnations}"))

    def used(self, account: Account = ACCOUNT) -> int:
        return self.store.view(account).used

    def second(self) -> int:
        return self.store.now() // SECOND


@dataclass
class Peer:
    """A gateway that says exactly what a test wants it to say."""

    world: World
    gateway: Gateway
    sequence: int = 0
    position: Position = START
    last: SyncRequest | None = None

    def request(self, *accounts: AccountSync, closing: bool = False) -> SyncRequest:
        to = self.position
        if any(part.settled for part in accounts):
            to = Position(1, self.position.byte + 100)
        return SyncRequest(self.gateway, self.sequence + 1, self.position, to, accounts, closing)

    def send(self, request: SyncRequest) -> SyncReply:
        reply = self.world.store.sync(request)
        self.world.store.check()
        self.sequence, self.position, self.last = request.sequence, request.settled_to, request
        return reply

    def sync(
        self,
        *,
        keeps: int = 0,
        needs: tuple[int, ...] = (),
        likes: int = 0,
        settled: tuple[tuple[int, int], ...] = (),
        asks: int = 0,
        unleased: int = 0,
        closing: bool = False,
        account: Account = ACCOUNT,
    ) -> AccountReply:
        part = AccountSync(account.org, account.product, account.pool, settled, keeps, needs, likes, asks, unleased)
        return self.send(self.request(part, closing=closing)).accounts[0]

    def spend(self, amount: int, account: Account = ACCOUNT) -> int:
        """Have `amount` granted and settle it at once; the second it was charged in."""
        assert self.sync(needs=(amount,), account=account).needs_granted == (True,)
        second = self.world.second()
        self.sync(settled=((second, amount),), account=account)
        return second


def memory_store(world: World) -> QuotaStore:
    return MemoryQuotaStore(allowance_of=world.allowance_of, host=world.clock)


def sqlite_store(path: Path) -> Callable[[World], QuotaStore]:
    return lambda world: SqliteQuotaStore(path, allowance_of=world.allowance_of, host=world.clock)
