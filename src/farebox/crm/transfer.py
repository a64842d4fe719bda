"""The whole store as one portable file, and back: organisations, users, clients, tokens, records, jobs, files.

The file is a zip: `tables/NAME.jsonl` with a row per line, the files beside the database as `files/NAME`, and at the
end `manifest.json` with the version of the schema and a SHA-256 of every other member. Secrets and tokens are in it
as digests, as in the store. An import checks everything in a directory of its own before any of it counts.
"""

import hashlib
import os
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from farebox.crm.errors import StoreError
from farebox.crm.store import MIGRATIONS, SCHEMA_VERSION, Store

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 16 * 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024
ROWS_AT_ONCE: Final = 1_000
FILE_NAME, FILES_NAME = "crm.sqlite3", "crm-files"


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table's columns, in the order of the values of each line, and how many lines there are."""

    columns: tuple[str, ...]
    rows: int


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says of itself; `members`: the SHA-256 of each of them, in hex."""

    farebox_crm_export: int
    schema: int
    tables: dict[str, _Table]
    members: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """What went into the file, or came out of it."""

    organisations: int
    records: int
    files: int


def export_store(store: Store, target: Path) -> Transferred:
    """Write the store, as it is at this moment, to a new file only its owner may read.

    Calls may go on meanwhile. A result that a job is just writing comes without its file and is made again. Raises
    StoreError when `target` exists or cannot be written; then there is no new file.
    """
    if target.exists():
        raise StoreError(f"{target} exists already; choose another name, or remove it first.")
    partial = target.with_name(f"{target.name}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                done = _write(store, archive)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"The store cannot be exported to {target}: {error}.") from error
    return done


def import_store(source: Path, data: Path) -> Transferred:
    """Make the store in the directory `data` from an exported file: the same answers to the same calls.

    Raises StoreError, and changes nothing, when there is a store with organisations already or one that is in use, and
    when the file is torn, changed, or of a newer version.
    """
    target = data / FILE_NAME
    if target.exists():
        clear(data, only_if_empty=True, remove=False)
    try:
        data.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="importing-", dir=data) as own,
            zipfile.ZipFile(source) as archive,
        ):
            done = _read(archive, Path(own))
            if target.exists():
                clear(data, only_if_empty=True)
            shutil.rmtree(data / FILES_NAME, ignore_errors=True)
            (Path(own) / FILES_NAME).replace(data / FILES_NAME)
            (Path(own) / FILE_NAME).replace(target)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, msgspec.DecodeError, sqlite3.Error, ValueError) as error:
        raise StoreError(
            f"{source} cannot be imported, and nothing was changed: {error}. "
            "Take a file that `farebox crm export` made, whole and of this or an older version."
        ) from error
    return done


def clear(data: Path, *, only_if_empty: bool = False, remove: bool = True) -> None:
    """Remove the store in `data`: the database, and the files beside it, nothing else.

    Raises StoreError, and removes nothing, when another process has it open, when the file is not one of ours, or
    with `only_if_empty` when it has an organisation.
    """
    path = data / FILE_NAME
    if path.exists():
        try:
            db = sqlite3.connect(path, isolation_level=None, timeout=1)
            try:
                if db.execute("SELECT 1 FROM organisation").fetchone() is not None and only_if_empty:
                    raise StoreError(f"The store {path} has organisations already; give --data an empty directory.")
                # leaving WAL takes the file for oneself: refused while anybody else has it open
                db.execute("PRAGMA journal_mode = DELETE")
            finally:
                db.close()
        except sqlite3.Error as error:
            raise StoreError(
                f"The store {path} stays as it is: {error}. Stop the `farebox crm` that uses it; "
                "a file that is no store of the CRM API is not removed."
            ) from error
    if remove:
        for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
            (data / name).unlink(missing_ok=True)
        shutil.rmtree(data / FILES_NAME, ignore_errors=True)


def _write(store: Store, archive: zipfile.ZipFile) -> Transferred:
    members: dict[str, str] = {}
    tables: dict[str, _Table] = {}
    with store.snapshot() as db:
        schema = db.execute("PRAGMA user_version").fetchone()[0]
        for name in _tables(db):
            rows = db.execute(f'SELECT * FROM "{name}"')  # noqa: S608 (a name the database gave)
            columns = tuple(each[0] for each in rows.description)
            member = f"tables/{name}.jsonl"
            with archive.open(member, "w", force_zip64=True) as to:
                count, members[member] = _write_rows(rows, to)
            tables[name] = _Table(columns, count)
        kept = [each for each in sorted(store.files.rglob("*")) if each.is_file()]
        for path in kept:
            member = f"files/{path.relative_to(store.files).as_posix()}"
            with archive.open(member, "w", force_zip64=True) as to, path.open("rb") as content:
                members[member] = _copy(content, to)
    manifest = _Manifest(FORMAT, schema, tables, members)
    archive.writestr(MANIFEST, msgspec.json.encode(manifest))
    return Transferred(organisations=tables["organisation"].rows, records=tables["record"].rows, files=len(kept))


def _write_rows(rows: sqlite3.Cursor, to: IO[bytes]) -> tuple[int, str]:
    """How many there were, and the digest of what was written."""
    count, seen = 0, hashlib.sha256()
    while some := rows.fetchmany(ROWS_AT_ONCE):
        lines = b"".join(msgspec.json.encode([_plain(value) for value in row]) + b"\n" for row in some)
        seen.update(lines)
        to.write(lines)
        count += len(some)
    return count, seen.hexdigest()


def _read(archive: zipfile.ZipFile, own: Path) -> Transferred:
    """The database and the files in the directory `own`, checked as a whole. Raises ValueError and its kin."""
    if MANIFEST not in archive.namelist() or archive.getinfo(MANIFEST).file_size > MANIFEST_BYTES_MAX:
        raise ValueError("it has no manifest")
    manifest = msgspec.json.decode(archive.read(MANIFEST), type=_Manifest)
    if manifest.farebox_crm_export != FORMAT or not 0 < manifest.schema <= SCHEMA_VERSION:
        raise ValueError(f"it was made by a newer version (schema {manifest.schema}, this one knows {SCHEMA_VERSION})")
    for member, expected in manifest.members.items():
        if member not in archive.namelist() or _digest(archive.open(member)) != expected:
            raise ValueError(f"its member {member} is missing or was changed")
    db = sqlite3.connect(own / FILE_NAME, isolation_level=None)
    try:
        _fill(db, manifest, archive)
    finally:
        db.close()
    files = [member for member in manifest.members if member.startswith("files/")]
    (own / FILES_NAME).mkdir(mode=0o700)
    for member in files:
        _unpack(archive, member, own / FILES_NAME)
    return Transferred(
        organisations=manifest.tables["organisation"].rows, records=manifest.tables["record"].rows, files=len(files)
    )


def _fill(db: sqlite3.Connection, manifest: _Manifest, archive: zipfile.ZipFile) -> None:
    """All rows into a new database of the file's version; the next to open it brings it up to date."""
    for number, script in enumerate(MIGRATIONS[: manifest.schema], start=1):
        db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
    if set(_tables(db)) != set(manifest.tables):
        raise ValueError("its tables are not those of its version")
    db.execute("BEGIN")
    for name, table in manifest.tables.items():
        known = {row[1] for row in db.execute(f'PRAGMA table_info("{name}")')}
        if known != set(table.columns):
            raise ValueError(f"its table {name} has not the columns of its version")
        db.execute(f'DELETE FROM "{name}"')  # noqa: S608 (one of our tables)
        marks = ", ".join("?" * len(table.columns))
        columns = ", ".join(f'"{each}"' for each in table.columns)
        with archive.open(f"tables/{name}.jsonl") as lines:
            db.executemany(
                f'INSERT INTO "{name}" ({columns}) VALUES ({marks})',  # noqa: S608 (names of our tables)
                _rows(lines),
            )
        if db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] != table.rows:  # noqa: S608 (one of our tables)
            raise ValueError(f"its table {name} has not the {table.rows} rows it should have")
    if db.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise ValueError("its rows point at rows that are not there")
    db.execute("COMMIT")


def _tables(db: sqlite3.Connection) -> list[str]:
    """The tables that hold something of their own: what an index of words holds is made from records again."""
    found = db.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    return sorted(row[0] for row in found if not row[0].startswith("sqlite_"))


def _rows(lines: IO[bytes]) -> Iterator[list[Any]]:
    for line in lines:
        yield [bytes.fromhex(value["hex"]) if isinstance(value, dict) else value for value in msgspec.json.decode(line)]


def _plain(value: object) -> object:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _digest(content: IO[bytes]) -> str:
    with content:
        return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type] # a zip member reads alike


def _copy(content: IO[bytes], to: IO[bytes]) -> str:
    """The digest of what was copied."""
    seen = hashlib.sha256()
    while chunk := content.read(CHUNK_BYTES):
        seen.update(chunk)
        to.write(chunk)
    return seen.hexdigest()


def _unpack(archive: zipfile.ZipFile, member: str, into: Path) -> None:
    """One file to its place, which has to be inside the directory."""
    path = (into / member.removeprefix("files/")).resolve()
    if not path.is_relative_to(into.resolve()):
        raise ValueError(f"its member {member} leads out of the directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as content, path.open("wb") as to:
        _copy(content, to)
