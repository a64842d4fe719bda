"""Looks at a changed configuration for a supervisor that runs: what is wrong with it, or what is to be put in force."""

from __future__ import annotations

import json
import os
from pathlib import Path

from farebox import checks
from farebox.app import STOP_SECONDS_BEYOND_GRACE
from farebox.app.in_force import inherited, read
from farebox.errors import FareboxError
from farebox.gateway.inheritance import prepared_fd


def prepare(path: Path) -> None:
    """Write to the inherited descriptor whether the configuration can be put in force, what there is to say, and it."""
    descriptor = prepared_fd()
    if descriptor is None:
        raise SystemExit("farebox.app prepare is started by the supervisor; use `farebox reload`")
    answer = json.dumps(_looked_at(path)).encode()
    while answer:
        answer = answer[os.write(descriptor, answer) :]


def _looked_at(path: Path) -> dict[str, object]:
    try:
        now = inherited(path).settings
        findings = checks.before_reload(path, now)
        wrong = [f"{finding.subject}: {finding.text}" for finding in findings if finding.fatal]
        if wrong:
            return {"ok": False, "said": wrong}
        wanted = read(path)
    except FareboxError as error:
        return {"ok": False, "said": str(error).splitlines()}
    return {
        "ok": True,
        "said": [f"{finding.subject}: {finding.text}" for finding in findings if finding.level == "warning"],
        "stop_seconds": wanted.settings.gateway.stop_grace_seconds + STOP_SECONDS_BEYOND_GRACE,
        "in_force": wanted.encoded(),
    }
