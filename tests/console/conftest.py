from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _load_world() -> Any:
    """tests are not a package: the module beside this file, loaded once under one name."""
    if "console_world" not in sys.modules:
        spec = importlib.util.spec_from_file_location("console_world", Path(__file__).with_name("world.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["console_world"] = module
        spec.loader.exec_module(module)
    return sys.modules["console_world"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Any]:
    made = _load_world().World(tmp_path)
    yield made
    made.close()
