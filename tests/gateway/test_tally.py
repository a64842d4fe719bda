"""What a worker counts about its calls is what its journal says."""

from __future__ import annotations

import msgspec

from farebox.gateway.tally import Durations, Tally
from farebox.journal.records import CHARGE, CHARGED, CLOSE, REFUSALS, UNANSWERED, Entry


def _charge(*, amount: int = 1_000, status: int = 200, outcome: str = CHARGED, reason: str = "") -> Entry:
    return Entry(
        kind=CHARGE,
        call_id=bytes(16),
        stamp=0,
        org="acme",
        product="crm",
        pool="api",
        user="",
        app="",
        function="",
        task="",
        module="",
        operation="list",
        method="GET",
        path_template="/",
        api_version="",
        target_hash=b"",
        client_ip="",
        status=status,
        outcome=outcome,
        reason=reason,
        quote=amount,
        credits=amount,
        addon=0,
        quantities={},
        records_returned=-1,
        conditional=0,
        duration=5,
        bytes_in=3,
        bytes_out=7,
        calls=1,
    )


def test_calls_and_credits_are_counted_from_the_entries_and_never_go_down() -> None:
    tally = Tally()
    charge = _charge(amount=5_000)
    tally.entries([charge, charge, _charge(status=504, outcome=UNANSWERED, reason="upstream_timeout")])
    tally.entries([msgspec.structs.replace(charge, kind=CLOSE, credits=-2_000, calls=0, bytes_in=0, bytes_out=100)])
    tally.entries([msgspec.structs.replace(charge, kind=REFUSALS, credits=0, calls=0, bytes_in=0, bytes_out=0)])
    assert tally.calls() == {("crm", CHARGED, 200): 2, ("crm", UNANSWERED, 504): 1}
    assert tally.credits(CHARGE) == {"crm": 11_000}
    assert tally.credits(CLOSE) == {"crm": -2_000}
    assert tally.unanswered == {"upstream_timeout": 1}
    assert (tally.closes, tally.bytes_in, tally.bytes_out) == (1, 9, 121)


def test_spend_without_a_lease_is_counted_apart() -> None:
    tally = Tally()
    tally.entries([_charge(), msgspec.structs.replace(_charge(amount=300), leased=False)])
    assert tally.unleased == 300


def test_a_duration_is_counted_below_the_next_power_of_two() -> None:
    durations = Durations()
    for microseconds in (0, 1, 63, 64, 127, 5_000_000):
        durations.add(microseconds)
    assert sum(durations.counts[:7]) == 3  # below 64 us
    assert durations.counts[7] == 2  # 64 .. 127 us
    assert durations.counts[23] == 1  # 4.2 .. 8.4 s
    assert durations.total == 5_000_255
