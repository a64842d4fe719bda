"""`farebox check`: everything that would stop `farebox serve`, found before it does."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from farebox.cli.places import CONFIG_NAME, ConfigOption, JsonOption


def check(*, config: ConfigOption = Path(CONFIG_NAME), json_output: JsonOption = False) -> None:
    """Find what is wrong with configuration, cards, data directory, addresses and upstreams.

    Exit status 0: `farebox serve` can start. Warnings (an upstream that does not answer now) do not fail it.
    """
    from farebox import checks

    findings = checks.everything(config)
    failed = any(finding.fatal for finding in findings)
    if json_output:
        report = [{"level": f.level, "subject": f.subject, "text": f.text} for f in findings]
        print(json.dumps({"ok": not failed, "findings": report}, indent=2))
    else:
        for finding in findings:
            print(f"{finding.level:7} {finding.subject}: {finding.text}")
        print("Not ready: see the lines marked error." if failed else "Ready: farebox serve can start.")
    if failed:
        raise typer.Exit(1)
