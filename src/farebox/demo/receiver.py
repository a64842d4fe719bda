"""Where the thrifty program is told what happened, instead of asking: an HTTP server on loopback, inside the demo."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from farebox.demo.processes import DemoFailedError

WAIT_SECONDS_MAX: Final = 60
BODY_BYTES_MAX: Final = 1024 * 1024

Told = dict[str, Any]


class Receiver:
    """Keeps every JSON body posted to `url`, from `with` to its end."""

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._changed = threading.Condition()
        receiver = self

        class _Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length", 0)), BODY_BYTES_MAX)
                receiver._keep(json.loads(self.rfile.read(length)))
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the demo's output is its steps."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Post)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}/told"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, chosen: Callable[[Told], bool], *, count: int, what: str) -> list[Told]:
        """The first `count` of what was told and is `chosen`; DemoFailedError when they do not come in time."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        with self._changed:
            while len(found := [each for each in self._told if chosen(each)]) < count:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise DemoFailedError(
                        f"{what}: {len(found)} of {count} came to {self.url} within {WAIT_SECONDS_MAX} s. "
                        "The CRM API's log says which delivery failed."
                    )
                self._changed.wait(left)
        return found[:count]

    def _keep(self, told: Told) -> None:
        with self._changed:
            self._told.append(told)
            self._changed.notify_all()
