"""TLS to upstreams: verified by name and authority, or nothing is sent and nothing is charged."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from farebox.checks import everything
from farebox.config import Address, FilePath, UpstreamTls, load
from farebox.errors import ConfigInvalidError, TlsFilesError
from farebox.gateway.tls import upstream_verification
from farebox.testing.upstream import Behaviour, StubUpstream

from .certificates import Authority
from .conftest import Gateway, GatewayMaker, until

NAME = "api.example.com"
MIB = 1024 * 1024

Serve = Callable[[ssl.SSLContext], StubUpstream]
Before = Callable[..., Gateway]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda context: stack.enter_context(StubUpstream(tls=context))


@pytest.fixture
def before(make_gateway: GatewayMaker, authority: Authority) -> Before:
    """A gateway before an upstream that is called by its name, wherever it listens."""

    def make(
        server: StubUpstream | int, *, ca_file: str | None = None, tls: dict[str, Any] | None = None, **more: Any
    ) -> Gateway:
        port = server if isinstance(server, int) else server.port
        trusted = FilePath(authority.ca_file if ca_file is None else ca_file)
        settings = {
            "addresses": (Address(f"127.0.0.1:{port}"),),
            "tls": UpstreamTls(ca_file=trusted, **(tls or {})),
        }
        return make_gateway(url=f"https://{NAME}", more=settings, **more)

    return make


def test_an_upstream_that_proves_its_name_is_called_by_it(authority: Authority, serve: Serve, before: Before) -> None:
    context = authority.server(NAME)
    context.set_alpn_protocols(["h2", "http/1.1"])
    names: list[str | None] = []

    def seen(connection: Any, name: str | None, _: object) -> None:
        names.append(name)

    context.sni_callback = seen
    server = serve(context)
    gateway = before(server)
    caller = gateway.caller()
    assert [caller.ask("GET", "/a").status, caller.ask("POST", "/b", body=b"{}").status] == [200, 200]
    (connection,) = server._open
    assert isinstance(connection, ssl.SSLSocket)
    assert (names, connection.selected_alpn_protocol()) == ([NAME], "http/1.1")
    assert [request.fields["host"] for request in server.requests] == [NAME, NAME]
    assert server.connections == 1


def refused(gateway: Gateway) -> str:
    """What a call says that is not forwarded; it costs nothing."""
    caller = gateway.caller()
    answer = caller.ask("GET", "/")
    assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_UNREACHABLE")
    assert answer.fields["x-farebox-credits-charged"] == "0"
    assert gateway.held() == 0
    return str(answer.json()["detail"])


def test_a_certificate_for_another_name_is_not_accepted(authority: Authority, serve: Serve, before: Before) -> None:
    server = serve(authority.server("other.example.com"))
    said = refused(before(server))
    assert f"api (127.0.0.1:{server.port}) showed a certificate that is not accepted" in said
    assert "Hostname mismatch, certificate is not valid for 'api.example.com'" in said
    assert not server.requests


def test_an_expired_certificate_is_not_accepted(authority: Authority, serve: Serve, before: Before) -> None:
    server = serve(authority.server(NAME, expired=True))
    assert "certificate has expired" in refused(before(server))
    assert not server.requests


def test_a_certificate_of_an_unknown_authority_is_not_accepted(tmp_path: Path, serve: Serve, before: Before) -> None:
    stranger = Authority(tmp_path, name="stranger")
    server = serve(stranger.server(NAME))
    assert "unable to get local issuer certificate" in refused(before(server))
    assert not server.requests


def test_without_a_ca_file_the_systems_authorities_decide(authority: Authority, serve: Serve, before: Before) -> None:
    server = serve(authority.server(NAME))
    assert "showed a certificate that is not accepted" in refused(before(server, ca_file=""))
    assert not server.requests


def test_a_server_without_tls_is_named_for_it(before: Before) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "failed the TLS handshake (wrong version number)" in refused(before(plain.getsockname()[1]))
        thread.join()


def test_the_name_in_the_certificate_may_be_another_than_that_of_the_url(
    authority: Authority, serve: Serve, before: Before
) -> None:
    server = serve(authority.server("internal.example.net"))
    gateway = before(server, tls={"server_name": "internal.example.net"})
    assert gateway.caller().ask("GET", "/").status == 200
    assert server.requests[0].fields["host"] == NAME


def test_a_server_that_asks_for_a_certificate_gets_the_gateways(
    authority: Authority, serve: Serve, before: Before
) -> None:
    context = authority.server(NAME)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in TLS 1.3 a client learns of the refusal only when it reads
    server = serve(context)
    own = authority.pair("gateway.example.com", called="gateway")
    pair = {"client_certificate": own.certificate, "client_key": own.key}
    assert before(server, tls=pair).caller().ask("GET", "/").status == 200


def test_a_handshake_that_never_ends_is_given_up_and_free(before: Before) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = before(silent.getsockname()[1], connect_seconds=0.2)
        assert "did not accept a connection within 0.2 s" in refused(gateway)


def test_large_bodies_pass_through_tls_at_the_pace_of_the_slower_side(
    authority: Authority, serve: Serve, before: Before
) -> None:
    server = serve(authority.server(NAME))
    server.keep_bodies = False
    server.answer("/up", Behaviour(slow_read_bytes_per_second=60 * MIB))
    server.answer("/down", Behaviour(stream_bytes=1024 * MIB))
    gateway = before(server, stream_buffer_bytes=64 * 1024)
    body = bytes(20 * MIB)
    caller = gateway.caller().say(f"PUT /up HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n", body)
    assert caller.hear().status == 200
    assert server.requests[0].body_bytes == len(body)
    reader = gateway.caller().say("GET /down HTTP/1.1\r\nHost: g\r\n\r\n")
    client = until(lambda: next((each for each in gateway.worker.plane.clients if each.write_paused), None))
    assert gateway.on_loop(client.transport.get_write_buffer_size) < 4 * MIB
    assert reader.socket.recv(5) == b"HTTP/"


def test_an_answer_without_length_that_tls_did_not_end_is_broken_off(
    authority: Authority, serve: Serve, before: Before
) -> None:
    server = serve(authority.server(NAME))
    # `raw` ends the connection without TLS's own end: whoever sits on the line could have cut it there.
    server.answer("/cut", Behaviour(raw=b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100_000)))
    server.answer("/whole", Behaviour(body=bytes(100_000), close_after=True))
    gateway = before(server)
    said = gateway.caller().say("GET /cut HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").raw()
    assert not said.endswith(b"\r\n0\r\n\r\n")
    assert gateway.entry(-1, count=2).outcome in ("cut_off", "unanswered")
    assert len(gateway.caller().ask("GET", "/whole").body) == 100_000


def test_an_upstream_that_dies_within_an_answer_is_charged_and_said(
    authority: Authority, serve: Serve, before: Before
) -> None:
    server = serve(authority.server(NAME))
    server.answer("/", Behaviour(body=b"x" * 100, reset_after=40))
    gateway = before(server)
    answer = gateway.caller().ask("GET", "/")
    assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_FAILED")
    assert gateway.entry().credits == 1000


def test_an_upstream_that_is_killed_while_it_handshakes_is_free(
    authority: Authority, serve: Serve, before: Before
) -> None:
    context = authority.server(NAME)
    greeted = threading.Event()
    server = serve(context)

    def die(connection: Any, name: str | None, _: object) -> None:
        greeted.set()
        server.close()

    context.sni_callback = die
    assert "api (127.0.0.1:" in refused(before(server))
    assert greeted.is_set()


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for path in (nonsense, tmp_path / "none.pem"):
        with pytest.raises(TlsFilesError, match=path.name):
            upstream_verification(UpstreamTls(ca_file=FilePath(str(path))), host=NAME)
    one, other = authority.pair("a", called="one"), authority.pair("b", called="other")
    mixed = UpstreamTls(client_certificate=FilePath(one.certificate), client_key=FilePath(other.key))
    with pytest.raises(TlsFilesError, match="key values mismatch"):
        upstream_verification(mixed, host=NAME)


def test_settings_that_cannot_be_meant_are_refused_and_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "farebox.toml"
    beginning = '[[upstream]]\nname = "api"\ncard = "generic"\n'
    path.write_text(beginning + 'url = "http://a/path"\n[upstream.tls]\nclient_key = "k.pem"\n')
    with pytest.raises(ConfigInvalidError) as error:
        load(path)
    assert "has a path" in str(error.value)
    assert "tls is for an https:// url" in str(error.value)
    assert "client_certificate and client_key belong together" in str(error.value)
    path.write_text(beginning + 'url = "https://a"\n[upstream.tls]\nca_file = "ca.pem"\n')
    found = load(path).upstream[0].tls
    assert found is not None
    assert found.ca_file == str(tmp_path / "ca.pem")


def test_farebox_check_shakes_hands_with_every_address_and_reads_every_certificate(
    authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    good, wrong = serve(authority.server(NAME)), serve(authority.server("other.example.com", called="other"))
    own = authority.pair("gateway.example.com", called="gateway")
    path = tmp_path / "farebox.toml"
    path.write_text(
        f'[gateway]\nlisten = "127.0.0.1:0"\ntls_certificate = "{own.certificate}"\ntls_key = "{own.certificate}"\n'
        f'[console]\nlisten = "127.0.0.1:0"\n[metrics]\nlisten = "127.0.0.1:0"\n'
        f'[[upstream]]\nname = "api"\nurl = "https://{NAME}"\ncard = "generic"\n'
        f'addresses = ["127.0.0.1:{good.port}", "127.0.0.1:{wrong.port}"]\n'
        f'[upstream.tls]\nca_file = "{authority.ca_file}"\n',
        encoding="utf-8",
    )
    found = everything(path)
    texts = [f"{finding.level} {finding.subject}: {finding.text}" for finding in found]
    (fine,) = [text for text in texts if text.startswith("ok upstream api")]
    assert f"127.0.0.1:{good.port} accepts connections and its certificate is good" in fine
    (warning,) = [text for text in texts if text.startswith("warning upstream api")]
    assert f"127.0.0.1:{wrong.port} showed a certificate that is not accepted (Hostname mismatch" in warning
    (error,) = [text for text in texts if text.startswith("error gateway")]
    assert f"The certificate {own.certificate} and the key {own.certificate} cannot be used" in error
