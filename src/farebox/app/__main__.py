"""`python -m farebox.app ROLE CONFIG [SLOT]`: what the supervisor starts; people use the farebox command.

`farebox serve` becomes `supervise`, which starts `gateway` and `console`: each process loads only what it needs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from farebox.app.in_force import inherited
from farebox.app.logs import configure_logs
from farebox.errors import FareboxError
from farebox.gateway.inheritance import follow_supervisor


def main(arguments: list[str]) -> int:
    """Run one role until SIGTERM; the exit status."""
    role, path, *rest = arguments
    os.umask(0o077)  # what is kept is spending and journals of organisations: its owner's alone
    configure_logs(role)
    try:
        return _run(role, Path(path), rest)
    except FareboxError as error:
        print(f"farebox {role}: {error} ({error.code}: see docs/errors.md)", file=sys.stderr)
        return 1


def _run(role: str, path: Path, rest: list[str]) -> int:
    if role == "prepare":
        from farebox.app.prepare import prepare

        prepare(path)
        return 0
    kept = inherited(path)
    names = {"supervise": "supervisor", "gateway": "-".join(("gateway", *rest))}
    configure_logs(names.get(role, role), kept.settings.log.format)
    match role:
        case "supervise":
            from farebox.app.supervise import supervise

            return supervise(kept, path)
        case "gateway":
            from farebox.app.gateway import serve_gateway

            serve_gateway(kept, slot=int(rest[0]))
        case "console":
            from farebox.app.console import serve_console

            follow_supervisor()
            serve_console(kept)
        case _:
            raise SystemExit(f"farebox.app: no such role {role!r}; use the farebox command")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
