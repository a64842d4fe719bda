"""The wall clock at the edge: the Date field, made once per second."""

from __future__ import annotations

import time
from email.utils import formatdate


class DateLine:
    """The Date field of answers of the gateway's own (RFC 9110 6.6.1)."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """The header line for now."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._line = b"Date: " + formatdate(now, usegmt=True).encode("ascii") + b"\r\n"
        return self._line

    def microseconds(self) -> int:
        """The wall clock, for what is recorded before the store's time is known."""
        return time.time_ns() // 1_000
