"""An incarnation's directory: its names, its lock, its headers and marks, and how it goes away.

A directory appears whole (made under a dotted name with its lock held, then renamed) and disappears whole
(renamed to a dotted name, then emptied). Names that start with a dot are never read, so kill -9 between any two
steps leaves either a directory of the journal or rubbish that the next `sweep` takes away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from farebox.errors import DataDirectoryError, JournalCorruptError, JournalError
from farebox.journal.disk import Disk, OsDisk
from farebox.journal.segment import (
    HEADER_BYTES,
    INCARNATION_BYTES_MAX,
    MARK_BYTES,
    STATIC_BYTES,
    Header,
    Mark,
    Opening,
    unpack_header,
    unpack_mark,
    unpack_opening,
)

LOCK_NAME: Final = "lock"
NEW_PREFIX: Final = ".new-"
GONE_PREFIX: Final = ".gone-"
MARK_READS_MAX: Final = 100
"""A mark is rewritten in place; a reader that meets it half written reads again."""

_INCARNATION: Final = re.compile(rf"[0-9A-Za-z][0-9A-Za-z_.-]{{0,{INCARNATION_BYTES_MAX - 1}}}")
_SEGMENT: Final = re.compile(r"(\d{8,})\.seg")
_OURS: Final = re.compile(r"\d{8,}\.(seg|mark|new|lost|lost-new)")


def segment_path(directory: Path, segment: int) -> Path:
    """The file of a segment; segments are numbered from 1."""
    return directory / f"{segment:08d}.seg"


def mark_path(directory: Path, segment: int) -> Path:
    """The file that says how far a segment may be read."""
    return directory / f"{segment:08d}.mark"


def prepared_path(directory: Path, segment: int) -> Path:
    """A segment's name until it is whole."""
    return directory / f"{segment:08d}.new"


def check_incarnation(incarnation: str) -> str:
    """The name itself; raises `JournalError` when it cannot be a directory's name everywhere."""
    if _INCARNATION.fullmatch(incarnation) is None:
        raise JournalError(
            f"{incarnation!r} cannot name a journal directory: use letters, digits, '.', '_' and '-', "
            f"starting with a letter or digit, at most {INCARNATION_BYTES_MAX}."
        )
    return incarnation


def incarnations(root: Path) -> list[str]:
    """The incarnations with a journal under `root`, in the order of their names. What is not ours is passed over."""
    with _clear_errors(root):
        if not root.exists():
            return []
        names = [entry.name for entry in os.scandir(root) if entry.is_dir() and _INCARNATION.fullmatch(entry.name)]
    return sorted(name for name in names if (root / name / LOCK_NAME).exists())


def segments(directory: Path) -> list[int]:
    """The numbers of the segments in a directory, ascending; none when it has just gone."""
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for name in names if (found := _SEGMENT.fullmatch(name)))


def foreign_files(directory: Path) -> list[str]:
    """Names in an incarnation's directory that the journal did not make."""
    return sorted(p.name for p in directory.iterdir() if p.name != LOCK_NAME and not _OURS.fullmatch(p.name))


def bytes_used(root: Path) -> int:
    """The size of all files of all directories under `root`, preallocated space included."""
    total = 0
    with os.scandir(root) as folders:
        for folder in folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder.path) as files:
                for file in files:
                    with contextlib.suppress(FileNotFoundError):  # another process may remove shipped segments
                        total += file.stat(follow_symlinks=False).st_size
    return total


def read_header(directory: Path, segment: int) -> Header:
    """Raises `FileNotFoundError`, `JournalCorruptError` or `DataVersionError`."""
    path = segment_path(directory, segment)
    header = unpack_header(_read(path, STATIC_BYTES, 0), str(path))
    if header.segment != segment or header.incarnation != directory.name:
        raise JournalCorruptError(
            f"{path} says it is segment {header.segment} of {header.incarnation}: it was moved or renamed. "
            "Put it back where it belongs.",
            path=str(path),
        )
    return header


def read_opening(directory: Path, header: Header) -> Opening | None:
    """None while the segment is only prepared."""
    data = _read(segment_path(directory, header.segment), HEADER_BYTES - STATIC_BYTES, STATIC_BYTES)
    return unpack_opening(data, header.seed) if len(data) == HEADER_BYTES - STATIC_BYTES else None


def read_mark(directory: Path, segment: int) -> Mark | None:
    """The mark as last published; None when it is not whole (only power loss or damage does that)."""
    path = mark_path(directory, segment)
    for _ in range(MARK_READS_MAX):
        mark = unpack_mark(_read(path, MARK_BYTES, 0), str(path))
        if mark is not None:
            return mark
    return None


