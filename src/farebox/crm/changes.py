"""What follows from a record's being written, in the same transaction: the one place where every change passes by."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from farebox.crm.call import Call
from farebox.crm.schema import Module
from farebox.crm.validate import Stored


class Operation(StrEnum):
    """What happened to a record, in the words of notifications."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One record written by `call`. `values` are the fields it has (as stored); `changed` names those that are new."""

    call: Call
    module: Module
    operation: Operation
    record_id: int
    values: Mapping[str, Stored]
    changed: tuple[str, ...]


Follower = Callable[[sqlite3.Connection, Change], None]

_FOLLOWERS: list[Follower] = []


def follow(follower: Follower) -> Follower:
    """Have a function called for every change, inside its transaction. At import time only."""
    _FOLLOWERS.append(follower)
    return follower


def announce(db: sqlite3.Connection, change: Change) -> None:
    """A record was written: everything that follows is written with it, or nothing is."""
    for each in _FOLLOWERS:
        each(db, change)
