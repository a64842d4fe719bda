"""A place in an incarnation's journal, ordered: the coordinate that quota, usage and the journal share."""

from __future__ import annotations

from typing import Final

import msgspec


class Position(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A place in an incarnation's journal: all bytes of `segment` before `byte`, and all earlier segments."""

    segment: int
    byte: int


START: Final = Position(0, 0)
"""Before everything: segments are numbered from 1."""
