"""`farebox init`: a commented farebox.toml, and a rate card from an OpenAPI file."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from farebox.cli.places import CONFIG_NAME
from farebox.config import PORTS, SECTIONS_IN_ENVIRONMENT
from farebox.errors import ConfigInvalidError, NameTakenError

CARD_NAME = "card.toml"


def init(
    *,
    upstream: Annotated[str, typer.Option("--upstream", metavar="URL", help="The API to stand in front of.")],
    openapi: Annotated[
        Path | None,
        typer.Option(
            "--openapi", metavar="FILE", help="Its OpenAPI file (JSON or YAML): every operation gets a price."
        ),
    ] = None,
    card: Annotated[
        str, typer.Option("--card", help="A packaged rate card, when there is no OpenAPI file.")
    ] = "generic",
    directory: Annotated[Path, typer.Option("--directory", help="Where to write.", file_okay=False)] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Write over existing files.")] = False,
) -> None:
    """Write farebox.toml (and a rate card) for an API, ready to be read and changed."""
    url = _checked_url(upstream)
    directory.mkdir(parents=True, exist_ok=True)
    config_path, card_path = directory / CONFIG_NAME, directory / CARD_NAME
    wanted = [config_path, *([card_path] if openapi else [])]
    taken = [path for path in wanted if path.exists()]
    if taken and not force:
        raise NameTakenError(f"{taken[0]} exists already; --force writes over it")
    if openapi is not None:
        card_path.write_text(_card_text(openapi), encoding="utf-8")
        card = CARD_NAME
    config_path.write_text(config_text(url, card), encoding="utf-8")
    print(f"Wrote {' and '.join(str(path) for path in wanted)}. Next:\n")
    print(f"  farebox org add acme --name 'Acme Inc.' --card {card} --plan standard --users 10")
    print("  farebox key add acme --label 'my first key'    # prints the key once")
    print("  farebox login add you@example.com --operator   # prints the link of your first sign-in")
    print("  farebox check                                  # finds what is wrong before serve does")
    print("  farebox serve")


HEAD = """# Farebox's configuration. What is commented out stands at its default.
# `farebox check` reads this file and says what is wrong with it.

# Everything Farebox keeps: quota, directory, journal, usage.
data = "farebox-data"
"""

UPSTREAM = """[[upstream]]
name = {name}
url = {url}
# A packaged card (zoho-crm, bigin, generic) or the path of your own.
card = {card}
# Host names and path prefixes that go to this upstream; the longest prefix wins. Without hosts: every host.
# hosts = ["api.example.com"]
paths = ["/"]
# How callers are known: "key" (Farebox keys: farebox key add), "introspection" (RFC 7662) or "fixed".
identity = "key"

# For identity = "introspection":
# [upstream.introspection]
# url = "http://127.0.0.1:9000/oauth/v2/introspect"
# client_id = "farebox"
# client_secret = "..."
# org_claim = "org"
# user_claim = "user"
# app_claim = "client_id"

# For identity = "fixed":
# [upstream.fixed]
# org = "acme"
# app = "legacy"
"""


def config_text(upstream_url: str, card: str) -> str:
    """A farebox.toml with every setting, its default commented out and what it is for."""
    name = (urlsplit(upstream_url).hostname or "api").split(".")[0]
    name = "api" if name.isdecimal() else name
    upstream = UPSTREAM.format(name=json.dumps(name), url=json.dumps(upstream_url), card=json.dumps(card))
    tables = (_table(name, cls) for name, cls in SECTIONS_IN_ENVIRONMENT.items())
    return "\n".join((HEAD, *tables, upstream))


def _table(name: str, cls: type[Any]) -> str:
    lines = [f"[{name}]"]
    for f in fields(cls):
        default = f.default if f.default is not MISSING else None
        lines.append(f"# {f.metadata['doc']}")
        lines.append(f"# {f.name} = {_toml(default)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)


def _checked_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ConfigInvalidError((f"--upstream {text!r}: give the API's address as https://host or http://host:port",))
    return f"{parts.scheme}://{parts.netloc}"


def _card_text(path: Path) -> str:
    from farebox.cards import openapi

    return openapi.card_from_file(path)
