"""From the text of a COQL query to a typed tree, before anything is known of modules and fields.

Grammar (Zoho CRM v7 COQL overview): `select items from Module where condition [group by names] [order by names]
[limit n | limit offset, n] [offset n]`. A condition is one comparison, two joined by `and` or `or`, or brackets of
those; more than two need brackets.
"""

from dataclasses import dataclass

from farebox.crm.conditions import Operator
from farebox.crm.coql_words import QUERY_LENGTH_MAX, Kind, Word, missing, syntax_error, words_of
from farebox.crm.errors import ApiError

SELECT_MAX = 50
CRITERIA_MAX = 25
IN_MAX = 100
ORDER_MAX = 10
GROUP_MAX = 4
AGGREGATES_MAX = 5
AGGREGATES = ("SUM", "MIN", "MAX", "AVG", "COUNT")
LIMIT_DEFAULT = 200
LIMIT_MAX = 2_000
REACH_MAX = 100_000
DEPTH_MAX = CRITERIA_MAX
CLAUSES = ("from", "where", "group", "order", "limit", "offset")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing selected: a name as written, maybe in an aggregate, maybe with an alias."""

    name: str
    aggregate: str | None
    alias: str | None

    @property
    def key(self) -> str:
        """Its key in the answer."""
        return self.alias or (f"{self.aggregate}({self.name})" if self.aggregate else self.name)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name` compared with values as written: texts without their quotes, numbers and key words as they are."""

    name: str
    operator: Operator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Both:
    """Two conditions joined by `and` or `or`."""

    word: str
    left: "Wanted"
    right: "Wanted"


Wanted = Comparison | Both


@dataclass(frozen=True, slots=True)
class Select:
    """A query as written. `order` holds names and whether descending."""

    items: tuple[Item, ...]
    module: str
    where: Wanted
    group: tuple[str, ...] = ()
    order: tuple[tuple[str, bool], ...] = ()
    limit: int = LIMIT_DEFAULT
    offset: int = 0


def parse(query: str) -> Select:
    """The tree of a query; raises SYNTAX_ERROR, LIMIT_EXCEEDED, DUPLICATE_ALIAS, DUPLICATE_DATA.

    >>> parse("select Last_Name from Leads where Last_Name is not null limit 5").limit
    5
    """
    if len(query) > QUERY_LENGTH_MAX:
        raise limit_exceeded("query length", QUERY_LENGTH_MAX)
    return _Parser(query, words_of(query)).select()


def limit_exceeded(clause: str, limit: int) -> ApiError:
    """More of something than a query may have."""
    return ApiError(
        400, "LIMIT_EXCEEDED", f"the limit of {clause} has been exceeded", {"clause": clause, "limit": limit}
    )


