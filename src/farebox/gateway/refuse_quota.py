"""Refusals for want of credits or of a working journal, naming the limit and what to do."""

from __future__ import annotations

from farebox.domain.credits import text_of
from farebox.domain.instants import MICROSECONDS
from farebox.domain.instants import text_of as instant_text
from farebox.errors import JournalError
from farebox.gateway.refuse import Refusal
from farebox.quota.leases import Refusal as NotAdmitted


def quota_refusal(why: NotAdmitted, *, now: int) -> Refusal:
    """What a caller is told whose call was not admitted. `now`: the quota store's time, in microseconds."""
    if why.reason == "quota_unavailable":
        return Refusal(
            status=503,
            code="QUOTA_UNAVAILABLE",
            text=(
                f"Credits cannot be checked now{f' ({why.why})' if why.why else ''}. Nothing was charged; "
                "try again shortly."
            ),
            retry_after=why.retry_after or 1,
        )
    if why.reason == "suspended":
        return Refusal(
            status=403,
            code="ORG_SUSPENDED",
            text="This org is suspended. Ask the operator of this gateway to lift the suspension.",
            details={"org": why.account.org},
        )
    total = 0 if why.snapshot is None else why.snapshot.allowance.total
    used = 0 if why.snapshot is None else why.snapshot.used
    details: dict[str, int | str] = {
        # Not "limit": the official SDK takes that key for a whole number and then drops the whole answer.
        "limit_reached": f"{why.account.pool} credits of {why.account.product} in any 24 hours",
        "allowance": text_of(total),
        "used": text_of(used),
        "needed": text_of(why.ceiling),
    }
    if why.reason == "never_fits":
        return Refusal(
            status=429,
            code="CEILING_NEVER_FITS",
            text=(
                f"This call may cost {text_of(why.ceiling)} credits and the allowance is {text_of(total)} in any "
                "24 hours: it can never be admitted. Send a smaller call or get a larger plan."
            ),
            details=details,
        )
    lent = 0 if why.snapshot is None else why.snapshot.lent
    held = f", {text_of(lent)} are held for calls in flight" if lent else ""
    when = "later"
    if why.retry_after is not None:
        returns = now + why.retry_after * MICROSECONDS
        when = f"in {_in_words(why.retry_after)} ({instant_text(returns)})"
        details["returns_at"] = instant_text(returns)
    return Refusal(
        status=429,
        code="CREDITS_EXHAUSTED",
        text=(
            f"The allowance of {text_of(total)} credits in any 24 hours leaves no room: {text_of(used)} are used{held} "
            f"and this call may cost {text_of(why.ceiling)}. Enough credits return {when}; "
            "raise the allowance to go on sooner."
        ),
        retry_after=why.retry_after,
        details=details,
    )


def _in_words(seconds: int) -> str:
    """A wait as people say it, rounded down to minutes from one hour on.

    >>> _in_words(45), _in_words(754), _in_words(86_374)
    ('45 s', '12 min 34 s', '23 h 59 min')
    """
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def bodies_full() -> Refusal:
    """So many bodies are being read to be priced that another one has no room."""
    return Refusal(
        status=503,
        code="GATEWAY_BUSY",
        text=(
            "This gateway reads as many request bodies as it has room for (gateway.price_bodies_bytes_max). "
            "Nothing was charged; try again shortly."
        ),
        retry_after=1,
    )


def quota_silent() -> Refusal:
    """The quota store did not answer while a call waited."""
    return Refusal(
        status=503,
        code="QUOTA_UNAVAILABLE",
        text="Credits could not be checked in time. Nothing was charged; try again shortly.",
        retry_after=1,
    )


def journal_refusal(error: JournalError, *, full: bool) -> Refusal:
    """The journal has no room or no working segment: the upstream was not reached."""
    return Refusal(
        status=503,
        code="JOURNAL_FULL" if full else "JOURNAL_UNAVAILABLE",
        text=f"The call cannot be recorded, so it was not made and costs nothing. {error}",
        retry_after=1,
    )


def not_recorded(trouble: str | None) -> Refusal:
    """The call was made and its record could not be written: the answer is not given out (G2)."""
    return Refusal(
        status=503,
        code="NOT_RECORDED",
        text=(
            "The upstream was called but the call could not be recorded, so its answer is withheld and nothing is "
            f"charged ({trouble or 'the journal failed'}). Whether it took effect is unknown: look before repeating it."
        ),
        retry_after=1,
    )
