"""One reading of everything the dashboard shows of an account, with what could not be read said in place of it.

Quota gives the time of a reading; usage is asked for the window that ends at that same instant, so that the two
sections are comparable. While quota cannot be read, the console's own clock stands in and the last figures are kept,
with their time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from farebox.console.figures import Consumption, Storage, consumption, storage
from farebox.console.orgs import Org, Orgs, QuotaView, Subscription
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS, Instant, second_of
from farebox.errors import QuotaUnavailableError, UsageUnavailableError
from farebox.quota.port import AccountView, AllowanceInForce
from farebox.usage.port import Breakdown, Dimension, UsageStore

STALE_SECONDS: Final = 5
"""Loading is at most one second behind when all is well; beyond this the page says since when it is not."""

SHOWN: Final = (Dimension.APP, Dimension.USER)
"""What the page has a section of."""

ACCOUNTS_REMEMBERED_MAX: Final = 1_000
"""Accounts whose last figures are kept for the time quota cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How far the journal is loaded into usage: complete up to `as_of` (None: nothing was loaded yet)."""

    as_of: Instant | None
    problem: str = ""
    """Why loading does not go on; empty while it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An account at one instant, as far as it could be read."""

    org: Org
    subscription: Subscription
    account: Account
    at: Instant
    allowance: AllowanceInForce
    storage: Storage | None
    """None when quota could not be read since the console started."""
    quota_lost_at: Instant | None
    """Since when quota cannot be read; `storage` is then the last that was."""
    consumption: Consumption | None
    """None when usage could not be read."""
    loading: Loading

    @property
    def stale(self) -> bool:
        """Usage is further behind than it ought to be."""
        return self.loading.as_of is None or self.at - self.loading.as_of > STALE_SECONDS * MICROSECONDS


class Readings:
    """Makes readings. Safe to call from several threads; quota is asked by one at a time, as its port demands."""

    def __init__(
        self,
        *,
        orgs: Orgs,
        quota: QuotaView,
        usage: UsageStore,
        loading: Callable[[], Loading],
        clock: Callable[[], Instant],
    ) -> None:
        self._orgs = orgs
        self._quota = quota
        self._usage = usage
        self._loading = loading
        self._clock = clock
        self._quota_turn = threading.Lock()
        self._last: OrderedDict[Account, Storage] = OrderedDict()
        self._quota_lost_at: Instant | None = None
        self._asked: OrderedDict[Account, tuple[tuple[int, int], tuple[Breakdown, ...]]] = OrderedDict()

    def read(self, org: Org, subscription: Subscription, pool: str) -> Reading:
        """The account of (org, product, pool) as it stands now. Raises UnknownNameError."""
        account = Account(org.id, subscription.product, pool)
        loading = self._loading()
        view = self._view(account)
        at = self._clock() if view is None else Instant(view.store_time)
        return Reading(
            org=org,
            subscription=subscription,
            account=account,
            at=at,
            allowance=self._orgs.allowance(account) if view is None else view.allowance,
            storage=self._kept(account, view),
            quota_lost_at=self._quota_lost_at if view is None else None,
            consumption=self._consumption(account, view, at),
            loading=loading,
        )

    def storage(self, org: Org, subscription: Subscription, pool: str) -> Storage | None:
        """Quota's part of a reading alone: the last there was; None when there was none yet."""
        account = Account(org.id, subscription.product, pool)
        return self._kept(account, self._view(account))

    def breakdown(self, reading: Reading, dimension: Dimension) -> Breakdown:
        """The reading's window by `dimension`. Raises UsageUnavailableError."""
        return self._usage.breakdown(reading.account, dimension, at=reading.at)

    def _view(self, account: Account) -> AccountView | None:
        with self._quota_turn:
            try:
                view = self._quota.view(account)
            except QuotaUnavailableError:
                self._quota_lost_at = self._quota_lost_at or self._clock()
                return None
            self._quota_lost_at = None
            return view

    def _kept(self, account: Account, view: AccountView | None) -> Storage | None:
        with self._quota_turn:
            if view is None:
                return self._last.get(account)
            self._last[account] = storage(view)
            self._last.move_to_end(account)
            if len(self._last) > ACCOUNTS_REMEMBERED_MAX:
                self._last.popitem(last=False)
            return self._last[account]

    def _consumption(self, account: Account, view: AccountView | None, at: Instant) -> Consumption | None:
        try:
            by_app, by_user = self._spent(account, at)
        except UsageUnavailableError:
            return None
        return consumption(
            apps=self._orgs.apps(account.org),
            users=self._orgs.users(account.org),
            by_app=by_app,
            by_user=by_user,
            view=view,
        )

    def _spent(self, account: Account, at: Instant) -> tuple[Breakdown, ...]:
        """Asked again only when something was loaded or another second began: nothing else changes the answer."""
        state = (self._usage.loads(), second_of(at))
        known = self._asked.get(account)
        if known is not None and known[0] == state:
            return known[1]
        spent = self._usage.breakdowns(account, SHOWN, at=at)
        with self._quota_turn:
            self._asked[account] = (state, spent)
            if len(self._asked) > ACCOUNTS_REMEMBERED_MAX:
                self._asked.popitem(last=False)
        return spent
