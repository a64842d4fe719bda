"""An HTTP server that keeps what is posted to it and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

WAIT_S = 60


class Receiver:
    """Listens on loopback from `with` to its end. `statuses` are answered in turn, then 200."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self._statuses = list(statuses)
        self._headers = headers or {}
        self._changed = threading.Condition()
        receiver = self

        class _Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                with receiver._changed:
                    status = receiver._statuses.pop(0) if receiver._statuses else 200
                    receiver.bodies.append(json.loads(body))
                    receiver.paths.append(self.path)
                    receiver._changed.notify_all()
                self.send_response(status)
                for name, value in receiver._headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, holds: Callable[[list[Any]], object], what: str) -> list[Any]:
        """What came, once `holds` of it."""
        deadline = time.monotonic() + WAIT_S
        with self._changed:
            while not holds(self.bodies):
                left = deadline - time.monotonic()
                assert left > 0, f"{what}: not within {WAIT_S} s; came: {self.bodies}"
                self._changed.wait(left)
            return list(self.bodies)
