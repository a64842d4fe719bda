"""nginx as a plain reverse proxy, and a caller that says bytes and listens until the end."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from farebox.testing.system import free_port

DEADLINE_SECONDS: Final = 60.0
NGINX_RECORDED: Final = "1.22."
"""The version whose answers the corpora say; another one is held to the promise, not to the column."""

Address = tuple[str, int]


def nginx_path() -> str:
    """Where nginx is."""
    return shutil.which("nginx") or "/usr/sbin/nginx"


def nginx_version() -> str:
    """As `nginx -v` says it: 1.22.1."""
    said = subprocess.run([nginx_path(), "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


@contextlib.contextmanager
def nginx_before(upstream_port: int, folder: Path) -> Iterator[Address]:
    """nginx in front of an upstream; its address. Careful as its defaults are; callers may end their side."""
    port = free_port()
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; {temporary}\n"
        f"upstream api {{ server 127.0.0.1:{upstream_port} max_fails=0; keepalive 8; }}\n"
        f"server {{ listen 127.0.0.1:{port};\n"
        '  location / { proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection "";\n'
        "    proxy_ignore_client_abort on; proxy_next_upstream off; }\n}\n}\n",
        encoding="utf-8",
    )
    process = subprocess.Popen([nginx_path(), "-c", str(conf), "-p", str(folder)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(("127.0.0.1", port), process)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def _wait_for(address: Address, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            socket.create_connection(address, timeout=10).close()
        except OSError:
            assert process.poll() is None, "nginx did not start"
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.01)
        else:
            return


def exchange(address: Address, *parts: bytes, end: bool) -> bytes:
    """Say the parts and hear everything until the proxy closes; `end`: our side ends after the last one.

    The second and later parts are said when something was heard of the one before.
    """
    heard = b""
    with socket.create_connection(address, timeout=DEADLINE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for part in parts[:-1]:
                connection.sendall(part)
                heard += connection.recv(65536)
            connection.sendall(parts[-1])
            if end:
                connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                heard += data
        except (ConnectionResetError, BrokenPipeError):
            pass  # closed with bytes of ours unread: what was heard counts
    return heard


def statuses(heard: bytes) -> list[int]:
    """The final answers' statuses in what was heard."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([2-5]\d\d)\b", heard)]
