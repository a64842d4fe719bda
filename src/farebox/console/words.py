"""Numbers and times as people read them, in the org's time zone; and the one sentence above the dashboard."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from farebox.console.figures import Level, Storage
from farebox.console.readings import Reading
from farebox.domain.credits import MILLICREDITS_PER_CREDIT
from farebox.domain.credits import text_of as credits_text
from farebox.domain.instants import MICROSECONDS

THOUSANDTHS_PER_PERCENT: Final = 10


def zone_named(name: str) -> tzinfo:
    """The time zone of that IANA name; UTC where this machine does not know it (the label then says UTC)."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def zone_label(at: int, zone: tzinfo) -> str:
    """How a page names its zone: "Europe/Berlin (UTC+01:00)"."""
    local = _local(at, zone)
    offset = local.strftime("%z") or "+0000"
    name = getattr(zone, "key", "UTC")
    return "UTC" if name in {"UTC", "Etc/UTC"} else f"{name} (UTC{offset[:3]}:{offset[3:5]})"


def time_text(at: int, zone: tzinfo) -> str:
    """The time of day, to the second (rounded down)."""
    return _local(at, zone).strftime("%H:%M:%S")


def when_text(at: int, zone: tzinfo, *, now: int) -> str:
    """The time of day, with the day where it is not today's.

    >>> when_text(90_000 * 10**6, UTC, now=0), when_text(60 * 10**6, UTC, now=0)
    ('tomorrow at 01:00:00', 'at 00:01:00')
    """
    days = (_local(at, zone).date() - _local(now, zone).date()).days
    day = {0: "", 1: "tomorrow ", -1: "yesterday "}.get(days, f"on {_local(at, zone):%d %b} ")
    return f"{day}at {time_text(at, zone)}"


def until_text(seconds: int) -> str:
    """A span as people say it.

    >>> until_text(42), until_text(61), until_text(3_700), until_text(90_000)
    ('42 s', '1 min', '1 h 1 min', '25 h')
    """
    minutes, hours = seconds // 60, seconds // 3_600
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{max(seconds, 0)} s"
    if hours == 0:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"


def share_text(thousandths: int) -> str:
    """A share as per cent with one decimal (rounded down).

    >>> share_text(614), share_text(0)
    ('61.4 %', '0.0 %')
    """
    whole, tenth = divmod(thousandths, THOUSANDTHS_PER_PERCENT)
    return f"{whole}.{tenth} %"


def count_text(count: int, noun: str) -> str:
    """A count with its noun.

    >>> count_text(1, "call"), count_text(3_100, "call")
    ('1 call', '3,100 calls')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def sentence(reading: Reading, zone: tzinfo) -> str:
    """The page in one sentence: what is used, by how many calls, what comes back next."""
    storage = reading.storage
    if storage is None:
        return f"{credits_text(reading.allowance.total)} credits in any 24 hours. What is used cannot be read now."
    if reading.allowance.suspended:
        return f"{reading.org.name} is suspended: no call that costs credits is let through."
    said = (_use(reading, storage), _outlook(reading, storage, zone), shadow_text(reading))
    return " ".join(text for text in said if text)


def shadow_text(reading: Reading) -> str:
    """What shadow mode let through, in one sentence; empty for an org that is not in it."""
    if not reading.org.shadow:
        return ""
    calls = 0 if reading.consumption is None else reading.consumption.totals.shadow_calls
    return f"Shadow mode: nothing is refused; would have been refused: {count_text(calls, 'call')}."


def _use(reading: Reading, storage: Storage) -> str:
    used, total = credits_text(storage.used), credits_text(storage.total)
    calls = "" if reading.consumption is None else f", {count_text(reading.consumption.totals.calls, 'call')}"
    if storage.used == 0:
        return f"Nothing used: all {total} credits of the last 24 hours are there."
    return f"{used} of {total} used ({storage.percent} %){calls}."


def _outlook(reading: Reading, storage: Storage, zone: tzinfo) -> str:
    if reading.quota_lost_at is not None:
        return f"As of {time_text(storage.at, zone)}."
    if storage.next_return is None:
        return ""
    at, amount = storage.next_return
    if storage.level is Level.REACHED or storage.within_hour == 0:
        return f"The next {_returning(amount)} {when_text(at, zone, now=storage.at)}."
    return f"{_returning(storage.within_hour)} within the hour."


def _returning(amount: int) -> str:
    return "1 credit returns" if amount == MILLICREDITS_PER_CREDIT else f"{credits_text(amount)} credits return"


def _local(at: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at // MICROSECONDS, tz=zone)
