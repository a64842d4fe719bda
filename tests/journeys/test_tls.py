"""A service that speaks TLS: started, called, given another certificate by `farebox reload`, or refusing a bad one."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from farebox.testing.system import CONSOLE_HEALTH, ChildProcess, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

pytestmark = pytest.mark.slow


def write_pair(ca: trustme.CA, folder: Path) -> None:
    issued = ca.issue_cert("localhost", "127.0.0.1")
    folder.joinpath("tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    folder.joinpath("tls.key").write_bytes(issued.private_key_pem.bytes())


class Caller:
    """A connection of a client that is not ours."""

    def __init__(self, farebox: RunningFarebox, ca: trustme.CA) -> None:
        context = ssl.create_default_context()
        ca.configure_trust(context)
        self._headers = farebox.as_caller("acme", "ada")
        self.connection = HTTPSConnection("127.0.0.1", urlsplit(farebox.gateway_url).port, context=context, timeout=60)

    def call(self) -> int:
        self.connection.request("GET", "/things", headers=self._headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status

    def serial(self) -> str:
        self.connection.connect()
        assert isinstance(self.connection.sock, ssl.SSLSocket)
        found = self.connection.sock.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


def reload(farebox: RunningFarebox) -> tuple[int, str]:
    command = [sys.executable, "-m", "farebox.cli", "reload", "--data", str(farebox.data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_reload_takes_a_new_certificate_and_refuses_a_bad_one(tmp_path: Path, upstream: StubUpstream) -> None:
    ca = trustme.CA()
    tmp_path.joinpath("farebox").mkdir()
    write_pair(ca, tmp_path / "farebox")
    farebox = RunningFarebox(
        tmp_path / "farebox",
        upstream_url=upstream.url,
        gateway={"tls_certificate": "tls.crt", "tls_key": "tls.key", "drain_idle_seconds": 60.0},
    )
    serve = ChildProcess(
        "serve",
        ["-m", "farebox.cli", "serve", "--config", str(farebox.config_path)],
        health_url=farebox.console_url + CONSOLE_HEALTH,
        log=farebox.folder / "serve.log",
    )
    serve.start()
    try:
        old = until(lambda: _caller_with_an_answer(farebox, ca), what="a call over TLS is answered")
        assert f"https://127.0.0.1:{urlsplit(farebox.gateway_url).port}" in serve.log
        before = Caller(farebox, ca).serial()
        write_pair(ca, farebox.folder)
        status, said = reload(farebox)
        assert status == 0, said
        now = Caller(farebox, ca).serial()
        assert now != before
        assert old.call() == 200  # its connection, and its certificate, are those of before
        farebox.folder.joinpath("tls.key").write_text("nonsense")
        status, said = reload(farebox)
        assert status != 0
        assert "tls.key cannot be used" in said
        assert "the old configuration stays in force" in said
        assert (Caller(farebox, ca).serial(), Caller(farebox, ca).call()) == (now, 200)
        assert {json.dumps(request.fields["x-forwarded-proto"]) for request in upstream.requests} == {'"https"'}
    finally:
        serve.stop()


def _caller_with_an_answer(farebox: RunningFarebox, ca: trustme.CA) -> Caller | None:
    caller = Caller(farebox, ca)
    try:
        return caller if caller.call() == 200 else None
    except OSError:
        return None
