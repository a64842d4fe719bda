"""What an answer says about credits: RateLimit fields, X-Farebox-Credits-*, Zoho's remaining number.

The policy's bytes are made once per snapshot of an account; the rest is one formatting per answer (0.5 us).
"""

from __future__ import annotations

from typing import Final

from farebox.domain.cards import Dialect, HeaderStyle
from farebox.domain.credits import MILLICREDITS_PER_CREDIT
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS, WINDOW_SECONDS, returns_at
from farebox.quota.leases import LeaseBook
from farebox.quota.port import Snapshot

ACCOUNTS_MAX: Final = 100_000
"""Accounts whose policy bytes are remembered; beyond, all are made afresh."""

PERCENT: Final = 100

_FAREBOX: Final = b"X-Farebox-Credits-Charged: %b\r\nX-Farebox-Credits-Left: %b\r\nX-Farebox-Credits-Held: %b\r\n"


class _Said:
    """What of an account's fields stays the same between two snapshots."""

    __slots__ = ("policy", "remaining_from", "returns", "snapshot")

    def __init__(self, account: Account, snapshot: Snapshot, dialect: Dialect) -> None:
        name = account.pool.encode("ascii", "replace")
        total = snapshot.allowance.total // MILLICREDITS_PER_CREDIT
        self.snapshot = snapshot
        self.policy = b'RateLimit-Policy: "%b";q=%d;w=%d\r\nRateLimit: "%b";r=' % (name, total, WINDOW_SECONDS, name)
        self.returns = [returns_at(second) for second, amount in snapshot.schedule if amount > 0]
        # Spent >= percent of the plan's own credits, in whole millicredits: the ceiling of the division.
        self.remaining_from = -(-snapshot.allowance.plan_part * dialect.remaining_from_percent // PERCENT)


class Standing:
    """Says how an account stands, in the styles of one card."""

    __slots__ = ("_book", "_dialect", "_farebox", "_ratelimit", "_remaining", "_said")

    def __init__(self, book: LeaseBook, dialect: Dialect) -> None:
        self._book = book
        self._dialect = dialect
        self._ratelimit = HeaderStyle.RATELIMIT_DRAFT in dialect.headers
        self._farebox = HeaderStyle.X_FAREBOX in dialect.headers
        self._remaining = HeaderStyle.X_API_CREDITS_REMAINING in dialect.headers
        self._said: dict[Account, _Said] = {}

    def fields(self, account: Account, *, charged: int, now: int) -> bytes:
        """The header lines about `account` after a call that cost `charged` millicredits; empty when nothing is known.

        `now`: the store's time, a call's stamp is near enough.
        """
        standing = self._book.standing(account)
        if standing is None:
            return b""
        snapshot, left, held = standing
        said = self._said.get(account)
        if said is None or said.snapshot is not snapshot:
            if len(self._said) >= ACCOUNTS_MAX:
                self._said.clear()
            said = self._said[account] = _Said(account, snapshot, self._dialect)
        left = max(left, 0)
        lines = b""
        if self._ratelimit:
            lines = b"%b%d;t=%d\r\n" % (said.policy, left // MILLICREDITS_PER_CREDIT, _seconds_to_return(said, now))
        if self._farebox:
            lines += _FAREBOX % (decimal(charged), decimal(left), decimal(held) if held else b"0")
        if self._remaining and snapshot.allowance.total - left - held >= said.remaining_from:
            lines += b"X-API-CREDITS-REMAINING: %d\r\n" % (left // MILLICREDITS_PER_CREDIT)
        return lines


def _seconds_to_return(said: _Said, now: int) -> int:
    """Seconds, rounded up, until additional credits return; a whole window when nothing is known to count."""
    for instant in said.returns:
        if instant > now:
            return -(-(instant - now) // MICROSECONDS)
    return WINDOW_SECONDS


def decimal(millicredits: int) -> bytes:
    """An amount as an exact decimal without grouping.

    >>> decimal(12_480_000), decimal(250), decimal(1_500)
    (b'12480', b'0.25', b'1.5')
    """
    whole, thousandths = divmod(millicredits, MILLICREDITS_PER_CREDIT)
    if not thousandths:
        return b"%d" % whole
    return (b"%d.%03d" % (whole, thousandths)).rstrip(b"0")
