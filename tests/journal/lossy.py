"""A disk that forgets: what was not synced survives in any part, calls fail as told, and power can go at any of them.

The files are real, so that readers read what a running machine would. Beside them stands what the platter has: file
contents as of their last sync, names as of the last sync of their directory, and what came since. `lose_power` builds
a copy in which each unsynced write is there, missing, or torn at any byte, and each directory is at any moment between
its last sync and now. A failed fdatasync forgets for ever what it did not write, as Linux does.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from farebox.journal.disk import OsDisk

SECTOR: Final = 512
SHORT: Final = 0
"""The code of a write that ends early without an error."""


@dataclass(slots=True, eq=False)
class Stored:
    """A file: what is surely stored, and the changes since its last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)
    failed: bool = False
    """A write or sync of it failed: nothing may touch it again."""


@dataclass(slots=True, eq=False)
class Folder:
    """A directory: the names that surely exist, and what was done to them since."""

    durable: dict[str, Stored | Folder] = field(default_factory=dict)
    pending: list[tuple[str, Stored | Folder | None]] = field(default_factory=list)

    def now(self) -> dict[str, Stored | Folder]:
        """The names as a running machine sees them."""
        return _applied(self.durable, self.pending)


class LossyDisk(OsDisk):
    """Everything below `root`, whose parent is taken to be synced.

    Call number `fail_at` (from 1; 0 none) fails with `code`, and all after it up to `heal` when `lasting`. At call
    `lose_at` the power goes: `at_loss` runs, and the machine that goes on running no longer matters.
    """

    def __init__(self, root: Path, seed: object, *, target: Path | None = None) -> None:
        self.root, self.target = root, target
        self.calls: list[str] = []
        self.fail_at, self.code, self.lasting = 0, errno.EIO, False
        self.lose_at = 0
        self.at_loss: Callable[[], None] = lambda: None
        self.touched_after_failure: list[str] = []
        self.lost = False
        self._rng = random.Random(str(seed))
        self._top = Folder()
        self._open: dict[int, Stored] = {}

    @classmethod
    def over(cls, root: Path, seed: object, *, target: Path) -> LossyDisk:
        """With what already lies below `root`, as if all of it had been synced."""
        disk = cls(root, seed, target=target)
        disk._top.durable.update(_found(root))
        return disk

    def heal(self) -> None:
        """Nothing fails any more."""
        self.fail_at = 0

    def lose_power(self) -> None:
        """Build the copy in `target`."""
        assert self.target is not None
        self.lost = True
        self.at_loss()
        self._build(self._top, self.target)

    def _meet(self, call: str, path: object = "") -> int | None:
        """Count a call; raise, or return `SHORT`, where it is to fail."""
        self.calls.append(call)
        number = len(self.calls)
        if number == self.lose_at and not self.lost:
            self.lose_power()
        if not self.fail_at or number < self.fail_at or (number > self.fail_at and not self.lasting):
            return None
        if self.code == SHORT and call == "pwrite":
            return SHORT
        code = self.code or errno.EIO
        raise OSError(code, os.strerror(code), str(path))

    # -- names -----------------------------------------------------------------------------------------------------

    def create(self, path: Path) -> int:
        self._meet("create", path)
        fd = super().create(path)
        self._open[fd] = made = Stored()
        self._folder(path.parent).pending.append((path.name, made))
        return fd

    def open(self, path: Path) -> int:
        self._meet("open", path)
        fd = super().open(path)
        found = self._folder(path.parent).now()[path.name]
        assert isinstance(found, Stored)
        self._open[fd] = found
        return fd

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        super().close(fd)

    def make_directory(self, path: Path) -> None:
        self._meet("make_directory", path)
        super().make_directory(path)
        if path != self.root:
            self._folder(path.parent).pending.append((path.name, Folder()))

    def sync_directory(self, path: Path) -> None:
        self._meet("sync_directory", path)
        super().sync_directory(path)
        if path == self.root.parent:
            return
        folder = self._folder(path)
        folder.durable, folder.pending = folder.now(), []

    def rename(self, old: Path, new: Path) -> None:
        self._meet("rename", old)
        super().rename(old, new)
        folder = self._folder(old.parent)
        moved = folder.now()[old.name]
        folder.pending += [(new.name, moved), (f"\0{old.name}", None)]  # one step: see _build

    def unlink(self, path: Path) -> None:
        self._meet("unlink", path)
        super().unlink(path)
        self._folder(path.parent).pending.append((path.name, None))

    def remove_directory(self, path: Path) -> None:
        self._meet("remove_directory", path)
        super().remove_directory(path)
        self._folder(path.parent).pending.append((path.name, None))

    # -- contents --------------------------------------------------------------------------------------------------

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        stored = self._untouched(fd)
        try:
            short = self._meet("pwrite") is not None
        except OSError:
            self._part_of(fd, stored, data, offset)
            stored.failed = True
            raise
        if short:
            stored.failed = True
            return self._part_of(fd, stored, data, offset)
        stored.pending.append(("write", offset, bytes(data)))
        return super().pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        stored = self._untouched(fd)
        try:
            self._meet("fdatasync")
        except OSError:
            for change in stored.pending:
                self._survive(stored.durable, change)
            stored.pending.clear()  # the kernel takes the pages for clean: no later sync writes them
            stored.failed = True
            raise
        for change in stored.pending:
            _apply(stored.durable, change)
        stored.pending.clear()
        super().fdatasync(fd)

    def fallocate(self, fd: int, length: int) -> None:
        self._meet("fallocate")
        self._open[fd].pending.append(("grow", length, b""))
        super().fallocate(fd, length)

    def truncate(self, fd: int, length: int) -> None:
        self._meet("truncate")
        self._open[fd].pending.append(("cut", length, b""))
        super().truncate(fd, length)

    def _untouched(self, fd: int) -> Stored:
        stored = self._open[fd]
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        if stored.failed and name.endswith(".seg"):
            self.touched_after_failure.append(name)
        return stored

    def _part_of(self, fd: int, stored: Stored, data: bytes, offset: int) -> int:
        part = bytes(data[: self._rng.randrange(len(data))])
        stored.pending.append(("write", offset, part))
        return super().pwrite(fd, part, offset) if part else 0

    # -- power -----------------------------------------------------------------------------------------------------

    def _folder(self, path: Path) -> Folder:
        folder: Folder | Stored = self._top
        for part in path.relative_to(self.root).parts:
            assert isinstance(folder, Folder)
            folder = folder.now()[part]
        assert isinstance(folder, Folder)
        return folder

    def _build(self, folder: Folder, path: Path) -> None:
        path.mkdir(parents=True)
        until = self._rng.randrange(len(folder.pending) + 1)
        if until < len(folder.pending) and folder.pending[until][0].startswith("\0"):
            until += 1  # a rename is one step
        for name, what in _applied(folder.durable, folder.pending[:until]).items():
            if isinstance(what, Folder):
                self._build(what, path / name)
            else:
                content = bytearray(what.durable)
                for change in what.pending:
                    self._survive(content, change)
                (path / name).write_bytes(content)

    def _survive(self, content: bytearray, change: tuple[str, int, bytes]) -> None:
        """What of one unsynced change the disk has: all, nothing, up to any byte, or any of its sectors."""
        kind, at, data = change
        fate = self._rng.choice(("all", "nothing", "torn", "sectors"))
        if fate == "all" or (kind != "write" and fate != "nothing"):
            _apply(content, change)
        elif fate == "torn" and kind == "write":
            _apply(content, (kind, at, data[: self._rng.randrange(len(data) + 1)]))
        elif fate == "sectors" and kind == "write":
            end = at + len(data)
            for start in range(at - at % SECTOR, end, SECTOR):
                first, last = max(start, at), min(start + SECTOR, end)
                if self._rng.random() < 0.5:
                    _apply(content, (kind, first, data[first - at : last - at]))


def _found(path: Path) -> dict[str, Stored | Folder]:
    names: dict[str, Stored | Folder] = {}
    for entry in path.iterdir():
        names[entry.name] = Folder(_found(entry)) if entry.is_dir() else Stored(bytearray(entry.read_bytes()))
    return names


def _apply(content: bytearray, change: tuple[str, int, bytes]) -> None:
    kind, at, data = change
    if kind == "cut":
        del content[at:]
        return
    end = at if kind == "grow" else at + len(data)
    if data or kind == "grow":
        content.extend(bytes(max(0, end - len(content))))
    content[at : at + len(data)] = data


def _applied(
    names: dict[str, Stored | Folder], changes: list[tuple[str, Stored | Folder | None]]
) -> dict[str, Stored | Folder]:
    result = dict(names)
    for name, what in changes:
        if what is None:
            result.pop(name.removeprefix("\0"), None)
        else:
            result[name] = what
    return result
