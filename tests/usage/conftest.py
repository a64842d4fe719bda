from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farebox.journal.records import CHARGE, CHARGED, Entry
from farebox.usage.duckdb import DuckdbUsage

NOON = 1_700_000_000_000_000
MakeEntry = Callable[..., Entry]


def entry_with(**changes: object) -> Entry:
    """An entry of one credit by user u1 of org acme, changed as asked."""
    fields: dict[str, object] = {
        "kind": CHARGE,
        "call_id": bytes(16),
        "stamp": NOON,
        "org": "acme",
        "product": "zoho-crm",
        "pool": "api",
        "user": "u1",
        "app": "sync",
        "function": "",
        "task": "",
        "module": "Leads",
        "operation": "records.list",
        "method": "GET",
        "path_template": "/crm/{version}/{module}",
        "api_version": "v8",
        "target_hash": bytes(8),
        "client_ip": "127.0.0.1",
        "status": 200,
        "outcome": CHARGED,
        "reason": "",
        "quote": 1_000,
        "credits": 1_000,
        "addon": 0,
        "quantities": {},
        "records_returned": -1,
        "conditional": 0,
        "duration": 1_500,
        "bytes_in": 0,
        "bytes_out": 512,
        "calls": 1,
    }
    return Entry(**{**fields, **changes})  # type: ignore[arg-type]  # the fields are named above


@pytest.fixture
def make_entry() -> MakeEntry:
    return entry_with


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.duckdb"


@pytest.fixture
def usage(path: Path) -> Iterator[DuckdbUsage]:
    store = DuckdbUsage(path, memory="64MB")
    yield store
    store.close()
