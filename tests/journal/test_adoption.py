"""After kill -9 and after the loss of power: the true end is found, whole records are kept, damage is said."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from farebox.errors import DataVersionError, JournalCorruptError, JournalError
from farebox.journal.adoption import AdoptedDirectory
from farebox.journal.extents import extents
from farebox.journal.position import START, Position
from farebox.journal.reader import adopt, committed_to, read
from farebox.journal.segment import HEADER_BYTES, MARK_BYTES, Mark, pack_header, pack_mark


@pytest.fixture
def abandoned(root: Path, drive: Any, tmp_path: Path) -> Any:
    """Makes a copy of a live directory, as kill -9 would leave it: `groups` groups, and the ends of their records."""

    def make(*, groups: int = 4, size: int = 3, durability: str = "disk") -> tuple[Path, list[int]]:
        async def run() -> list[int]:
            async with drive(root, durability=durability) as driven:
                ends = []
                for _ in range(groups):
                    await driven.write(size)
                ends = [position.byte for _, position in read(driven.path)]
                shutil.copytree(driven.path, tmp_path / "i1")
            return ends

        ends = asyncio.run(run())
        return tmp_path / "i1", ends

    return make


def adopted(directory: Path) -> AdoptedDirectory:
    found = adopt(directory)
    assert found is not None
    found.release()
    return found


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def set_mark(directory: Path, durable: int, segment: int = 1) -> None:
    mark = pack_mark(Mark(segment, durable, sealed=False))
    (directory / f"{segment:08d}.mark").write_bytes(mark)


def other_boot(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farebox.journal.adoption.boot_id", lambda: b"another boot 123")


def test_whole_records_beyond_the_mark_are_kept(abandoned: Any, numbers_in: Any) -> None:
    directory, ends = abandoned()
    set_mark(directory, ends[2])
    assert numbers_in(directory) == [0, 1, 2], "before adoption nothing beyond the mark is read"
    assert adopted(directory).end == Position(1, ends[-1])
    assert numbers_in(directory) == list(range(12))


def test_adoption_seals_once_and_says_the_same_again(abandoned: Any, numbers_in: Any) -> None:
    directory, ends = abandoned()
    first = adopted(directory)
    size = (directory / "00000001.seg").stat().st_size
    second = adopted(directory)
    assert first.end == second.end == committed_to(directory) == Position(1, ends[-1])
    assert (directory / "00000001.seg").stat().st_size == size == ends[-1]
    assert extents(directory)[-1].final
    assert not list(directory.glob("00000002.*")), "the prepared segment was not removed"


def test_an_adopted_directory_is_owned_until_it_is_released(abandoned: Any) -> None:
    directory, _ = abandoned()
    own = adopt(directory)
    assert own is not None
    with own:
        assert adopt(directory) is None
    assert adopt(directory) is not None


def test_a_tail_torn_at_any_byte_of_the_last_group_is_cut_to_the_last_whole_record(
    abandoned: Any, numbers_in: Any, tmp_path: Path
) -> None:
    directory, ends = abandoned(groups=2, size=2)
    set_mark(directory, ends[1])
    whole = (directory / "00000001.seg").read_bytes()
    for cut in range(ends[1], ends[3] + 1):
        torn = tmp_path / "torn" / "i1"
        shutil.copytree(directory, torn)
        patch(torn / "00000001.seg", cut, bytes(len(whole) - cut))
        found = adopted(torn)
        kept = 2 + sum(end <= cut for end in ends[2:])
        # a record may end in zeros: then it is whole although its last bytes were "torn"
        kept += kept < 4 and not any(whole[cut : ends[kept]])
        assert numbers_in(torn) == list(range(kept)), cut
        assert found.end.byte == ends[kept - 1]
        assert found.corrupt is None
        shutil.rmtree(torn)


def test_a_file_that_ends_in_the_middle_of_a_record_is_cut_like_one_that_ends_in_zeros(
    abandoned: Any, numbers_in: Any
) -> None:
    directory, ends = abandoned(groups=2, size=2)
    set_mark(directory, ends[1])
    with (directory / "00000001.seg").open("r+b") as file:
        file.truncate(ends[2] + 20)
    found = adopted(directory)
    assert found.end.byte == ends[2]
    assert found.cut is not None
    assert 15 <= found.cut.dropped <= 20  # a record's last bytes may be zeros
    assert numbers_in(directory) == [0, 1, 2]


def test_a_zero_filled_tail_is_no_endless_run_of_empty_records(abandoned: Any, numbers_in: Any) -> None:
    directory, _ = abandoned()
    with (directory / "00000001.seg").open("ab") as file:
        file.write(bytes(1 << 20))
    assert adopted(directory).cut is None
    assert numbers_in(directory) == list(range(12))


def test_garbage_after_the_end_is_left_behind_and_said(abandoned: Any, numbers_in: Any) -> None:
    directory, ends = abandoned()
    patch(directory / "00000001.seg", ends[-1], random.Random(7).randbytes(3000))
    found = adopted(directory)
    assert found.cut is not None
    assert (found.cut.end, found.corrupt) == (ends[-1], None)
    assert numbers_in(directory) == list(range(12))


def test_a_damaged_record_below_the_mark_is_reported_and_nothing_is_cut(abandoned: Any) -> None:
    directory, ends = abandoned()
    path = directory / "00000001.seg"
    patch(path, ends[-2] + 30, b"\xff")
    found = adopted(directory)
    assert found.corrupt is not None
    assert found.corrupt.offset == ends[-2]
    assert str(path) in str(found.corrupt)
    assert path.stat().st_size > ends[-1]
    got: list[int] = []
    with pytest.raises(JournalCorruptError) as caught:
        got.extend(position.byte for _, position in read(directory))
    assert got == ends[:-1]
    assert (caught.value.path, caught.value.offset) == (str(path), ends[-2])


def test_a_damaged_record_followed_by_a_later_group_is_corruption_even_with_an_old_mark(abandoned: Any) -> None:
    """The later group could only be written once this one was synced: so it was promised, whatever the mark says."""
    directory, ends = abandoned()
    patch(directory / "00000001.seg", ends[4] + 30, b"\xff")
    set_mark(directory, HEADER_BYTES)
    found = adopted(directory)
    assert found.corrupt is not None
    assert found.corrupt.offset == ends[4]
    with pytest.raises(JournalCorruptError):
        list(read(directory))


def test_a_hole_within_the_last_unsynced_group_is_a_torn_tail_not_corruption(abandoned: Any, numbers_in: Any) -> None:
    """Power may take any part of a group that was not synced, its middle too; none of it was ever released."""
    directory, ends = abandoned(groups=2, size=5)
    set_mark(directory, ends[4])
    patch(directory / "00000001.seg", ends[6] + 2, bytes(60))
    found = adopted(directory)
    assert found.corrupt is None
    assert found.end.byte == ends[6]
    assert numbers_in(directory) == list(range(7))


@pytest.mark.parametrize("what", ["missing bytes", "zeros", "garbage"])
def test_a_torn_mark_is_no_witness_and_the_records_speak_for_themselves(
    abandoned: Any, numbers_in: Any, what: str
) -> None:
    directory, _ = abandoned()
    bytes_left = {"missing bytes": b"FAREBOXM", "zeros": bytes(MARK_BYTES), "garbage": b"x" * MARK_BYTES}[what]
    (directory / "00000001.mark").write_bytes(bytes_left)
    assert numbers_in(directory) == [], "a reader without a mark reads nothing"
    adopted(directory)
    assert numbers_in(directory) == list(range(12))


def test_with_durability_os_a_hole_after_another_boot_is_a_cut_and_in_the_same_boot_corruption(
    abandoned: Any, numbers_in: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory, ends = abandoned(durability="os")
    patch(directory / "00000001.seg", ends[4] + 2, bytes(60))
    same = tmp_path / "same" / "i1"
    shutil.copytree(directory, same)
    assert adopted(same).corrupt is not None
    other_boot(directory, monkeypatch)
    found = adopted(directory)
    assert found.corrupt is None
    assert found.cut is not None
    assert found.cut.end == ends[4]
    assert numbers_in(directory) == list(range(5))
    assert list(read(directory, Position(1, ends[8]))) == [], "what was settled beyond the cut is not read again"


def test_a_directory_killed_before_its_first_segment_was_opened_is_empty(tmp_path: Path) -> None:
    directory = tmp_path / "i1"
    directory.mkdir()
    (directory / "lock").touch()
    assert adopted(directory).end == START
    assert list(read(directory)) == []


def test_another_format_version_is_refused_and_says_which(abandoned: Any) -> None:
    directory, _ = abandoned()
    patch(directory / "00000001.seg", 8, (2).to_bytes(4, "little"))
    for use in (adopt, lambda d: list(read(d))):
        with pytest.raises(DataVersionError, match="has journal format 2, this Farebox reads format 1"):
            use(directory)
    patch(directory / "00000001.seg", 8, (1).to_bytes(4, "little"))
    adopted(directory)


def test_a_foreign_file_with_a_segments_name_is_named_not_read(abandoned: Any) -> None:
    directory, _ = abandoned()
    (directory / "00000009.seg").write_bytes(b"#!/bin/sh\n" * 100)
    with pytest.raises(JournalCorruptError, match=r"00000009\.seg is not a Farebox journal segment"):
        list(read(directory))


def test_a_segment_of_another_incarnation_is_named_not_read(abandoned: Any) -> None:
    directory, _ = abandoned()
    header = extents(directory)[0].header
    other = type(header)("i2", 1, header.segment_bytes, "disk", 1024, header.boot_id)
    patch(directory / "00000001.seg", 0, pack_header(other))
    with pytest.raises(JournalCorruptError, match="moved or renamed"):
        list(read(directory))


def test_a_damaged_header_is_named(abandoned: Any) -> None:
    directory, _ = abandoned()
    patch(directory / "00000001.seg", 60, b"\xff")
    with pytest.raises(JournalCorruptError, match="header"):
        adopt(directory)


def test_segments_that_went_before_they_were_read_are_an_error_not_a_gap(root: Path, drive: Any) -> None:
    async def run() -> Path:
        async with drive(root) as driven:
            for _ in range(10):
                await driven.write(200)
            return Path(driven.path)

    directory = asyncio.run(run())
    ends = [extent.position for extent in extents(directory)]
    (directory / "00000001.seg").unlink()
    with pytest.raises(JournalError, match="are gone"):
        list(read(directory))
    assert next(read(directory, ends[0]))[1] > ends[0], "a reader that has them already goes on"


def test_a_damaged_opening_is_named_not_taken_for_an_unused_segment(abandoned: Any) -> None:
    directory, _ = abandoned()
    patch(directory / "00000001.seg", 200, b"\xff")
    with pytest.raises(JournalCorruptError, match="opening"):
        list(read(directory))
    with pytest.raises(JournalCorruptError, match="opening"):
        adopt(directory)
