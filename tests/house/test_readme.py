"""Every command block of the README runs as it stands there, in its order, on free ports."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from farebox.testing.system import free_port

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh( background)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LISTENING = (8080, 8081, 8787)


def _sections() -> dict[str, list[tuple[bool, str]]]:
    """Heading -> its command blocks, each with whether it is to run in the background."""
    parts = re.split(r"^#{2,3} (.*)$", ROOT.joinpath("README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {}
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        blocks = [(bool(background), commands) for background, commands in BLOCK.findall(text)]
        if blocks:
            found[heading] = blocks
    return found


class _Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _my_api() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def _as_one_script(blocks: list[tuple[bool, str]], ports: dict[int, int]) -> str:
    """The blocks as one shell session; a background block goes on until the session ends."""
    lines = ["set -eu", 'pids=""', "trap 'for p in $pids; do kill $p; done; wait' EXIT"]
    for background, commands in blocks:
        if background:
            lines.append(f'( exec {commands.strip()} ) &\npids="$pids $!"')
            lines.append(
                f"for _ in $(seq 900); do (echo > /dev/tcp/127.0.0.1/$READY_{len(lines)}) && break; sleep 0.1; done"
            )
            ready = 8787 if "crm" in commands else 8080
            lines[-1] = lines[-1].replace(f"$READY_{len(lines) - 1}", str(ready)) + " 2>/dev/null"
        else:
            lines.append(commands)
    script = "\n".join(lines)
    for written, actual in ports.items():
        script = re.sub(rf"\b{written}\b", str(actual), script)
    return script


@pytest.mark.slow
@pytest.mark.parametrize("heading", [heading for heading in _sections() if heading != "Two commands"])
def test_the_commands_of_a_section_run(heading: str, tmp_path: Path) -> None:
    with _my_api() as api:
        ports = {port: free_port() for port in LISTENING} | {9000: api}
        script = _as_one_script(_sections()[heading], ports)
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "FAREBOX_GATEWAY_LISTEN": f"127.0.0.1:{ports[8080]}",
            "FAREBOX_CONSOLE_LISTEN": f"127.0.0.1:{ports[8081]}",
        }
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    print(output)
    assert process.returncode == 0, output


@pytest.mark.slow
@pytest.mark.browser
def test_the_two_commands() -> None:
    blocks = [commands.strip() for _, commands in _sections()["Two commands"]]
    assert blocks == ["make demo", "make test"]
    # `make test` is what runs this test; `make demo` leaves processes behind, its checking form does not.
    done = subprocess.run(
        ["make", "demo", "CHECK=1"]
        if shutil.which("make") and ROOT.joinpath(".venv/wheel.sha256").exists()
        else [sys.executable, "-m", "farebox.cli", "demo", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All agree" in done.stdout
