"""TLS on both sides: the certificate callers see, exchanged without a connection lost, and the upstream's, verified.

HTTP/1.1 is all that is offered (ALPN), TLS 1.2 the least that is spoken. Nothing switches verification off: an upstream
with a certificate of its own is named by `ca_file`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farebox.config import UpstreamTls
from farebox.errors import TlsFilesError

PROTOCOLS: Final = ["http/1.1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamVerification:
    """How connections to an upstream are made safe: what is trusted, and the name that must be in the certificate."""

    context: ssl.SSLContext
    server_name: str


def upstream_verification(settings: UpstreamTls | None, *, host: str) -> UpstreamVerification:
    """TLS to `host`, or to `settings.server_name`; raises TlsFilesError naming the file that cannot be used."""
    settings = settings or UpstreamTls()
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise TlsFilesError(f"The CA file {settings.ca_file} cannot be used: {_words(error)}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    if settings.client_certificate:
        load_pair(context, certificate=settings.client_certificate, key=settings.client_key)
    return UpstreamVerification(context=context, server_name=settings.server_name or host)


def load_pair(context: ssl.SSLContext, *, certificate: str, key: str) -> None:
    """Give `context` a certificate (chain) and its key; raises TlsFilesError naming what is wrong with which file."""
    for path in (certificate, key):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise TlsFilesError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    try:
        # An encrypted key would ask on the terminal, which a service has not.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise TlsFilesError(
            f"The certificate {certificate} and the key {key} cannot be used: {_words(error)}. "
            "Both must be PEM, the key unencrypted and the certificate's own, intermediates after the certificate."
        ) from error


def connect_problem(error: OSError) -> str:
    """What kept a connection from opening, in words that name a problem of the certificate for what it is."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.removesuffix(".")
        return f"showed a certificate that is not accepted ({said})"
    if isinstance(error, ssl.SSLError):
        return f"failed the TLS handshake ({_words(error)})"
    if isinstance(error, ConnectionRefusedError):
        return f"refused the connection ({error.strerror or error})"
    return f"cannot be connected to ({error.strerror or error})"


def _words(error: Exception) -> str:
    """OpenSSL's reason without its file and line."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
