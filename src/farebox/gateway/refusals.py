"""Refusals counted in memory and journalled once a second: a client hammering on 429 costs the disk nothing.

One record per (org, user, app, operation, reason, second), bounded in number: beyond `KEYS_MAX` an org's further
refusals are one record per reason, and beyond that all are one. Failures before the upstream was reached count too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from farebox.domain.instants import MICROSECONDS
from farebox.journal.records import REFUSALS, REFUSED, Entry

KEYS_MAX: Final = 1_024
"""Records of full detail per second."""

COARSE_MAX: Final = 1_024
"""Records per (org, product, pool, reason) beyond that, per second."""


class RefusalKey(NamedTuple):
    """What refusals are counted by."""

    org: str
    product: str
    pool: str
    user: str
    app: str
    operation: str
    module: str
    method: str
    path_template: str
    status: int
    reason: str


class RefusalCounts:
    """The refusals since they were last journalled, all within one second of `now` (microseconds, the store's time)."""

    __slots__ = ("_append", "_call_id", "_coarse", "_counts", "_now", "_second", "_unnamed")

    def __init__(
        self, *, append: Callable[[Entry], None], now: Callable[[], int], call_id: Callable[[int], bytes]
    ) -> None:
        self._append = append
        self._now = now
        self._call_id = call_id
        self._counts: dict[RefusalKey, int] = {}
        self._coarse: dict[RefusalKey, int] = {}
        self._unnamed = 0
        self._second = 0

    def count(self, key: RefusalKey) -> None:
        """One more."""
        second = self._now() // MICROSECONDS
        if second != self._second:
            self.flush()
            self._second = second
        counts = self._counts
        if key in counts:
            counts[key] += 1
        elif len(counts) < KEYS_MAX:
            counts[key] = 1
        else:
            self._count_coarsely(key)

    def _count_coarsely(self, key: RefusalKey) -> None:
        coarse = key._replace(user="", app="", operation="", module="", method="", path_template="")
        if coarse in self._coarse:
            self._coarse[coarse] += 1
        elif len(self._coarse) < COARSE_MAX:
            self._coarse[coarse] = 1
        else:
            self._unnamed += 1

    def flush_if_due(self) -> None:
        """Journal what belongs to a second that is over."""
        if (self._counts or self._unnamed) and self._now() // MICROSECONDS != self._second:
            self.flush()

    def flush(self) -> None:
        """Journal everything counted."""
        counts, self._counts = self._counts, {}
        coarse, self._coarse = self._coarse, {}
        unnamed, self._unnamed = self._unnamed, 0
        for key, number in (*counts.items(), *coarse.items()):
            self._append(self._entry(key, number))
        if unnamed:
            nobody = RefusalKey("", "", "", "", "", "", "", "", "", 429, "many")
            self._append(self._entry(nobody, unnamed))

    def _entry(self, key: RefusalKey, number: int) -> Entry:
        stamp = self._second * MICROSECONDS
        return Entry(
            kind=REFUSALS,
            call_id=self._call_id(stamp),
            stamp=stamp,
            org=key.org,
            product=key.product,
            pool=key.pool,
            user=key.user,
            app=key.app,
            function="",
            task="",
            module=key.module,
            operation=key.operation,
            method=key.method,
            path_template=key.path_template,
            api_version="",
            target_hash=b"",
            client_ip="",
            status=key.status,
            outcome=REFUSED,
            reason=key.reason,
            quote=0,
            credits=0,
            addon=0,
            quantities={},
            records_returned=-1,
            conditional=0,
            duration=0,
            bytes_in=0,
            bytes_out=0,
            calls=0,
            refusals=number,
        )
