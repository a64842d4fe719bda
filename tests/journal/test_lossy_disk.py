"""The journal on a disk that forgets, tears and fails: every call of a life fails once, power goes at every call.

FAREBOX_SEED replays a run's choices.
"""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import random
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from farebox.errors import DataDirectoryError, DataVersionError, FareboxError, JournalError
from farebox.journal import attempt
from farebox.journal.damage import give_up
from farebox.journal.directory import segment_path
from farebox.journal.disk import OsDisk
from farebox.journal.extents import extents
from farebox.journal.position import Position
from farebox.journal.reader import adopt
from farebox.journal.records import Entry
from farebox.journal.segment import Mark, pack_mark, unpack_mark
from farebox.journal.shipper import Shipper


def _lossy() -> Any:
    """The tests are no package: their parts are loaded by their path."""
    spec = importlib.util.spec_from_file_location("lossy_disk", Path(__file__).with_name("lossy.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lossy_disk"] = module
    spec.loader.exec_module(module)
    return module


LossyDisk = _lossy().LossyDisk
SHORT = _lossy().SHORT
SEED = int(os.environ.get("FAREBOX_SEED", str(random.randrange(1 << 32))))
GROUPS = (1, 3, 9, 2, 14, 1, 14, 1, 12)
"""Enough for three segments of `SIZES`."""
SIZES = {"segment_bytes": 8192, "entry_bytes_max": 512, "journal_bytes_max": 1 << 20}
CALLS_MAX = 200
"""No life below has more calls."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off is there to spare a real disk."""
    monkeypatch.setattr(attempt, "RETRY_SECONDS_MIN", 0.002)
    monkeypatch.setattr(attempt, "RETRY_SECONDS_MAX", 0.004)


class Life:
    """One incarnation over `disk`, from its first call to its sealing, with what it promised."""

    def __init__(self, drive: Any, disk: Any) -> None:
        self.drive, self.disk = drive, disk
        self.good: list[int] = []
        self.failed: list[int] = []
        self.promised: list[int] = []
        self.unpromised: list[int] = []
        self.started = False
        disk.at_loss = self._power_lost

    def _power_lost(self) -> None:
        """In the commit thread: what had been told by then."""
        told = list(self.driven.released.copy().items()) if self.started else []  # the loop goes on meanwhile
        self.promised = [number for number, good in told if good]
        self.unpromised = [number for number, good in told if not good]

    async def live(self) -> None:
        try:
            async with self.drive(self.disk.root, disk=self.disk, **SIZES) as driven:
                self.driven, self.started = driven, True
                for size in GROUPS:
                    await self._write(driven, size)
                self.disk.heal()
                await driven.until(lambda: driven.writer.healthy and driven.writer.trouble is None)
                assert await driven.write(1) == [True]
                driven.writer.reserve()
                driven.writer.unreserve()
        except (JournalError, DataDirectoryError):
            if self.started:
                raise
            return  # it says why it cannot start: nothing was promised
        self.good = [number for number, good in driven.released.items() if good]
        self.failed = [number for number, good in driven.released.items() if not good]
        assert len(driven.released) == driven.number, "an entry was never released"

    async def _write(self, driven: Any, size: int) -> None:
        if not all(await driven.write(size, padding=160)):
            if self.disk.lasting:
                assert not driven.writer.healthy
                with pytest.raises(JournalError, match="calls go on by themselves"):
                    driven.writer.reserve()
                assert await driven.write(1) == [False]
                self.disk.heal()
            await driven.until(lambda: driven.writer.healthy)


def judge_running(life: Life, numbers_in: Any) -> None:
    """Without power loss: exactly what was released is read, and no failed segment was touched again."""
    assert life.disk.touched_after_failure == []
    directory = life.disk.root / "i1"
    if not life.started:
        assert not directory.exists() or numbers_in(directory) == []
        return
    adopted = adopt(directory)
    assert adopted is not None
    assert adopted.corrupt is None
    adopted.release()
    assert numbers_in(directory) == life.good


def judge_lost(life: Life, numbers_in: Any) -> None:
    """After power loss: all that was promised, once, in order, nothing that had failed before it, no damage."""
    assert life.disk.target is not None
    directory = life.disk.target / "i1"
    if not life.promised and not (directory / "lock").exists():
        return
    adopted = adopt(directory)
    assert adopted is not None, "the directory is gone"
    assert adopted.corrupt is None
    adopted.release()
    got = numbers_in(directory)
    assert sorted(set(got)) == got, "doubled or out of order"
    assert set(life.promised) <= set(got), f"lost: {sorted(set(life.promised) - set(got))}"
    last = max(life.promised, default=-1)
    assert not {number for number in life.unpromised if number < last} & set(got), "what had failed came back"
    assert not got or got[-1] < life.driven.number


def run_life(drive: Any, disk: Any) -> Life:
    life = Life(drive, disk)
    asyncio.run(life.live())
    return life


FAULTS = [
    pytest.param(errno.EIO, False, id="EIO once"),
    pytest.param(errno.ENOSPC, False, id="ENOSPC once"),
    pytest.param(SHORT, False, id="short write once"),
    pytest.param(errno.EIO, True, id="EIO until mended"),
    pytest.param(errno.ENOSPC, True, id="ENOSPC until mended"),
]


@pytest.mark.parametrize(("code", "lasting"), FAULTS)
def test_whichever_call_fails_what_was_released_is_read_and_nothing_else_and_the_same_after_power_loss(
    tmp_path: Path,
    drive: Any,
    numbers_in: Any,
    code: int,
    lasting: bool,  # noqa: FBT001 - a parameter
) -> None:
    print(f"FAREBOX_SEED={SEED}")
    lives = 0
    for fail_at in range(1, CALLS_MAX):
        rng = random.Random(f"{SEED}/{code}/{lasting}/{fail_at}")
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        disk = LossyDisk(folder / "journal", rng.random(), target=folder / "lost")
        disk.fail_at, disk.code, disk.lasting = fail_at, code, lasting
        disk.lose_at = fail_at + rng.randrange(30)
        life = run_life(drive, disk)
        what = f"call {fail_at} ({disk.calls[fail_at - 1] if fail_at <= len(disk.calls) else 'none'}), seed {SEED}"
        try:
            judge_running(life, numbers_in)
            if not disk.lost:
                disk.lose_power()
            judge_lost(life, numbers_in)
        except (AssertionError, FareboxError) as error:
            raise AssertionError(f"{what}, power lost at {disk.lose_at}: {error}") from error
        shutil.rmtree(folder)
        lives += 1
        if fail_at > len(disk.calls):
            break
    assert lives > 60
    assert fail_at > len(disk.calls), "the life has more calls than were made to fail"
    print(f"{lives} lives, each with another call failing")


def test_power_lost_at_any_call_keeps_what_was_released_and_tears_nothing_else(
    tmp_path: Path, drive: Any, numbers_in: Any
) -> None:
    print(f"FAREBOX_SEED={SEED}")
    for lose_at in range(1, CALLS_MAX):
        for chance in range(3):
            folder = tmp_path / f"{lose_at}-{chance}"
            folder.mkdir()
            disk = LossyDisk(folder / "journal", f"{SEED}/{lose_at}/{chance}", target=folder / "lost")
            disk.lose_at = lose_at
            life = run_life(drive, disk)
            if not disk.lost:
                assert lose_at > 60
                return
            try:
                judge_lost(life, numbers_in)
            except (AssertionError, FareboxError) as error:
                raise AssertionError(f"power lost at call {lose_at}, seed {SEED}: {error}") from error
            shutil.rmtree(folder)
    raise AssertionError("the life has more calls than power was lost at")


def test_a_journal_that_ended_in_good_order_is_whole_for_readers_whatever_power_takes_afterwards(
    tmp_path: Path, drive: Any, numbers_in: Any
) -> None:
    """Nobody adopts it any more: its gateway has closed its incarnation itself."""
    print(f"FAREBOX_SEED={SEED}")
    for chance in range(12):
        disk = LossyDisk(tmp_path / f"{chance}" / "journal", f"{SEED}/{chance}", target=tmp_path / f"{chance}-lost")
        disk.root.parent.mkdir()
        life = run_life(drive, disk)
        disk.lose_power()
        assert numbers_in(disk.target / "i1") == life.good, f"seed {SEED}"
        assert extents(disk.target / "i1")[-1].final


class MemorySink:
    """What a usage store has committed: it survives everything that happens to the journal."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.at: dict[str, Position] = {}

    def offsets(self) -> dict[str, Position]:
        return dict(self.at)

    def load(self, entries: list[Entry], offsets: Mapping[str, Position]) -> None:
        self.numbers += [int.from_bytes(entry.call_id, "big") for entry in entries]
        self.at.update(offsets)


@pytest.fixture
def left_behind(tmp_path: Path, drive: Any) -> Path:
    """A journal as power loss under load leaves it, some of its last group torn."""
    disk = LossyDisk(tmp_path / "living" / "journal", f"{SEED}/left", target=tmp_path / "left")
    (tmp_path / "living").mkdir()
    disk.lose_at = 64
    run_life(drive, disk)
    assert disk.lost
    return tmp_path / "left"


def test_whichever_call_of_an_adoption_fails_the_next_one_ends_where_it_would_have_and_power_loss_changes_nothing(
    tmp_path: Path, left_behind: Path, numbers_in: Any
) -> None:
    print(f"FAREBOX_SEED={SEED}")
    sane = shutil.copytree(left_behind, tmp_path / "sane")
    reference = adopt(sane / "i1")
    assert reference is not None
    expected, failures = numbers_in(sane / "i1"), 0
    assert expected
    for fail_at in range(1, CALLS_MAX):
        for code in (errno.EIO, SHORT):
            root = shutil.copytree(left_behind, tmp_path / f"{fail_at}-{code}")
            disk = LossyDisk.over(root, f"{SEED}/{fail_at}", target=tmp_path / f"{fail_at}-{code}-lost")
            disk.fail_at, disk.code = fail_at, code
            try:
                adopted = adopt(root / "i1", disk)
            except JournalError:
                failures += 1
                disk.heal()
                adopted = adopt(root / "i1", disk)
            assert adopted is not None
            assert (adopted.end, adopted.corrupt) == (reference.end, None)
            assert numbers_in(root / "i1") == expected
            disk.lose_power()  # whatever was settled up to the end is there still
            assert numbers_in(disk.target / "i1") == expected, f"without another adoption: call {fail_at}, seed {SEED}"
            again = adopt(disk.target / "i1")
            assert again is not None
            assert (again.end, again.corrupt) == (reference.end, None), f"call {fail_at}, seed {SEED}"
            assert numbers_in(disk.target / "i1") == expected
        if fail_at > len(disk.calls):
            assert failures > 5
            return
    raise AssertionError("an adoption has more calls than were made to fail")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_whichever_call_of_a_removal_fails_or_power_goes_every_entry_is_loaded_once_and_nothing_stays(
    tmp_path: Path, left_behind: Path, numbers_in: Any, code: int
) -> None:
    print(f"FAREBOX_SEED={SEED}")
    adopted = adopt(left_behind / "i1")
    assert adopted is not None
    adopted.release()
    expected = numbers_in(left_behind / "i1")
    for fail_at in range(1, CALLS_MAX):
        root = shutil.copytree(left_behind, tmp_path / str(fail_at))
        disk = LossyDisk.over(root, f"{SEED}/{code}/{fail_at}", target=tmp_path / f"{fail_at}-lost")
        disk.fail_at, disk.code = fail_at, code
        disk.lose_at = fail_at + random.Random(f"{SEED}/{fail_at}").randrange(6)
        sink = MemorySink()
        ship_to_the_end(root, sink, disk)
        assert sink.numbers == expected, f"call {fail_at}, seed {SEED}"
        if not disk.lost:
            disk.lose_power()
        ship_to_the_end(disk.target, sink, OsDisk())
        assert sink.numbers == expected, f"after power loss, call {fail_at}, seed {SEED}"
        if fail_at > len(disk.calls):
            assert fail_at > 8
            return
    raise AssertionError("a removal has more calls than were made to fail")


def ship_to_the_end(root: Path, sink: MemorySink, disk: Any) -> None:
    """As the console does: again after every failure, until nothing is left."""
    closed: set[str] = set()

    def is_closed(incarnation: str) -> bool:
        """At first only settled: segments go one by one, then the directory."""
        known = incarnation in closed
        closed.add(incarnation)
        return known

    shipper = Shipper(root, sink, lambda _: Position(1 << 30, 0), is_closed, batch_entries=7, disk=disk)
    for _ in range(60):
        shipper._cleaned_at = 0.0
        shipper.ship_once()
        if not list(root.iterdir()):
            return
    raise AssertionError(f"still there: {sorted(root.rglob('*'))}; {shipper.report}")


def test_whichever_call_fails_while_a_loss_is_accepted_it_can_be_accepted_again_and_stays_so_after_power_loss(
    tmp_path: Path, left_behind: Path, numbers_in: Any
) -> None:
    print(f"FAREBOX_SEED={SEED}")
    path = segment_path(left_behind / "i1", 1)
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 1
    path.write_bytes(damaged)
    sane = shutil.copytree(left_behind, tmp_path / "sane")
    assert len(give_up(sane / "i1")) == 1
    expected, failures = numbers_in(sane / "i1"), 0
    for fail_at in range(1, CALLS_MAX):
        for code in (errno.EIO, SHORT):
            root = shutil.copytree(left_behind, tmp_path / f"{fail_at}-{code}")
            disk = LossyDisk.over(root, f"{SEED}/{fail_at}", target=tmp_path / f"{fail_at}-{code}-lost")
            disk.fail_at, disk.code = fail_at, code
            try:
                give_up(root / "i1", disk)
            except JournalError:
                failures += 1
                disk.heal()
                give_up(root / "i1", disk)
            assert numbers_in(root / "i1") == expected
            disk.lose_power()
            assert numbers_in(disk.target / "i1") == expected, f"call {fail_at}, seed {SEED}"
        if fail_at > len(disk.calls):
            assert failures > 5
            return
    raise AssertionError("accepting has more calls than were made to fail")


@pytest.mark.parametrize("sealed", [True, False])
def test_every_bit_flipped_below_the_durable_mark_is_reported_and_nothing_is_cut(
    tmp_path: Path, drive: Any, numbers_in: Any, *, sealed: bool
) -> None:
    """In whole segments and in the last one, whether its gateway sealed it or was killed before."""
    print(f"FAREBOX_SEED={SEED}")
    disk = LossyDisk(tmp_path / "journal", SEED, target=tmp_path / "killed")
    life = run_life(drive, disk)
    root = tmp_path / "journal"
    marks = {path: mark_of(path).durable for path in (root / "i1").glob("*.mark")}

    def restore_marks() -> None:
        for path, durable in marks.items():
            path.write_bytes(pack_mark(Mark(int(path.stem), durable, sealed=sealed)))

    restore_marks()
    rng = random.Random(f"{SEED}/{sealed}")
    flips = 0
    for extent in extents(root / "i1"):
        path = segment_path(root / "i1", extent.header.segment)
        whole = path.read_bytes()
        for offset in sorted(rng.sample(range(extent.end), 150)):
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises((JournalError, DataVersionError)):  # a bit of the version looks like another version
                read_all(root / "i1", numbers_in)
            assert path.read_bytes() == damaged, f"byte {offset} of {path.name}, seed {SEED}: the file was changed"
            restore_marks()
            flips += 1
        path.write_bytes(whole)
    assert flips >= 450
    read_all(root / "i1", numbers_in)
    assert numbers_in(root / "i1") == life.good


def mark_of(path: Path) -> Mark:
    found = unpack_mark(path.read_bytes(), path.name)
    assert found is not None
    return found


def read_all(directory: Path, numbers_in: Any) -> None:
    adopted = adopt(directory)
    assert adopted is not None
    with adopted:
        if adopted.corrupt is not None:
            raise adopted.corrupt
        numbers_in(directory)
