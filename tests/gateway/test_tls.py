"""Callers that speak TLS: one certificate after the other without a call lost, and nobody holds a handshake open."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from farebox.config import load
from farebox.errors import ConfigInvalidError, TlsFilesError
from farebox.gateway import certificates
from farebox.gateway.certificates import Certificates
from farebox.gateway.figures import figures
from farebox.gateway.handshakes import FAILED, NOT_ACCEPTED, Handshakes
from farebox.metrics.figures import text
from farebox.testing.upstream import Behaviour, StubUpstream

from .certificates import Authority
from .conftest import Gateway, GatewayMaker, until

NAME = "gateway.example.com"
MIB = 1024 * 1024

Secure = Callable[..., Gateway]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secure(make_gateway: GatewayMaker, authority: Authority) -> Secure:
    """A gateway that callers speak TLS to."""

    def make(**settings: Any) -> Gateway:
        pair = authority.pair(NAME)
        return make_gateway(tls_certificate=pair.certificate, tls_key=pair.key, **settings)

    return make


def chosen(gateway: Gateway) -> Certificates:
    found = gateway.worker._certificates
    assert found is not None
    return found


def serial(connection: socket.socket) -> str:
    assert isinstance(connection, ssl.SSLSocket)
    found = connection.getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def test_callers_speak_tls_and_upstreams_are_told(secure: Secure, authority: Authority, upstream: StubUpstream) -> None:
    gateway = secure()
    context = authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    caller = gateway.caller(tls=context, name=NAME)
    assert isinstance(caller.socket, ssl.SSLSocket)
    assert caller.socket.selected_alpn_protocol() == "http/1.1"
    assert [caller.ask("GET", "/a").status, caller.ask("POST", "/b", body=b"{}").status] == [200, 200]
    assert [request.fields["x-forwarded-proto"] for request in upstream.requests] == ["https", "https"]
    assert gateway.entry(1, count=2).client_ip == "127.0.0.1"


def test_a_client_that_is_not_ours_is_served(secure: Secure, authority: Authority) -> None:
    gateway = secure()
    with httpx.Client(verify=authority.client()) as client:
        url = f"https://127.0.0.1:{gateway.address[1]}/"
        for _ in range(2):
            answer = client.get(url, extensions={"sni_hostname": NAME})
            assert (answer.status_code, answer.json()) == (200, {})


def test_the_last_answer_of_a_connection_ends_as_tls_ends(secure: Secure, authority: Authority) -> None:
    caller = secure().caller(tls=authority.client(), name=NAME)
    caller.say("GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    assert b"200 OK" in caller.raw()  # an end that anybody on the line could have made would raise here
    assert isinstance(caller.socket, ssl.SSLSocket)


def test_changed_files_are_noticed_and_open_connections_go_on(secure: Secure, authority: Authority) -> None:
    gateway = secure()
    context = authority.client()
    old = gateway.caller(tls=context, name=NAME)
    assert old.ask("GET", "/").status == 200
    authority.pair(NAME)
    until(lambda: chosen(gateway).reloads)
    new = gateway.caller(tls=context, name=NAME)
    assert serial(new.socket) != serial(old.socket)
    assert [old.ask("GET", "/").status, new.ask("GET", "/").status] == [200, 200]


def test_files_that_cannot_be_used_leave_the_old_certificate_in_force_and_are_said(
    secure: Secure, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway = secure()
    before = serial(gateway.caller(tls=authority.client(), name=NAME).socket)
    gateway.on_loop(lambda: setattr(chosen(gateway), "_looked_at", float("inf")))  # only this test looks from now on
    good = authority.pair(NAME, called="good")
    paths = Path(chosen(gateway)._certificate), Path(chosen(gateway)._key)
    for contents in (
        (b"nonsense", paths[1].read_bytes()),
        (Path(good.certificate).read_bytes(), paths[1].read_bytes()),  # the key does not belong to it (yet)
    ):
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        gateway.on_loop(chosen(gateway).look)
        gateway.on_loop(chosen(gateway).look)
        assert serial(gateway.caller(tls=authority.client(), name=NAME).socket) == before
    said = capfd.readouterr().out
    assert said.count("tls.not_reloaded") == 2  # once for each state of the files
    assert "stays in force" in said
    paths[1].write_bytes(Path(good.key).read_bytes())
    gateway.on_loop(chosen(gateway).look)
    assert serial(gateway.caller(tls=authority.client(), name=NAME).socket) != before


def test_no_call_fails_while_certificates_are_exchanged(secure: Secure, authority: Authority) -> None:
    gateway = secure()
    context = authority.client()
    seen: set[str] = set()
    failed: list[BaseException] = []
    enough = threading.Event()

    def call() -> None:
        try:
            while not enough.is_set():
                caller = gateway.caller(tls=context, name=NAME)
                seen.add(serial(caller.socket))
                assert caller.ask("GET", "/").status == 200
                caller.close()
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(8):
        authority.pair(NAME)
        gateway.on_loop(chosen(gateway).look)
        until(lambda: len(seen) > number or failed)  # noqa: B023 - asked now, within this turn
    enough.set()
    for thread in threads:
        thread.join()
    assert not failed, failed
    assert chosen(gateway).reloads >= 8  # the look of a tick may have come first


def test_a_handshake_has_its_time_and_no_more(secure: Secure, authority: Authority) -> None:
    gateway = secure(header_seconds=1.0)
    silent = gateway.caller()
    dripping = gateway.caller()
    dripping.say(b"\x16\x03\x01")
    assert silent.is_closed()
    assert dripping.is_closed()
    until(lambda: asked(gateway, authority))


def test_handshakes_count_as_connections_and_free_their_place(secure: Secure, authority: Authority) -> None:
    gateway = secure(client_connections_max=2)
    first, second = gateway.caller(), gateway.caller()
    handshakes = gateway.worker._handshakes
    assert handshakes is not None
    until(lambda: len(handshakes) == 2)
    assert gateway.caller().is_closed()
    assert gateway.worker.plane.counters["tls.handshakes_refused"] == 1
    for silent in (first, second):  # what takes its place is what ends a handshake that has had its time, too
        silent.socket.shutdown(socket.SHUT_WR)
        assert silent.is_closed()
    until(lambda: gateway.worker.plane.counters.get("tls.handshakes_failed") == 2)
    assert gateway.caller(tls=authority.client(), name=NAME).ask("GET", "/").status == 200


def asked(gateway: Gateway, authority: Authority) -> bool:
    """Whether a call was answered; False when its handshake took too long on a busy machine."""
    try:
        return gateway.caller(tls=authority.client(), name=NAME).ask("GET", "/").status == 200
    except (OSError, AssertionError):
        return False


def test_what_is_said_in_the_same_breath_as_the_handshakes_end_is_heard(secure: Secure, authority: Authority) -> None:
    gateway = secure()
    with socket.create_connection(gateway.address, timeout=60) as plain:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client().wrap_bio(incoming, outgoing, server_hostname=NAME)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        plain.sendall(outgoing.read())
        done = False
        while not done:
            incoming.write(plain.recv(65536))
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
        tls.write(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
        plain.sendall(outgoing.read())  # Finished and the request in one
        said = b""
        while b"\r\n\r\n" not in said:
            incoming.write(plain.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                said += tls.read(65536)
        assert said.startswith(b"HTTP/1.1 200")


def test_what_is_not_tls_is_closed_and_hurts_nobody(
    secure: Secure, authority: Authority, upstream: StubUpstream, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway = secure()
    for nonsense in (b"GET / HTTP/1.1\r\nHost: g\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 5000, b"\x80\x2e\x01"):
        caller = gateway.caller().say(nonsense)
        caller.socket.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in caller.raw()
    stranger = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        gateway.caller(tls=stranger, name=NAME)
    assert gateway.caller(tls=authority.client(), name=NAME).ask("GET", "/").status == 200
    assert len(upstream.requests) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_handshake_that_fails_is_no_trouble_of_the_journal(secure: Secure) -> None:
    gateway = secure()
    caller = gateway.caller().say(b"GET / HTTP/1.1\r\n\r\n")
    assert b"HTTP" not in caller.raw()
    found = until(lambda: _told(gateway) if gateway.worker.plane.counters.get(FAILED) else None)
    assert 'farebox_tls_handshakes_ended_total{process="gateway-0",reason="failed"} 1' in found
    assert not [line for line in found if line.startswith("farebox_journal_troubles_total")]


def _told(gateway: Gateway) -> list[str]:
    figures_now = gateway.on_loop(lambda: figures(gateway.worker._sources()))
    return text({"gateway-0": figures_now}).splitlines()


def test_a_connection_that_takes_no_options_does_not_end_accepting(
    secure: Secure, authority: Authority, tmp_path: Path
) -> None:
    gateway = secure()
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:  # its connections know nothing of TCP_NODELAY
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        worker = gateway.worker
        found = gateway.on_loop(
            lambda: Handshakes(worker.plane, listener, chosen(gateway).context, seconds=1.0, shutdown_seconds=1.0)
        )
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(60)
                caller.connect(path)
                assert caller.recv(1) == b""
        until(lambda: worker.plane.counters.get(FAILED) == 2)
        gateway.on_loop(found.close)
        until(lambda: listener.fileno() == -1)


def test_connections_that_the_system_does_not_let_the_gateway_accept_are_counted(secure: Secure) -> None:
    gateway = secure()
    with socket.socket() as deaf:  # bound and not listening: accept() fails, as it does without a descriptor left
        deaf.bind(("127.0.0.1", 0))
        deaf.setblocking(False)
        context = chosen(gateway).context
        found = gateway.on_loop(
            lambda: Handshakes(gateway.worker.plane, deaf, context, seconds=1.0, shutdown_seconds=1.0)
        )
        until(lambda: gateway.worker.plane.counters.get(NOT_ACCEPTED, 0) >= 2)
        gateway.on_loop(found.close)
        until(lambda: deaf.fileno() == -1)
    counted = gateway.worker.plane.counters[NOT_ACCEPTED]
    assert f'farebox_tls_accept_failures_total{{process="gateway-0"}} {counted}' in _told(gateway)


def test_a_caller_over_tls_that_reads_nothing_stops_the_upstream(
    secure: Secure, authority: Authority, upstream: StubUpstream
) -> None:
    gateway = secure()
    upstream.answer("/", Behaviour(stream_bytes=1024 * MIB))
    caller = gateway.caller(tls=authority.client(), name=NAME).say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    client = until(lambda: next((each for each in gateway.worker.plane.clients if each.write_paused), None))
    assert gateway.on_loop(client.transport.get_write_buffer_size) < 4 * MIB
    assert caller.socket.recv(5) == b"HTTP/"


def test_a_large_body_over_tls_reaches_an_upstream_that_reads_slowly(
    secure: Secure, authority: Authority, upstream: StubUpstream
) -> None:
    upstream.answer("/", Behaviour(slow_read_bytes_per_second=40 * MIB))
    gateway = secure(stream_buffer_bytes=64 * 1024)
    body = b"".join(b"%08d" % number for number in range(1_000_000))
    caller = gateway.caller(tls=authority.client(), name=NAME)
    caller.say(f"PUT / HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n", body)
    assert caller.hear().status == 200
    assert upstream.requests[0].body == body


def test_a_caller_that_ends_its_connection_within_a_call_is_charged_for_it(
    secure: Secure, authority: Authority, upstream: StubUpstream, capfd: pytest.CaptureFixture[str]
) -> None:
    upstream.default = Behaviour(never_answer=True)
    gateway = secure()
    caller = gateway.caller(tls=authority.client(), name=NAME).say("GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    upstream.wait_for(1)
    assert isinstance(caller.socket, ssl.SSLSocket)
    caller.socket.close()
    assert (gateway.entry().outcome, gateway.entry().credits) == ("cut_off", 1000)
    assert "eof_received" not in capfd.readouterr().err


def test_a_certificate_that_cannot_be_used_is_found_before_anything_starts(
    tmp_path: Path, authority: Authority
) -> None:
    pair = authority.pair(NAME)
    with pytest.raises(TlsFilesError, match=r"none\.key cannot be read"):
        Certificates(pair.certificate, str(tmp_path / "none.key"))
    path = tmp_path / "farebox.toml"
    text = '[[upstream]]\nname = "api"\nurl = "http://a"\ncard = "generic"\n[gateway]\n'
    path.write_text(text + 'tls_certificate = "a.crt"\n')
    with pytest.raises(ConfigInvalidError, match="tls_certificate and tls_key belong together"):
        load(path, {})
    path.write_text(text + 'tls_certificate = "a.crt"\ntls_key = "a.key"\n')
    assert load(path, {}).gateway.tls_key == str(tmp_path / "a.key")


def test_files_are_looked_at_every_two_seconds_and_not_at_every_tick(authority: Authority) -> None:
    pair = authority.pair(NAME)
    found = Certificates(pair.certificate, pair.key)
    found.look_if_due(100.0)
    authority.pair(NAME)
    found.look_if_due(100.0 + certificates.LOOK_SECONDS - 0.1)
    assert found.reloads == 0
    found.look_if_due(100.0 + certificates.LOOK_SECONDS)
    assert found.reloads == 1
