r"""The criteria of a search, from `((Last_Name:starts_with:Bu)and(Company:equals:A\, B))` to a tree of conditions.

Brackets, commas and a last backslash inside a value are escaped with a backslash.
Source: Zoho CRM v7 search-records.
"""

from dataclasses import dataclass

from farebox.crm.conditions import (
    TEXTS,
    All,
    AnyOf,
    Column,
    Compare,
    Condition,
    Operator,
    WrongValueError,
    comparable_value,
)
from farebox.crm.errors import ApiError
from farebox.crm.schema import DataType, Field, Module

CRITERIA_MAX = 10
DEPTH_MAX = CRITERIA_MAX
VALUES_MAX = 100

_EQUALITY = {"equals": Operator.EQUAL, "not_equal": Operator.NOT_EQUAL, "in": Operator.IN}
_ORDER = {
    "greater_equal": Operator.GREATER_EQUAL,
    "greater_than": Operator.GREATER,
    "less_equal": Operator.LESS_EQUAL,
    "less_than": Operator.LESS,
    "between": Operator.BETWEEN,
}
_STARTS = {"starts_with": Operator.STARTS}
OPERATORS: dict[DataType, dict[str, Operator]] = {
    **dict.fromkeys(TEXTS, _EQUALITY | _STARTS),
    **dict.fromkeys((DataType.PICKLIST, DataType.AUTONUMBER, DataType.LOOKUP, DataType.OWNER), _EQUALITY),
    DataType.BOOLEAN: {"equals": Operator.EQUAL, "not_equal": Operator.NOT_EQUAL},
    DataType.TEXTAREA: {"equals": Operator.EQUAL, "not_equal": Operator.NOT_EQUAL, **_STARTS},
    **dict.fromkeys(
        (
            DataType.INTEGER,
            DataType.BIGINT,
            DataType.CURRENCY,
            DataType.DOUBLE,
            DataType.PERCENT,
            DataType.DATE,
            DataType.DATETIME,
        ),
        _EQUALITY | _ORDER,
    ),
    DataType.MULTISELECT: _EQUALITY | _STARTS,
}
"""Which operators a data type has."""

LIKE_CONTAINS = frozenset({DataType.TEXT, DataType.TEXTAREA, DataType.EMAIL, DataType.PHONE, DataType.WEBSITE})
"""Where `equals` finds every value that contains the one given."""


def invalid_query(reason: str, **details: object) -> ApiError:
    """The criteria cannot be read; `reason` says why."""
    return ApiError(400, "INVALID_QUERY", "Invalid query formed", {"reason": reason, **details})


def parse(text: str, module: Module) -> Condition:
    """The condition a text stands for; raises INVALID_QUERY or CRITERIA_LIMIT_EXCEEDED.

    >>> from farebox.crm.catalogue_crm import LEADS
    >>> parse("(Last_Name:starts_with:Bu)", LEADS).test
    <Operator.STARTS: 'starts with'>
    """
    reader = _Reader(text, module)
    condition = reader.group(0)
    reader.end()
    return condition


@dataclass(slots=True)
class _Reader:
    text: str
    module: Module
    at: int = 0
    found: int = 0

    def group(self, depth: int) -> Condition:
        """`(field:operator:value)`, or groups joined by `and` and `or` inside brackets, or a lone row of groups."""
        if depth > DEPTH_MAX:
            raise invalid_query("brackets are nested too deeply")
        self._expect("(")
        condition = self._row(depth + 1) if self._peek() == "(" else self._criterion()
        self._expect(")")
        return condition if depth or self._ended() else self._joined(condition, depth + 1)

    def end(self) -> None:
        """Nothing may follow."""
        if not self._ended():
            raise invalid_query(f"unexpected text from character {self.at + 1}")

    def _row(self, depth: int) -> Condition:
        return self._joined(self.group(depth), depth)

    def _joined(self, first: Condition, depth: int) -> Condition:
        """`first`, and what `and` and `or` add to it: `and` binds closer."""
        alternatives: list[list[Condition]] = [[first]]
        while word := self._word():
            if word == "and":
                alternatives[-1].append(self.group(depth))
            else:
                alternatives.append([self.group(depth)])
        rows: list[Condition] = [each[0] if len(each) == 1 else All(tuple(each)) for each in alternatives]
        return rows[0] if len(rows) == 1 else AnyOf(tuple(rows))

    def _criterion(self) -> Condition:
        self.found += 1
        if self.found > CRITERIA_MAX:
            details = {"limit": CRITERIA_MAX, "param_name": "criteria", "param": "criteria"}
            raise ApiError(400, "CRITERIA_LIMIT_EXCEEDED", "the limit of criteria has been exceeded", details)
        name = self._until(":")
        operator = self._until(":")
        values = self._values()
        field = self.module.by_name.get(name)
        if name == "id":
            field = ID
        if field is None or field.data_type not in OPERATORS:
            raise invalid_query("the field is not available for search", api_name=name)
        tests = OPERATORS[field.data_type]
        if operator not in tests:
            raise invalid_query("the operator does not fit the field", api_name=name, operator=operator)
        return _compare(field, tests[operator], operator, values)

    def _until(self, end: str) -> str:
        stop = self.text.find(end, self.at)
        word = self.text[self.at : stop].strip() if stop >= 0 else ""
        if not word or not word.replace("_", "").isalnum():
            raise invalid_query(f"field:operator:value expected from character {self.at + 1}")
        self.at = stop + 1
        return word

    def _values(self) -> list[str]:
        """The values up to the closing bracket, which stays; an escaped character stands for itself."""
        values = [""]
        while self.at < len(self.text) and self.text[self.at] != ")":
            letter = self.text[self.at]
            if letter == "\\" and self.at + 1 < len(self.text):
                self.at += 1
                values[-1] += self.text[self.at]
            elif letter == "(":
                raise invalid_query(f"a bracket that is not escaped at character {self.at + 1}")
            elif letter == ",":
                values.append("")
            else:
                values[-1] += letter
            self.at += 1
        return [each.strip() for each in values]

    def _word(self) -> str | None:
        self._skip()
        for word in ("and", "or"):
            if self.text[self.at : self.at + len(word)].lower() == word:
                self.at += len(word)
                return word
        return None

    def _expect(self, letter: str) -> None:
        if self._peek() != letter:
            raise invalid_query(f"{letter!r} expected at character {self.at + 1}")
        self.at += 1

    def _peek(self) -> str:
        self._skip()
        return self.text[self.at : self.at + 1]

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _ended(self) -> bool:
        self._skip()
        return self.at == len(self.text)


ID = Field(api_name="id", label="Id", data_type=DataType.LOOKUP, length=20)


def _compare(field: Field, test: Operator, operator: str, texts: list[str]) -> Compare:
    wanted = {Operator.IN: range(1, VALUES_MAX + 1), Operator.BETWEEN: range(2, 3)}.get(test, range(1, 2))
    if len(texts) not in wanted or "" in texts:
        raise invalid_query(
            "the number of values does not fit the operator", api_name=field.api_name, operator=operator
        )
    try:
        values = tuple(comparable_value(field, each) for each in texts)
    except WrongValueError as error:
        raise invalid_query(str(error), api_name=field.api_name, operator=operator) from error
    if test is Operator.EQUAL and field.data_type in LIKE_CONTAINS:
        test = Operator.CONTAINS
    elif test is Operator.NOT_EQUAL and field.data_type in LIKE_CONTAINS:
        test = Operator.NOT_CONTAINS
    return Compare(Column(field), test, values)
