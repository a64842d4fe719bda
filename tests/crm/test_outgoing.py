"""Where the API's own calls may go: to no private address, whatever name leads there, and no further than asked."""

import socket
import threading
from typing import Any

import pytest
from tests.crm.receiver import Receiver

from farebox.crm.outgoing import UndeliveredError, UrlRefusedError, check_url, post

GOOD = ["https://example.com/hook?a=1", "https://example.com:8443/", "https://93.184.216.34/x"]
GOOD += ["https://[2606:2800:220:1::1]/", "https://[64:ff9b::93.184.216.34]/", "https://[2002:5db8:d822::1]/"]
NEVER = [
    "http://example.com/",
    "ftp://example.com/",
    "https://",
    "https://user:secret@example.com/",
    "https://10.0.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://[fe80::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[64:ff9b::10.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::8.8.8.8]/",
    "https://[2002:a00:1::1]/",
    "https://[2002:7f00:1::1]/",
    "https://[2001:0:808:808:0:0:f5ff:fffe]/",
    "https://[::10.0.0.1]/",
    "https://[::ffff:0:10.0.0.1]/",
    "https://[fec0::1]/",
    "https://[ff0e::1]/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://example.com/\r\nX: y",
    "https://example.com:99999/",
    "https://example.com/" + "a" * 2_100,
    "/hook",
    "https://example.com/\u00e9",
    "https://m\u00fcnchen.example/",
    "https://a..b/",
    "https://" + "a" * 64 + ".com/",
    "",
    None,
    7,
]
LOCAL = ["http://127.0.0.1:1/", "http://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://localhost/"]


@pytest.mark.parametrize("url", GOOD)
def test_public_https_addresses_may_be_called(url: str) -> None:
    assert check_url(url, allow_local=False) == url


@pytest.mark.parametrize("url", NEVER)
def test_everything_else_may_not(url: Any) -> None:
    for allow_local in (False, True):
        with pytest.raises(UrlRefusedError):
            check_url(url, allow_local=allow_local)


@pytest.mark.parametrize("url", LOCAL)
def test_this_machine_only_when_the_operator_allows_it(url: str) -> None:
    assert check_url(url, allow_local=True) == url
    with pytest.raises(UrlRefusedError):
        check_url(url, allow_local=False)


def test_a_name_that_leads_to_a_private_address_is_refused_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]

    check_url("https://innocent.example/", allow_local=False)
    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(UrlRefusedError, match=r"127\.0\.0\.1"):
        post("https://innocent.example/", b"{}", allow_local=False)


def test_a_redirect_is_not_followed() -> None:
    with Receiver() as target, Receiver(302, headers={"location": target.url}) as receiver:
        with pytest.raises(UndeliveredError, match="302"):
            post(receiver.url, b"{}", allow_local=True)
        assert target.bodies == []


def test_a_receiver_that_is_not_there_or_fails_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UndeliveredError, match="ConnectError"):
            post(f"http://127.0.0.1:{taken.getsockname()[1]}/", b"{}", allow_local=True)
    with Receiver(500) as receiver, pytest.raises(UndeliveredError, match="500"):
        post(receiver.url, b"{}", allow_local=True)


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def flood() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                try:
                    while True:
                        connection.sendall(b"x" * 65_536)
                except OSError:
                    return

        flooding = threading.Thread(target=flood, daemon=True)
        flooding.start()
        post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", allow_local=True)
        flooding.join(60)
        assert not flooding.is_alive()


def test_a_receiver_that_drips_is_given_up_after_the_time_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farebox.crm.outgoing.TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                try:
                    for _ in range(200):
                        connection.sendall(b"H")
                        threading.Event().wait(0.05)
                except OSError:
                    return

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        with pytest.raises(UndeliveredError, match=r"Timeout|Protocol"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", allow_local=True)
        dripping.join(60)
        assert not dripping.is_alive(), "the connection was kept open"
