"""A shipper to be killed: loads journals into a SQLite file and removes what is shipped, as fast as it can."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path

from farebox.journal.position import Position
from farebox.journal.records import Entry
from farebox.journal.shipper import Shipper


class SqliteSink:
    """Entries and offsets in one transaction."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("CREATE TABLE IF NOT EXISTS entries (incarnation TEXT, number INTEGER)")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS offsets (name TEXT PRIMARY KEY, segment INTEGER, byte INTEGER)"
        )

    def offsets(self) -> dict[str, Position]:
        rows = self.database.execute("SELECT name, segment, byte FROM offsets")
        return {name: Position(segment, byte) for name, segment, byte in rows}

    def load(self, entries: list[Entry], offsets: Mapping[str, Position]) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany(
            "INSERT INTO entries VALUES (?, ?)",
            [(entry.org, int.from_bytes(entry.call_id, "big")) for entry in entries],
        )
        self.database.executemany(
            "INSERT OR REPLACE INTO offsets VALUES (?, ?, ?)",
            [(name, position.segment, position.byte) for name, position in offsets.items()],
        )
        self.database.execute("COMMIT")


def ship(root: Path, database: Path) -> None:
    """For ever; every incarnation counts as settled and closed."""
    shipper = Shipper(root, SqliteSink(database), lambda _: Position(1 << 30, 0), lambda _: True, batch_entries=97)
    while True:
        shipper._cleaned_at = 0.0  # remove at every round: that is what is to be killed
        shipper.ship_once()
        print(".", end="", flush=True)


if __name__ == "__main__":
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
