"""What a caller is told when a call is not forwarded or not answered: in the card's dialect, with what to do.

`code` is stable and explained in docs/errors.md. The Zoho dialect puts it into details.farebox_code, because there
`code` belongs to the API's own vocabulary and official clients compare it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec

ZOHO: Final = "zoho"
PROBLEM: Final = "problem"

_encode = msgspec.json.Encoder().encode

# Zoho's own words for a status (facts: v8 status codes), where ours would be unknown to its clients.
_ZOHO_CODES: Final = {
    "CREDITS_EXHAUSTED": "TOO_MANY_REQUESTS",
    "CONCURRENCY_EXCEEDED": "TOO_MANY_REQUESTS",
    "SUB_CONCURRENCY_EXCEEDED": "TOO_MANY_REQUESTS",
    "CEILING_NEVER_FITS": "LIMIT_EXCEEDED",
    "CREDENTIALS_MISSING": "AUTHENTICATION_FAILURE",
    "CREDENTIALS_UNKNOWN": "INVALID_TOKEN",
    "CREDENTIALS_CONTRADICT": "AUTHENTICATION_FAILURE",
    "ORG_UNKNOWN": "NO_PERMISSION",
    "ORG_SUSPENDED": "NO_PERMISSION",
    "NO_SUBSCRIPTION": "NO_PERMISSION",
    "NO_SUCH_UPSTREAM": "INVALID_URL_PATTERN",
    "TOKEN_SCOPE_MISSING": "OAUTH_SCOPE_MISMATCH",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer made by the gateway itself. `retry_after` is in whole seconds; None leaves the field out."""

    status: int
    code: str
    text: str
    """What happened, then what to do about it."""
    retry_after: int | None = None
    details: Mapping[str, int | str] = field(default_factory=dict)
    challenge: bytes = b""
    """The value of WWW-Authenticate; RFC 9110 11.6.1 wants one with every 401."""


class HeadError(Exception):
    """A request head that is not accepted; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def bad_request(code: str, text: str) -> HeadError:
    """A 400 to raise."""
    return HeadError(Refusal(status=400, code=code, text=text))


def rendered(refusal: Refusal, dialect: str) -> tuple[bytes, bytes]:
    """(content type, body) of a refusal in the dialect "zoho", or as RFC 9457 for every other."""
    if dialect == ZOHO:
        zoho = {
            "code": _ZOHO_CODES.get(refusal.code, refusal.code),
            "details": {"farebox_code": refusal.code, **refusal.details},
            "message": refusal.text,
            "status": "error",
        }
        return b"application/json", _encode(zoho)
    problem = {
        "type": f"urn:farebox:error:{refusal.code}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.text,
        **refusal.details,
    }
    return b"application/problem+json", _encode(problem)


def fields_of(refusal: Refusal, content_type: bytes) -> bytes:
    """The header lines of a refusal but framing and date."""
    lines = b"Content-Type: " + content_type + b"\r\nCache-Control: no-store\r\n"
    if refusal.retry_after is not None:
        lines += b"Retry-After: %d\r\n" % refusal.retry_after
    if refusal.challenge:
        lines += b"WWW-Authenticate: " + refusal.challenge + b"\r\n"
    return lines
