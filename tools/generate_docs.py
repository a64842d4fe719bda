"""Writes docs/configuration.md from the fields of farebox.config; a test fails when the file is stale."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from farebox.config import Config, ConsoleConfig, Fixed, GatewayConfig, Introspection, Upstream

SECTIONS: tuple[tuple[str, type[Any]], ...] = (
    ("(top)", Config),
    ("[gateway]", GatewayConfig),
    ("[console]", ConsoleConfig),
    ("[[upstream]]", Upstream),
    ("[upstream.introspection]", Introspection),
    ("[upstream.fixed]", Fixed),
)

INTRODUCTION = """# Configuration

`farebox init --upstream URL` writes a commented farebox.toml; `farebox check` says what is wrong with one.
The settings of [gateway] and [console] can be overridden by the environment: `FAREBOX_GATEWAY_LISTEN`,
`FAREBOX_CONSOLE_LISTEN` ...; `FAREBOX_DATA` is the data directory. Relative paths are taken from the file's folder.
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


def _default(f: Any) -> str:  # noqa: ANN401 - a dataclass Field of any type
    if f.default is MISSING and f.default_factory is MISSING:
        return "required"
    value = f.default
    if value is None:
        return "-"
    return f"`{json.dumps(value if isinstance(value, int | float | str | tuple) else str(value))}`"


if __name__ == "__main__":
    Path(__file__).parent.parent.joinpath("docs/configuration.md").write_text(configuration_page(), encoding="utf-8")
