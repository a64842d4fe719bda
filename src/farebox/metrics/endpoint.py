"""Where a process answers for its metrics: a thread with a listening socket, one question at a time.

GET /metrics is text for Prometheus, GET /figures the same as JSON for `farebox status` and the supervisor. The sockets
are files that only their owner can open (`DATA/run/PROCESS.sock`), so that no caller of the gateway reaches them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from farebox.metrics.figures import CONTENT_TYPE, Figures, text

FOLDER: Final = "run"
"""In the data directory."""
LEFT: Final = ".left"
"""A process's last figures: `NAME.PID.left`."""

QUESTION_BYTES_MAX: Final = 8 * 1024
QUESTION_SECONDS_MAX: Final = 1.0
ANSWER_SECONDS_MAX: Final = 2.0
ANSWER_BYTES_MAX: Final = 4 << 20
BACKLOG: Final = 16
RETRY_SECONDS: Final = 2.0
ACCEPT_PAUSE_SECONDS: Final = 0.05

_log = structlog.get_logger("farebox.metrics")
Read = Callable[[], Mapping[str, Figures]]
"""The figures, by process; raises TimeoutError, with a sentence, when they cannot be had now."""


class Endpoint:
    """Answers on the socket that `listen` makes, until `close`. Both `listen` and `read` are called in its thread.

    Metrics keep no process from starting: while `listen` fails it is tried again, and that is said once.
    """

    def __init__(self, listen: Callable[[], socket.socket], read: Read) -> None:
        self._listen = listen
        self._read = read
        self._closed = threading.Event()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="farebox-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering; the socket is closed. Safe to repeat."""
        self._closed.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):  # wakes the thread out of accept; it may have ended already
                self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(2 * ANSWER_SECONDS_MAX)

    def _run(self) -> None:
        trouble = ""
        while not self._closed.is_set() and self._listener is None:
            try:
                self._listener = self._listen()
            except OSError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    _log.warning("metrics.unavailable", message=trouble, advice="tried again; nothing else is affected")
                self._closed.wait(RETRY_SECONDS)
        if self._listener is not None:
            with self._listener:
                self._answer_all(self._listener)

    def _answer_all(self, listener: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                asker, _ = listener.accept()
            except OSError:
                if self._closed.wait(ACCEPT_PAUSE_SECONDS):  # shut down; or out of descriptors, which passes
                    return
                continue
            with asker, contextlib.suppress(OSError):  # who asked is gone
                asker.settimeout(QUESTION_SECONDS_MAX)
                asker.sendall(self._answer(_path_asked(asker)))

    def _answer(self, path: str) -> bytes:
        kinds = {"/metrics": (CONTENT_TYPE, text), "/figures": ("application/json", as_json)}
        if path not in kinds:
            return _http("404 Not Found", "text/plain", "Here are /metrics (Prometheus) and /figures (JSON).\n")
        kind, made = kinds[path]
        try:
            return _http("200 OK", kind, made(self._read()))
        except Exception as error:  # noqa: BLE001 - whatever it was, the next question gets an answer
            return _http("503 Service Unavailable", "text/plain", f"{error or type(error).__name__}\n")


class ProcessEndpoint:
    """The endpoint of one process of a data directory, as a socket file; a file left by a dead one is replaced."""

    def __init__(self, data: Path, process: str, read: Callable[[], Figures], *, leaves: bool = False) -> None:
        """`leaves`: there is a supervisor that goes on counting from the figures this process leaves at its end."""
        self._path = data / FOLDER / f"{process}.sock"
        self._inode = 0
        self._read = read
        self._leaves = leaves
        self._endpoint = Endpoint(self._listen, lambda: {process: read()})

    def close(self) -> None:
        """Stop answering, and remove the file unless a successor has put its own there. Safe to repeat.

        The last figures are left for the supervisor, where there is one.
        """
        self._endpoint.close()
        if self._leaves:
            self._leaves = False
            try:
                self._leave(self._read())
            except (OSError, TimeoutError) as error:
                _log.warning("metrics.not_left", message=str(error), advice="counters lack what was counted last")
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _leave(self, figures: Figures) -> None:
        beside = self._path.with_name(f".{self._path.stem}.{os.getpid()}")
        beside.write_text(json.dumps(figures.samples), encoding="utf-8")
        beside.replace(self._path.with_name(f"{self._path.stem}.{os.getpid()}{LEFT}"))

    def _listen(self) -> socket.socket:
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = folder / f".{self._path.stem}.{os.getpid()}"
        beside.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            with _short(beside) as address:
                listener.bind(address)
            beside.chmod(0o600)
            listener.listen(BACKLOG)
            self._inode = beside.stat().st_ino
            beside.replace(self._path)
        except OSError:
            listener.close()
            raise
        return listener


def left_behind(data: Path) -> Iterator[tuple[str, Figures]]:
    """What processes left at their end, by name; each is given once and its file removed."""
    for path in sorted((data / FOLDER).glob(f"*{LEFT}")):
        try:
            samples = json.loads(path.read_bytes())
            path.unlink()
        except (OSError, ValueError) as error:
            _log.warning("metrics.not_left", message=f"{path}: {error}", advice="counters lack what it counted last")
            continue
        yield path.name.removesuffix(LEFT).rpartition(".")[0], Figures(samples)


def processes(data: Path) -> list[str]:
    """Who has a socket file in this data directory; whether they live shows when they are asked."""
    return sorted(path.stem for path in (data / FOLDER).glob("*.sock"))


def ask(data: Path, process: str) -> Figures:
    """The figures of a process of this data directory.

    Raises OSError when it does not run (ConnectionRefusedError, FileNotFoundError), does not answer in time
    (TimeoutError), or may not be asked by this user (PermissionError).
    """
    with socket.socket(socket.AF_UNIX) as asking, _short(data / FOLDER / f"{process}.sock") as address:
        asking.settimeout(ANSWER_SECONDS_MAX)
        asking.connect(address)
        asking.sendall(b"GET /figures HTTP/1.0\r\n\r\n")
        said = bytearray()
        while (more := asking.recv(65_536)) and len(said) < ANSWER_BYTES_MAX:
            said += more
    head, _, body = bytes(said).partition(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise TimeoutError(body.decode("utf-8", "replace").strip() or f"{process} gave no whole answer")
    ((_, samples),) = json.loads(body).items()
    return Figures(samples)


def as_json(readings: Mapping[str, Figures]) -> str:
    """The figures for programs of ours."""
    return json.dumps({process: figures.samples for process, figures in readings.items()})


def _path_asked(asker: socket.socket) -> str:
    said = b""
    while b"\r\n\r\n" not in said and len(said) < QUESTION_BYTES_MAX:
        more = asker.recv(QUESTION_BYTES_MAX)
        if not more:
            break
        said += more
    words = said.split(b"\r\n", 1)[0].split(b" ")
    asked = words[1].decode("latin-1") if len(words) > 1 and words[0] == b"GET" else ""
    return asked.partition("?")[0]


def _http(status: str, kind: str, content: str) -> bytes:
    body = content.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode("latin-1") + body


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path of a socket file by its folder's descriptor: sun_path holds 107 bytes, and paths may be longer."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
