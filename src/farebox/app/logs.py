"""Logs on standard error: one JSON object per line for programs, or readable lines for people (`log.format`)."""

from __future__ import annotations

import sys
from typing import Literal

import structlog


def configure_logs(process: str, form: Literal["auto", "people", "json"] = "auto") -> None:
    """Set up structlog for this process; `process` stands on every line. Safe to repeat, before the first line.

    "auto": for people on a terminal, else JSON.
    """
    terminal = sys.stderr.isatty()
    people = form == "people" or (form == "auto" and terminal)
    structlog.configure(
        processors=[
            _named(process),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=terminal) if people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _named(process: str) -> structlog.typing.Processor:
    """A line is of this process whichever of its threads writes it."""

    def name(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, **line}

    return name
