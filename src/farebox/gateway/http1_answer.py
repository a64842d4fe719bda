"""An answer's head: as strictly framed as a request's, else the upstream is not believed (rules without I/O)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from farebox.gateway import http1_fields as field
from farebox.gateway.http1_fields import answer_fields, never_nominated
from farebox.gateway.http1_request import CHUNKED, LENGTH_DIGITS_MAX, Fields

UNTIL_CLOSE: Final = -2
_STATUS_LINES: Final = {int(s): b"HTTP/1.1 %d %s\r\n" % (s, s.phrase.encode()) for s in HTTPStatus}


class AnswerInvalidError(Exception):
    """The upstream's answer is not HTTP as this gateway believes it; the message says why."""


class AnswerHead:
    """One accepted answer head; never changed after it was accepted, because it may be that of many answers.

    `length`: bytes of the body, CHUNKED, or UNTIL_CLOSE.
    `has_body` is False for answers to HEAD and for 204 and 304; `length` then is what a GET would have brought (or -2).
    """

    __slots__ = (
        "content_type",
        "encoded",
        "has_body",
        "keep_alive",
        "length",
        "lines",
        "remaining",
        "status",
        "validator",
        "via",
    )

    def __init__(self, status: int) -> None:
        self.status = status
        self.lines: list[bytes] = []
        self.remaining: list[bytes] = []
        """The upstream's own words about what is left, to be forwarded only where the gateway has none."""
        self.length = UNTIL_CLOSE
        self.keep_alive = True
        self.has_body = True
        self.validator = False
        self.encoded = False
        self.content_type = b""
        self.via = b""

    def with_lines(self, lines: list[bytes]) -> AnswerHead:
        """The same head with other lines."""
        head = AnswerHead(self.status)
        head.lines, head.remaining = lines, self.remaining
        head.length, head.keep_alive, head.has_body = self.length, self.keep_alive, self.has_body
        head.validator, head.encoded = self.validator, self.encoded
        head.content_type, head.via = self.content_type, self.via
        return head


def status_line(status: int) -> bytes:
    """The status line with its standard phrase; an unknown status has an empty one."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def answer_head(  # noqa: C901, PLR0912 - one branch per field that means something, as in request_head
    status: int, version: str, fields: Fields, *, to_head: bool
) -> AnswerHead:
    """The accepted head of a final answer; raises AnswerInvalidError."""
    if version not in ("1.1", "1.0") or not 200 <= status <= 599:  # noqa: PLR2004 - final statuses
        raise AnswerInvalidError(f"an answer of HTTP/{version} with status {status}")
    head = AnswerHead(status)
    kinds = answer_fields.remembered.get
    lines = head.lines
    coding: bytes | None = None
    connection: bytes | None = None
    for name, value in fields:
        kind = kinds(name)
        if kind is None:
            kind = answer_fields.of(name)
        if not kind:  # field.FORWARD, nearly all
            lines += (name, b": ", value, b"\r\n")
        elif kind == field.CONTENT_LENGTH:
            digits = value.strip(b" \t")
            if head.length != UNTIL_CLOSE or not digits.isdigit() or len(digits) > LENGTH_DIGITS_MAX:
                raise AnswerInvalidError("a Content-Length that is not one number")
            head.length = int(digits)
        elif kind == field.CONTENT_TYPE:
            head.content_type = value
            lines += (name, b": ", value, b"\r\n")
        elif kind == field.TRANSFER_ENCODING:
            coding = value if coding is None else coding + b"," + value
        elif kind == field.CONNECTION:
            connection = value if connection is None else connection + b"," + value
        elif kind == field.VALIDATOR:
            head.validator = True
            lines += (name, b": ", value, b"\r\n")
        elif kind == field.CONTENT_ENCODING:
            head.encoded = True
            lines += (name, b": ", value, b"\r\n")
        elif kind == field.VIA:
            head.via = value if not head.via else head.via + b", " + value
        elif kind == field.REMAINING:
            head.remaining += (name, b": ", value, b"\r\n")
    _frame(head, coding, version)
    _connection(head, connection, version)
    if to_head or status in (204, 304):
        head.has_body = False
    elif head.length == UNTIL_CLOSE:
        head.keep_alive = False
    return head


def _frame(head: AnswerHead, coding: bytes | None, version: str) -> None:
    if coding is None:
        return
    if coding.lower() != b"chunked" or version != "1.1":
        raise AnswerInvalidError("a Transfer-Encoding other than chunked")
    if head.length != UNTIL_CLOSE:
        raise AnswerInvalidError("both Transfer-Encoding and Content-Length")
    head.length = CHUNKED


def _connection(head: AnswerHead, value: bytes | None, version: str) -> None:
    if value is None or value in (b"keep-alive", b"Keep-Alive"):  # nearly all: 1 us less than the general way
        head.keep_alive = version == "1.1" or value is not None
        return
    names = {name.strip(b" \t").lower() for name in value.split(b",")}
    head.keep_alive = b"close" not in names if version == "1.1" else b"keep-alive" in names
    names -= {b"close", b"keep-alive", b"upgrade", b"te", b"", b"transfer-encoding"}
    if not names:
        return
    for name in names:
        if never_nominated(name):
            raise AnswerInvalidError(f"a Connection field that nominates {name.decode('latin-1')[:64]}")
    lines = head.lines
    head.lines = [
        piece
        for start in range(0, len(lines), 4)
        if lines[start].lower() not in names
        for piece in lines[start : start + 4]
    ]
