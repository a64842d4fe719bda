"""What every journey starts from: a scripted upstream, and organisations on a small card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farebox.testing.upstream import StubUpstream

CARD = """
format = 1
name = "journey"
product = "api"
title = "An API of calls that cost 1, and of orders that cost 1 per 10 lines"
[pools]
api = "API credits"
[default_operation]
name = "call"
price = 1
source = "these tests"
[[plans]]
name = "standard"
source = "these tests"
api = { base = 1_000_000 }
[[operations]]
name = "order"
method = "POST"
path = "/orders"
price = { per_items = "lines", each = 10, max = 1_000 }
source = "these tests"
"""


@pytest.fixture
def upstream() -> Iterator[StubUpstream]:
    with StubUpstream() as upstream:
        yield upstream


@pytest.fixture
def card(tmp_path: Path) -> str:
    """A card file: every call 1 credit, an order 1 credit per 10 lines, up to 100."""
    path = tmp_path / "journey.toml"
    path.write_text(CARD)
    return str(path)
