"""`farebox reload` and `farebox restart`: ask the `farebox serve` that runs, and say how it went."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from farebox.cli.places import CONFIG_NAME, ConfigOption, JsonOption

REQUEST_SECONDS_MAX = 600.0

DataOfServe = Annotated[
    Path | None,
    typer.Option("--data", help="The data directory of the serve that is asked. Default: what --config says."),
]


def reload(*, config: ConfigOption = Path(CONFIG_NAME), data: DataOfServe = None, as_json: JsonOption = False) -> None:
    """Put the changed configuration of a running `farebox serve` in force, without failing a call.

    Cards, upstreams, limits and time-outs are read anew. A configuration that is wrong changes nothing: what is wrong
    is said and the old one stays in force. The number of workers, the addresses of gateway and metrics and the data
    directory take a full restart; a reload says so. The same as SIGHUP to the supervisor.
    """
    from farebox.gateway.supervision import RELOAD

    _ask(RELOAD, config, data, as_json=as_json)


def restart(*, config: ConfigOption = Path(CONFIG_NAME), data: DataOfServe = None, as_json: JsonOption = False) -> None:
    """Replace the gateway workers of a running `farebox serve` by fresh processes, one after another, failing no call.

    For a new version of Farebox, say. The configuration in force stays. Each fresh worker takes calls before the old
    one ends its own (gateway.drain_idle_seconds, gateway.stop_grace_seconds). The same as SIGUSR1 to the supervisor.
    """
    from farebox.gateway.supervision import RESTART

    _ask(RESTART, config, data, as_json=as_json)


def _ask(request: str, config: Path, data: Path | None, *, as_json: bool) -> None:
    from farebox.errors import ConfigInvalidError
    from farebox.gateway import supervision

    try:
        well, text = supervision.ask(data or _data_of(config), request, within_seconds=REQUEST_SECONDS_MAX)
    except ConfigInvalidError as error:
        well, text = False, "\n".join(["nothing was changed, the configuration is wrong:", *error.problems])
    if as_json:
        print(json.dumps({"request": request, "ok": well, "text": text}))
    else:
        print(text, file=sys.stdout if well else sys.stderr)
    if not well:
        raise typer.Exit(1)


def _data_of(config: Path) -> Path:
    from farebox import config as configuration

    return configuration.load(config).data
