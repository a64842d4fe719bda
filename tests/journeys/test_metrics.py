"""What the running processes tell about themselves is what docs/metrics.md says, and agrees with the journal."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from farebox.metrics.endpoint import ask
from farebox.metrics.figures import Figures
from farebox.testing.books import read_books
from farebox.testing.system import GATEWAY_HEALTH, ChildProcess, Provision, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
ONLY_AFTER = {
    "farebox_credits_given_back_total",  # a stream
    "farebox_unanswered_calls_total",  # an upstream that fails
    "farebox_journal_troubles_total",  # entries that cannot be written
    "farebox_tokens",
    "farebox_token_hits_total",  # an upstream with introspection
    "farebox_token_questions_total",
    "farebox_token_failures_total",
}
"""Told once there is something to tell, which this journey has not."""


def _scraped(url: str) -> dict[tuple[str, str], dict[tuple[str, ...], float]]:
    """(name, process) -> other labels' values -> value."""
    found: dict[tuple[str, str], dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            labels = dict(sample.labels)
            key = (sample.name, labels.pop("process"))
            found.setdefault(key, {})[tuple(labels.values())] = sample.value
    return found


def _whole(url: str) -> dict[tuple[str, str], dict[tuple[str, ...], float]] | None:
    """Everything, unless a process that has to do with other things on a busy machine was left out."""
    found = _scraped(url)
    return found if {process for _, process in found} >= {"gateway-0", "console", "supervisor"} else None


def _told(data: Path, process: str) -> Figures | None:
    """The figures of a process; None when it did not answer in time."""
    try:
        return ask(data, process)
    except OSError:
        return None


def _family(name: str) -> str:
    return re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name)


def test_the_running_processes_tell_every_documented_metric_no_other_and_the_truth(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    farebox = RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=[Provision(org="acme", base=3)])
    arguments = ["-m", "farebox.cli", "serve", "--config", str(farebox.config_path)]
    log = tmp_path / "serve.log"
    serve = ChildProcess("serve", arguments, health_url=farebox.gateway_url + GATEWAY_HEALTH, log=log)
    serve.start()
    try:
        until(farebox.console.answers, what="the console answers")
        with farebox.caller("acme", "ada") as ada:
            assert [ada.get("/").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        assert httpx.get(farebox.gateway_url).status_code == 401
        until(
            lambda: (told := _told(farebox.data, "console")) and told.value("usage_lag_seconds", -1) >= 0,
            what="loaded once",
        )
        found = until(lambda: _whole(farebox.metrics_url), what="every process tells its figures in time")
    finally:
        serve.stop()
    documented = set(re.findall(r"^\| `(farebox_\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    told = {_family(name) for name, _ in found}
    assert told <= documented, "told and not documented"
    tls = {name for name in documented if name.startswith("farebox_tls_")}  # of a listener with TLS, which this is not
    assert documented - told == ONLY_AFTER | tls, "documented and not told"
    one = "gateway-0"
    assert found["farebox_calls_total", one] == {("api", "charged", "2xx"): 3}
    assert found["farebox_credits_charged_total", one] == {("api",): 3}
    assert found["farebox_refusals_total", one] == {("credits_exhausted",): 2, ("credentials_missing",): 1}
    assert found["farebox_added_seconds_count", one] == {(): 3}
    assert found["farebox_journal_entries_total", one][()] >= 3
    assert found["farebox_quota_reachable", one] == {(): 1}
    assert found["farebox_child_up", "supervisor"] == {(one,): 1, ("console",): 1}
    assert sum(row.credits for row in read_books(farebox.data).entries) == 3_000


def test_a_process_that_is_down_is_said_to_be_and_the_others_are_told(tmp_path: Path, upstream: StubUpstream) -> None:
    with RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox:
        until((farebox.data / "run/console.sock").exists, what="the console answers for its metrics")
        farebox.gateway.pause()
        with pytest.raises(TimeoutError, match=r"event loop|timed out"):
            ask(farebox.data, "gateway-0")
        farebox.gateway.resume()
        found = until(lambda: _told(farebox.data, "gateway-0"), what="the gateway tells again")
        assert found.value("journal_healthy") == 1
        farebox.gateway.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(farebox.data, "gateway-0")
        assert until(lambda: _told(farebox.data, "console"), what="the console tells").value("live_streams", -1) == 0
        farebox.gateway.start()
        found = until(lambda: _told(farebox.data, "gateway-0"), what="the new gateway tells")
        assert found.value("adoptions_total", -1) >= 0
