"""The wheel's build hook: pure Python, unless FAREBOX_COMPILE=1 asks for the way of every call compiled to C (mypyc).

The compiled wheel holds the same sources; what is imported is the machine code beside them. Why it is not the default
stands in docs/decisions/0020-the-same-bytes-mean-the-same.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ASKED = "FAREBOX_COMPILE"
MODULES = (
    "domain/instants.py",
    "domain/leases.py",
    "domain/pricing.py",
    "domain/routing.py",
    "domain/window.py",
    "gateway/concurrency.py",
    "gateway/counter_page.py",
    "gateway/date.py",
    "gateway/forward.py",
    "gateway/http1_answer.py",
    "gateway/http1_client.py",
    "gateway/http1_known.py",
    "gateway/http1_pool.py",
    "gateway/http1_request.py",
    "gateway/http1_upstream.py",
    "gateway/identify.py",
    "gateway/leading_back.py",
    "gateway/local.py",
    "gateway/meter.py",
    "gateway/plane.py",
    "gateway/proxies.py",
    "gateway/standing.py",
    "gateway/tally.py",
    "gateway/timeouts.py",
    "gateway/tokens.py",
    "gateway/tunnel.py",
    "journal/commit.py",
    "journal/commits.py",
    "journal/tail.py",
    "journal/writer.py",
    "quota/chunks.py",
    "quota/lease.py",
    "quota/leases.py",
    "quota/memory.py",
    "quota/protocol.py",
    "quota/sqlite_sync.py",
)
"""What a plain call spends its time in, and what derives from it: a compiled class has no interpreted heirs."""


class CompileHook(BuildHookInterface[Any]):
    """Hatch calls it `custom`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile where it is asked for; an error ends the build, there is no silent way back to pure Python."""
        if version != "standard" or os.environ.get(ASKED) != "1":
            return
        tree = Path(self.root) / "build" / "compiled"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(Path(self.root) / "src" / "farebox", tree / "farebox")
        shutil.copy(Path(self.root) / "pyproject.toml", tree)  # mypy's settings
        compile_in(tree)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for library in sorted(tree.glob("*.so")) + sorted(tree.glob("farebox/**/*.so")):
            build_data["force_include"][str(library)] = str(library.relative_to(tree))


def compile_in(tree: Path) -> None:
    """Put the compiled modules beside the sources in `tree`; CalledProcessError says what the compiler said."""
    command = [sys.executable, "-m", "mypyc", *(f"farebox/{module}" for module in MODULES)]
    subprocess.run(command, cwd=tree, env={**os.environ, "MYPYPATH": str(tree), "PYTHONPATH": str(tree)}, check=True)
