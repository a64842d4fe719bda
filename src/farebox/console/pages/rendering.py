"""Jinja2 with the filters the templates speak: credits, counts, shares and times."""

from __future__ import annotations

from datetime import tzinfo

import jinja2

from farebox.console import words
from farebox.domain.credits import text_of as credits_text


def templates() -> jinja2.Environment:
    """The package's templates, escaping everything; an unknown name in one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("farebox.console", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "credits": credits_text,
        "count": lambda number: f"{number:,}",
        "share": words.share_text,
        "time": words.time_text,
        "when": _when,
        "until": lambda at, now: words.until_text((at - now) // 1_000_000),
        "zone_label": lambda zone, at: words.zone_label(at, zone),
    }
    return environment


def _when(at: int, zone: tzinfo, now: int) -> str:
    return words.when_text(at, zone, now=now)
