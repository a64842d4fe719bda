"""What the commands' tests start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farebox.testing.upstream import StubUpstream


@pytest.fixture
def stub() -> Iterator[StubUpstream]:
    with StubUpstream() as upstream:
        yield upstream
