"""Reading the bodies of requests, none further than its bound; files of a form go to disk when they are large."""

import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from farebox.crm.bounds import GENERAL, OF_TOKENS, Bound
from farebox.crm.call import Upload
from farebox.crm.errors import ApiError
from farebox.crm.route import Route

FORM_PARTS_MAX: Final = 20
# real clients send JSON bodies without a type (Python SDK) and as a form (curl -d)
REFUSED_TYPES: Final = (
    "multipart/",
    "image/",
    "audio/",
    "video/",
    "text/xml",
    "application/xml",
    "application/zip",
)
FORM_TYPE: Final = "multipart/form-data"
FORM_TYPES: Final = ("application/x-www-form-urlencoded", FORM_TYPE)


@asynccontextmanager
async def reading(request: Request, route: Route) -> AsyncIterator[tuple[bytes, Sequence[Upload]]]:
    """The body as the route takes it: as bytes, or as the parts of a form, whose files are gone after the block."""
    if not route.takes_form:
        yield await _plain(request, route.body), ()
    elif not _content_type(request).startswith(FORM_TYPE):
        # the answer says which part is missing
        yield await _whole(request, GENERAL if route.body.bytes_max > GENERAL.bytes_max else route.body), ()
    else:
        bounded = _bounded(request, route.body)
        async with bounded.form(max_files=FORM_PARTS_MAX, max_fields=FORM_PARTS_MAX) as form:
            yield b"", [_upload(name, value) for name, value in form.multi_items()]


async def parameters(request: Request) -> dict[str, str]:
    """Query string and form together; in doubt the form's value counts."""
    params = dict(request.query_params)
    if request.headers.get("content-type", "").startswith(FORM_TYPES):
        async with _bounded(request, OF_TOKENS).form(max_files=0, max_fields=50) as form:
            params.update({name: value for name, value in form.items() if not isinstance(value, UploadFile)})
    return params


def _upload(name: str, value: UploadFile | str) -> Upload:
    if isinstance(value, str):
        return Upload(name=name, text=value)
    return Upload(name=name, file_name=value.filename or "", size=value.size or 0, file=value.file)


async def _plain(request: Request, bound: Bound) -> bytes:
    """The whole body, unzipped; its size is bounded before and after."""
    if _content_type(request).startswith(REFUSED_TYPES):
        raise ApiError(415, "MEDIA_TYPE_NOT_SUPPORTED", "The media type is not supported")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise ApiError(415, "MEDIA_TYPE_NOT_SUPPORTED", "The content encoding is not supported")
    body = await _whole(request, bound)
    return body if encoding == "identity" else _unzip(body, bound)


async def _whole(request: Request, bound: Bound) -> bytes:
    return b"".join([chunk async for chunk in _bounded(request, bound).stream()])


def _bounded(request: Request, bound: Bound) -> Request:
    """The same request, whose body is refused as soon as it is known to be too large: by its head, or as it comes."""
    said = request.headers.get("content-length", "")
    if said.isdecimal():
        bound.check(int(said))
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        bound.check(size)
        return message

    return Request(request.scope, receive)


def _unzip(body: bytes, bound: Bound) -> bytes:
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unzip.decompress(body, bound.bytes_max + 1)
    except zlib.error as error:
        raise ApiError(400, "INVALID_DATA", "body", {"expected_data_type": "gzip"}) from error
    bound.check(len(plain))
    if not unzip.eof:
        raise ApiError(400, "INVALID_DATA", "body", {"expected_data_type": "gzip"})
    return plain


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").lower()
