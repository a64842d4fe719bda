"""The certificate callers see: read at the start, read again when its files change, exchanged between two handshakes.

Open connections keep what they shook hands with. Files that cannot be used change nothing: the certificate in force
stays, and the log says why, once for each state of the files.
"""

from __future__ import annotations

import os
import ssl
from typing import Final

import structlog

from farebox.errors import TlsFilesError
from farebox.gateway.tls import PROTOCOLS, load_pair

LOOK_SECONDS: Final = 2.0
"""How often the files are looked at: two stat calls."""

_log = structlog.get_logger("farebox.gateway")


class Certificates:
    """The gateway's certificate and key. `context` is for listening and stays the same for ever."""

    def __init__(self, certificate: str, key: str) -> None:
        """Raises TlsFilesError when the files cannot be used."""
        self._certificate = certificate
        self._key = key
        self._state = self._look()
        self._in_force = self.context = self._loaded()
        self.context.sni_callback = self._choose
        self._looked_at = 0.0
        self.reloads = 0
        """Certificates that took the place of one before."""
        self.failures = 0
        """States of the files that could not be used."""

    def look_if_due(self, now: float) -> None:
        """Look at the files, if the last look is long enough ago; `now`: seconds that only grow."""
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self.look()

    def look(self) -> None:
        """Take the certificate in the files, if they changed and it can be used."""
        state = self._look()
        if state == self._state:
            return
        self._state = state
        try:
            self._in_force = self._loaded()
        except TlsFilesError as error:
            self.failures += 1
            _log.error(
                "tls.not_reloaded",
                code=error.code,
                message=f"{error} The certificate that was in force stays in force.",
            )
        else:
            self.reloads += 1
            _log.info("tls.reloaded", certificate=self._certificate)

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:  # noqa: ARG002 - ssl's signature
        """A handshake begins, with a name or without: it gets the certificate in force."""
        connection.context = self._in_force

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(PROTOCOLS)
        load_pair(context, certificate=self._certificate, key=self._key)
        return context

    def _look(self) -> tuple[object, ...]:
        """What tells one state of the files from another; a link that leads elsewhere is another, too."""
        state: list[object] = []
        for path in (self._certificate, self._key):
            try:
                found = os.stat(path)  # noqa: PTH116 - of a path as text, every two seconds
                state += (found.st_mtime_ns, found.st_size, found.st_ino)
            except OSError as error:
                state.append(error.errno)
        return tuple(state)
