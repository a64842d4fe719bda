"""The pytest plugin that comes with Farebox: fixtures that load what they need when a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from farebox.testing.crm import RunningCrm


@pytest.fixture
def crm_api() -> Iterator[RunningCrm]:
    """A reference CRM API of its own for each test, empty but for what the test makes."""
    from farebox.testing.crm import running_crm  # noqa: PLC0415 - a test run that does not ask pays nothing

    with running_crm() as crm:
        yield crm
