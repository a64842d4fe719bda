"""Switching protocols (RFC 9110 7.8): what a request may ask for, and which 101 is believed (rules without I/O)."""

from __future__ import annotations

from farebox.gateway import http1_fields as field
from farebox.gateway.http1_answer import AnswerHead, AnswerInvalidError
from farebox.gateway.http1_fields import answer_fields, never_nominated
from farebox.gateway.http1_request import Fields, RequestHead

SWITCHING = 101


def asked_protocol(head: RequestHead, listed: tuple[str, ...]) -> bytes:
    """The first protocol a request asks to switch to that is among those `listed`, as it spells it; empty: none is.

    Only GET may ask, as websocket does (RFC 6455 4.1); everything else goes on without its Upgrade field.
    """
    if head.method != b"GET":
        return b""
    wanted = {name.lower().encode() for name in listed}
    for said in head.upgrade.split(b","):
        protocol = said.strip(b" \t")
        if protocol.lower() in wanted:
            return protocol
    return b""


def switch_head(version: str, fields: Fields, *, asked: bytes) -> AnswerHead:
    """The accepted head of a 101 to a request that asked for `asked`; raises AnswerInvalidError.

    It must be HTTP/1.1, name that protocol alone, nominate Upgrade, and speak of no body.
    """
    head = AnswerHead(SWITCHING)
    head.has_body = False
    nominated = _listed(b"connection", fields)
    if version != "1.1" or _listed(b"upgrade", fields) != [asked.lower()] or b"upgrade" not in nominated:
        raise AnswerInvalidError("a 101 to another protocol than was asked for")
    if any(never_nominated(name) for name in nominated):
        raise AnswerInvalidError("a 101 whose Connection field nominates what it may not")
    for name, value in fields:
        kind = answer_fields.of(name)
        if kind in (field.CONTENT_LENGTH, field.TRANSFER_ENCODING):
            raise AnswerInvalidError("a 101 that speaks of a body")
        if kind == field.VIA:
            head.via = value if not head.via else head.via + b", " + value
        elif kind == field.REMAINING:
            head.remaining += (name, b": ", value, b"\r\n")
        elif kind not in (field.DROP, field.CONNECTION) and name.lower() not in nominated:
            head.lines += (name, b": ", value, b"\r\n")
    return head


def _listed(wanted: bytes, fields: Fields) -> list[bytes]:
    """The members, in lower case, of the field of that name."""
    values = b",".join(value for name, value in fields if name.lower() == wanted)
    return [member for each in values.split(b",") if (member := each.strip(b" \t").lower())]
