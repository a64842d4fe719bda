"""A damaged journal: what cannot be read is found, named, and given up only by an operator's word; the rest goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from farebox.errors import JournalCorruptError, JournalError
from farebox.journal.adoption import adopt
from farebox.journal.damage import find, give_up
from farebox.journal.directory import mark_path, segment_path, segments
from farebox.journal.extents import extents
from farebox.journal.position import START, Position
from farebox.journal.records import Entry
from farebox.journal.segment import HEADER_BYTES, Mark, pack_mark, record_at
from farebox.journal.shipper import Shipper

SIZES = {"segment_bytes": 8192, "entry_bytes_max": 512, "journal_bytes_max": 1 << 20}
SEGMENTS = 4


@pytest.fixture
def directory(root: Path, drive: Any) -> Path:
    """Four sealed segments."""

    async def run() -> None:
        async with drive(root, **SIZES) as driven:
            while driven.writer.position.segment < SEGMENTS:
                await driven.write(5, padding=100)

    asyncio.run(run())
    return root / "i1"


def in_segment(directory: Path, segment: int) -> list[int]:
    """The numbers of the entries of one segment, and of which record each is."""
    extent = next(e for e in extents(directory) if e.header.segment == segment)
    data, at, found = memoryview(segment_path(directory, segment).read_bytes()), HEADER_BYTES, []
    while at < extent.end:
        record = record_at(data, at, header=extent.header)
        found.append(at)
        at = record.end
    return found


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def a_record(directory: Path) -> None:
    flip(segment_path(directory, 2), in_segment(directory, 2)[3] + 20)


def the_last_record(directory: Path) -> None:
    flip(segment_path(directory, SEGMENTS), in_segment(directory, SEGMENTS)[-1] + 20)


def a_whole_stretch(directory: Path) -> None:
    places = in_segment(directory, 3)
    for offset in range(places[2], places[7]):
        flip(segment_path(directory, 3), offset)


def a_header(directory: Path) -> None:
    flip(segment_path(directory, 2), 40)


def the_first_and_the_last_header(directory: Path) -> None:
    flip(segment_path(directory, 1), 40)
    flip(segment_path(directory, SEGMENTS), 40)


def an_opening(directory: Path) -> None:
    flip(segment_path(directory, 3), 200)


def two_headers(directory: Path) -> None:
    flip(segment_path(directory, 2), 40)
    flip(segment_path(directory, 3), 40)


def a_missing_file(directory: Path) -> None:
    segment_path(directory, 2).unlink()


def a_shortened_file(directory: Path) -> None:
    with segment_path(directory, 2).open("r+b") as file:
        file.truncate(in_segment(directory, 2)[5] + 3)


DAMAGES: dict[Callable[..., None], tuple[list[int], int | None]] = {
    a_record: ([2], 1),
    the_last_record: ([4], 1),
    a_whole_stretch: ([3], 5),
    a_header: ([2], None),
    the_first_and_the_last_header: ([1, 4], None),
    an_opening: ([3], None),
    two_headers: ([2, 3], None),
    a_missing_file: ([2], None),
    a_shortened_file: ([2], None),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_cannot_be_read_is_named_and_given_up_and_every_other_entry_is_read(
    directory: Path, numbers_in: Any, damage: Callable[[Path], None]
) -> None:
    everything = numbers_in(directory)
    where, lost = DAMAGES[damage]
    by_segment = {number: len(in_segment(directory, number)) for number in segments(directory)}
    damage(directory)
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises((JournalCorruptError, JournalError)):
        numbers_in(directory)
    found = find(directory)
    assert found == find(directory), "looking changes nothing"
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files
    accepted = give_up(directory)
    assert [each.loss for each in accepted] == [each.loss for each in found]
    assert find(directory) == []
    assert give_up(directory) == []
    kept = numbers_in(directory)
    gone = sorted(set(everything) - set(kept))
    assert kept == sorted(set(kept) & set(everything)), "doubled, out of order, or invented"
    assert 0 < len(gone) <= sum(by_segment[number] for number in where)
    if lost is not None:
        assert len(gone) == lost
    after = {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix != ".lost"}
    assert after == files, "a damaged file was changed"


def an_old_mark(directory: Path, segment: int) -> None:
    """As power loss may leave it: the mark of an earlier commit than the last."""
    path = mark_path(directory, segment)
    path.write_bytes(pack_mark(Mark(segment, in_segment(directory, segment)[3], sealed=False)))


@pytest.mark.parametrize(("damaged", "mark"), [(2, "old"), (2, "gone"), (SEGMENTS, "old")])
def test_what_is_whole_before_a_lost_segment_is_kept_also_where_its_mark_is_no_witness(
    directory: Path, numbers_in: Any, damaged: int, mark: str
) -> None:
    everything = numbers_in(directory)
    lost = len(in_segment(directory, damaged))
    before = damaged - 1
    if mark == "old":
        an_old_mark(directory, before)
    else:
        mark_path(directory, before).unlink()
    flip(segment_path(directory, damaged), 40)
    (shown,) = find(directory)
    give_up(directory)
    assert find(directory) == []
    assert len(set(everything) - set(numbers_in(directory))) == lost
    assert shown.loss.start.byte >= in_segment(directory, before)[-1]


class Sink:
    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.at: dict[str, Position] = {}

    def offsets(self) -> dict[str, Position]:
        return dict(self.at)

    def load(self, entries: list[Entry], offsets: Mapping[str, Position]) -> None:
        self.numbers += [int.from_bytes(entry.call_id, "big") for entry in entries]
        self.at.update(offsets)


def ship(root: Path, sink: Sink, *, closed: bool, rounds: int = 8) -> Shipper:
    shipper = Shipper(root, sink, lambda _: Position(1 << 30, 0), lambda _: closed)
    for _ in range(rounds):
        shipper._cleaned_at = 0.0
        shipper.ship_once()
    return shipper


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("shipped_before", [False, True])
def test_once_given_up_everything_else_is_loaded_once_and_the_journal_goes(
    root: Path, directory: Path, numbers_in: Any, damage: Callable[[Path], None], *, shipped_before: bool
) -> None:
    damage(directory)
    sink = Sink()
    if shipped_before:
        report = ship(root, sink, closed=True).report
        assert report.stopped, "damage is visible"
        assert directory.exists()
    copy = shutil.copytree(directory, root.parent / "copy" / "i1")
    give_up(copy)
    expected = numbers_in(copy)
    give_up(directory)
    ship(root, sink, closed=True)
    assert sorted(sink.numbers) == sorted(set(sink.numbers))
    assert set(expected) <= set(sink.numbers)
    assert not directory.exists()


@pytest.mark.parametrize("repaired", [False, True])
def test_segments_behind_a_damaged_one_go_while_it_waits(
    root: Path, directory: Path, numbers_in: Any, *, repaired: bool
) -> None:
    everything, whole = numbers_in(directory), segment_path(directory, 1).read_bytes()
    damaged_at = in_segment(directory, 1)[3] + 20
    flip(segment_path(directory, 1), damaged_at)
    sink = Sink()
    ship(root, sink, closed=False)
    assert segments(directory) == [1, 2, 4], "the damaged one, its witness and the last one stay"
    if repaired:
        segment_path(directory, 1).write_bytes(whole)
    else:
        give_up(directory)
    ship(root, sink, closed=False)
    assert segments(directory) == [4]
    assert sorted(sink.numbers) == (everything if repaired else [n for n in everything if n != 3])


def test_segments_that_quota_has_settled_may_be_gone_and_those_it_needs_may_not(
    directory: Path, numbers_in: Any
) -> None:
    everything = numbers_in(directory)
    first = extents(directory)[0]
    for number in (1, 2):
        segment_path(directory, number).unlink()
    third = next(e for e in extents(directory) if e.header.segment == 3)
    assert find(directory, needed_from=lambda: third.previous) == []
    [gap] = find(directory, needed_from=lambda: first.position)
    assert (gap.loss.start, gap.loss.end) == (first.position, third.previous)
    give_up(directory, needed_from=lambda: first.position)
    assert numbers_in(directory, first.position) == everything[-len(numbers_in(directory, third.previous)) :]
    with pytest.raises(JournalError, match="accept-loss i1"):
        numbers_in(directory, START)


def test_a_lost_head_that_quota_has_settled_into_is_given_up_once(directory: Path, numbers_in: Any) -> None:
    """As it is once all before it was loaded and removed."""
    everything = numbers_in(directory)
    second = next(e for e in extents(directory) if e.header.segment == 2)
    inside = Position(2, second.end - 200)
    after = numbers_in(directory, second.position)
    segment_path(directory, 1).unlink()
    mark_path(directory, 1).unlink()
    flip(segment_path(directory, 2), 0)
    [gap] = give_up(directory, needed_from=lambda: inside)
    assert 2 in gap.loss.whole_segments()
    assert find(directory, needed_from=lambda: inside) == []
    assert numbers_in(directory, inside) == after == everything[-len(after) :]


def without_mark(directory: Path) -> Path:
    """The journal of a gateway that died, and the file of whose last mark was lost."""
    mark_path(directory, SEGMENTS).unlink()
    return segment_path(directory, SEGMENTS)


def test_a_lost_last_mark_loses_nothing_where_every_record_is_whole(directory: Path, numbers_in: Any) -> None:
    everything = numbers_in(directory)
    without_mark(directory)
    with adopt(directory) or pytest.fail("it is free") as adopted:
        assert adopted.corrupt is None
    assert numbers_in(directory) == everything
    assert find(directory) == []


@pytest.mark.parametrize("also", ["nothing", "the head", "an earlier head"])
def test_with_the_last_mark_lost_what_cannot_be_read_at_the_end_is_damage_and_no_torn_tail(
    directory: Path, numbers_in: Any, also: str
) -> None:
    everything = numbers_in(directory)
    last, earlier = len(in_segment(directory, SEGMENTS)), len(in_segment(directory, 2))
    path = segment_path(directory, SEGMENTS)
    flip(path, in_segment(directory, SEGMENTS)[-1] + 20)
    without_mark(directory)
    if also == "the head":
        flip(path, 40)
    elif also == "an earlier head":
        flip(segment_path(directory, 2), 40)
    else:
        with adopt(directory) or pytest.fail("it is free") as adopted:
            assert adopted.corrupt is not None, "it may have been promised"
    shown: list[list[Any]] = []
    give_up(directory, confirm=lambda damages: shown.append(damages) or True)  # type: ignore[func-returns-value]
    assert [len(damages) for damages in shown] == ([1, 1] if also == "an earlier head" else [1])
    assert find(directory) == []
    lost = {"nothing": 1, "the head": last, "an earlier head": 1 + earlier}[also]
    assert len(set(everything) - set(numbers_in(directory))) == lost


@pytest.mark.parametrize("meanwhile", ["restored", "damaged further"])
def test_nothing_is_given_up_that_was_not_shown(directory: Path, numbers_in: Any, meanwhile: str) -> None:
    everything, whole = numbers_in(directory), segment_path(directory, 2).read_bytes()
    third, next_one = in_segment(directory, 2)[3:5]
    elsewhere = in_segment(directory, 3)[1]
    flip(segment_path(directory, 2), third + 20)

    def change(_: object) -> bool:
        if meanwhile == "restored":
            segment_path(directory, 2).write_bytes(whole)
        else:
            flip(segment_path(directory, 2), next_one + 20)
        return True

    with pytest.raises(JournalError, match="no longer as it was shown"):
        give_up(directory, confirm=change)
    assert not list(directory.glob("*.lost"))
    segment_path(directory, 2).write_bytes(whole)
    assert numbers_in(directory) == everything
    flip(segment_path(directory, 2), third + 20)
    rounds: list[list[Any]] = []

    def damage_elsewhere(damages: list[Any]) -> bool:
        rounds.append(damages)
        if len(rounds) == 1:
            flip(segment_path(directory, 3), elsewhere + 20)
        return len(rounds) == 1

    accepted = give_up(directory, confirm=damage_elsewhere)
    assert accepted == rounds[0]
    assert [damage.loss.start.segment for damage in rounds[1]] == [3], "what came meanwhile is shown by itself"
    assert find(directory) == rounds[1]
