"""A writer to be killed: appends numbered entries for ever and tells each released number on standard output."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

from farebox.journal.writer import JournalWriter

spec = importlib.util.spec_from_file_location("parts", Path(__file__).with_name("conftest.py"))
assert spec is not None
assert spec.loader is not None
parts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(parts)


async def main(root: Path, incarnation: str, durability: str, callers: int) -> None:
    """Each caller appends its next entry when its last one is released, as requests on a connection do."""
    next_number = 0

    def append() -> None:
        nonlocal next_number
        number, next_number = next_number, next_number + 1
        entry = parts.make_entry(number, padding=number % 200)

        def released(good: bool) -> None:  # noqa: FBT001 - the journal's signature
            assert good
            os.write(1, number.to_bytes(8, "big"))
            append()

        writer.append(entry, released)

    writer = JournalWriter(
        root,
        incarnation,
        durability=durability,  # type: ignore[arg-type]
        loop=asyncio.get_running_loop(),
        on_committed=lambda _entries, _position: None,
        segment_bytes=1 << 15,
        entry_bytes_max=1024,
    )
    for _ in range(callers):
        append()
    await asyncio.get_running_loop().create_future()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
