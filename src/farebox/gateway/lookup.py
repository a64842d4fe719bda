"""Whose access token it is, asked at the API itself: for an API that names the caller and has no introspection (Zoho).

A look-up is a call like any other - priced, admitted, recorded before its answer is used - and booked to Farebox
itself: user and app `farebox` of the org that is fixed. So the sums agree with what the API counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from farebox.config import Lookup
from farebox.domain import pricing
from farebox.domain.cards import CompiledCard, Kind
from farebox.domain.identity import Account
from farebox.domain.names import FAREBOX
from farebox.errors import JournalError, JournalFullError
from farebox.gateway.plane import Plane
from farebox.gateway.questions import Question
from farebox.gateway.refuse import Refusal
from farebox.gateway.refuse_quota import journal_refusal, quota_refusal, quota_silent
from farebox.gateway.timeouts import TimeoutClass
from farebox.gateway.tokens import INACTIVE, INACTIVE_SECONDS, Claims, Inactive, Tell, Told, claim_text
from farebox.gateway.upstream import Connections
from farebox.journal.records import CHARGE, CHARGED, CUT_OFF, UNANSWERED, Entry
from farebox.quota.directory_image import DirectoryImage
from farebox.quota.leases import Hold
from farebox.quota.leases import Refusal as NotAdmitted

FAILED_SECONDS: Final = 1.0
"""A look-up that was sent and told nothing is not repeated for so long: each may cost a credit."""

TOKEN_SCHEME: Final = b"Zoho-oauthtoken "


class UserLookups:
    """Looks users up at one API, for one org. What a look-up says is believed for `cache_seconds`."""

    def __init__(
        self,
        config: Lookup,
        pool: Connections,
        *,
        card: CompiledCard,
        plane: Callable[[], Plane],
        directory: Callable[[], DirectoryImage],
        cache_seconds: float,
    ) -> None:
        path, _, query = config.path.partition("?")
        match = card.match("GET", path, query)
        self.config = config
        self.pool = pool
        self.plane = plane
        self.directory = directory
        self.cache_seconds = cache_seconds
        self.quote = pricing.quote(match, query, pricing.NO_BODY)
        self.metered = match.operation.kind is Kind.METERED
        self.account = Account(config.org, card.card.product, self.quote.pool)
        self.under_way: set[UserLookup] = set()
        self._head = (
            f"GET {config.path} HTTP/1.1\r\nHost: {pool.authority}\r\nAccept: application/json\r\n"
            "Accept-Encoding: identity\r\nUser-Agent: farebox\r\nAuthorization: "
        ).encode("ascii") + TOKEN_SCHEME

    def ask(self, token: bytes, tell: Tell) -> None:
        """Look the token's user up; `tell` is called once, whatever happens."""
        lookup = UserLookup(self, self._head + token + b"\r\n\r\n", tell)
        self.under_way.add(lookup)
        lookup.begin()

    def close(self) -> None:
        """The worker stops: look-ups under way end, and those that were sent are charged."""
        for lookup in list(self.under_way):
            lookup.cut_off()

    def read(self, status: int, content: bytes) -> tuple[Told, float]:
        """(what the API's answer says of the token, for how many seconds it is believed)."""
        if status in (401, 403):
            if status == 401 and _code(content) != "OAUTH_SCOPE_MISMATCH":  # noqa: PLR2004 - facts: v8 status codes
                return INACTIVE, INACTIVE_SECONDS
            return SCOPE_MISSING, INACTIVE_SECONDS
        if status != 200:  # noqa: PLR2004 - RFC 9110 15.3.1
            return unknown_user(f"the API answered {status}"), FAILED_SECONDS
        try:
            users = msgspec.json.decode(content, type=_Users).users
        except msgspec.DecodeError:
            return unknown_user("the API's answer is not a list of users"), FAILED_SECONDS
        user = claim_text(users[0].get(self.config.user_claim)) if users else ""
        if not user:
            return unknown_user(f"the API did not say {self.config.user_claim!r}"), FAILED_SECONDS
        return self._judged(user)

    def _judged(self, user: str) -> tuple[Told, float]:
        if self.config.users == "listed" and self.directory().user(self.config.org, user) is None:
            return USER_NOT_LISTED, INACTIVE_SECONDS
        return Claims(self.config.org, user, self.config.app), self.cache_seconds


