"""Entries turned on their side: one Arrow column per field, so that a batch is inserted in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import pyarrow as pa

from farebox.journal.records import Entry

_TYPES: Final = {
    "kind": pa.uint8(),
    "call_id": pa.binary(),
    "stamp": pa.int64(),
    "target_hash": pa.binary(),
    "status": pa.int16(),
    "quote": pa.int64(),
    "credits": pa.int64(),
    "addon": pa.int64(),
    "quantities": pa.map_(pa.string(), pa.int64()),
    "records_returned": pa.int32(),
    "conditional": pa.uint8(),
    "duration": pa.int64(),
    "bytes_in": pa.int64(),
    "bytes_out": pa.int64(),
    "calls": pa.int32(),
    "refusals": pa.int32(),
    "leased": pa.bool_(),
}
"""Every field not named here is text."""

FIELDS: Final = Entry.__struct_fields__


def table_of(entries: Sequence[Entry]) -> pa.Table:
    """A table with one column per field of Entry, in its order; raises pa.ArrowInvalid for a value out of range."""
    columns = zip(*(msgspec.structs.astuple(entry) for entry in entries), strict=True)
    arrays = []
    for name, column in zip(FIELDS, columns, strict=True):
        values = [list(quantities.items()) for quantities in column] if name == "quantities" else column
        arrays.append(pa.array(values, type=_TYPES.get(name, pa.string())))
    return pa.Table.from_arrays(arrays, names=FIELDS)
