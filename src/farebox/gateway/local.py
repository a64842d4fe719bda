"""Answers the gateway makes itself, without an upstream: health, and what is refused before it is a call."""

from __future__ import annotations

from typing import Final

import msgspec

from farebox.gateway.forward import ENDED, Exchange
from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.refuse import PROBLEM, Refusal, fields_of, rendered

HEALTH_PATH: Final = "/-/farebox/healthz"


class LocalAnswer(Exchange):
    """A request answered with something ready-made when its turn has come."""

    __slots__ = ("_content", "_fields", "_status")

    def __init__(
        self, client: ClientConnection, head: RequestHead, *, status: int, fields: bytes, content: bytes
    ) -> None:
        super().__init__(client, head, body_limit=0)
        self._status = status
        self._fields = fields
        self._content = content

    @classmethod
    def refusing(cls, client: ClientConnection, head: RequestHead, refusal: Refusal, *, date: bytes) -> LocalAnswer:
        """A refusal, as RFC 9457: no card's dialect is known."""
        content_type, content = rendered(refusal, PROBLEM)
        fields = date + fields_of(refusal, content_type)
        return cls(client, head, status=refusal.status, fields=fields, content=content)

    @classmethod
    def health(
        cls, client: ClientConnection, head: RequestHead, *, ready: bool, reason: str, date: bytes
    ) -> LocalAnswer:
        """200 while calls are taken, 503 while not; the reason in words where there is one."""
        content = msgspec.json.encode({"ready": ready, "reason": reason})
        fields = date + b"Content-Type: application/json\r\nCache-Control: no-store\r\n"
        return cls(client, head, status=200 if ready else 503, fields=fields, content=content)

    def begin(self) -> None:
        """Answer at once."""
        self.refuse(self._status, self._fields, self._content)

    def body(self, data: bytes) -> None:
        """Nobody reads it."""

    def failed(self, refusal: Refusal) -> None:
        """Never: there is no upstream."""
        raise AssertionError(refusal)

    def cut_off(self) -> None:
        """Nothing depends on it."""
        self.phase = ENDED


def unreadable(client: ClientConnection, refusal: Refusal, *, date: bytes) -> LocalAnswer:
    """The answer to bytes that are no acceptable request; the connection closes after it."""
    head = RequestHead(b"GET", b"/", version_11=True)
    head.keep_alive = False
    return LocalAnswer.refusing(client, head, refusal, date=date)
