"""What a COQL query says about its price: LIMIT and the module it reads from, found outside string literals.

`limit n`, `limit offset, n` and `limit n offset m`, in any letter case. Linear in the length of the query, whatever it
holds: literals are taken whole (an unclosed one to the end) and never looked at twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from farebox.domain.pricing import whole_number

_TOKENS = re.compile(
    r"'(?:[^'\\]|\\.)*+(?:'|\\?\Z)"
    r'|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'
    r"|\bfrom\s++(?P<module>\w++)"
    r"|\blimit\s++(?P<first>\d++)(?:\s*+,\s*+(?P<second>\d++))?",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class CoqlFacts:
    """The largest LIMIT that stands in the query (None: none) and the first module after FROM ("": none)."""

    limit: int | None
    module: str


def facts_of(select_query: str) -> CoqlFacts:
    """Read a query.

    >>> facts_of("select Name from Leads where Name = 'limit 9' LIMIT 10, 400").limit
    400
    """
    limit: int | None = None
    module = ""
    for token in _TOKENS.finditer(select_query):
        if token["module"] and not module:
            module = token["module"]
        elif token["first"]:
            number = whole_number(token["second"] or token["first"], default=0)
            limit = number if limit is None else max(limit, number)
    return CoqlFacts(limit, module)
