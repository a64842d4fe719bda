"""What pricing costs on the way of a call, in microseconds (best of seven): matching, quoting, counting a body."""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable

from farebox import cards
from farebox.domain.cards import CompiledCard
from farebox.domain.pricing import NO_BODY, quote

CALLS = (
    ("GET", "/crm/v8/Leads", "fields=Last_Name&page=2"),
    ("GET", "/crm/v8/Leads/4150868000003194003", ""),
    ("POST", "/crm/v8/Leads", ""),
    ("GET", "/crm/bulk/v8/read/4150868000003194003", ""),
    ("GET", "/crm/v8/settings/modules/Leads", ""),
    ("GET", "/crm/v8" + "/Leads/actions" * 2_000, ""),
)


def best_us(call: Callable[[], object], *, times: int) -> float:
    """Microseconds of one call, the best of seven repeats."""
    return min(timeit.repeat(call, number=times, repeat=7)) / times * 1e6


def main() -> None:
    """Print a table."""
    card = CompiledCard(cards.load("zoho-crm"))
    print(f"{'call':58} {'match us':>9} {'quote us':>9}")
    for method, path, query in CALLS:
        match = card.match(method, path, query)
        matching = best_us(lambda m=method, p=path, q=query: card.match(m, p, q), times=200)  # type: ignore[misc]
        quoting = best_us(lambda m=match, q=query: quote(m, q, NO_BODY), times=200)  # type: ignore[misc]
        shown = path if len(path) < 50 else f"{path[:30]}... ({path.count('/')} segments)"  # noqa: PLR2004 - a column's width
        print(f"{method:5} {shown:52} {matching:9.2f} {quoting:9.2f}")
    content = json.dumps({"data": [{"Last_Name": "x" * 500, "Number": number} for number in range(100)]}).encode()
    price = card.match("POST", "/crm/v8/Leads", "").operation.price
    print(f"100 records, {len(content):,} bytes: {best_us(lambda: cards.body_facts(price, content), times=200):.1f} us")


if __name__ == "__main__":
    main()
