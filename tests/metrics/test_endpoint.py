"""Where a process answers for its metrics: a file of its owner's, in whatever folder, replaced after a death."""

from __future__ import annotations

import http.client
import socket
import stat
from pathlib import Path

import pytest

from farebox.metrics.endpoint import FOLDER, Endpoint, ProcessEndpoint, ask, processes
from farebox.metrics.figures import Figures
from farebox.testing.system import free_port, until


def _figures(pages: int = 1) -> Figures:
    figures = Figures()
    figures.add("live_streams", pages)
    return figures


def _answers(data: Path, process: str = "console") -> bool:
    try:
        ask(data, process)
    except OSError:
        return False
    return True


def test_a_process_is_asked_by_its_file_however_deep_the_data_directory_lies(tmp_path: Path) -> None:
    data = tmp_path / ("deep" * 30) / "data"
    endpoint = ProcessEndpoint(data, "console", lambda: _figures(7))
    until(lambda: _answers(data), what="it answers")
    try:
        assert ask(data, "console").value("live_streams") == 7
        assert processes(data) == ["console"]
        assert stat.S_IMODE((data / FOLDER).stat().st_mode) == 0o700
        assert stat.S_IMODE((data / FOLDER / "console.sock").stat().st_mode) == 0o600
    finally:
        endpoint.close()
    assert processes(data) == []
    with pytest.raises(FileNotFoundError):
        ask(data, "console")


def test_a_successor_takes_the_name_and_its_predecessor_leaves_it_alone(tmp_path: Path) -> None:
    old = ProcessEndpoint(tmp_path, "gateway-0", lambda: _figures(1))
    until(lambda: _answers(tmp_path, "gateway-0"), what="the first answers")
    new = ProcessEndpoint(tmp_path, "gateway-0", lambda: _figures(2))
    until(lambda: ask(tmp_path, "gateway-0").value("live_streams") == 2, what="the second answers")
    old.close()
    assert ask(tmp_path, "gateway-0").value("live_streams") == 2
    new.close()


def test_figures_that_cannot_be_had_now_are_a_503_that_says_why_and_the_next_question_is_answered(
    tmp_path: Path,
) -> None:
    silent = True

    def read() -> Figures:
        if silent:
            raise TimeoutError("the event loop gave no answer")
        return _figures()

    endpoint = ProcessEndpoint(tmp_path, "gateway-0", read)
    until(lambda: processes(tmp_path), what="it listens")
    with pytest.raises(TimeoutError, match="gave no answer"):
        ask(tmp_path, "gateway-0")
    silent = False
    assert ask(tmp_path, "gateway-0").value("live_streams") == 1
    endpoint.close()


def test_a_taken_address_keeps_nothing_from_starting_and_is_used_once_it_is_free() -> None:
    port = free_port()

    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", port))

    taken = listen()
    endpoint = Endpoint(listen, lambda: {"console": _figures()})
    taken.close()

    def scraped() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read()
        except OSError:
            return b""
        finally:
            connection.close()

    assert b'farebox_live_streams{process="console"} 1' in until(scraped, what="the address is used")
    endpoint.close()


def test_a_question_that_is_none_is_answered_with_what_there_is(tmp_path: Path) -> None:
    endpoint = ProcessEndpoint(tmp_path, "console", _figures)
    until(lambda: _answers(tmp_path), what="it answers")
    for question in (b"GET / HTTP/1.1\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n", b"\x00" * 9_000):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(tmp_path / FOLDER / "console.sock"))
            asking.sendall(question)
            assert asking.recv(65_536).startswith(b"HTTP/1.1 404 ")
    assert ask(tmp_path, "console").value("live_streams") == 1
    endpoint.close()