def try_lock(directory: Path) -> int | None:
    """A descriptor that owns the directory until closed, or None when another process owns it (or it is gone)."""
    path = directory / LOCK_NAME
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == path.stat().st_ino:  # not one that was removed while we waited for it
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def create(root: Path, incarnation: str, disk: Disk) -> int:
    """Make the incarnation's directory and own it: the lock's descriptor. Raises when the name was ever used here.

    On failure nothing of it is left, as far as the disk allows; what is left all the same is no hindrance to the next
    attempt.
    """
    directory, fresh = root / check_incarnation(incarnation), root / (NEW_PREFIX + incarnation)
    with _clear_errors(directory):
        _make_root(root, disk)
        with _alone(root):
            if fresh.exists():
                _empty(fresh, disk)
            if directory.exists() and not _is_failed_attempt(directory):
                raise JournalError(f"{directory} exists: an incarnation is never continued. Start under a new name.")
            if directory.exists():
                _empty(directory, disk)
            disk.make_directory(fresh)
            try:
                return _own(fresh, directory, disk)
            except BaseException:
                for made in (fresh, directory):
                    with contextlib.suppress(OSError):  # the first error is the one that is reported
                        _empty(made, disk)
                raise


def _make_root(root: Path, disk: Disk) -> None:
    """The root and what leads to it; each name durable, so that power loss cannot take the whole journal away."""
    missing = [path for path in (root, *root.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        disk.sync_directory(path.parent)


def _is_failed_attempt(directory: Path) -> bool:
    """Nothing but a lock that nobody holds: it was made, could not be made durable, and never had a segment."""
    if any(path.name != LOCK_NAME for path in directory.iterdir()):
        return False
    lock = try_lock(directory)
    if lock is not None:
        os.close(lock)
    return lock is not None or not (directory / LOCK_NAME).exists()


def _own(fresh: Path, directory: Path, disk: Disk) -> int:
    lock = disk.create(fresh / LOCK_NAME)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        disk.rename(fresh, directory)
        disk.sync_directory(directory.parent)
    except BaseException:
        os.close(lock)
        raise
    return lock


def remove_segment(directory: Path, segment: int, disk: Disk) -> None:
    """Remove a segment that nobody needs any more. Safe to repeat: a mark without its segment is never read."""
    for path in (segment_path(directory, segment), mark_path(directory, segment)):
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(path)


def remove(directory: Path, disk: Disk) -> bool:
    """Remove a whole directory that nobody needs or owns; False when it is owned. Safe to repeat after kill -9.

    Raises `JournalError` when somebody put files of their own into it.
    """
    lock = try_lock(directory)
    if lock is None:
        return False
    try:
        if foreign := foreign_files(directory):
            raise JournalError(
                f"{directory} is shipped and could go, but holds files of somebody else: {', '.join(foreign[:5])}. "
                "Move them away."
            )
        gone = directory.with_name(GONE_PREFIX + directory.name)
        disk.rename(directory, gone)
        disk.sync_directory(directory.parent)
        _empty(gone, disk)
    finally:
        os.close(lock)
    return True


def sweep(root: Path, disk: Disk | None = None) -> None:
    """Take away what a killed `create` or `remove` left behind."""
    if not root.exists():
        return
    with _alone(root):
        left = [path for path in root.iterdir() if path.name.startswith((NEW_PREFIX, GONE_PREFIX)) and path.is_dir()]
        if left:  # a rename that power loss undoes would leave an emptied directory under the incarnation's name
            disk = disk or OsDisk()
            disk.sync_directory(root)
            for path in left:
                _sweep_one(path, disk)


def _sweep_one(path: Path, disk: Disk) -> None:
    lock = try_lock(path)
    if lock is None and (path / LOCK_NAME).exists():
        return  # its remover is at work
    _empty(path, disk)
    if lock is not None:
        os.close(lock)


def _empty(directory: Path, disk: Disk) -> None:
    """Remove our files, the lock last, then the directory."""
    with contextlib.suppress(FileNotFoundError):
        lock = directory / LOCK_NAME
        for path in [*(path for path in directory.iterdir() if path != lock), lock]:
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(path)
        disk.remove_directory(directory)


def _read(path: Path, length: int, offset: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, length, offset)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Nobody makes or sweeps a directory under `root` meanwhile."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """An `OSError` on a path of ours becomes a `DataDirectoryError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise DataDirectoryError(
            f"The journal cannot use {path}: {error.strerror}. Make it a directory that this user can write, "
            "on a local disk."
        ) from error
