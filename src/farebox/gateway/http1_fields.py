"""What each header field means to a gateway: forwarded, replaced, read or dropped.

Names are looked up as they come (one dict access per field); a name seen for the first time is classified once and
remembered, up to `REMEMBERED_MAX` spellings, so that hostile names cannot grow the table.
"""

from __future__ import annotations

from typing import Final

REMEMBERED_MAX: Final = 4_096


# The kinds of fields: plain ints in a module, because an enum's members cost 50 ns to look up, a module's 5.
FORWARD: Final = 0
DROP: Final = 1
FORBIDDEN: Final = 2
HOST: Final = 3
CONTENT_LENGTH: Final = 4
TRANSFER_ENCODING: Final = 5
CONNECTION: Final = 6
AUTHORIZATION: Final = 7
API_KEY: Final = 8
FAREBOX_KEY: Final = 9
FAREBOX_FUNCTION: Final = 10
FAREBOX_TASK: Final = 11
EXPECT: Final = 12
VIA: Final = 13
FORWARDED: Final = 14
BAGGAGE: Final = 15
CONTENT_ENCODING: Final = 16
CONDITIONAL: Final = 17
UPGRADE: Final = 18
FORWARDED_FOR: Final = 19
VALIDATOR: Final = 20
REMAINING: Final = 21
CONTENT_TYPE: Final = 22

# RFC 9110 7.6.1, and the fields by which a caller could make one method look like another.
_REQUEST: Final = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"proxy-connection": DROP,
    b"keep-alive": DROP,
    b"te": DROP,
    b"trailer": DROP,
    b"upgrade": UPGRADE,
    b"http2-settings": DROP,
    b"proxy-authorization": DROP,
    b"x-http-method-override": DROP,
    b"x-http-method": DROP,
    b"x-method-override": DROP,
    b"authorization": AUTHORIZATION,
    b"x-api-key": API_KEY,
    b"x-farebox-key": FAREBOX_KEY,
    b"x-farebox-function": FAREBOX_FUNCTION,
    b"x-farebox-task": FAREBOX_TASK,
    b"expect": EXPECT,
    b"via": VIA,
    b"forwarded": FORWARDED,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-real-ip": DROP,
    b"baggage": BAGGAGE,
    b"content-encoding": CONTENT_ENCODING,
    b"if-none-match": CONDITIONAL,
    b"if-modified-since": CONDITIONAL,
}

_ANSWER: Final = {
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"proxy-connection": DROP,
    b"keep-alive": DROP,
    b"te": DROP,
    b"trailer": DROP,
    b"upgrade": DROP,
    b"via": VIA,
    b"etag": VALIDATOR,
    b"last-modified": VALIDATOR,
    b"content-encoding": CONTENT_ENCODING,
    b"content-type": CONTENT_TYPE,
    # What the gateway itself says about credits must not be said twice.
    b"ratelimit": REMAINING,
    b"ratelimit-policy": REMAINING,
    b"x-api-credits-remaining": REMAINING,
}

# A Connection field that names one of these would have the gateway drop what it relies on or sets itself.
NEVER_NOMINATED: Final = frozenset(
    {
        b"host",
        b"authorization",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"expect",
        b"via",
        b"forwarded",
        b"x-api-key",
        b"baggage",
        b"date",
        b"cookie",
    }
)


def never_nominated(name: bytes) -> bool:
    """Whether a Connection field may not name this one (lower case)."""
    return name in NEVER_NOMINATED or name.startswith((b"x-farebox-", b"x-forwarded-", b"ratelimit"))


class FieldKinds:
    """From a field's name, as spelled, to its kind.

    `remembered` is looked into first and directly (a call per field cost 0.5 us per head), `of` asked for the rest.
    """

    __slots__ = ("_known", "_underscores_forbidden", "remembered")

    def __init__(self, known: dict[bytes, int], *, underscores_forbidden: bool) -> None:
        self._known = known
        self._underscores_forbidden = underscores_forbidden
        self.remembered: dict[bytes, int] = {}

    def of(self, name: bytes) -> int:
        """The kind of a name; as an int, because comparing plain ints is what the loop over all fields does."""
        kind = self.remembered.get(name)
        if kind is None:
            kind = self._classified(name.lower())
            if len(self.remembered) < REMEMBERED_MAX:
                self.remembered[name] = kind
        return kind

    def _classified(self, name: bytes) -> int:
        # CGI and WSGI cannot tell `_` from `-`: X_Api_Key would reach an application as X-Api-Key.
        if self._underscores_forbidden and b"_" in name:
            return FORBIDDEN
        known = self._known.get(name)
        if known is not None:
            return known
        if name.startswith(b"x-farebox-"):
            return DROP
        if name.startswith(b"x-forwarded-"):
            return FORWARDED
        return FORWARD


request_fields: Final = FieldKinds(_REQUEST, underscores_forbidden=True)
answer_fields: Final = FieldKinds(_ANSWER, underscores_forbidden=False)
