"""The bytes of a segment and of its mark: packing, checking and scanning, without any I/O.

docs/journal-format.md is the same in words. All integers are little-endian and unsigned.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from farebox.errors import DataVersionError, JournalCorruptError

Durability = Literal["disk", "os"]

FORMAT_VERSION: Final = 1
SEGMENT_MAGIC: Final = b"FAREBOXJ"
OPENING_MAGIC: Final = b"OPENED\x00\x00"
MARK_MAGIC: Final = b"FAREBOXM"

STATIC_BYTES: Final = 192
"""The part of the header written when the segment is prepared."""
HEADER_BYTES: Final = 256
"""Static part and opening; the first record starts here."""
MARK_BYTES: Final = 64
RECORD_HEAD_BYTES: Final = 12
SEGMENT_BYTES_MAX: Final = 1 << 26
"""Offsets are 32 bits; a segment is read in one piece."""
INCARNATION_BYTES_MAX: Final = 100

_STATIC: Final = struct.Struct("<8sIIQB3xI16sB")
_OPENING: Final = struct.Struct("<8sII")
_MARK: Final = struct.Struct("<8sIIII")
_HEAD: Final = struct.Struct("<III")
_CHECKED: Final = struct.Struct("<IIII")
_CRC: Final = struct.Struct("<I")
_NOT_ZERO: Final = re.compile(rb"[^\x00]")
_DURABILITIES: Final[tuple[Durability, Durability]] = ("disk", "os")


class Header(msgspec.Struct, frozen=True):
    """What a segment says of itself from the day it was prepared."""

    incarnation: str
    segment: int
    segment_bytes: int
    durability: Durability
    entry_bytes_max: int
    boot_id: bytes
    """16 bytes: the machine's boot in which it was written. In another one, `os` promises nothing."""

    @property
    def seed(self) -> int:
        """Where the CRC of every record of this incarnation starts; never 0."""
        return record_seed(self.incarnation)


class Opening(msgspec.Struct, frozen=True):
    """Written and synced before the first record: where the records before this segment end, for good.

    Segments between `previous_segment` and this one hold nothing. (0, 0) in the first one.
    """

    previous_segment: int
    previous_end: int


class Mark(msgspec.Struct, frozen=True):
    """How far a segment may be read; once sealed, that is its end."""

    segment: int
    durable: int
    sealed: bool


class Record(msgspec.Struct, frozen=True, gc=False):
    """One whole record. `group` is the offset at which the group it was committed with begins."""

    start: int
    end: int
    group: int
    payload: memoryview


