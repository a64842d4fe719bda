"""The usage store on a real DuckDB file: every field kept, sums right to the second, nothing twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS, WINDOW_SECONDS, Instant
from farebox.errors import DataVersionError, UsageUnavailableError
from farebox.journal.position import Position
from farebox.journal.records import CLOSE, REFUSALS, REFUSED, Entry
from farebox.usage import duckdb as store
from farebox.usage import rows
from farebox.usage.duckdb import DuckdbUsage, _sql
from farebox.usage.port import Dimension, UsageLine, UsageTotals

ACME = Account("acme", "zoho-crm", "api")
NOON = Instant(1_700_000_000_000_000)
MakeEntry = Callable[..., Entry]


def test_every_field_of_an_entry_is_kept(usage: DuckdbUsage, make_entry: MakeEntry) -> None:
    entry = make_entry(
        call_id=b"0123456789abcdef", quantities={"records": 20, "cvid": 1}, addon=250, leased=False, shadow="x"
    )
    usage.load([entry], {"i1": Position(1, 100)})
    columns = ", ".join(f'"{name}"' for name in Entry.__struct_fields__)
    row = usage._root.cursor().execute(f"SELECT {columns} FROM entries").fetchone()
    assert row is not None
    assert Entry(*row) == entry


def test_rows_and_offsets_survive_a_close_and_a_new_start(path: Path, make_entry: MakeEntry) -> None:
    store = DuckdbUsage(path)
    store.load([make_entry(), make_entry(user="u2")], {"i1": Position(1, 200), "i2": Position(4, 7)})
    store.close()
    again = DuckdbUsage(path)
    assert again.offsets() == {"i1": Position(1, 200), "i2": Position(4, 7)}
    assert again.totals(ACME, at=NOON).calls == 2
    again.close()


def test_a_batch_that_fails_leaves_neither_rows_nor_offsets(usage: DuckdbUsage, make_entry: MakeEntry) -> None:
    usage.load([make_entry()], {"i1": Position(1, 100)})
    with pytest.raises(ValueError, match="too large"):
        usage.load([make_entry(), make_entry(status=70_000)], {"i1": Position(1, 300)})
    broken_after_insert = {"i1": Position(1, 300), "i2": Position(1, 2**80)}
    with pytest.raises((UsageUnavailableError, OverflowError)):
        usage.load([make_entry()], broken_after_insert)
    assert usage.offsets() == {"i1": Position(1, 100)}
    assert usage.totals(ACME, at=NOON).calls == 1


def test_a_charge_counts_for_24_hours_and_at_most_one_second_more(usage: DuckdbUsage, make_entry: MakeEntry) -> None:
    stamp = NOON + 999_999
    usage.load([make_entry(stamp=stamp)], {})
    last_counting = Instant(NOON + WINDOW_SECONDS * MICROSECONDS + 999_999)
    assert usage.totals(ACME, at=last_counting).credits == 1_000
    assert usage.totals(ACME, at=Instant(last_counting + 1)).credits == 0
    assert usage.breakdown(ACME, Dimension.USER, at=Instant(last_counting + 1)).lines == ()


def test_a_close_corrects_its_charge_by_being_added(usage: DuckdbUsage, make_entry: MakeEntry) -> None:
    usage.load([make_entry(credits=10_000), make_entry(kind=CLOSE, credits=-9_000, calls=0)], {})
    assert usage.totals(ACME, at=NOON) == UsageTotals(calls=1, credits=1_000)


def test_a_breakdown_has_a_line_per_value_and_its_sums_are_the_totals(
    usage: DuckdbUsage, make_entry: MakeEntry
) -> None:
    refused = make_entry(
        kind=REFUSALS, user="u2", credits=0, calls=0, refusals=40, outcome=REFUSED, reason="allowance", stamp=NOON - 5
    )
    usage.load([make_entry(credits=5_000), make_entry(user=""), make_entry(user="u2"), refused], {})
    breakdown = usage.breakdown(ACME, Dimension.USER, at=NOON)
    assert breakdown.lines == (
        UsageLine(value="u1", calls=1, credits=5_000, refusals=0),
        UsageLine(value="u2", calls=1, credits=1_000, refusals=40),
        UsageLine(value="", calls=1, credits=1_000, refusals=0),
    )
    totals = usage.totals(ACME, at=NOON)
    assert breakdown.totals == totals
    assert totals == UsageTotals(calls=3, credits=7_000, refusals=40, last_refusal=Instant(NOON - 5))
    assert sum(line.credits for line in breakdown.lines) == totals.credits


@pytest.mark.parametrize("dimension", list(Dimension))
def test_every_dimension_can_be_asked_for(usage: DuckdbUsage, make_entry: MakeEntry, dimension: Dimension) -> None:
    usage.load([make_entry(function="f", task="t")], {})
    assert len(usage.breakdown(ACME, dimension, at=NOON).lines) == 1


def test_breakdowns_are_of_one_state_whatever_is_loaded_between(
    usage: DuckdbUsage, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage.load([make_entry(), make_entry(user="u2", app="erp")], {})
    asked = store._lines

    def interrupted(*arguments: Any) -> tuple[UsageLine, ...]:
        lines = asked(*arguments)
        usage.load([make_entry(app="erp")], {})
        return lines

    monkeypatch.setattr(store, "_lines", interrupted)
    both = usage.breakdowns(ACME, [Dimension.APP, Dimension.USER], at=NOON)
    assert [sum(line.calls for line in each.lines) for each in both] == [2, 2]
    assert [each.totals.calls for each in both] == [2, 2]
    assert usage.totals(ACME, at=NOON).calls == 4


def test_another_org_product_or_pool_is_never_counted(usage: DuckdbUsage, make_entry: MakeEntry) -> None:
    usage.load([make_entry(), make_entry(org="other"), make_entry(product="bigin"), make_entry(pool="functions")], {})
    assert usage.totals(ACME, at=NOON).calls == 1
    assert usage.totals(Account("acme", "bigin", "api"), at=NOON).calls == 1


def test_entries_older_than_the_history_go_and_offsets_stay(usage: DuckdbUsage, make_entry: MakeEntry) -> None:
    usage.load([make_entry(stamp=NOON - 10), make_entry()], {"i1": Position(2, 9)})
    assert usage.drop_before(NOON) == 1
    assert usage.offsets() == {"i1": Position(2, 9)}
    assert usage.totals(ACME, at=NOON).calls == 1


def test_a_second_process_is_told_why_it_cannot_have_the_file(usage: DuckdbUsage, path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from farebox.usage.duckdb import DuckdbUsage\n"
        "try: DuckdbUsage(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=180, check=True
    ).stdout
    assert told.startswith("UsageUnavailableError another console (process ")
    assert "belongs to one process, even for reading" in told


def test_a_file_of_a_newer_farebox_is_refused_untouched(path: Path) -> None:
    DuckdbUsage(path).close()
    connection = duckdb.connect(str(path))
    connection.execute("UPDATE schema_version SET version = 9")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DataVersionError, match="schema version 9, this Farebox knows 2"):
        DuckdbUsage(path)
    assert path.read_bytes() == before


def test_the_largest_spender_comes_first_and_lines_are_bounded(usage: DuckdbUsage, make_entry: MakeEntry) -> None:
    usage.load([make_entry(user=f"u{n:05}", credits=n) for n in range(10_050)], {})
    lines = usage.breakdown(ACME, Dimension.USER, at=NOON).lines
    assert len(lines) == 10_000
    assert lines[0].value == "u10049"


def test_a_file_of_version_1_is_migrated_with_all_its_rows(path: Path, make_entry: MakeEntry) -> None:
    old = duckdb.connect(str(path))
    old.execute(_sql("001_entries"))
    fields = [name for name in rows.FIELDS if name != "shadow"]
    old.register("batch", rows.table_of([make_entry(), make_entry(leased=False)]).select(fields))
    old.execute(_sql("insert_entries"))
    old.close()
    usage = DuckdbUsage(path)
    usage.load([make_entry(shadow="allowance", leased=False)], {})
    totals = usage.totals(ACME, at=NOON)
    usage.close()
    assert (totals.calls, totals.credits, totals.unleased) == (3, 3_000, 1_000)
    assert (totals.shadow_calls, totals.shadow_credits) == (1, 1_000)


def test_what_shadow_mode_let_through_is_counted_apart_and_its_closes_too(
    usage: DuckdbUsage, make_entry: MakeEntry
) -> None:
    let_through = make_entry(shadow="allowance", leased=False, credits=3_000)
    close = make_entry(shadow="allowance", leased=False, credits=-1_000, kind=CLOSE, calls=0)
    usage.load([make_entry(), let_through, close, make_entry(leased=False)], {})
    totals = usage.totals(ACME, at=NOON)
    assert (totals.credits, totals.unleased, totals.shadow_calls, totals.shadow_credits) == (4_000, 1_000, 1, 2_000)
