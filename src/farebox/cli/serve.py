"""`farebox serve`: gateway and console on this machine, under one supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from farebox.cli.places import CONFIG_NAME, ConfigOption


def serve(*, config: ConfigOption = Path(CONFIG_NAME)) -> None:
    """Run the gateway workers and the console until Ctrl-C or SIGTERM.

    What `farebox check` finds is looked at first; with an error nothing is started. While it runs: `farebox reload`
    puts a changed configuration in force, `farebox restart` replaces the workers one after another, neither failing a
    call; `farebox status` says how it stands. Stopping lets calls under way end (gateway.stop_grace_seconds).
    """
    from farebox import checks

    errors = [finding for finding in checks.everything(config) if finding.fatal]
    if errors:
        for finding in errors:
            print(f"farebox: {finding.subject}: {finding.text}", file=sys.stderr)
        print("Nothing was started. `farebox check` shows everything that was looked at.", file=sys.stderr)
        raise typer.Exit(1)
    # A fresh interpreter: the supervisor lives as long as the service and needs none of what the command line loaded.
    os.execv(sys.executable, [sys.executable, "-m", "farebox.app", "supervise", str(config.resolve())])  # noqa: S606 - ourselves
