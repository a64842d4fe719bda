"""Wires a gateway worker: cards, directory, quota store, journal."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from farebox.app import JOURNAL_FOLDER, QUOTA_FILE, STOP_SECONDS_BEYOND_GRACE
from farebox.app.in_force import InForce
from farebox.app.open_files import raise_open_files
from farebox.domain.cards import CompiledCard
from farebox.errors import DataDirectoryError
from farebox.gateway import inheritance, worker
from farebox.gateway.concurrency import limits_of
from farebox.quota.allowances import allowance_of
from farebox.quota.directory import DirectoryWatch
from farebox.quota.sqlite import SqliteQuotaStore

SALT_FILE: Final = "target.salt"
SALT_BYTES: Final = 16


def serve_gateway(kept: InForce, *, slot: int) -> None:
    """One worker of this machine, until SIGTERM. Raises FareboxError when it cannot start."""
    settings, load_card = kept.settings, kept.card_loader()
    raise_open_files(settings.gateway)
    page, seat = inheritance.counters() or (None, 0)

    def open_store(watch: worker.Watch) -> SqliteQuotaStore:
        return SqliteQuotaStore(
            settings.data / QUOTA_FILE,
            allowance_of=allowance_of(lambda: watch.image, load_card),
            directory_version=lambda: watch.image.version,
        )

    parts = worker.Parts(
        config=settings,
        cards={upstream.name: CompiledCard(load_card(upstream.card)) for upstream in settings.upstream},
        watch=lambda: DirectoryWatch(settings.data),
        open_store=open_store,
        journal_root=settings.data / JOURNAL_FOLDER,
        target_salt=target_salt(settings.data / SALT_FILE),
        limits_of=limits_of(load_card),
        slot=slot,
        page=page,
        seat=seat,
    )
    inheritance.follow_supervisor(stop_seconds=settings.gateway.stop_grace_seconds + STOP_SECONDS_BEYOND_GRACE)
    worker.main(parts, listener=inheritance.inherited_listener(), heartbeat=inheritance.heartbeat_fd())


def target_salt(path: Path) -> bytes:
    """The key of the hashes of paths in entries: made once per data directory, readable by its owner only.

    Raises DataDirectoryError when the file cannot be read or made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_salt(path)
        salt = path.read_bytes()
    except OSError as error:
        raise DataDirectoryError(f"{path} cannot be used: {error}; give `data` a writable directory") from error
    if len(salt) != SALT_BYTES:
        raise DataDirectoryError(
            f"{path} has {len(salt)} bytes instead of {SALT_BYTES}; remove it: a new one only makes "
            "repeats of earlier calls unrecognisable"
        )
    return salt


def _make_salt(path: Path) -> None:
    """Whole from the moment it is there; of several workers that make one, the first one's counts."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SALT_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()
