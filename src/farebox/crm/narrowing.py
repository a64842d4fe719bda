"""Queries that find few records among many: by the indexes of look-ups and words, not by reading the whole module.

A condition `Account_Name.Account_Name = 'Acme'` is looked up among the accounts first, a condition `City = 'New York'`
in the index of words. When that leaves few records only those are read; when it leaves many, reading on until there
are enough is quicker. The condition itself still stands in the query, so that what is found is the same.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from farebox.crm.conditions import SYSTEM_COLUMNS, TEXTS, All, Column, Compare, Condition, Operator, Query, SqlValue
from farebox.crm.organisations import Organisation
from farebox.crm.schema import DataType

TARGETS_MAX: Final = 100
"""Of records pointed at: more are not worth it."""
WITH_WORDS_MAX: Final = 2_000
"""Of records that hold a text's words one after the other."""
POSITIVE = (Operator.EQUAL, Operator.IN)
"""Tests that no record without the look-up passes."""


def narrowed(db: sqlite3.Connection, organisation: Organisation, condition: Condition) -> str:
    """More conditions on `r`, each beginning with AND, that every record which meets the condition meets too."""
    found = ""
    for each in _must_hold(condition):
        found += _by_lookup(db, organisation, each) if each.column.path else _by_words(db, each)
    return found


def _must_hold(condition: Condition) -> Iterator[Compare]:
    """The comparisons that hold for every record found."""
    match condition:
        case Compare():
            yield condition
        case All(parts):
            for each in parts:
                yield from _must_hold(each)


def _by_lookup(db: sqlite3.Connection, organisation: Organisation, compare: Compare) -> str:
    column = compare.column
    if compare.test not in POSITIVE or len(column.path) != 1:
        return ""
    (lookup,) = column.path
    module = organisation.catalogue.get(column.target or lookup.target or "")
    if lookup.data_type is not DataType.LOOKUP or lookup.api_name in SYSTEM_COLUMNS or module is None:
        return ""
    query = Query(module)
    values: list[SqlValue] = [organisation.zgid, module.api_name]
    where = query.where(Compare(Column(column.field), compare.test, compare.values), values)
    rows = db.execute(
        f"SELECT r.id FROM {query.source} WHERE r.zgid = ? AND r.module = ? AND {where} LIMIT ?",  # noqa: S608 (bound)
        (*values, TARGETS_MAX + 1),
    ).fetchall()
    return "" if len(rows) > TARGETS_MAX else _pointing_at([row[0] for row in rows], lookup.api_name)


def _by_words(db: sqlite3.Connection, compare: Compare) -> str:
    """Equal texts have equal words in the same order; a text without any is not in the index."""
    field = compare.column.field
    if compare.test is not Operator.EQUAL or field.data_type not in TEXTS or field.api_name in SYSTEM_COLUMNS:
        return ""
    text = str(compare.values[0])
    if not text.isprintable() or not any(letter.isascii() and letter.isalnum() for letter in text):
        return ""
    phrase = '"' + text.replace('"', '""') + '"'
    rows = db.execute(
        "SELECT rowid FROM record_words WHERE record_words MATCH ? LIMIT ?", (phrase, WITH_WORDS_MAX + 1)
    ).fetchall()
    return "" if len(rows) > WITH_WORDS_MAX else f" AND r.id IN ({', '.join(str(row[0]) for row in rows)})"


def _pointing_at(targets: Sequence[int], name: str) -> str:
    """`name` is an identifier; the ids are numbers of the store's own. Versions of SQLite quote names differently."""
    ids = ", ".join(map(str, targets))
    return (
        " AND r.id IN (SELECT record_id FROM record_lookup "  # noqa: S608 (see above)
        f"""WHERE target_id IN ({ids}) AND path IN ('$.{name}', '$."{name}"'))"""
    )
