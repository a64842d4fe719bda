"""The bench's authorization server: RFC 7662 answers by the number in the token (token-17 is of org17)."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class Introspection(BaseHTTPRequestHandler):
    """Answers every POST."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: apart they would wait 40 ms for each other

    def do_POST(self) -> None:
        """The org, user and app that a token stands for."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        number = form["token"][0].rpartition("-")[2]
        claims = {"active": True, "org": f"org{number}", "user": f"user{number}", "client_id": "bench"}
        body = json.dumps(claims).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence: a thousand lines would be noise."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Introspection).serve_forever()
