"""A process that has everything imported and forks a child per kill: a start of 0.5 s becomes one of 5 ms.

Commands on standard input, one JSON object a line: {"run": {...}} forks and answers with the child's id; {"wait": id}
answers with how it ended. It has one thread of Python's and no open file of Farebox, so that forking it is safe
(Arrow's allocator has a thread of its own and provides for forks).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"crash_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


roles, trap = _load("roles"), _load("trap")


def live(command: dict[str, Any]) -> None:
    """In the child: arm the trap, if there is one, and play the role. Never returns."""
    os.dup2(2, 1)  # what Farebox logs must not be taken for an answer
    status = 1
    try:
        if command["family"] and command["at"]:
            trap.set_trap(command["family"], command["at"], command["seed"])
        world = roles.World(
            data=Path(command["data"]), tight=command["tight"], name=command["name"], seed=command["seed"]
        )
        roles.ROLES[command["role"]](world)
        status = 0
    except BaseException:  # noqa: BLE001 - a forked child never returns; its status says that it failed
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Until standard input ends."""
    assert threading.active_count() == 1, "forking is only safe with one thread"
    for line in sys.stdin:
        command = json.loads(line)
        if "run" in command:
            child = os.fork()
            if child == 0:
                live(command["run"])
            print(child, flush=True)
        else:
            _, status = os.waitpid(command["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)


main()
