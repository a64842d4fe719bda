"""The measuring tools: what is missing is said and the rest goes on; figures are what was measured."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

import pytest

from farebox.testing.upstream import StubUpstream

HEAD = b"GET /thing HTTP/1.1\r\nHost: api.example\r\n\r\n"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))


def test_a_peer_that_is_not_installed_is_said_with_what_to_do_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench_peers

    wheels = {name: running for name, running in bench_peers.PEERS.items() if "nginx" not in name}
    assert len(wheels) == 2
    monkeypatch.setattr(bench_peers, "PEERS", wheels)
    ground = bench_peers.Ground(folder=tmp_path, upstream=1, proxy=1, nginx="", environment=tmp_path)
    ours: list[dict[str, object]] = [{"name": "plain GET, durability disk", "ratio": 0.5}]
    found = bench_peers.compare(ground, tmp_path, Namespace(), ours)
    assert [set(each) for each in found] == [{"name", "unavailable"}] * 2
    said = capsys.readouterr().out
    assert said.count("`tools/setup-peers` installs it") == 2
    assert re.search(r"plain GET, durability disk +Farebox +0\.500", said)


def test_a_peer_that_does_not_start_is_said_with_the_end_of_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench_peers

    program = tmp_path / "bin/envoy"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no such option >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(bench_peers, "PEERS", {"Envoy": bench_peers.envoy})
    ground = bench_peers.Ground(folder=tmp_path, upstream=1, proxy=1, nginx="", environment=tmp_path)
    (found,) = bench_peers.compare(ground, tmp_path, Namespace(), [])
    assert "the end of its log: no such option" in str(found["unavailable"])
    assert "Envoy" in capsys.readouterr().out


def test_the_load_sends_every_planned_call_and_counts_every_answer() -> None:
    from open_loop import Call, Load

    with StubUpstream() as upstream:
        load = Load(upstream.port, [Call(HEAD, 0), Call(HEAD, 1)], connections=4)
        outcome = load.run(0.5, rate=100)
        load.close()
    assert outcome.statuses == {200: 50}
    assert outcome.kinds == {0: 25, 1: 25}
    assert outcome.latencies.counts.total() == 50


def test_percentiles_are_those_of_the_calls_to_half_a_per_cent() -> None:
    from open_loop import Latencies

    latencies = Latencies()
    for microseconds in range(1, 100_001):
        latencies.add(microseconds)
    assert latencies.percentile_ms(50) == pytest.approx(50, rel=0.005)
    assert latencies.percentile_ms(99) == pytest.approx(99, rel=0.005)
    assert (latencies + Latencies()).counts == latencies.counts
    assert Latencies().percentile_ms(99) == 0


def test_the_tables_have_a_place_in_their_pages() -> None:
    import bench_table

    for name, (page, _, _) in bench_table.BLOCKS.items():
        text = ROOT.joinpath(page).read_text(encoding="utf-8")
        assert text.count(f"<!-- {name}: made by tools/bench_table.py -->\n") == 1, f"{page} has no place for {name}"
