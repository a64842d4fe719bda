"""A request's head: what is accepted, and what of it is forwarded (rules without I/O).

httptools rejects most bad framing already (both lengths, repeated lengths, folded lines, bare CR, bad chunks); what it
accepts and a gateway must not is refused here with 400. Framing fields are never copied: the gateway makes its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from farebox.gateway import http1_fields as field
from farebox.gateway.http1_fields import never_nominated, request_fields
from farebox.gateway.refuse import HeadError, Refusal, bad_request
from farebox.gateway.targets import origin_form

if TYPE_CHECKING:
    from farebox.gateway.http1_known import KnownHead

CHUNKED: Final = -1
LENGTH_DIGITS_MAX: Final = 18
"""A body of 10^18 bytes is none."""

_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
Fields = list[tuple[bytes, bytes]]


class RequestHead:
    """One accepted request head. `lines` are the pieces of the fields to forward as they came.

    `length` is the body's length in bytes, CHUNKED when only its end will tell. Credentials are None when absent; they
    are not among `lines`: who is identified decides what is forwarded.
    """

    __slots__ = (
        "api_key",
        "authorization",
        "baggage",
        "conditional",
        "encoded",
        "expects_continue",
        "farebox_key",
        "forwarded",
        "forwarded_for",
        "function",
        "has_length",
        "host",
        "keep_alive",
        "known",
        "length",
        "lines",
        "method",
        "path",
        "query",
        "repeatable",
        "target",
        "task",
        "upgrade",
        "version_11",
        "via",
    )

    def __init__(self, method: bytes, target: bytes, *, version_11: bool) -> None:
        self.method = method
        self.target = target
        self.path = ""
        self.query = ""
        self.version_11 = version_11
        self.keep_alive = version_11
        self.length = 0
        self.has_length = False
        self.lines: list[bytes] = []
        self.host = b""
        self.authorization: bytes | None = None
        self.api_key: bytes | None = None
        self.farebox_key: bytes | None = None
        self.function = b""
        self.task = b""
        self.baggage = b""
        self.expects_continue = False
        self.conditional = False
        self.encoded = False
        self.forwarded: Fields | None = None
        self.forwarded_for = b""
        self.via = b""
        self.upgrade = b""
        """What the request asks to switch to, where it may ask."""
        self.repeatable = False
        """Whether the same bytes mean the same again: HTTP/1.1, kept alive, a body of known length, nothing awaited."""
        self.known: KnownHead | None = None
        """What is remembered of this head, where it came before."""

    def again(self, target: bytes, path: str, query: str, known: KnownHead) -> RequestHead:
        """The same head with another target. `lines` is shared and must not be changed in place."""
        head = RequestHead(self.method, target, version_11=self.version_11)  # written out: 0.6 us, copy.copy takes 3
        head.path = path
        head.query = query
        head.keep_alive = self.keep_alive
        head.length = self.length
        head.has_length = self.has_length
        head.lines = self.lines
        head.host = self.host
        head.authorization = self.authorization
        head.api_key = self.api_key
        head.farebox_key = self.farebox_key
        head.function = self.function
        head.task = self.task
        head.baggage = self.baggage
        head.expects_continue = self.expects_continue
        head.conditional = self.conditional
        head.encoded = self.encoded
        head.forwarded = self.forwarded
        head.forwarded_for = self.forwarded_for
        head.via = self.via
        head.upgrade = self.upgrade
        head.repeatable = self.repeatable
        head.known = known
        return head


def request_head(  # noqa: C901, PLR0912, PLR0915 - long: one branch per field that means something; a table of functions costs 2 us
    method: bytes, target: bytes, version: str, fields: Fields
) -> RequestHead:
    """The accepted head; raises HeadError (400, 501) for one that is not."""
    if version not in ("1.1", "1.0"):
        raise bad_request("VERSION_UNKNOWN", f"HTTP/{version} is not spoken here; use HTTP/1.1.")
    head = RequestHead(method, target, version_11=version == "1.1")
    kinds = request_fields.remembered.get
    lines = head.lines
    hosts = 0
    coding: bytes | None = None
    nominated: bytes | None = None
    upgrade: bytes | None = None
    for name, value in fields:
        kind = kinds(name)
        if kind is None:
            kind = request_fields.of(name)
        if not kind:  # field.FORWARD, nearly all
            lines += (name, b": ", value, b"\r\n")
        elif kind == field.HOST:
            hosts += 1
            head.host = value
        elif kind == field.AUTHORIZATION:
            if head.authorization is not None:
                raise bad_request("FIELD_REPEATED", "Authorization is given more than once.")
            head.authorization = value
        elif kind == field.CONTENT_LENGTH:
            head.length = _length(value, repeated=head.has_length)
            head.has_length = True
        elif kind == field.CONNECTION:
            nominated = value if nominated is None else nominated + b"," + value
        elif kind == field.TRANSFER_ENCODING:
            coding = value if coding is None else coding + b"," + value
        elif kind == field.API_KEY:
            if head.api_key is not None:
                raise bad_request("FIELD_REPEATED", "X-Api-Key is given more than once.")
            head.api_key = value
        elif kind == field.FAREBOX_KEY:
            head.farebox_key = value if head.farebox_key is None else head.farebox_key + b"," + value
        elif kind == field.FAREBOX_FUNCTION:
            head.function = value
        elif kind == field.FAREBOX_TASK:
            head.task = value
        elif kind == field.EXPECT:
            if value.lower() != b"100-continue":
                raise HeadError(
                    Refusal(status=417, code="EXPECTATION_UNKNOWN", text="Only Expect: 100-continue is understood.")
                )
            head.expects_continue = head.version_11  # RFC 9110 10.1.1: ignored in HTTP/1.0
        elif kind == field.BAGGAGE:
            head.baggage = value if not head.baggage else head.baggage + b"," + value
            lines += (name, b": ", value, b"\r\n")
        elif kind == field.CONTENT_ENCODING:
            head.encoded = head.encoded or value.strip().lower() != b"identity"
            lines += (name, b": ", value, b"\r\n")
        elif kind == field.CONDITIONAL:
            head.conditional = True
            lines += (name, b": ", value, b"\r\n")
        elif kind == field.FORWARDED_FOR:
            head.forwarded_for = value if not head.forwarded_for else head.forwarded_for + b", " + value
        elif kind == field.FORWARDED:
            head.forwarded = head.forwarded or []
            head.forwarded.append((name, value))
        elif kind == field.VIA:
            head.via = value if not head.via else head.via + b", " + value
        elif kind == field.UPGRADE:
            upgrade = value if upgrade is None else upgrade + b"," + value
        elif kind == field.FORBIDDEN:
            raise bad_request("FIELD_NAME_INVALID", "A field name holds an underscore; use a hyphen.")
    _frame(head, coding, upgrade=upgrade is not None)
    if hosts != 1 or _HOST.fullmatch(head.host) is None:
        raise bad_request("HOST_INVALID", "Host must be given exactly once and be host or host:port.")
    if method in (b"CONNECT", b"TRACE"):
        raise HeadError(
            Refusal(
                status=501, code="METHOD_NOT_IMPLEMENTED", text=f"{method.decode()} is not forwarded by this gateway."
            )
        )
    if nominated is not None:
        _nominate(head, nominated, upgrade)
    head.target, path, query = origin_form(target, head.host)
    head.path = path.decode("ascii")
    head.query = query.decode("ascii")
    head.repeatable = (
        head.version_11
        and head.keep_alive
        and not (upgrade is not None or head.expects_continue or head.length == CHUNKED)
    )
    return head


def foreign_targets(data: bytes) -> frozenset[bytes]:
    r"""Every word before the name of another protocol that llhttp speaks: the targets of such request lines, and more.

    >>> sorted(foreign_targets(b"GET /a RTSP/1.0\r\n\r\nGET /b HTTP/1.1\r\n\r\nSOURCE /c  ICE/1.0\r\n"))
    [b'/a', b'/c']
    """
    return frozenset(
        before.rstrip(b" ").rpartition(b" ")[2]
        for protocol in (b" RTSP/", b" ICE/")
        if protocol in data
        for before in data.split(protocol)[:-1]
    )


def _length(value: bytes, *, repeated: bool) -> int:
    digits = value.strip(b" \t")
    if repeated or not digits.isdigit() or len(digits) > LENGTH_DIGITS_MAX:
        raise bad_request("FRAMING_INVALID", "Content-Length must be one number of bytes.")
    return int(digits)


def _frame(head: RequestHead, coding: bytes | None, *, upgrade: bool) -> None:
    if coding is not None:
        if coding.lower() != b"chunked" or not head.version_11:
            raise bad_request("FRAMING_INVALID", "Transfer-Encoding must be exactly chunked, on HTTP/1.1.")
        if head.has_length:
            raise bad_request("FRAMING_INVALID", "Transfer-Encoding and Content-Length exclude each other.")
        head.length = CHUNKED
    if upgrade and head.length:
        raise bad_request("UPGRADE_WITH_BODY", "A request with an Upgrade field must not have a body.")
    if not head.length:
        head.expects_continue = False


def _nominate(head: RequestHead, value: bytes, upgrade: bytes | None) -> None:
    names = {name.strip(b" \t").lower() for name in value.split(b",")}
    if upgrade is not None and b"upgrade" in names and head.version_11:  # RFC 9110 7.8
        head.upgrade = upgrade
    if b"close" in names:
        head.keep_alive = False
    elif b"keep-alive" in names:
        head.keep_alive = True
    names -= {
        b"close",
        b"keep-alive",
        b"upgrade",
        b"te",
        b"",
        b"proxy-connection",
        b"http2-settings",
        b"transfer-encoding",
    }
    if not names:
        return
    for name in names:
        if never_nominated(name):
            raise bad_request("CONNECTION_NOMINATES", f"Connection may not nominate {name.decode('latin-1')[:64]}.")
    lines = head.lines
    head.lines = [
        piece
        for start in range(0, len(lines), 4)
        if lines[start].lower() not in names
        for piece in lines[start : start + 4]
    ]