class UserLookup:
    """One look-up through all its stages: admit, ask, charge, record, tell."""

    __slots__ = ("_begun_at", "_hold", "_lookups", "_question", "_shadow", "_tell", "_waiting")

    def __init__(self, lookups: UserLookups, request: bytes, tell: Tell) -> None:
        self._lookups = lookups
        self._tell = tell
        self._question = Question(lookups.pool, request, answered=self._answered, failed=self._failed)
        self._hold: Hold | None = None
        self._shadow = ""
        self._waiting: asyncio.Future[Hold | NotAdmitted] | None = None
        self._begun_at = 0

    def begin(self) -> None:
        """Admit it, now or after one sync, and ask."""
        self._begun_at = time.monotonic_ns()
        lookups = self._lookups
        if not lookups.metered:
            self._question.ask()
            return
        plane, ceiling = lookups.plane(), lookups.quote.ceiling
        admitted = plane.book.admit(lookups.account, ceiling)
        if admitted is not None:
            self._admitted(admitted)
            return
        self._waiting = plane.book.wait(lookups.account, ceiling)
        plane.waits.quota.start(self)
        self._waiting.add_done_callback(self._told_credits)

    def timed_out(self, wait: TimeoutClass) -> None:  # noqa: ARG002 - it has one
        """The quota store is silent."""
        waiting, self._waiting = self._waiting, None
        lookups = self._lookups
        book = lookups.plane().book
        if waiting is not None:
            book.cancel_wait(waiting)
        hold = book.let_through(lookups.account, lookups.quote.ceiling) if book.fail_open else None
        if hold is not None:
            self._admitted(hold)
        elif not self._in_shadow("quota_unavailable"):
            self._end(quota_silent(), 0)

    def _told_credits(self, told: asyncio.Future[Hold | NotAdmitted]) -> None:
        if self._waiting is not told:
            return
        self._waiting = None
        self._lookups.plane().waits.quota.stop(self)
        self._admitted(told.result())

    def _admitted(self, admitted: Hold | NotAdmitted) -> None:
        plane = self._lookups.plane()
        if isinstance(admitted, NotAdmitted):
            if admitted.reason == "suspended" or not self._in_shadow(admitted.reason):
                self._end(quota_refusal(admitted, now=plane.stamp()), 0)
            return
        try:
            plane.journal.reserve()
        except JournalError as error:
            plane.book.release(admitted)
            self._end(journal_refusal(error, full=isinstance(error, JournalFullError)), 0)
            return
        self._hold = admitted
        self._question.ask()

    def _in_shadow(self, reason: str) -> bool:
        lookups = self._lookups
        if not lookups.directory().in_shadow(lookups.config.org):
            return False
        hold = lookups.plane().book.let_through(lookups.account, lookups.quote.ceiling)
        if hold is None:
            return False
        self._shadow = reason
        self._admitted(hold)
        return True

    def _answered(self, status: int, content: bytes) -> None:
        told, seconds = self._lookups.read(status, content)
        self._charge(status=status, outcome=CHARGED, reason="", bytes_out=len(content), told=told, seconds=seconds)

    def _failed(self, reason: str) -> None:
        told = unknown_user(reason)
        if self._question.reached:
            status = self._question.status
            self._charge(status=status, outcome=UNANSWERED, reason="", bytes_out=0, told=told, seconds=FAILED_SECONDS)
        else:
            self._let_go()
            self._end(told, 0)

    def cut_off(self) -> None:
        """The worker stops."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._lookups.plane().waits.quota.stop(self)
            self._lookups.plane().book.cancel_wait(waiting)
        self._question.give_up()
        told = unknown_user("the gateway stops")
        if self._question.reached:
            self._charge(status=0, outcome=CUT_OFF, reason="stopping", bytes_out=0, told=told, seconds=0)
        else:
            self._let_go()
            self._end(told, 0)

    def _charge(self, *, status: int, outcome: str, reason: str, bytes_out: int, told: Told, seconds: float) -> None:
        """End the hold, record the look-up, and tell what it said once that is on disk."""
        hold, self._hold = self._hold, None
        if hold is None:
            self._end(told, seconds)
            return
        plane, quote = self._lookups.plane(), self._lookups.quote
        duration = (time.monotonic_ns() - self._begun_at) // 1_000
        charge = pricing.charge(quote, pricing.Answer(status, None, duration))
        if isinstance(told, Inactive) or told is USER_NOT_LISTED:  # a token of nobody, or of another organisation
            charge = pricing.Charge(0, charge.quantities, charge.records_returned)
        addon = plane.book.charge(hold, charge.millicredits)
        entry = self._entry(hold, charge, addon, status=status, outcome=outcome, reason=reason)
        entry = msgspec.structs.replace(entry, duration=duration, bytes_out=bytes_out)

        def released(durable: bool) -> None:  # noqa: FBT001 - the journal's signature
            if durable:
                self._end(told, seconds)
            else:
                plane.book.uncharge(hold, charge.millicredits)
                self._end(unknown_user("it could not be recorded"), 0)

        try:
            plane.journal.append(entry, released)
        except JournalError:  # closed, while stopping
            released(durable=False)
        plane.journal.unreserve()

    def _entry(
        self, hold: Hold, charge: pricing.Charge, addon: int, *, status: int, outcome: str, reason: str
    ) -> Entry:
        lookups = self._lookups
        quote, account = lookups.quote, lookups.account
        return Entry(
            kind=CHARGE,
            call_id=lookups.plane().call_id(hold.stamp),
            stamp=hold.stamp,
            org=account.org,
            product=account.product,
            pool=account.pool,
            user=FAREBOX,
            app=FAREBOX,
            function="",
            task="",
            module=quote.module,
            operation=quote.operation.name,
            method="GET",
            path_template=quote.path_template,
            api_version=quote.api_version,
            target_hash=lookups.plane().target_hash(lookups.config.path.encode("ascii")),
            client_ip="",
            status=status,
            outcome=outcome,
            reason=reason,
            quote=quote.ceiling,
            credits=charge.millicredits,
            addon=addon,
            quantities=charge.quantities,
            records_returned=charge.records_returned,
            conditional=0,
            duration=0,
            bytes_in=0,
            bytes_out=0,
            calls=1,
            leased=hold.leased,
            shadow=self._shadow,
        )

    def _let_go(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            self._lookups.plane().book.release(hold)
            self._lookups.plane().journal.unreserve()

    def _end(self, told: Told, seconds: float) -> None:
        if self in self._lookups.under_way:
            self._lookups.under_way.discard(self)
            self._tell(told, seconds)


class _Users(msgspec.Struct):
    """As far as it matters; see the facts on `GET /users`."""

    users: list[dict[str, Any]]


class _Problem(msgspec.Struct):
    code: str = ""


def _code(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=_Problem).code
    except msgspec.DecodeError:
        return ""


SCOPE_MISSING: Final = Refusal(
    status=403,
    code="TOKEN_SCOPE_MISSING",
    text=(
        "The access token does not say whose it is: Farebox asks the API for the current user and may not. "
        "Get a token with the scope ZohoCRM.users.READ as well, or send a Farebox key in X-Farebox-Key."
    ),
)


USER_NOT_LISTED: Final = Refusal(
    status=403,
    code="USER_NOT_LISTED",
    text=(
        'The access token is of a user who is not listed here (lookup.users = "listed"). '
        "Ask the operator to add the user: farebox user add."
    ),
)


def unknown_user(reason: str) -> Refusal:
    """503: whose token it is cannot be found out now."""
    return Refusal(
        status=503,
        code="IDENTITY_UNAVAILABLE",
        text=(
            f"Whose access token this is cannot be looked up now: {reason}. The call was not made; try again shortly."
        ),
        retry_after=1,
    )
