"""The examples of docs/gateway.md are configurations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farebox.config import load

PAGE = Path(__file__).parents[2] / "docs/gateway.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_were_found() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_gateway_page_loads(example: str, tmp_path: Path) -> None:
    path = tmp_path / "farebox.toml"
    path.write_text(example, encoding="utf-8")
    assert load(path, {}).upstream
