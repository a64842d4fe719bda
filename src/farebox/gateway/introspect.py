"""What an access token says, asked at its authorization server (RFC 7662)."""

from __future__ import annotations

import base64
import time
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from farebox.config import Introspection
from farebox.gateway.questions import Question
from farebox.gateway.tokens import INACTIVE, INACTIVE_SECONDS, Claims, Tell, Told, claim_text, unavailable
from farebox.gateway.upstream import Connections

EXPIRY_MAX: Final = 1e12
"""Unix seconds; an `exp` may be any number, and one that no float holds is as good as never."""


class Introspector:
    """Asks one authorization server. What an active token says is believed for at most `cache_seconds`."""

    def __init__(self, config: Introspection, pool: Connections, *, cache_seconds: float) -> None:
        self._config = config
        self.pool = pool
        self._cache_seconds = cache_seconds
        self._head = _request_head(config, pool)

    def ask(self, token: bytes, tell: Tell) -> None:
        """Ask; `tell` is called once, whatever happens."""
        body = b"token=" + quote(token, safe="").encode("ascii") + b"&token_type_hint=access_token"
        Question(
            self.pool,
            self._head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            answered=lambda status, content: tell(*self.read(status, content, time.time())),
            failed=lambda reason: tell(unavailable(reason), 0),
        ).ask()

    def read(self, status: int, content: bytes, now: float) -> tuple[Told, float]:
        """(what an introspection answer says, for how many seconds it is believed). `now`: Unix time."""
        if status != 200:  # noqa: PLR2004 - RFC 7662 2.2
            return unavailable(f"the authorization server answered {status}"), 0
        try:
            said = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError:
            return unavailable("the authorization server's answer is not JSON"), 0
        if said.get("active") is not True:
            return INACTIVE, INACTIVE_SECONDS
        expires = said.get("exp")
        seconds = self._cache_seconds
        if isinstance(expires, int | float) and not isinstance(expires, bool):
            seconds = min(seconds, min(max(expires, 0), EXPIRY_MAX) - now)
            if seconds <= 0:
                return INACTIVE, INACTIVE_SECONDS
        org = claim_text(said.get(self._config.org_claim))
        if not org:
            return unavailable(f"the authorization server did not say {self._config.org_claim!r}"), 0
        user, app = claim_text(said.get(self._config.user_claim)), claim_text(said.get(self._config.app_claim))
        return Claims(org, user, app), seconds


def _request_head(config: Introspection, pool: Connections) -> bytes:
    path = urlsplit(config.url).path or "/"
    head = f"POST {path} HTTP/1.1\r\nHost: {pool.authority}\r\nAccept: application/json\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nUser-Agent: farebox\r\n"
    if config.client_id:
        pair = f"{quote(config.client_id, safe='')}:{quote(config.client_secret, safe='')}"  # RFC 6749 2.3.1
        head += f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
    return head.encode("ascii")
