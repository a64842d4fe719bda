"""The few file system calls the journal makes, as one small object, so that a test can put a bad disk in its place.

Only writing goes through it: what is read is judged by its checksum, whatever disk it came from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750


class Disk(Protocol):
    """Calls that change what is stored. Each raises `OSError`; none retries."""

    def create(self, path: Path) -> int:
        """A descriptor of a new, empty file, open for reading and writing; fails when the name exists."""
        ...

    def open(self, path: Path) -> int:
        """A descriptor of an existing file, open for reading and writing."""
        ...

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Bytes written at `offset`, possibly fewer than given."""
        ...

    def fdatasync(self, fd: int) -> None:
        """Return once the file's data would survive the loss of power."""
        ...

    def fallocate(self, fd: int, length: int) -> None:
        """Give the file `length` bytes of real space, reading as zeros; ENOSPC when the disk has them not."""
        ...

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file to `length` bytes and give the rest of its space back."""
        ...

    def close(self, fd: int) -> None:
        """Let go of a descriptor."""
        ...

    def make_directory(self, path: Path) -> None:
        """Create one directory; fails when the name exists."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Return once the names in a directory would survive the loss of power."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Change a name in one step."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file's name."""
        ...

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        ...


class OsDisk:
    """The operating system's calls as they are."""

    def create(self, path: Path) -> int:  # noqa: D102 - promised in Disk
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)

    def open(self, path: Path) -> int:  # noqa: D102 - promised in Disk
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:  # noqa: D102 - promised in Disk
        return os.pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:  # noqa: D102 - promised in Disk
        os.fdatasync(fd)

    def fallocate(self, fd: int, length: int) -> None:  # noqa: D102 - promised in Disk
        os.posix_fallocate(fd, 0, length)

    def truncate(self, fd: int, length: int) -> None:  # noqa: D102 - promised in Disk
        os.ftruncate(fd, length)

    def close(self, fd: int) -> None:  # noqa: D102 - promised in Disk
        os.close(fd)

    def make_directory(self, path: Path) -> None:  # noqa: D102 - promised in Disk
        path.mkdir(mode=DIRECTORY_MODE)

    def sync_directory(self, path: Path) -> None:  # noqa: D102 - promised in Disk
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:  # noqa: D102 - promised in Disk
        old.rename(new)

    def unlink(self, path: Path) -> None:  # noqa: D102 - promised in Disk
        path.unlink()

    def remove_directory(self, path: Path) -> None:  # noqa: D102 - promised in Disk
        path.rmdir()
