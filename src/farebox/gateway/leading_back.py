"""`api_domain` in answers of a foreign API on the way to a token, written over, so that clients come back here.

Official clients go where the token's answer sends them. Only that field's value changes, in JSON answers to calls that
are open to everybody; the rest of the body stays as it came, byte for byte, and the framing is the gateway's own.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from farebox.gateway.http1_answer import AnswerHead
from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.meter import Call
from farebox.gateway.plane import Plane, Route
from farebox.gateway.refuse import Refusal

BODY_BYTES_MAX: Final = 64 * 1024
"""Of a JSON answer that is looked into; a longer one tells nobody where to go and is not passed on."""

FIELD: Final = "api_domain"
_PAIR: Final = re.compile(rb'("(?:[^"\\]|\\.)*")\s*:\s*("(?:[^"\\]|\\.)*")')
_OF_THE_BODY: Final = frozenset({b"etag", b"digest", b"content-digest", b"repr-digest", b"content-md5"})
"""What an answer says of its body's bytes, and no longer holds when they change."""


class LedBackCall(Call):
    """A call through an upstream with `api_domain` set."""

    __slots__ = ("_looked_into",)

    def __init__(self, plane: Plane, client: ClientConnection, head: RequestHead, route: Route) -> None:
        super().__init__(plane, client, head, route)
        self._looked_into = False

    def _pass_through(self) -> None:
        """An open call: its answer is looked into, so it must not come compressed."""
        self._looked_into = True
        lines = self.head.lines
        kept = [start for start in range(0, len(lines), 4) if lines[start].lower() != b"accept-encoding"]
        self.head.lines = [piece for start in kept for piece in lines[start : start + 4]]
        self.head.lines += (b"Accept-Encoding", b": ", b"identity", b"\r\n")
        super()._pass_through()

    def hold_bytes_max(self) -> int:
        """Such an answer is held until it is whole."""
        return BODY_BYTES_MAX if self._holds() else super().hold_bytes_max()

    def answer_waits(self) -> None:
        """The rest is on its way."""
        if not self._holds():
            super().answer_waits()

    def answer_too_large(self) -> None:
        """It cannot be looked into."""
        if self._holds():
            self._cannot_be_read(f"it is longer than {BODY_BYTES_MAX} bytes")
        else:
            super().answer_too_large()

    def answer_whole(self) -> None:
        """Lead the client back, then answer."""
        answer = self.answer
        if self._holds() and answer is not None and self.held:
            if answer.encoded:
                self._cannot_be_read("it is compressed although that was not asked for")
                return
            came = b"".join(self.held)
            try:
                self.held = [led_back(came, self.route.api_domain)]
            except msgspec.DecodeError:
                self._cannot_be_read("it is not valid JSON")
                return
            if self.held[0] != came:
                self.held_bytes = len(self.held[0])
                self.answer = _without_what_was_said_of_the_body(answer)
        super().answer_whole()

    def _holds(self) -> bool:
        answer = self.answer
        return self._looked_into and answer is not None and b"json" in answer.content_type.lower()

    def _cannot_be_read(self, why: str) -> None:
        self._drop_upstream()
        self._refuse(
            Refusal(
                status=502,
                code="UPSTREAM_FAILED",
                text=(
                    f"No usable answer: {why}, so where it sends clients cannot be seen, and passing it on could lead "
                    "them round this gateway. Nothing was charged."
                ),
            )
        )


def led_back(content: bytes, address: str) -> bytes:
    r"""A JSON answer with the text in its `api_domain` replaced by `address` and nothing else changed.

    Unchanged where it has none. Raises msgspec.DecodeError for what is not JSON but names the field.

    >>> led_back(b'{"api_domain" : "https:\\/\\/www.zohoapis.com", "b": 1}', "http://gw")
    b'{"api_domain" : "http://gw", "b": 1}'
    """
    if FIELD.encode() not in content and b"\\" not in content:
        return content
    said = msgspec.json.decode(content)
    if not isinstance(said, dict) or not isinstance(said.get(FIELD), str) or said[FIELD] == address:
        return content
    wanted = {**said, FIELD: address}
    quoted = msgspec.json.encode(address)
    for found in _PAIR.finditer(content):
        if msgspec.json.decode(found[1]) != FIELD:
            continue
        changed = content[: found.start(2)] + quoted + content[found.end(2) :]
        if msgspec.json.decode(changed) == wanted:
            return changed
    return msgspec.json.encode(wanted)


def _without_what_was_said_of_the_body(answer: AnswerHead) -> AnswerHead:
    """A copy: the head itself may be known, and be that of other answers too."""
    lines = answer.lines
    kept = [start for start in range(0, len(lines), 4) if lines[start].lower() not in _OF_THE_BODY]
    return answer.with_lines([piece for start in kept for piece in lines[start : start + 4]])
