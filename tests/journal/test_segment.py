"""The bytes: every field has its place, every damaged byte is seen, nothing of somebody else's passes."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import msgspec
import pytest

from farebox.errors import DataVersionError
from farebox.journal.records import Entry, decode, encode
from farebox.journal.segment import (
    HEADER_BYTES,
    MARK_BYTES,
    STATIC_BYTES,
    BadRecordError,
    Header,
    Mark,
    Opening,
    next_whole_record,
    pack_header,
    pack_mark,
    pack_opening,
    pack_records,
    record_at,
    record_seed,
    records,
    scan,
    unpack_header,
    unpack_mark,
    unpack_opening,
)

HEADER = Header("20261122T104500-w0", 3, 1 << 16, "disk", 1024, b"0123456789abcdef")

GOLDEN = 0x64D623B4


def framed(payloads: list[bytes], header: Header = HEADER, offset: int = HEADER_BYTES) -> bytes:
    return pack_records(payloads, seed=header.seed, segment=header.segment, offset=offset)


def test_an_entry_is_the_same_after_its_way_through_the_bytes(entry: Callable[[int], Entry]) -> None:
    assert decode(encode(entry(7))) == entry(7)


def test_an_entry_written_before_a_field_was_added_is_read_with_its_default(entry: Callable[[int], Entry]) -> None:
    fields = msgspec.msgpack.decode(encode(entry(7)))
    assert decode(msgspec.msgpack.encode(fields[:-2])) == entry(7)


def test_header_opening_and_mark_are_the_same_after_packing() -> None:
    assert unpack_header(pack_header(HEADER), "x.seg") == HEADER
    assert len(pack_header(HEADER)) == STATIC_BYTES
    opening = pack_opening(Opening(2, 65_000), HEADER.seed)
    assert (unpack_opening(opening, HEADER.seed), len(opening)) == (Opening(2, 65_000), HEADER_BYTES - STATIC_BYTES)
    mark = pack_mark(Mark(3, 70_000, sealed=True))
    assert (unpack_mark(mark, "x.mark"), len(mark)) == (Mark(3, 70_000, sealed=True), MARK_BYTES)


def test_the_record_is_laid_out_as_the_format_says() -> None:
    data = framed([b"first", b"second"])
    length, crc, group = struct.unpack_from("<III", data, 17)
    checked = struct.pack("<IIII", 6, 3, HEADER_BYTES + 17, HEADER_BYTES)
    assert (length, group) == (6, HEADER_BYTES)
    assert crc == zlib.crc32(checked + b"second", zlib.crc32(HEADER.incarnation.encode()))
    assert data[29:] == b"second"


def test_a_seed_is_never_zero_even_where_the_names_checksum_is() -> None:
    assert record_seed("") == 1


def test_zeros_are_no_records_of_any_length() -> None:
    with pytest.raises(BadRecordError):
        record_at(memoryview(bytes(4096)), HEADER_BYTES, header=HEADER, base=HEADER_BYTES)


def test_every_flipped_bit_of_a_record_is_seen() -> None:
    data = framed([b"a payload of some length"])
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadRecordError):
            record_at(memoryview(damaged), HEADER_BYTES, header=HEADER, base=HEADER_BYTES)


@pytest.mark.parametrize("bit", range(0, 8 * STATIC_BYTES, 5))
def test_every_flipped_bit_of_a_header_is_seen(bit: int) -> None:
    damaged = bytearray(pack_header(HEADER))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Exception, match=r"x\.seg"):
        unpack_header(bytes(damaged), "x.seg")


@pytest.mark.parametrize(
    ("header", "offset"),
    [
        pytest.param(msgspec.structs.replace(HEADER, incarnation="another"), HEADER_BYTES, id="another incarnation"),
        pytest.param(msgspec.structs.replace(HEADER, segment=4), HEADER_BYTES, id="another segment"),
        pytest.param(HEADER, HEADER_BYTES + 8, id="another offset"),
    ],
)
def test_a_whole_record_in_the_wrong_place_does_not_pass(header: Header, offset: int) -> None:
    data = memoryview(framed([b"payload"]))
    assert record_at(data, HEADER_BYTES, header=HEADER, base=HEADER_BYTES).payload.tobytes() == b"payload"
    with pytest.raises(BadRecordError):
        record_at(data, offset, header=header, base=offset)


def test_a_length_beyond_entry_bytes_max_does_not_pass() -> None:
    data = memoryview(framed([b"x" * 1025]))
    with pytest.raises(BadRecordError):
        list(records(data, HEADER_BYTES, header=HEADER))


def test_the_next_whole_record_is_found_after_any_garbage() -> None:
    rng = random.Random(11)
    for _ in range(50):
        gap = rng.randbytes(rng.randrange(1, 60)) + bytes(rng.randrange(600))
        start = HEADER_BYTES + len(gap)
        record = framed([rng.randbytes(rng.choice([1, 255, 256, 512]))], offset=start)
        data = memoryview(bytes(HEADER_BYTES) + gap + record)
        found = next_whole_record(data, HEADER_BYTES, header=HEADER)
        assert found is not None
        assert (found.start, found.end) == (start, start + len(record))


def test_a_segment_without_records_ends_at_its_header() -> None:
    found = scan(memoryview(bytes(1 << 16)), header=HEADER, durable=HEADER_BYTES)
    assert (found.end, found.corrupt, found.dropped) == (HEADER_BYTES, None, 0)


def test_records_missing_below_the_mark_are_corruption_even_when_nothing_follows() -> None:
    found = scan(memoryview(bytes(1 << 16)), header=HEADER, durable=HEADER_BYTES + 100)
    assert (found.end, found.corrupt) == (HEADER_BYTES + 100, HEADER_BYTES)


def test_a_mark_of_another_version_is_refused() -> None:
    data = bytearray(pack_mark(Mark(3, 70_000, sealed=True)))
    data[8] = 2
    data[-4:] = struct.pack("<I", zlib.crc32(data[:-4], 1))
    with pytest.raises(DataVersionError):
        unpack_mark(bytes(data), "x.mark")


def test_the_format_does_not_change_unnoticed() -> None:
    """Change the version with the bytes; older journals must still be refused or read, never misread."""
    written = (
        pack_header(HEADER)
        + pack_opening(Opening(2, 65_000), HEADER.seed)
        + framed([b"first", b"second"])
        + pack_mark(Mark(3, 70_000, sealed=True))
    )
    assert zlib.crc32(written) == GOLDEN
