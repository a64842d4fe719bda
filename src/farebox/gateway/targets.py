"""The request target: what was matched is what is forwarded, so ambiguous spellings are refused, not repaired."""

from __future__ import annotations

import re
from typing import Final

from farebox.gateway.refuse import HeadError, bad_request

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_AMBIGUOUS: Final = frozenset(b"/\\\x00")


def origin_form(target: bytes, host: bytes) -> tuple[bytes, bytes, bytes]:
    r"""(target to forward, path, query) of a request target in origin or absolute form.

    Percent-encoded unreserved characters are decoded (RFC 3986 6.2.2.2), everything else is forwarded as it came.
    Raises HeadError (400) for dot or empty segments, an encoded / or \, a fragment, malformed escapes, the absolute
    form for another host, and anything that is not a path.

    >>> origin_form(b"/crm/v8/%4Ceads?page=2", b"x")
    (b'/crm/v8/Leads?page=2', b'/crm/v8/Leads', b'page=2')
    """
    if target[:1] != b"/":
        target = _from_absolute(target, host)
    if b"#" in target or not target.isascii():
        raise bad_request("TARGET_INVALID", "The request target holds a fragment or bytes outside ASCII.")
    path, mark, query = target.partition(b"?")
    # Plain paths, nearly all, pass with five searches; the rest is looked at closely.
    if b"%" in path or b"//" in path or b"/." in path or b"/;" in path or b"\\" in path:
        path = _checked(path)
        target = path + mark + query
    return target, path, query


def _from_absolute(target: bytes, host: bytes) -> bytes:
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise bad_request("TARGET_INVALID", "The request target must be a path that starts with /.")
    authority, slash, tail = rest.partition(b"/")
    if authority.lower() != host.lower():
        raise bad_request("TARGET_INVALID", "The absolute request target names another host than the Host field.")
    return slash + tail if slash else b"/"


def _checked(path: bytes) -> bytes:
    path = _ESCAPE.sub(_decoded, path)
    if b"\\" in path:
        raise bad_request("TARGET_INVALID", "The path holds a backslash.")
    # Some servers drop ";parameters" of a segment before they resolve dots: "..;x" is ".." to them.
    segments = [segment.partition(b";")[0] for segment in path.split(b"/")[1:]]
    if b"." in segments or b".." in segments or b"" in segments[:-1]:
        raise bad_request("TARGET_INVALID", "The path holds dot segments or empty segments; send the final path.")
    return path


def _decoded(escape: re.Match[bytes]) -> bytes:
    digits = escape.group(1)
    if digits is None:
        raise bad_request("TARGET_INVALID", "The path holds a % that is not followed by two hex digits.")
    byte = int(digits, 16)
    if byte in _AMBIGUOUS:
        raise bad_request("TARGET_INVALID", "The path holds an encoded slash, backslash or NUL.")
    return bytes((byte,)) if byte in _UNRESERVED else b"%" + digits.upper()


__all__ = ["HeadError", "origin_form"]
