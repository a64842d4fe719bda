"""One account's lease in a gateway: what may be spent, what is held, who waits, and what a refused caller is told.

Instants named `now` and `deadline` are CLOCK_BOOTTIME microseconds of this machine; `at` and `expires_at` are the
store's time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from farebox.domain import window
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS
from farebox.quota.port import AccountReply, AccountSync, Snapshot

REMEMBERED: Final = 1_000_000
"""A refusal answers further callers for at most one second."""

RESERVE_DIVISOR: Final = 4
"""A quarter of what was liked stays spendable while a sync is under way: about half a second's worth."""

IDLE_MICROSECONDS: Final = 3 * MICROSECONDS
"""So long after its last call an account likes nothing any more: its lease goes back and it leaves the syncs."""

NEVER: Final = 1 << 62

Reason = Literal["allowance", "never_fits", "suspended", "quota_unavailable"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is not admitted now. `retry_after` is whole seconds; None when waiting does not help or is unknown."""

    reason: Reason
    account: Account
    ceiling: int
    retry_after: int | None
    snapshot: Snapshot | None
    """The account as last known; None when the store was never reached about it."""
    why: str = ""
    """Of `quota_unavailable`: what keeps the store from answering, as far as it is known."""


class Hold:
    """Credits set aside for one admitted call, until `charge` or `release` ends it.

    `stamp` is the instant of admission by the store's clock: read once, it is the time of the charge and its refunds.
    `leased` is False for a call let through without a lease: under a fail-open policy, or in shadow mode.
    """

    __slots__ = ("account", "addon", "ceiling", "leased", "open", "stamp")

    def __init__(self, account: Account, ceiling: int, stamp: int, addon: int, leased: bool) -> None:  # noqa: FBT001 - positional for speed, made only here
        self.account = account
        self.ceiling = ceiling
        self.stamp = stamp
        self.addon = addon
        self.leased = leased
        self.open = True

    def __repr__(self) -> str:
        return f"Hold({self.account}, ceiling={self.ceiling}, stamp={self.stamp}, open={self.open})"


Answer = Hold | Refusal


@dataclass(slots=True, eq=False)
class Waiter:
    """A call that waits for a sync."""

    ceiling: int
    future: asyncio.Future[Answer]


class Lease:
    """What this gateway has of one account."""

    __slots__ = (
        "account", "addon_free", "asked", "charged", "deadline", "decayed_at", "expires_at", "free", "held", "kept",
        "recent", "refused_from", "refused_until", "short", "snapshot", "synced_at", "unbooked", "unleased", "used_at",
        "usual", "waiting",
    )  # fmt: skip

    def __init__(self, account: Account, now: int) -> None:
        self.account = account
        self.free = 0
        """Spendable before `deadline`; `addon_free` of it is add-on credits."""
        self.addon_free = 0
        self.held = 0
        self.charged = 0
        """Charged and in no `settled` yet."""
        self.unbooked: dict[int, int] = {}
        """second -> signed millicredits charged here and not in `snapshot.used` yet."""
        self.deadline = 0
        self.expires_at = 0
        self.recent = 0
        """Ceilings admitted, halved every second: about two seconds' worth of a steady rate."""
        self.decayed_at = now
        self.kept = 0
        """What the last sync kept spendable: a need that did not fit beside it is asked for again without it."""
        self.usual = 0
        """The largest ceiling admitted since the account was last idle: a lease that holds less serves nobody."""
        self.used_at = now
        self.refused_from = NEVER
        self.refused_until = 0
        self.asked = 0
        self.short = False
        self.snapshot: Snapshot | None = None
        self.synced_at = 0
        self.unleased = 0
        """Ceilings let through without a lease and not said in a sync yet."""
        self.waiting: deque[Waiter] = deque()

    def quiet(self) -> bool:
        """Nothing here that a sync would have to carry or a caller could use."""
        return not (
            self.free
            or self.held
            or self.charged
            or self.recent
            or self.asked
            or self.waiting
            or self.unbooked
            or self.refused_from != NEVER
        )

    def decay(self, now: int) -> None:
        """Halve `recent` for each second gone by; an idle account likes nothing."""
        if now - self.used_at >= IDLE_MICROSECONDS:
            self.recent = self.usual = 0
        seconds = (now - self.decayed_at) // MICROSECONDS
        if seconds > 0:
            self.recent >>= min(seconds, 62)
            self.decayed_at += seconds * MICROSECONDS

    def likes(self) -> int:
        """About two seconds' worth of the recent rate, and at least one call while there is any."""
        return max(self.recent, self.usual)

    def give_up(self, now: int, *, closing: bool) -> None:
        """All that is not held or charged, but for what may still be spent until the reply."""
        keep_nothing = closing or self.short or now >= self.deadline
        reserve = 0 if keep_nothing else min(self.free, max(self.recent // RESERVE_DIVISOR, self.usual))
        plan_free = self.free - self.addon_free
        self.free = self.kept = reserve
        self.addon_free = max(0, reserve - plan_free)

    def take(self, answer: AccountReply, deadline: int, settled: dict[int, int]) -> None:
        """What the store lent; `settled` is in its `used` from now on."""
        self.free += answer.granted
        self.addon_free += answer.addon_part
        self.deadline = deadline
        self.expires_at = answer.expires_at
        self.short = answer.short
        self.snapshot = snapshot = answer.snapshot
        if snapshot.used + snapshot.lent > snapshot.allowance.total or snapshot.allowance.suspended:
            self.deadline = 0  # lowered or suspended: not even what ending holds return may be spent
        for second, amount in settled.items():
            self.unbook(second, amount)

    def unbook(self, second: int, amount: int) -> None:
        """`amount` of what was charged here in `second` is accounted for elsewhere."""
        left = self.unbooked.get(second, 0) - amount
        if left:
            self.unbooked[second] = left
        else:
            self.unbooked.pop(second, None)

    def remember(self, part: AccountSync, answer: AccountReply, now: int) -> None:
        """Which ceilings need not ask again until the next sync."""
        left = answer.snapshot.allowance.total - answer.snapshot.used - answer.snapshot.lent + self.free
        asked = () if self.kept else zip(part.needs, answer.needs_granted, strict=True)
        refused = [ceiling for ceiling, granted in asked if not granted]
        if part.asks and part.asks > left:
            refused.append(max(left + 1, min(self.refused_from, part.asks)))
        self.refused_from = min(refused, default=NEVER)
        self.refused_until = now + REMEMBERED if refused else 0

    def refusal(self, ceiling: int, at: int) -> Refusal:
        """Why a call of `ceiling` is not admitted at `at`, by the last reply and what was charged here since."""
        snapshot = self.snapshot
        assert snapshot is not None, "a refusal follows a reply"
        if snapshot.allowance.suspended:
            return Refusal("suspended", self.account, ceiling, None, snapshot)
        spent_here = sum(self.unbooked.values())
        fits = window.fits_at(
            total=snapshot.allowance.total,
            used_now=snapshot.used + spent_here,
            lent=max(0, snapshot.lent - spent_here),
            lent_back_at=self.expires_at,
            schedule=(*snapshot.schedule, *self.unbooked.items()),
            ceiling=ceiling,
            at=at,
        )
        if fits is None:
            return Refusal("never_fits", self.account, ceiling, None, snapshot)
        return Refusal("allowance", self.account, ceiling, window.retry_after(fits, at=at), snapshot)
