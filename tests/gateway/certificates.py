"""Certificates for tests: an authority of our own, and contexts and files made from what it issues."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: str
    key: str


class Authority:
    """Issues certificates; `ca_file` is what trusts them."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.ca_file = str(folder / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.ca_file)

    def pair(self, *names: str, called: str = "server", expired: bool = False) -> Pair:
        """Files with a certificate for `names`; writing the same `called` again replaces them."""
        past = datetime.now(UTC) - timedelta(days=1)
        issued = self._ca.issue_cert(*names, not_after=past if expired else None)
        pair = Pair(str(self._folder / f"{called}.crt"), str(self._folder / f"{called}.key"))
        for path, blobs in ((pair.certificate, issued.cert_chain_pems), (pair.key, [issued.private_key_pem])):
            Path(path).write_bytes(b"".join(blob.bytes() for blob in blobs))
        return pair

    def server(self, *names: str, expired: bool = False, called: str = "upstream") -> ssl.SSLContext:
        """What a server of these names answers with."""
        pair = self.pair(*names, expired=expired, called=called)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return context

    def client(self) -> ssl.SSLContext:
        """What a caller trusts."""
        return ssl.create_default_context(cafile=self.ca_file)
