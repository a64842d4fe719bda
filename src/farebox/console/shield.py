"""What every answer of the console carries and every request must keep to, as ASGI around the whole app."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX: Final = 64 * 1024
"""The largest form is a sign-in."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script or style, nothing from elsewhere, never inside another page."""

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
STRICT_TRANSPORT: Final = "max-age=31536000"


class Shield:
    """Security headers on every answer; bodies without a length, or too long, are refused before they are read."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._headers = {**HEADERS, "Strict-Transport-Security": STRICT_TRANSPORT} if secure else HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers:
            refusal = PlainTextResponse("a body needs a Content-Length here", status_code=411)
            await refusal(scope, receive, send_shielded)
        elif length.isdecimal() and int(length[:20]) > BODY_BYTES_MAX:
            refusal = PlainTextResponse(f"a body may have at most {BODY_BYTES_MAX} bytes here", status_code=413)
            await refusal(scope, receive, send_shielded)
        else:
            await self._app(scope, receive, send_shielded)
