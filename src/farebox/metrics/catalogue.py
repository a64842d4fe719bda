"""Every metric there is: its name, kind, labels and what it tells. docs/metrics.md is made from this table.

Labels are bounded: products and upstreams by the configuration, reasons by docs/errors.md, codes by HTTP. None names an
org or a user: their figures are on the console, and a scrape must not grow with the number of callers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

EVERY: Final = "every process"
GATEWAY: Final = "gateway"
CONSOLE: Final = "console"
SUPERVISOR: Final = "supervisor"


@dataclass(frozen=True, slots=True)
class Metric:
    """One name. `process` is who tells it; each sample has the label `process` beside `labels`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    process: str
    meaning: str
    labels: tuple[str, ...] = ()


def _counter(process: str, name: str, meaning: str, *labels: str) -> Metric:
    assert name.endswith("_total"), name
    return Metric(f"farebox_{name}", "counter", process, meaning, labels)


def _gauge(process: str, name: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"farebox_{name}", "gauge", process, meaning, labels)


CATALOGUE: Final = (
    _gauge(EVERY, "build_info", "1; version of Farebox and of Python in the labels.", "version", "python"),
    _gauge(EVERY, "process_start_seconds", "Unix time of its start: one that moves is a restart."),
    _gauge(EVERY, "process_resident_bytes", "Memory in use."),
    _counter(EVERY, "process_cpu_seconds_total", "Processor time. A rate near 1 in a gateway: add a worker."),
    _gauge(EVERY, "process_open_files", "Open files and sockets; the limit is `ulimit -n`."),
    _gauge(SUPERVISOR, "child_up", "1 while a process of the service answers for its metrics.", "child"),
    _counter(
        SUPERVISOR,
        "child_starts_total",
        "Starts of a process that no reload or restart asked for: 1 is normal, each more a death.",
        "child",
    ),
    _counter(
        GATEWAY,
        "calls_total",
        "Metered calls that reached the upstream, once their record is on disk. `outcome`: charged, unanswered or "
        "cut_off; `code`: 2xx ...",
        "product",
        "outcome",
        "code",
    ),
    _counter(GATEWAY, "unanswered_calls_total", "Charged calls without a whole answer, by reason.", "reason"),
    _counter(GATEWAY, "unmetered_calls_total", "Calls on open and free routes: neither charged nor journalled."),
    _counter(
        GATEWAY, "refusals_total", "Calls answered with a refusal; reasons are the codes of docs/errors.md.", "reason"
    ),
    _counter(GATEWAY, "credits_charged_total", "Credits charged, streams at their ceiling.", "product"),
    _counter(
        GATEWAY, "credits_given_back_total", "Credits that closes took off again: streams that cost less.", "product"
    ),
    _counter(GATEWAY, "credits_unleased_total", "Credits spent without a lease, under a fail-open policy."),
    _counter(GATEWAY, "closes_total", "Streamed answers that came to their end."),
    _counter(GATEWAY, "received_bytes_total", "Bytes of request bodies of metered calls."),
    _counter(GATEWAY, "sent_bytes_total", "Bytes of answer bodies of metered calls."),
    Metric(
        "farebox_added_seconds",
        "histogram",
        GATEWAY,
        "What the gateway itself took of a call, the upstream's time left out: pricing, admission, and the record on "
        "disk. Of calls answered in one piece, one in each commit group is measured: its count is not that of calls.",
    ),
    _gauge(GATEWAY, "calls_in_flight", "Calls admitted whose last entry is not written yet."),
    _gauge(GATEWAY, "calls_waiting_for_credits", "Calls that wait for a sync."),
    _gauge(GATEWAY, "credits_held", "Credits set aside for calls in flight."),
    _gauge(GATEWAY, "credits_lent", "Credits lent to this worker and spendable now, held ones not counted."),
    _gauge(GATEWAY, "leases", "Accounts this worker has a lease of."),
    _gauge(GATEWAY, "quota_reachable", "0: the quota store does not answer; calls go on within the leases, then 503."),
    _counter(GATEWAY, "syncs_total", "Syncs the quota store answered."),
    _counter(GATEWAY, "sync_failures_total", "Attempts it did not answer."),
    _counter(GATEWAY, "sync_seconds_total", "Time they took; by syncs_total, how long one takes."),
    _gauge(GATEWAY, "sync_age_seconds", "Since the last reply. Idle workers do not sync; beyond 2 s leases lapse."),
    _counter(GATEWAY, "journal_groups_total", "Groups made durable: one write and sync each."),
    _counter(GATEWAY, "journal_entries_total", "Entries in them; by journal_groups_total, how many share a sync."),
    _counter(GATEWAY, "journal_groups_failed_total", "Groups that could not be written: their answers were withheld."),
    _counter(GATEWAY, "journal_write_seconds_total", "Time spent writing and syncing; by groups, the disk's speed."),
    _gauge(GATEWAY, "journal_lag_bytes", "Records handed to the commit thread and not durable yet."),
    _gauge(GATEWAY, "journal_bytes", "All journals of the machine, preallocated space included."),
    _gauge(GATEWAY, "journal_bytes_max", "The bound; at half of it a warning, at the bound calls are refused (503)."),
    _gauge(GATEWAY, "journal_healthy", "0: no segment can be written; calls are refused (503)."),
    _gauge(
        GATEWAY,
        "journal_stalled_seconds",
        "For how long records have waited while nothing at all became durable: beyond 5 the disk hangs, and calls are "
        "refused (503).",
    ),
    _counter(
        GATEWAY,
        "journal_troubles_total",
        "Entries that could not be journalled as they are. `trouble`: charges.not_journalled, closes.not_journalled, "
        "entries.without_names, refusals.not_journalled.",
        "trouble",
    ),
    _gauge(GATEWAY, "disk_free_bytes", "Free on the file system of the data directory."),
    _counter(GATEWAY, "adoptions_total", "Journals of dead workers settled to their end here."),
    _gauge(GATEWAY, "adoptions_damaged", "Journals of dead workers that cannot be read; what was lent stays counted."),
    _gauge(GATEWAY, "connections", "Open connections of callers."),
    _gauge(GATEWAY, "connections_max", "The bound; at it new ones get 503."),
    _gauge(GATEWAY, "tunnels", "Open tunnels (websocket)."),
    _counter(GATEWAY, "tls_reloads_total", "Certificates taken from changed files, where callers speak TLS."),
    _counter(
        GATEWAY,
        "tls_reload_failures_total",
        "Changed files that could not be used: the old certificate stays.",
    ),
    _counter(
        GATEWAY,
        "tls_handshakes_ended_total",
        "Handshakes of callers that led to nothing. `reason`: failed, or refused (gateway.client_connections_max).",
        "reason",
    ),
    _counter(
        GATEWAY,
        "tls_accept_failures_total",
        "Attempts to accept a caller's connection that the system refused: this process has no open files left.",
    ),
    _counter(GATEWAY, "upstream_connects_total", "Connections opened to an upstream.", "upstream", "use"),
    _counter(
        GATEWAY, "upstream_connect_failures_total", "Connections refused or not opened in time.", "upstream", "use"
    ),
    _gauge(
        GATEWAY,
        "upstream_connections",
        "Open connections; `use`: calls, or identity (its authorization server).",
        "upstream",
        "use",
    ),
    _gauge(GATEWAY, "upstream_connections_idle", "Of them, kept for the next call.", "upstream", "use"),
    _gauge(GATEWAY, "upstream_waiting", "Calls that wait for a connection.", "upstream", "use"),
    _gauge(GATEWAY, "upstream_addresses", "Addresses an upstream has.", "upstream", "use"),
    _gauge(
        GATEWAY,
        "upstream_addresses_down",
        "Of them, those that cannot be connected to now; with all of them down calls get 502.",
        "upstream",
        "use",
    ),
    _gauge(GATEWAY, "tokens", "Access tokens remembered.", "upstream"),
    _counter(GATEWAY, "token_hits_total", "Tokens found in memory.", "upstream"),
    _counter(GATEWAY, "token_questions_total", "Tokens asked about at the authorization server.", "upstream"),
    _counter(GATEWAY, "token_failures_total", "Questions without a usable answer: the callers got 503.", "upstream"),
    _gauge(GATEWAY, "loop_lag_seconds", "The longest the event loop was late, in the last 15 to 30 s."),
    _gauge(GATEWAY, "directory_version", "Version of the directory in force; workers of one machine agree within 1 s."),
    _gauge(
        GATEWAY,
        "directory_age_seconds",
        "Since the directory was last found readable: beyond 2, what was changed in it since is not in force.",
    ),
    _gauge(GATEWAY, "card_info", "1; the card that prices an upstream.", "upstream", "product", "card"),
    _gauge(GATEWAY, "config_info", "1; a digest of the configuration in force.", "digest"),
    _gauge(GATEWAY, "draining", "1: stopping, takes no new calls."),
    _gauge(CONSOLE, "usage_lag_seconds", "How old the last instant is up to which all entries are loaded."),
    _gauge(CONSOLE, "usage_hindered", "1: loading is hindered; the console and `farebox status` say by what."),
    _gauge(CONSOLE, "usage_bytes", "Size of the usage file."),
    _gauge(CONSOLE, "live_streams", "Open pages that get their numbers live."),
    _gauge(CONSOLE, "credits_unaccounted", "Credits lent to gateways that died, until their journal tells better."),
    _gauge(CONSOLE, "quota_alarms", "Times more was settled than was lent: a bug, please report it. At most 1,000."),
)

BY_NAME: Final = {metric.name: metric for metric in CATALOGUE}
"""The table by name."""
