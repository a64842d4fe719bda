"""What one sync settles: the credits of a stretch of journal bytes, few enough accounts for one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field

from farebox.domain.identity import Account
from farebox.journal.position import Position


@dataclass(slots=True)
class Chunk:
    """Credits of committed journal bytes up to `to`, by account and second."""

    to: Position
    rows: dict[Account, dict[int, int]] = field(default_factory=dict)
    charges: dict[Account, int] = field(default_factory=dict)
    """Of which charges (the positive part)."""
    unleased: dict[Account, int] = field(default_factory=dict)
    """Of which charges that no lease covered."""

    def add(self, account: Account, second: int, amount: int) -> None:
        """Another charge (> 0) or correction (< 0)."""
        rows = self.rows.setdefault(account, {})
        rows[second] = rows.get(second, 0) + amount
        if amount > 0:
            self.charges[account] = self.charges.get(account, 0) + amount

    def accounts_with(self, other: Chunk) -> int:
        """How many accounts it would have with `other` taken in; the time it takes depends on `other` alone."""
        mine = self.rows
        return len(mine) + sum(account not in mine for account in other.rows)

    def absorb(self, other: Chunk) -> None:
        """Take in the bytes that follow."""
        for account, rows in other.rows.items():
            mine = self.rows.setdefault(account, {})
            for second, amount in rows.items():
                mine[second] = mine.get(second, 0) + amount
        for account, amount in other.charges.items():
            self.charges[account] = self.charges.get(account, 0) + amount
        self.to = other.to
