"""What every quota store does alike with a sync: refuse what breaks the protocol, and answer for one account."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from farebox.domain import leases, window
from farebox.domain.identity import Account
from farebox.domain.window import Row
from farebox.errors import FareboxError, QuotaProtocolError
from farebox.quota.port import (
    NO_ALLOWANCE,
    START,
    AccountReply,
    AccountSync,
    AllowanceInForce,
    AllowanceOf,
    Position,
    Snapshot,
    SyncReply,
    SyncRequest,
)

LEASE_MICROSECONDS: Final = 2_000_000
"""How long lent credits may be spent, and how long a lowered allowance can take to be in force everywhere."""

ACCOUNTS_PER_SYNC_MAX: Final = 1_000
"""What a gateway puts into one sync: one transaction stays well below 100 ms."""

ACCOUNTS_ACCEPTED_MAX: Final = 20_000
"""What a store takes: one commit group of the journal may name more accounts than a sync normally does."""

FIRST_STEPS: Final = 4
"""Steps of the schedule when nobody was refused: enough to say when credits return next."""

SAID_MAX: Final = 10_000
"""Accounts without an allowance that are remembered as logged."""

_log = structlog.get_logger("farebox.quota")
_said: dict[Account, str] = {}
"""By account: the error last logged, so that a sync every half second does not repeat it."""

_encoder = msgspec.msgpack.Encoder()
_reply_decoder = msgspec.msgpack.Decoder(SyncReply)


@dataclass(slots=True)
class Life:
    """What a store knows of one incarnation."""

    sequence: int = 0
    request_hash: bytes = b""
    reply: bytes = b""
    settled_to: Position = START
    closed: bool = False


def hash_of(request: SyncRequest) -> bytes:
    """What a retry is compared by: the SHA-256 of the encoded request."""
    return hashlib.sha256(_encoder.encode(request)).digest()


def encode_reply(reply: SyncReply) -> bytes:
    """The reply as it is kept for a retry."""
    return _encoder.encode(reply)


def account_of(part: AccountSync | AccountReply) -> Account:
    """The account a part of a sync is about."""
    return Account(part.org, part.product, part.pool)


def kept_reply(request: SyncRequest, life: Life, request_hash: bytes) -> SyncReply | None:
    """The reply to repeat when `request` is a retry of the last one; None when it is a new one to be booked.

    Raises `QuotaProtocolError` when it is neither.
    """
    if request.sequence == life.sequence and life.sequence:
        if request_hash != life.request_hash:
            raise QuotaProtocolError(_sentence(request, "differs from the sync it repeats"))
        return _reply_decoder.decode(life.reply)
    _check_order(request, life)
    _check_content(request)
    return None


def _check_order(request: SyncRequest, life: Life) -> None:
    if life.closed:
        raise QuotaProtocolError(_sentence(request, "belongs to an incarnation that was closed"))
    if request.sequence != life.sequence + 1:
        raise QuotaProtocolError(_sentence(request, f"does not follow sync {life.sequence}"))
    if request.settled_from != life.settled_to:
        raise QuotaProtocolError(
            _sentence(request, f"settles from {request.settled_from}, but {life.settled_to} was reached")
        )


def _check_content(request: SyncRequest) -> None:
    if request.settled_to < request.settled_from:
        raise QuotaProtocolError(_sentence(request, "settles backwards"))
    if request.settled_to == request.settled_from and any(part.settled for part in request.accounts):
        raise QuotaProtocolError(_sentence(request, "settles credits without journal bytes"))
    if len(request.accounts) > ACCOUNTS_ACCEPTED_MAX:
        raise QuotaProtocolError(_sentence(request, f"names more than {ACCOUNTS_ACCEPTED_MAX} accounts"))
    if len({account_of(part) for part in request.accounts}) < len(request.accounts):
        raise QuotaProtocolError(_sentence(request, "names an account twice"))
    if any(part.keeps < 0 or part.likes < 0 or min(part.needs, default=0) < 0 for part in request.accounts):
        raise QuotaProtocolError(_sentence(request, "keeps, needs or likes less than nothing"))
    if request.closing and any(part.keeps or part.needs for part in request.accounts):
        raise QuotaProtocolError(_sentence(request, "closes its incarnation and still keeps or needs credits"))


def _sentence(request: SyncRequest, what: str) -> str:
    gateway = request.gateway
    return (
        f"Sync {request.sequence} of gateway {gateway.machine}/{gateway.slot} ({gateway.incarnation}) {what}. "
        "Nothing was booked. This is a fault of the gateway: please report it with its log."
    )


def allowance_in_force(allowance_of: AllowanceOf, account: Account) -> AllowanceInForce:
    """The account's allowance; nothing where it cannot be told: its spend is booked all the same.

    The directory may no longer have the account, or its card may have become invalid: that concerns this account alone,
    never the others of the sync. Each such error is logged once per account.
    """
    try:
        found = allowance_of(account)
    except FareboxError as error:
        _say_once(account, error)
        return NO_ALLOWANCE
    _said.pop(account, None)
    return found


def _say_once(account: Account, error: FareboxError) -> None:
    message = str(error)
    if _said.get(account) == message:
        return
    if len(_said) >= SAID_MAX:
        _said.clear()
    _said[account] = message
    _log.error(
        "quota.no_allowance",
        org=account.org,
        product=account.product,
        pool=account.pool,
        code=error.code,
        message=message,
        advice="calls of this account are refused until that is mended; all others go on",
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """An account in the middle of a sync: settled is booked, `lent` holds what this gateway keeps, nothing granted."""

    allowance: AllowanceInForce
    used: int
    lent: int
    unaccounted: int
    likes_of_all: int


def answer(
    part: AccountSync,
    standing: Standing,
    *,
    now: int,
    closing: bool,
    oldest_rows: Callable[[int, int], list[Row]],
) -> AccountReply:
    """Lend and tell.

    `oldest_rows(missing, lent)` gives the oldest rows that return `missing` credits and then `lent` more, in case what
    is lent is spent instead; exact by second where `missing` is reached. (0, any) asks for the first few.
    """
    total = standing.allowance.total
    committed = standing.used + standing.lent
    grant = leases.lend(
        remaining=total - committed,
        needs=part.needs,
        likes=0 if closing else part.likes,
        likes_of_all=standing.likes_of_all,
    )
    refused = [ceiling for ceiling, fits in zip(part.needs, grant.needs, strict=True) if not fits]
    asked = max((c for c in (*refused, part.asks) if c <= total), default=0)
    missing = max(0, asked - (total - standing.used)) if asked else 0
    lent = standing.lent + grant.total
    snapshot = Snapshot(
        allowance=standing.allowance,
        used=standing.used,
        lent=lent,
        unaccounted=standing.unaccounted,
        schedule=window.merged(oldest_rows(missing, lent), exact_at=missing),
    )
    return AccountReply(
        org=part.org,
        product=part.product,
        pool=part.pool,
        granted=grant.total,
        needs_granted=grant.needs,
        expires_at=now + LEASE_MICROSECONDS,
        addon_part=leases.addon_part(granted=grant.total, committed=committed, plan_part=standing.allowance.plan_part),
        snapshot=snapshot,
        short=grant.short,
    )
