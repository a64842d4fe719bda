"""Counters of a child that only grow: over processes that leave their figures, that die, and that overlap."""

from __future__ import annotations

from pathlib import Path

from farebox.app.totals import LIVING_MAX, Totals
from farebox.metrics.endpoint import ProcessEndpoint, ask, left_behind
from farebox.metrics.figures import Figures, text
from farebox.testing.system import until

ONE = "gateway-0"


def figures(*, start: float, syncs: int, leases: int = 0, refused: dict[str, int] | None = None) -> Figures:
    found = Figures()
    found.add("process_start_seconds", start)
    found.add("syncs_total", syncs)
    found.add("leases", leases)
    found.add_durations("added_seconds", [0] * 10 + [syncs] + [0] * 53, syncs * 1_000_000)
    for reason, number in (refused or {}).items():
        found.add("refusals_total", number, reason=reason)
    return found


def leave(data: Path, last: Figures) -> None:
    """A process of that name serves, is asked once, and ends in good order."""
    endpoint = ProcessEndpoint(data, ONE, lambda: last, leaves=True)
    until(lambda: (data / "run" / f"{ONE}.sock").exists() and ask(data, ONE), what="it answers")
    endpoint.close()


def test_what_processes_left_or_told_last_is_added_and_gauges_are_the_present_ones(tmp_path: Path) -> None:
    totals = Totals(tmp_path)
    first = totals.of(ONE, lambda: figures(start=1, syncs=10, leases=5, refused={"a": 1}))
    assert first is not None
    assert (first.value("syncs_total"), first.value("leases")) == (10, 5)
    both = totals.of(ONE, lambda: figures(start=2, syncs=3, leases=2, refused={"b": 2}))
    assert both is not None
    assert (both.value("syncs_total"), both.value("leases")) == (13, 2), "the first drains: what it told last"
    leave(tmp_path, figures(start=1, syncs=12, refused={"a": 4}))
    told = totals.of(ONE, lambda: figures(start=2, syncs=4, refused={"b": 2}))
    assert told is not None
    assert told.value("syncs_total") == 16
    assert told.by_label("refusals_total") == {("a",): 4, ("b",): 2}
    lines = text({ONE: told}).splitlines()
    assert f'farebox_added_seconds_count{{process="{ONE}"}} 16' in lines
    assert f'farebox_added_seconds_sum{{process="{ONE}"}} 16' in lines
    assert totals.of(ONE, lambda: None) is None
    assert totals.of("console", lambda: figures(start=9, syncs=1)).value("syncs_total") == 1  # type: ignore[union-attr]


def test_those_that_die_count_with_what_they_told_last_however_many_they_were(tmp_path: Path) -> None:
    totals = Totals(tmp_path)
    seen = []
    for start in range(3 * LIVING_MAX):
        for syncs in (1, 2):
            told = totals.of(ONE, lambda start=start, syncs=syncs: figures(start=start, syncs=syncs))  # type: ignore[misc]
            assert told is not None
            seen.append(told.value("syncs_total"))
    assert seen == list(range(1, 6 * LIVING_MAX + 1))
    leave(tmp_path, figures(start=0, syncs=2))
    again = totals.of(ONE, lambda: figures(start=3 * LIVING_MAX - 1, syncs=2))
    assert again is not None
    assert again.value("syncs_total") == seen[-1], "nothing counts twice"


def test_what_processes_of_an_earlier_supervisor_left_is_not_counted(tmp_path: Path) -> None:
    leave(tmp_path, figures(start=1, syncs=100))
    totals = Totals(tmp_path)
    told = totals.of(ONE, lambda: figures(start=2, syncs=1))
    assert told is not None
    assert told.value("syncs_total") == 1
    (tmp_path / "run" / f"{ONE}.7.left").write_text("nonsense")
    assert totals.of(ONE, lambda: figures(start=2, syncs=1)) is not None
    assert list(left_behind(tmp_path)) == []


def test_figures_of_a_newer_version_than_the_supervisor_hinder_nothing(tmp_path: Path) -> None:
    totals = Totals(tmp_path)
    totals.of(ONE, lambda: figures(start=1, syncs=10))

    def newer() -> Figures:
        found = figures(start=2, syncs=3)
        found.samples["farebox_told_by_no_older_version_total"] = found.samples["farebox_syncs_total"]
        return found

    told = totals.of(ONE, newer)
    assert told is not None
    assert told.value("syncs_total") == 13
    assert f'farebox_syncs_total{{process="{ONE}"}} 13' in text({ONE: told}).splitlines()
