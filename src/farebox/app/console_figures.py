"""The console's figures: how far usage is loaded, who watches, and what quota says of gateways that died."""

from __future__ import annotations

import time

from farebox import config
from farebox.app import USAGE_FILE
from farebox.console.ingest import Ingest
from farebox.console.live import Live
from farebox.domain.instants import MICROSECONDS
from farebox.errors import QuotaUnavailableError
from farebox.metrics.figures import Figures
from farebox.metrics.own import own_figures
from farebox.quota.sqlite_view import SpendFile


def console_figures(settings: config.Config, *, ingest: Ingest, spend: SpendFile, live: Live) -> Figures:
    """All of them now. While quota cannot be read its two figures are left out: a gateway says that it is away."""
    figures = own_figures()
    loading = ingest.loading()
    if loading.as_of is not None:
        figures.add("usage_lag_seconds", time.time() - loading.as_of / MICROSECONDS)
    figures.add("usage_hindered", int(bool(loading.problem)))
    figures.add("usage_bytes", _size(settings))
    figures.add("live_streams", live.watchers)
    try:
        figures.add_credits("credits_unaccounted", spend.unaccounted())
        figures.add("quota_alarms", len(spend.alarms()))
    except QuotaUnavailableError:
        pass
    return figures


def _size(settings: config.Config) -> int:
    try:
        return (settings.data / USAGE_FILE).stat().st_size
    except FileNotFoundError:
        return 0
