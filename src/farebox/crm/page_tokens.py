"""The tokens with which a caller pages beyond 2,000 records: signed, bound and short-lived.

A token is bound to the user and to every other parameter of the call, and ends after 24 hours.
Source: Zoho CRM v7 get-records.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from farebox.crm.call import Call
from farebox.crm.errors import ApiError, invalid_param

LIFETIME_S = 24 * 3_600
SIGNATURE_BYTES = 16
UNBOUND = frozenset({"page_token", "page"})


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Where a page starts: after the record with this sort value and id; None starts at the beginning."""

    page: int
    after: tuple[int, int] | None


class _Content(msgspec.Struct, array_like=True, frozen=True):
    position: Position
    user: int
    bound: str
    expires: int


def issue(call: Call, *, module: str, position: Position) -> str:
    """A token for the page at this position, good for LIFETIME_S."""
    content = msgspec.msgpack.encode(
        _Content(position=position, user=call.user.id, bound=_bound(call, module), expires=call.at + LIFETIME_S)
    )
    return base64.urlsafe_b64encode(_sign(call, content) + content).decode().rstrip("=")


def read(call: Call, *, module: str, token: str) -> Position:
    """The position a token stands for; raises INVALID_DATA, EXPIRED_VALUE or TOKEN_BOUND_DATA_MISMATCH."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        content = msgspec.msgpack.decode(raw[SIGNATURE_BYTES:], type=_Content)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise invalid_param("page_token") from error
    if not hmac.compare_digest(raw[:SIGNATURE_BYTES], _sign(call, raw[SIGNATURE_BYTES:])):
        raise invalid_param("page_token")
    if content.user != call.user.id:
        raise invalid_param("page_token")
    details = {"param_name": "page_token", "param": "page_token"}
    if content.expires <= call.at:
        raise ApiError(400, "EXPIRED_VALUE", "the given page_token has expired", details)
    if content.bound != _bound(call, module):
        message = "the parameters do not match those the page_token was made for"
        raise ApiError(400, "TOKEN_BOUND_DATA_MISMATCH", message, details)
    return content.position


def _bound(call: Call, module: str) -> str:
    params: Mapping[str, str] = call.params
    said = [f"{name}={value}" for name, value in sorted(params.items()) if name not in UNBOUND]
    said.append(f"since={call.headers.get('if-modified-since', '')}")
    return hashlib.sha256("\n".join([module, *said]).encode()).hexdigest()[:16]


def _sign(call: Call, content: bytes) -> bytes:
    return hmac.digest(call.store.signing_key, content, "sha256")[:SIGNATURE_BYTES]
