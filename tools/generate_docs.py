"""Writes docs/configuration.md and docs/metrics.md from the source; a test fails when one of them is stale."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from farebox.config import (
    Config,
    ConsoleConfig,
    Fixed,
    GatewayConfig,
    Introspection,
    LogConfig,
    MetricsConfig,
    Upstream,
    UpstreamTls,
)
from farebox.metrics.catalogue import CATALOGUE, Metric

SECTIONS: tuple[tuple[str, type[Any]], ...] = (
    ("(top)", Config),
    ("[gateway]", GatewayConfig),
    ("[console]", ConsoleConfig),
    ("[metrics]", MetricsConfig),
    ("[log]", LogConfig),
    ("[[upstream]]", Upstream),
    ("[upstream.introspection]", Introspection),
    ("[upstream.fixed]", Fixed),
    ("[upstream.tls], [upstream.introspection.tls]", UpstreamTls),
)

INTRODUCTION = """# Configuration

`farebox init --upstream URL` writes a commented farebox.toml; `farebox check` says what is wrong with one.
The settings of [gateway], [console], [metrics] and [log] can be overridden by the environment:
`FAREBOX_GATEWAY_LISTEN`, `FAREBOX_CONSOLE_LISTEN` ...; `FAREBOX_DATA` is the data directory. Relative paths are taken
from the file's folder. `farebox reload` puts a changed file in force without failing a call
([operating](operating.md)).
"""


def configuration_page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for title, cls in SECTIONS:
        parts.append(f"## {title}\n\n{' '.join((cls.__doc__ or '').split())}\n")
        rows = ["| Setting | Default | What it is for |", "|---|---|---|"]
        rows += [f"| `{f.name}` | {_default(f)} | {f.metadata['doc']} |" for f in fields(cls) if f.metadata["doc"]]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


METRICS_INTRODUCTION = """# Metrics

One scrape tells about every process of a machine: the supervisor of `farebox serve` asks each and answers at
`metrics.listen` (`http://127.0.0.1:8082/metrics`, on loopback: put a proxy in front to reach it from elsewhere, it asks
nobody who they are). Each process also answers by itself on a socket file that only its owner can open, with the
console or the supervisor down: `curl --unix-socket farebox-data/run/gateway-0.sock http://farebox/metrics`.

```yaml
scrape_configs:
  - job_name: farebox
    static_configs:
      - targets: ["127.0.0.1:8082"]
```

Every sample has the label `process` (`gateway-0`, `console`, `supervisor`) beside those named here. Counters begin at 0
with each start of a process. No label names an organisation, a user or an app: their figures are on the console and in
its JSON API, and a scrape does not grow with the number of callers. What an upstream or a caller can invent is in no
label either. `farebox status` shows the same figures to people and says what to do about those that are wrong.

`farebox crm` has no metrics: it is an upstream like any other, a stranger in the house that imports nothing of Farebox;
what callers see of it is in the gateway's figures.

Worth an alert: `farebox_child_up == 0`; `farebox_quota_reachable == 0`; `farebox_journal_healthy == 0`;
`farebox_journal_bytes > 0.5 * farebox_journal_bytes_max`; `farebox_sync_age_seconds > 2` while calls are made;
`rate(farebox_journal_groups_failed_total[5m]) > 0`; `farebox_usage_lag_seconds > 60`; `farebox_adoptions_damaged > 0`;
`farebox_quota_alarms > 0`; `farebox_disk_free_bytes` below a day's growth.
"""


def metrics_page() -> str:
    """The whole page, one table per process."""
    parts = [METRICS_INTRODUCTION]
    for process in dict.fromkeys(metric.process for metric in CATALOGUE):
        rows = ["| Metric | Kind | Labels | What it tells |", "|---|---|---|---|"]
        rows += [_metric_row(metric) for metric in CATALOGUE if metric.process == process]
        parts.append(f"## {process[0].upper()}{process[1:]}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _metric_row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |"


def _default(f: Any) -> str:  # noqa: ANN401 - a dataclass Field of any type
    if f.default is MISSING and f.default_factory is MISSING:
        return "required"
    value = f.default
    if value is None:
        return "-"
    return f"`{json.dumps(value if isinstance(value, int | float | str | tuple) else str(value))}`"


if __name__ == "__main__":
    docs = Path(__file__).parent.parent / "docs"
    docs.joinpath("configuration.md").write_text(configuration_page(), encoding="utf-8")
    docs.joinpath("metrics.md").write_text(metrics_page(), encoding="utf-8")
