"""The words of a COQL query: names, strings, numbers and signs, each with the place it stands at."""

import re
from dataclasses import dataclass
from enum import StrEnum

from farebox.crm.errors import ApiError

QUERY_LENGTH_MAX = 100_000


class Kind(StrEnum):
    """What a word is."""

    NAME = "name"
    TEXT = "text"
    NUMBER = "number"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, slots=True)
class Word:
    """`value` is as written, a text without its quotes; `at` counts characters from 0."""

    kind: Kind
    value: str
    at: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these key words, in either case."""
        return self.kind is Kind.NAME and self.value.lower() in words


BLANK = re.compile(r"\s*")
WORD = re.compile(
    r"""\s*(?:
      (?P<name>!?[A-Za-z_$][\w$]*(?:\#\d+)?(?:(?:\.|->)[A-Za-z_$][\w$]*)*)
    | '(?P<text>(?:[^'\\]|\\.|'')*)'
    | (?P<number>[-+]?\d+(?:\.\d+)?)
    | (?P<sign>!=|<>|>=|<=|[=<>(),*])
    )""",
    re.VERBOSE | re.ASCII,
)


def words_of(query: str) -> list[Word]:
    """The words of a query and an END; raises SYNTAX_ERROR where no word begins."""
    words: list[Word] = []
    at = 0
    while not BLANK.fullmatch(query, at):
        found = WORD.match(query, at)
        if found is None:
            raise syntax_error(query, BLANK.match(query, at).end())  # type: ignore[union-attr]  # it matches nothing too
        kind = Kind(str(found.lastgroup))
        value = found[kind]
        if kind is Kind.TEXT:
            value = re.sub(r"\\(.)|''", lambda each: each[1] or "'", value)
        words.append(Word(kind, value, found.start(kind) - (kind is Kind.TEXT)))
        at = found.end()
    words.append(Word(Kind.END, "", len(query)))
    return words


def syntax_error(query: str, at: int) -> ApiError:
    """The query cannot be read from this character on."""
    before = query[:at]
    near = query[at : at + 20].split("\n", maxsplit=1)[0]
    details = {"line": before.count("\n") + 1, "column": at - (before.rfind("\n") + 1) + 1, "near": near}
    return ApiError(400, "SYNTAX_ERROR", "error occurred while parsing the query", details)


def missing(clause: str) -> ApiError:
    """A clause that every query has."""
    return ApiError(400, "SYNTAX_ERROR", f"missing clause: {clause}", {"clause": clause})
