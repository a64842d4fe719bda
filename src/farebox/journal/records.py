"""What a journal record says: one `Entry` per charge, close or group of refusals.

Every figure is a sum over entries and nothing is ever updated: a `close` repeats the dimensions and the stamp
of its charge and carries the signed differences. The encoding is a msgpack array in the order of the fields
below; fields are only ever appended, with defaults.
"""

from __future__ import annotations

from typing import Final

import msgspec

CHARGE: Final = 0
CLOSE: Final = 1
REFUSALS: Final = 2

KIND_NAMES: Final = {CHARGE: "charge", CLOSE: "close", REFUSALS: "refusals"}

# outcome
CHARGED: Final = "charged"
REFUSED: Final = "refused"
CUT_OFF: Final = "cut_off"
"""The caller or the upstream went away before the answer was whole."""
UNANSWERED: Final = "unanswered"
"""The upstream was reached and gave no usable answer (reset, time-out, malformed)."""


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One line of the journal, complete from the first day.

    Amounts are millicredits; times microseconds; `call_id` is 16 bytes and sorts by time. `credits` is what
    counts against the account: >= 0 in a charge, <= 0 in a close, 0 in refusals. `addon` is the part of
    `credits` above the plan's own credits. `calls` is 1 in a charge, 0 in a close, 0 in refusals, which count
    in `refusals` instead.
    """

    kind: int
    call_id: bytes
    stamp: int
    org: str
    product: str
    pool: str
    user: str
    app: str
    function: str
    task: str
    module: str
    operation: str
    method: str
    path_template: str
    api_version: str
    target_hash: bytes
    """8 bytes: keyed hash of path and query, so that repeats can be seen without keeping what was asked."""
    client_ip: str
    status: int
    outcome: str
    reason: str
    """Why it was refused or cut off; empty when charged in full."""
    quote: int
    credits: int
    addon: int
    quantities: dict[str, int]
    """What the price was made from: records, ids, limit, cvid ..."""
    records_returned: int
    """Records in the answer as far as they were counted; -1 when not counted."""
    conditional: int
    """0 none; 1 the answer carried an ETag or Last-Modified; 2 the request was conditional; 3 answered 304."""
    duration: int
    bytes_in: int
    bytes_out: int
    calls: int
    refusals: int = 0
    leased: bool = True
    """False for spend that no lease covered (fail-open, shadow mode): exempt from the promise never to be over, and
    shown apart."""
    shadow: str = ""
    """In shadow mode: why this call would have been refused; empty for every other."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """The payload of a journal record."""
    return _encoder.encode(entry)


def decode(payload: bytes | memoryview) -> Entry:
    """The entry in a payload; raises `msgspec.DecodeError` when it is not one (a bug: the CRC held)."""
    return _decoder.decode(payload)
