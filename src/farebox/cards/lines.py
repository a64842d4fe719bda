"""Where things stand in a TOML file: tomllib forgets lines, and an error without a line is a search.

One pass over the text notes the line of every table header and of every key at the start of a line. What stands inside
a multi-line string or array belongs to the key that opened it.
"""

from __future__ import annotations

import re
from typing import Final

_HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\-\"' ]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*([A-Za-z0-9_\-]+))?\s*=\s*(.*)$")
_STRINGS_AND_COMMENT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|#.*$")
_TRIPLE: Final = ('"""', "'''")

Path = tuple[str | int, ...]


class Lines:
    """Line numbers (from 1) by path: ("operations", 3, "price"). A path not noted is where its parent stands."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        counts: dict[str, int] = {}
        table: Path = ()
        depth, closing = 0, ""
        for number, line in enumerate(text.splitlines(), start=1):
            if closing:
                closing = "" if closing in line else closing
            elif depth > 0:
                depth += _depth_change(line)
            elif header := _HEADER.match(line):
                table = self._open(header[1], header[2], counts, number)
            elif key := _KEY.match(line):
                self._note((*table, *(part.strip("\"'") for part in key.groups()[:2] if part)), number)
                closing = next((mark for mark in _TRIPLE if key[3].count(mark) == 1), "")
                depth = 0 if closing else max(0, _depth_change(key[3]))

    def of(self, path: Path) -> int:
        """The line of a path, or of the nearest of its parents that has one; 1 for the file itself."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1

    def _open(self, brackets: str, name: str, counts: dict[str, int], number: int) -> Path:
        parts = tuple(part.strip().strip("\"'") for part in name.split("."))
        if brackets == "[[":
            index = counts.get(name, -1) + 1
            counts[name] = index
            table: Path = (*self._within(parts[:-1], counts), parts[-1], index)
        else:
            table = self._within(parts, counts)
        self._note(table, number)
        return table

    def _within(self, parts: tuple[str, ...], counts: dict[str, int]) -> Path:
        path: Path = ()
        for position, part in enumerate(parts):
            name = ".".join(parts[: position + 1])
            path = (*path, part, counts[name]) if name in counts else (*path, part)
        return path

    def _note(self, path: Path, number: int) -> None:
        self._lines.setdefault(path, number)


def _depth_change(text: str) -> int:
    bare = _STRINGS_AND_COMMENT.sub("", text)
    return bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")