class BadRecordError(Exception):
    """Inside the journal only: no whole record stands at this offset."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"no whole record at offset {offset}")
        self.offset = offset


def record_seed(incarnation: str) -> int:
    """A seed of its own per incarnation, so that bytes of another one never pass; never 0 (CRC of nothing)."""
    return zlib.crc32(incarnation.encode()) or 1


def pack_header(header: Header) -> bytes:
    """The first `STATIC_BYTES` of a segment."""
    name = header.incarnation.encode()
    assert len(name) <= INCARNATION_BYTES_MAX
    fixed = _STATIC.pack(
        SEGMENT_MAGIC,
        FORMAT_VERSION,
        header.segment,
        header.segment_bytes,
        _DURABILITIES.index(header.durability),
        header.entry_bytes_max,
        header.boot_id,
        len(name),
    )
    return _with_crc((fixed + name).ljust(STATIC_BYTES - 4, b"\x00"), seed=1)


def unpack_header(data: bytes, file: str) -> Header:
    """Raises `JournalCorruptError` (not a segment, or damaged) or `DataVersionError`; both name the file."""
    if len(data) < STATIC_BYTES or data[:8] != SEGMENT_MAGIC:
        raise JournalCorruptError(f"{file} is not a Farebox journal segment; move it out of the journal.")
    _, version, segment, size, durability, entry_bytes_max, boot_id, length = _STATIC.unpack_from(data)
    if version != FORMAT_VERSION:
        raise DataVersionError(
            f"{file} has journal format {version}, this Farebox reads format {FORMAT_VERSION}. "
            "Start the version that wrote it and let it ship its journal first."
        )
    if not _crc_holds(data[:STATIC_BYTES], seed=1) or durability >= len(_DURABILITIES):
        raise JournalCorruptError(f"{file}: the header does not match its checksum (offset 0).")
    name = data[_STATIC.size : _STATIC.size + length].decode()
    return Header(name, segment, size, _DURABILITIES[durability], entry_bytes_max, boot_id)


def pack_opening(opening: Opening, seed: int) -> bytes:
    """The bytes from `STATIC_BYTES` to `HEADER_BYTES`."""
    fixed = _OPENING.pack(OPENING_MAGIC, opening.previous_segment, opening.previous_end)
    return _with_crc(fixed.ljust(HEADER_BYTES - STATIC_BYTES - 4, b"\x00"), seed=seed)


def unpack_opening(data: bytes, seed: int) -> Opening | None:
    """None while the segment is prepared and was not opened (a torn opening is one that was never used)."""
    if data[:8] != OPENING_MAGIC or not _crc_holds(data, seed=seed):
        return None
    _, previous_segment, previous_end = _OPENING.unpack_from(data)
    return Opening(previous_segment, previous_end)


def pack_mark(mark: Mark) -> bytes:
    """The `MARK_BYTES` of a mark file."""
    fixed = _MARK.pack(MARK_MAGIC, FORMAT_VERSION, mark.segment, mark.durable, int(mark.sealed))
    return _with_crc(fixed.ljust(MARK_BYTES - 4, b"\x00"), seed=1)


def unpack_mark(data: bytes, file: str) -> Mark | None:
    """None when the bytes are no whole mark (being written just now, or torn). Raises `DataVersionError`."""
    if len(data) != MARK_BYTES or data[:8] != MARK_MAGIC or not _crc_holds(data, seed=1):
        return None
    _, version, segment, durable, sealed = _MARK.unpack_from(data)
    if version != FORMAT_VERSION:
        raise DataVersionError(f"{file} has journal format {version}, this Farebox reads {FORMAT_VERSION}.")
    return Mark(segment, durable, bool(sealed))


def pack_records(payloads: list[bytes], *, seed: int, segment: int, offset: int) -> bytes:
    """One group: the framed records of `payloads`, to be written at `offset`."""
    parts: list[bytes] = []
    group = offset
    crc32, head, checked, add = zlib.crc32, _HEAD.pack, _CHECKED.pack, parts.append
    for payload in payloads:
        length = len(payload)
        add(head(length, crc32(payload, crc32(checked(length, segment, offset, group), seed)), group))
        add(payload)
        offset += RECORD_HEAD_BYTES + length
    return b"".join(parts)


def record_at(data: memoryview, offset: int, *, header: Header, base: int = 0) -> Record:
    """The record at `offset` of a segment whose bytes from `base` on are `data`; raises `BadRecordError`."""
    at = offset - base
    if at + RECORD_HEAD_BYTES > len(data):
        raise BadRecordError(offset)
    length, crc, group = _HEAD.unpack_from(data, at)
    if not 1 <= length <= header.entry_bytes_max or at + RECORD_HEAD_BYTES + length > len(data):
        raise BadRecordError(offset)
    payload = data[at + RECORD_HEAD_BYTES : at + RECORD_HEAD_BYTES + length]
    if zlib.crc32(payload, zlib.crc32(_CHECKED.pack(length, header.segment, offset, group), header.seed)) != crc:
        raise BadRecordError(offset)
    return Record(offset, offset + RECORD_HEAD_BYTES + length, group, payload)


def records(data: memoryview, offset: int, *, header: Header) -> Iterator[Record]:
    """The records in `data`, which begins at `offset`; raises `BadRecordError` where they do not fill it exactly."""
    base, end = offset, offset + len(data)
    while offset < end:
        record = record_at(data, offset, header=header, base=base)
        yield record
        offset = record.end


def next_whole_record(data: memoryview, offset: int, *, header: Header) -> Record | None:
    """The first whole record that starts at or after `offset`, tried at every byte; zeros are skipped."""
    while True:
        found = _NOT_ZERO.search(data, offset)
        if found is None:
            return None
        offset = max(offset, found.start() - 3)
        while offset <= found.start():
            try:
                return record_at(data, offset, header=header)
            except BadRecordError:
                offset += 1


class Scan(msgspec.Struct, frozen=True):
    """Where the records of a segment end, found by looking at all of it."""

    end: int
    corrupt: int | None
    """Offset of a damaged record that others rely on: nothing was cut, reading stops there."""
    dropped: int
    """Bytes of a torn tail beyond `end` (its last group was never committed)."""


def scan(data: memoryview, *, header: Header, durable: int, synced: bool = True) -> Scan:
    """Find the end of a segment whose writer is gone. Below `durable` every byte was promised.

    Beyond it a gap is a torn tail, unless a record of a *later* group follows: each group is synced before the
    next one is written, so such a record proves that the gap was once durable. Records of the same group prove
    nothing: power may take any part of what was not synced. Unless groups were `synced`, no record proves anything.
    """
    end, gap, corrupt = HEADER_BYTES, None, None
    while (record := _record_from(data, end, header=header)) is not None:
        if record.start > end and gap is None:
            gap = end
        if gap is not None and record.group > gap and corrupt is None and synced:
            corrupt = gap
        end = record.end
    if corrupt is None and (end if gap is None else gap) < durable:
        corrupt = end if gap is None else gap
    if corrupt is not None:
        return Scan(max(end, durable), corrupt, 0)
    true_end = end if gap is None else gap
    return Scan(true_end, None, max(0, _used_bytes(data) - true_end))


def _record_from(data: memoryview, offset: int, *, header: Header) -> Record | None:
    try:
        return record_at(data, offset, header=header)
    except BadRecordError:
        return next_whole_record(data, offset + 1, header=header)


def _used_bytes(data: memoryview) -> int:
    """Up to the last byte that is not zero."""
    return len(bytes(data).rstrip(b"\x00"))


def _with_crc(data: bytes, *, seed: int) -> bytes:
    return data + _CRC.pack(zlib.crc32(data, seed))


def _crc_holds(data: bytes, *, seed: int) -> bool:
    return bool(_CRC.unpack(data[-4:])[0] == zlib.crc32(data[:-4], seed))
