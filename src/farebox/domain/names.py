"""Names that come from outside, made harmless where they arise: short, and nothing in them but text."""

from __future__ import annotations

import re
from typing import Final

FAREBOX: Final = "farebox"
"""The user and app that Farebox's own calls are counted under: reserved, no org can have one of that id."""

NAME_CHARS_MAX: Final = 100
"""Of a function's, task's or module's name, and of an id that came from outside."""

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def clean(text: str) -> str:
    r"""An outside name made harmless: no control characters, no surrounding space, at most NAME_CHARS_MAX.

    >>> clean(" nightly\x00 sync ")
    'nightly sync'
    """
    return _UNPRINTABLE.sub("", text).strip()[:NAME_CHARS_MAX]


def module_name(text: str) -> str:
    r"""The module a caller names; empty when it is too long to be one.

    >>> module_name("\x1b[2JLeads"), module_name("L" * 101)
    ('[2JLeads', '')
    """
    return clean(text) if len(text) <= NAME_CHARS_MAX else ""
