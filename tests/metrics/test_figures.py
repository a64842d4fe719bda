"""The text that Prometheus reads, judged by its own client's parser."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from farebox.gateway.tally import Durations
from farebox.metrics.catalogue import CATALOGUE
from farebox.metrics.figures import Figures, text


def test_what_is_told_is_what_the_official_parser_reads() -> None:
    gateway = Figures()
    gateway.add("calls_total", 12, product="crm", outcome="charged", code="2xx")
    gateway.add_credits("credits_charged_total", 12_250, product='a "quoted\\" \n product')
    console = Figures()
    console.add("live_streams", 3)
    found = {
        (sample.name, sample.labels["process"]): (sample.value, sample.labels)
        for family in text_string_to_metric_families(text({"gateway-0": gateway, "console": console}))
        for sample in family.samples
    }
    assert found["farebox_calls_total", "gateway-0"][0] == 12
    assert found["farebox_calls_total", "gateway-0"][1]["code"] == "2xx"
    value, labels = found["farebox_credits_charged_total", "gateway-0"]
    assert (value, labels["product"]) == (12.25, 'a "quoted\\" \n product')
    assert found["farebox_live_streams", "console"][0] == 3


def test_a_histogram_counts_each_duration_below_every_bound_it_is_below() -> None:
    durations = Durations()
    for microseconds in (5, 63, 64, 1_000, 60_000_000):
        durations.add(microseconds)
    figures = Figures()
    figures.add_durations("added_seconds", durations.counts, durations.total)
    (family,) = text_string_to_metric_families(text({"gateway-0": figures}))
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert (buckets["0.000064"], buckets["0.000128"], buckets["0.001024"], buckets["+Inf"]) == (2, 3, 4, 5)
    assert {s.name: s.value for s in family.samples if "le" not in s.labels} == {
        "farebox_added_seconds_sum": pytest.approx(60.001132),
        "farebox_added_seconds_count": 5,
    }


def test_a_name_or_label_that_is_not_documented_cannot_be_told() -> None:
    with pytest.raises(KeyError):
        Figures().add("secret_total", 1)
    with pytest.raises(AssertionError):
        Figures().add("live_streams", 1, org="acme")


def test_no_metric_is_labelled_with_what_callers_can_grow() -> None:
    bounded = {"version", "python", "child", "product", "outcome", "code", "reason", "trouble", "upstream", "use"}
    bounded |= {"card", "digest"}
    assert {label for metric in CATALOGUE for label in metric.labels} <= bounded
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)