@dataclass(slots=True)
class _Parser:
    query: str
    words: list[Word]
    at: int = 0
    criteria: int = 0
    depth: int = 0

    def select(self) -> Select:
        if not self._take("select"):
            raise missing("SELECT")
        items = self._items()
        if not self._take("from"):
            raise missing("FROM") if self._peek().kind is Kind.END else self._unexpected()
        module = self._name()
        if not self._take("where"):
            raise missing("WHERE") if self._at_clause() else self._unexpected()
        where = self._condition()
        group = self._group() if self._take("group") else ()
        order = self._order() if self._take("order") else ()
        limit, offset = self._limit()
        if self._peek().kind is not Kind.END:
            raise self._unexpected()
        return Select(items, module, where, group, order, limit, offset)

    def _items(self) -> tuple[Item, ...]:
        items = [self._item()]
        while self._sign(","):
            items.append(self._item())
        if len(items) > SELECT_MAX:
            raise limit_exceeded("SELECT", SELECT_MAX)
        if sum(each.aggregate is not None for each in items) > AGGREGATES_MAX:
            raise limit_exceeded("aggregate functions", AGGREGATES_MAX)
        _check_distinct(items)
        return tuple(items)

    def _item(self) -> Item:
        word = self._peek()
        aggregate = None
        if word.kind is Kind.NAME and self.words[self.at + 1].value == "(" and word.value.upper() in AGGREGATES:
            if word.value not in AGGREGATES:
                raise self._unexpected()
            aggregate = word.value
            self.at += 2
            name = self._name()
            self._need(")")
        else:
            name = self._name()
        alias = None
        if self._take("as"):
            alias = self._name()
            if "." in alias or alias.startswith("!"):
                details = {"alias": alias}
                raise ApiError(400, "INVALID_ALIAS", "the alias given seems to be invalid", details)
        return Item(name, aggregate, alias)

    def _condition(self) -> Wanted:
        left = self._part()
        word = self._peek()
        if not word.is_word("and", "or"):
            return left
        self.at += 1
        right = self._part()
        if self._peek().is_word("and", "or"):
            raise self._unexpected()
        return Both(word.value.lower(), left, right)

    def _part(self) -> Wanted:
        if not self._sign("("):
            return self._comparison()
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self._unexpected()
        inner = self._condition()
        self._need(")")
        self.depth -= 1
        return inner

    def _comparison(self) -> Comparison:
        self.criteria += 1
        if self.criteria > CRITERIA_MAX:
            raise limit_exceeded("WHERE", CRITERIA_MAX)
        name = self._name()
        operator = self._operator()
        match operator:
            case Operator.IS_NULL | Operator.NOT_NULL:
                return Comparison(name, operator, ())
            case Operator.IN | Operator.NOT_IN:
                return Comparison(name, operator, self._list())
            case Operator.BETWEEN | Operator.NOT_BETWEEN:
                low = self._value()
                if not self._take("and"):
                    raise self._unexpected()
                return Comparison(name, operator, (low, self._value()))
            case _:
                return Comparison(name, operator, (self._value(),))

    def _operator(self) -> Operator:
        word = self._next()
        if word.kind is Kind.SIGN and word.value in ("=", "!=", "<", "<=", ">", ">=", "<>"):
            return Operator("!=" if word.value == "<>" else word.value)
        if word.is_word("is"):
            negated = self._take("not")
            if self._take("null"):
                return Operator.NOT_NULL if negated else Operator.IS_NULL
        elif word.is_word("not"):
            for each in ("like", "in", "between"):
                if self._take(each):
                    return Operator(f"not {each}")
        elif word.is_word("like", "in", "between"):
            return Operator(word.value.lower())
        else:
            self.at -= 1
        raise self._unexpected()

    def _list(self) -> tuple[str, ...]:
        self._need("(")
        values = [self._value()]
        while self._sign(","):
            values.append(self._value())
        self._need(")")
        if len(values) > IN_MAX:
            raise limit_exceeded("IN", IN_MAX)
        return tuple(values)

    def _value(self) -> str:
        word = self._next()
        if word.kind in (Kind.TEXT, Kind.NUMBER) or word.is_word("true", "false"):
            return word.value
        self.at -= 1
        raise self._unexpected()

    def _group(self) -> tuple[str, ...]:
        self._need_word("by")
        names = [self._name()]
        while self._sign(","):
            names.append(self._name())
        if len(names) > GROUP_MAX:
            raise limit_exceeded("GROUP BY", GROUP_MAX)
        return tuple(names)

    def _order(self) -> tuple[tuple[str, bool], ...]:
        self._need_word("by")
        order = [self._direction()]
        while self._sign(","):
            order.append(self._direction())
        if len(order) > ORDER_MAX:
            raise limit_exceeded("ORDER BY", ORDER_MAX)
        return tuple(order)

    def _direction(self) -> tuple[str, bool]:
        name = self._name()
        descending = self._take("desc")
        if not descending:
            self._take("asc")
        return name, descending

    def _limit(self) -> tuple[int, int]:
        limit, offset = LIMIT_DEFAULT, 0
        if self._take("limit"):
            limit = self._number()
            if self._sign(","):
                offset, limit = limit, self._number()
        if self._take("offset"):
            offset = self._number()
        if limit > LIMIT_MAX:
            raise limit_exceeded("LIMIT", LIMIT_MAX)
        if offset + limit > REACH_MAX:
            raise limit_exceeded("LIMIT and OFFSET", REACH_MAX)
        return limit, offset

    def _number(self) -> int:
        word = self._next()
        if word.kind is not Kind.NUMBER or not word.value.isdecimal():
            self.at -= 1
            raise self._unexpected()
        return int(word.value[:12])

    def _name(self) -> str:
        word = self._next()
        if word.kind is not Kind.NAME or word.is_word(*CLAUSES, "select"):
            self.at -= 1
            raise self._unexpected()
        return word.value

    def _at_clause(self) -> bool:
        word = self._peek()
        return word.kind is Kind.END or word.is_word(*CLAUSES)

    def _peek(self) -> Word:
        return self.words[self.at]

    def _next(self) -> Word:
        word = self.words[self.at]
        self.at += word.kind is not Kind.END
        if word.kind is Kind.END:
            raise self._unexpected()
        return word

    def _take(self, word: str) -> bool:
        taken = self._peek().is_word(word)
        self.at += taken
        return taken

    def _sign(self, sign: str) -> bool:
        word = self._peek()
        taken = word.kind is Kind.SIGN and word.value == sign
        self.at += taken
        return taken

    def _need(self, sign: str) -> None:
        if not self._sign(sign):
            raise self._unexpected()

    def _need_word(self, word: str) -> None:
        if not self._take(word):
            raise self._unexpected()

    def _unexpected(self) -> ApiError:
        return syntax_error(self.query, self._peek().at)


def _check_distinct(items: list[Item]) -> None:
    aliases = [each.alias for each in items if each.alias]
    for alias in aliases:
        if aliases.count(alias) > 1:
            raise ApiError(400, "DUPLICATE_ALIAS", "duplicate alias found", {"alias": alias})
    keys = [each.key for each in items]
    for key in keys:
        if keys.count(key) > 1:
            raise ApiError(400, "DUPLICATE_DATA", "duplicate column found", {"column_name": key})
