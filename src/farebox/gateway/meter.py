"""The way of one call. Long because it is all stages in order: identify, price, admit, forward, charge, record, answer.

    begin -> identified -> priced -> admitted -> (forward) -> answer_whole | answer_too_large | failed | cut_off
                                                                 charge, record -> released -> answer

What is charged: nothing before the first byte went to the upstream; after it everything, whatever follows (G6, G2). An
answer leaves only once its record is on disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from farebox.cards import answer_facts, body_facts
from farebox.domain import pricing
from farebox.domain.cards import Kind, Match
from farebox.domain.identity import Account
from farebox.errors import JournalError, JournalFullError
from farebox.gateway.concurrency import Concurrency
from farebox.gateway.forward import ENDED, HELD, STREAMING, Exchange
from farebox.gateway.http1_answer import AnswerHead
from farebox.gateway.http1_client import ClientConnection
from farebox.gateway.http1_request import RequestHead
from farebox.gateway.http1_upstream import UpstreamConnection
from farebox.gateway.identify import Caller, function_and_task, key_of_ours
from farebox.gateway.plane import Plane, Route
from farebox.gateway.refusals import RefusalKey
from farebox.gateway.refuse import Refusal, fields_of, rendered
from farebox.gateway.refuse_quota import bodies_full, journal_refusal, not_recorded, quota_refusal, quota_silent
from farebox.gateway.timeouts import TimeoutClass
from farebox.journal.records import CHARGE, CHARGED, CLOSE, CUT_OFF, UNANSWERED, Entry
from farebox.quota.leases import Hold
from farebox.quota.leases import Refusal as NotAdmitted

JSON: Final = (b"application/json", b"text/json")
SHADOW_FIELD: Final = b"X-Farebox-Shadow: refused=%b\r\n"
"""Said with the answer to a call that only shadow mode let through."""

_TOO_LARGE: Final = pricing.Unreadable("larger than price_body_bytes_max")
_ENCODED: Final = pricing.Unreadable("sent with a Content-Encoding")
_METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}

# What of a call is in the journal.
NOTHING: Final = 0
RECORDED: Final = 1  # its charge, complete
PROMISED: Final = 2  # its charge at the ceiling is on its way to disk; nothing of the answer left yet
OPEN: Final = 3  # that charge is on disk, to be closed when the answer has ended


class Call(Exchange):
    """One request of a caller through all stages."""

    __slots__ = (
        "account",
        "begun_at",
        "body_reserved",
        "caller",
        "charged",
        "entry",
        "function",
        "hold",
        "hold_waits",
        "match",
        "method",
        "plane",
        "pricing_body",
        "quote",
        "recorded",
        "records",
        "refusal",
        "route",
        "sent_at",
        "shadow",
        "task",
        "units",
        "waiting_for",
    )

    def __init__(self, plane: Plane, client: ClientConnection, head: RequestHead, route: Route) -> None:
        super().__init__(client, head, body_limit=plane.stream_buffer_bytes)
        self.plane = plane
        self.route = route
        self.method = _METHODS.get(head.method) or head.method.decode("ascii")
        self.match: Match | None = None
        self.caller: Caller | None = None
        self.function = ""
        self.task = ""
        self.account: Account | None = None
        self.quote: pricing.Quote | None = None
        self.hold: Hold | None = None
        self.hold_waits = False
        self.pricing_body = False
        self.body_reserved = 0
        self.waiting_for: asyncio.Future[Any] | None = None
        self.begun_at = 0
        self.sent_at = 0
        self.units = 0
        """Units of the org's and app's concurrency it takes, until it is answered or nobody waits for it."""
        self.charged = 0
        self.entry: Entry | None = None
        self.recorded = NOTHING
        self.refusal: Refusal | None = None
        self.shadow = ""

    # -- identify ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The call's turn has come: find out what it is and who calls."""
        self.begun_at = time.monotonic_ns()
        head = self.head
        self.match = self.route.matches.of(self.method, head.path, head.query)
        if self.match.operation.kind is Kind.OPEN:
            self._pass_through()
            return
        who = self.route.identifier.identify(head, self.client.peer)
        if isinstance(who, asyncio.Future):
            self.waiting_for = who
            who.add_done_callback(self._told_who)
        else:
            self._identified(who)

    def _pass_through(self) -> None:
        """An open route: what is not ours of the caller's credentials goes on as it came."""
        self.plane.count("unmetered")
        head = self.head
        if head.authorization is not None and key_of_ours(head.authorization) is not None:
            head.authorization = None
        if head.api_key is not None and key_of_ours(head.api_key) is None:
            head.lines = [*head.lines, b"X-Api-Key", b": ", head.api_key, b"\r\n"]
        self.forward(self.route.pool)

    def _told_who(self, who: asyncio.Future[Caller | Refusal]) -> None:
        self.waiting_for = None
        if self.phase != ENDED and not who.cancelled():
            self._identified(who.result())

    def _identified(self, who: Caller | Refusal) -> None:
        if isinstance(who, Refusal):
            self._refuse(who)
            return
        self.caller = who
        head = self.head
        if head.function or head.task or head.baggage:
            self.function, self.task = _names(head)
        match = self.match
        assert match is not None
        if match.operation.kind is Kind.FREE:
            self.plane.count("unmetered")
            self.forward(self.route.pool)
        elif not match.operation.needs_body:
            self._price(pricing.NO_BODY)
        elif head.encoded:
            self._price(_ENCODED)
        else:
            self._await_body()

    # -- price ------------------------------------------------------------------------------------------------------

    def _await_body(self) -> None:
        """The price depends on the body: it is read in full, up to a bound, before anything is admitted."""
        limit = self.plane.config.price_body_bytes_max
        if self.head.length > limit or self.body_bytes > limit:
            self._price(_TOO_LARGE)
        elif self.body_done:
            self._price_read_body()
        elif not self.plane.reserve_body(expected := self.head.length if self.head.length > 0 else limit):
            self._refuse(bodies_full())
        else:
            self.body_reserved = expected
            self.pricing_body = True
            self.body_limit = limit
            if self.head.expects_continue and not self.body_total:
                self.send_continue()
            self.client.resume_body()

    def body_whole(self) -> None:
        """All of the body is here: if the price waited for it, go on."""
        if self.pricing_body:
            self.pricing_body = False
            self._price_read_body()

    def body_too_large(self) -> None:
        """More of the body came than may be kept: a price that waited for it becomes the ceiling."""
        self.client.pause_body()
        if self.pricing_body:
            self.pricing_body = False
            self._price(_TOO_LARGE)

    def _price_read_body(self) -> None:
        assert self.match is not None
        parts = self.body_parts
        if len(parts) > 1:
            self.body_parts = parts = [b"".join(parts)]
        self._price(body_facts(self.match.operation.price, parts[0] if parts else b""))

    def _price(self, body: pricing.Body) -> None:
        assert self.match is not None
        assert self.caller is not None
        self.body_limit = self.plane.stream_buffer_bytes
        self.quote = quote = pricing.quote(self.match, self.head.query, body)
        self.account = account = self.caller.account(quote.pool)
        if self.caller.concurrency is not None and not self._enter(self.caller.concurrency, quote):
            return
        admitted = self.plane.book.admit(account, quote.ceiling)
        if isinstance(admitted, Hold):
            self._admitted(admitted)
        elif admitted is None:
            self._await_credits(account, quote.ceiling)
        else:
            self._not_admitted(admitted)

    # -- admit ------------------------------------------------------------------------------------------------------

    def _enter(self, concurrency: Concurrency, quote: pricing.Quote) -> bool:
        """Take the units of a call in flight; False: it was refused for want of them."""
        taken = concurrency.enter(quote.operation, quote.quantities, from_function=bool(self.function))
        if isinstance(taken, int):
            self.units = taken
        elif self.caller is not None and self.caller.shadow:  # goes on uncounted: refused, it would not be in flight
            self.shadow = taken.code.lower()
        else:
            self._refuse(taken)
            return False
        return True

    def _leave(self) -> None:
        """The call is in flight no longer."""
        if self.units and self.caller is not None and self.caller.concurrency is not None:
            self.caller.concurrency.leave(self.units)
            self.units = 0

    def _await_credits(self, account: Account, ceiling: int) -> None:
        waiting = self.plane.book.wait(account, ceiling)
        self.waiting_for = waiting
        self.plane.waits.quota.start(self)
        waiting.add_done_callback(self._told_credits)

    def _told_credits(self, told: asyncio.Future[Hold | NotAdmitted]) -> None:
        if self.waiting_for is not told:
            return  # given up meanwhile: cancel_wait returned what was granted
        self.waiting_for = None
        self.plane.waits.quota.stop(self)
        admitted = told.result()
        if isinstance(admitted, Hold):
            self._admitted(admitted)
        else:
            self._not_admitted(admitted)

    def _not_admitted(self, why: NotAdmitted) -> None:
        """Refuse; in shadow mode only say so. A suspended org is refused in shadow mode too."""
        if why.reason == "suspended" or not self._let_through(shadow=why.reason):
            self._refuse(quota_refusal(why, now=self.plane.stamp()))

    def _let_through(self, *, shadow: str) -> bool:
        """Go on without a lease, where the org's shadow mode lets calls through that are refused for `shadow`."""
        caller, account, quote = self.caller, self.account, self.quote
        if caller is None or not caller.shadow or account is None or quote is None:
            return False
        hold = self.plane.book.let_through(account, quote.ceiling)
        if hold is None:
            return False
        self.shadow = shadow
        self._admitted(hold)
        return True

    def _admitted(self, hold: Hold) -> None:
        try:
            self.plane.journal.reserve()
        except JournalError as error:
            self.plane.book.release(hold)
            self._refuse(journal_refusal(error, full=isinstance(error, JournalFullError)))
            return
        self.hold = hold
        self.forward(self.route.pool)

    def timed_out(self, wait: TimeoutClass) -> None:
        """Credits, a connection or the rest of an answer did not come in time."""
        if wait is self.plane.waits.quota:
            self._give_up_waiting()
            self._quota_is_silent()
        elif wait is self.plane.waits.answer_hold:
            if self.phase == HELD and self.recorded == NOTHING:
                self.answer_too_large()
        else:
            super().timed_out(wait)

    def _quota_is_silent(self) -> None:
        """The store neither answers nor fails: as good as out of reach."""
        account, quote, book = self.account, self.quote, self.plane.book
        assert account is not None
        assert quote is not None
        hold = book.let_through(account, quote.ceiling) if book.fail_open else None
        if hold is not None:
            self._admitted(hold)
        elif not self._let_through(shadow="quota_unavailable"):
            self._refuse(quota_silent())

    def _give_up_waiting(self) -> None:
        waiting, self.waiting_for = self.waiting_for, None
        if waiting is None:
            return
        self.plane.waits.quota.stop(self)
        if self.quote is None:
            return  # who a token belongs to is still worth knowing for the next call
        self.plane.book.cancel_wait(waiting)

    # -- forward ----------------------------------------------------------------------------------------------------

    def connected(self, connection: UpstreamConnection) -> None:
        """Here is a connection: the body kept for pricing goes out and its room is free again."""
        self.sent_at = time.monotonic_ns()
        super().connected(connection)
        self._unreserve_body()

    def _unreserve_body(self) -> None:
        if self.body_reserved:
            self.plane.unreserve_body(self.body_reserved)
            self.body_reserved = 0

    def sent_as(self) -> tuple[object, ...]:
        """Who calls, from where, and where to."""
        return (self.caller, self.pool, self.plane.proxies.constant(self.client))

    def own_request_fields(self) -> list[bytes]:
        """Forwarding fields, and the credential that takes the place of a key of ours."""
        head, caller = self.head, self.caller
        lines = self.plane.proxies.lines(self.client, head)
        if caller is not None and caller.authorization:
            lines += (b"Authorization: ", caller.authorization, b"\r\n")
        elif head.authorization is not None and not (caller is not None and caller.replaces):
            lines += (b"Authorization: ", head.authorization, b"\r\n")
        return lines

    def hold_bytes_max(self) -> int:
        """Metered answers are held to be charged exactly; the others stream."""
        return self.plane.config.answer_hold_bytes

    def answer_waits(self) -> None:
        """The answer is not whole yet: hold it for a moment, unless it never will be."""
        if self.phase != HELD or self.recorded != NOTHING:
            return
        answer = self.answer
        assert answer is not None
        if self.hold is None:
            self.start_stream()
        elif answer.length > self.plane.config.answer_hold_bytes or answer.content_type.startswith(
            b"text/event-stream"
        ):
            self.answer_too_large()
        else:
            self.hold_waits = True
            self.plane.waits.answer_hold.start(self)

    # -- charge and record ------------------------------------------------------------------------------------------

    def answer_whole(self) -> None:
        """The answer is in hand: charge exactly, record, and answer when that is on disk."""
        if self.hold is None:
            self.deliver()
            return
        if self.recorded != NOTHING:
            return  # its record is on the way; `released` goes on
        if self.hold_waits:
            self.plane.waits.answer_hold.stop(self)
        answer, quote = self.answer, self.quote
        assert answer is not None
        assert quote is not None
        duration = self._duration()
        charge = pricing.charge(quote, pricing.Answer(answer.status, self._facts(answer, quote), duration))
        self.bytes_out = self.held_bytes
        self._record(charge, status=answer.status, outcome=CHARGED, reason="", duration=duration)
        self.recorded = RECORDED
        self.plane.journal.unreserve()

    def answer_too_large(self) -> None:
        """The answer streams: what it may cost is committed before its first byte, and corrected when it has ended."""
        if self.hold is None:
            self.start_stream()
            return
        if self.recorded != NOTHING:
            return
        upstream, answer, quote = self.upstream, self.answer, self.quote
        assert answer is not None
        assert quote is not None
        if self.hold_waits:
            self.plane.waits.answer_hold.stop(self)
        if upstream is not None:
            upstream.pause()
        # A price that does not depend on the answer's content is known now: free statuses included.
        known = pricing.charge(quote, pricing.Answer(answer.status)) if quote.exact else _ceiling(quote)
        self._record(known, status=answer.status, outcome=CHARGED, reason="", duration=self._duration())
        self.recorded = PROMISED

    def failed(self, refusal: Refusal) -> None:
        """No usable answer. Not reached: free. Reached: charged, whatever follows."""
        hold = self.hold
        if hold is None:
            if self.phase == STREAMING:
                self.abort()
            else:
                self._refuse(refusal)
        elif not self.reached:
            self.hold = None
            self.plane.book.release(hold)
            self.plane.journal.unreserve()
            self._refuse(refusal)
        elif self.recorded == OPEN:
            self._close(outcome=CUT_OFF, reason=refusal.code.lower())
            self.abort()
        elif self.recorded == PROMISED:
            self.refusal = refusal
        else:
            self.refusal = refusal
            self._charge_unknown(status=refusal.status, outcome=UNANSWERED, reason=refusal.code.lower())

    def charge_words(self) -> str:
        """Whether a call that has failed now is charged: it is metered, and was sent, be it on a connection before."""
        if self.hold is None or not self.reached:
            return "Nothing was charged."
        return "The request had been sent, so it is charged."

    def abort(self) -> None:
        """End what cannot be ended well."""
        self._leave()
        super().abort()

    def cut_off(self) -> None:
        """The caller is gone: what reached the upstream is charged all the same."""
        self._leave()
        self._give_up_waiting()
        self._unreserve_body()
        if self.hold_waits:
            self.plane.waits.answer_hold.stop(self)
        hold = self.hold
        if hold is None:
            return
        if not self.reached:
            self.hold = None
            self.plane.book.release(hold)
            self.plane.journal.unreserve()
        elif self.recorded == NOTHING:
            self._charge_unknown(
                status=0 if self.answer is None else self.answer.status, outcome=CUT_OFF, reason="caller_gone"
            )
        elif self.recorded == OPEN:
            self._close(outcome=CUT_OFF, reason="caller_gone")

    def _charge_unknown(self, *, status: int, outcome: str, reason: str) -> None:
        """Charge a call whose answer is not (wholly) known: by its status if one came, else its ceiling."""
        quote = self.quote
        assert quote is not None
        if self.hold_waits:
            self.plane.waits.answer_hold.stop(self)
        came = 0 if self.answer is None else self.answer.status
        duration = self._duration()
        charge = pricing.charge(quote, pricing.Answer(came, None, duration))
        self._record(charge, status=status, outcome=outcome, reason=reason, duration=duration)
        self.recorded = RECORDED
        self.plane.journal.unreserve()

    def _record(self, charge: pricing.Charge, *, status: int, outcome: str, reason: str, duration: int) -> None:
        hold, quote, caller, head = self.hold, self.quote, self.caller, self.head
        assert hold is not None
        assert quote is not None
        assert caller is not None
        self.charged = charge.millicredits
        addon = self.plane.book.charge(hold, charge.millicredits)  # ends the hold: from here on a record must follow
        # Positional, in the order of journal/records.py: by keyword it costs 2 us more of 45 per call.
        entry = Entry(
            CHARGE,
            self.plane.call_id(hold.stamp),
            hold.stamp,
            caller.org,
            caller.product,
            quote.pool,
            caller.user,
            caller.app,
            self.function,
            self.task,
            quote.module,
            quote.operation.name,
            self.method,
            quote.path_template,
            quote.api_version,
            self.plane.target_hash(head.target),
            self.plane.proxies.client_ip(self.client.peer, head.forwarded_for),
            status,
            outcome,
            reason,
            quote.ceiling,
            charge.millicredits,
            addon,
            charge.quantities,
            charge.records_returned,
            self._conditional(),
            duration,
            self.body_total,
            self.bytes_out,
            1,
            0,
            hold.leased,
            self.shadow,
        )
        try:
            self.entry = self._append(entry, self._released)
        except JournalError:  # closed, while stopping: as if its group had failed, once the caller of this has ended
            self.plane.count("charges.not_journalled")
            self.plane.loop.call_soon(self._released, False)

    def _append(self, entry: Entry, released: Callable[[bool], None] | None) -> Entry:
        """Journal the entry, or what of it always fits: an amount is never lost to a name that is too long."""
        try:
            self.plane.journal.append(entry, released)
        except JournalError:
            entry = unnamed(entry)
            self.plane.journal.append(entry, released)
            self.plane.count("entries.without_names")
        return entry

    def _close(self, *, outcome: str, reason: str) -> None:
        """The answer that was streamed has ended: what it really cost, as a difference to its record."""
        entry, quote, answer = self.entry, self.quote, self.answer
        assert entry is not None
        assert quote is not None
        assert answer is not None
        self.recorded = RECORDED
        duration = self._duration()
        charge = pricing.charge(quote, pricing.Answer(answer.status, None, duration))
        close = _closing(
            entry,
            credits=min(0, charge.millicredits - entry.credits),
            outcome=outcome,
            reason=reason,
            duration=duration - entry.duration,
            bytes_in=self.body_total - entry.bytes_in,
            bytes_out=self.bytes_out - entry.bytes_out,
            quantities=charge.quantities,
        )
        try:
            self._append(close, None)
        except JournalError:  # closed, while stopping: the charge on disk stands
            self.plane.count("closes.not_journalled")
        self.plane.journal.unreserve()

    def streamed(self) -> None:
        """A streamed answer was passed on to its end."""
        self.ended(outcome=CHARGED, reason="")

    def ended(self, *, outcome: str, reason: str) -> None:
        """What was passed on while it came is over."""
        self._leave()
        if self.recorded == OPEN:
            self._close(outcome=outcome, reason=reason)

    # -- answer -----------------------------------------------------------------------------------------------------

    def _released(self, durable: bool) -> None:  # noqa: C901, FBT001, PLR0912 - where each call may stand; the journal's signature
        """The record is on disk, or never will be."""
        hold = self.hold
        if not durable:
            if hold is not None:
                self.plane.book.uncharge(hold, self.charged)
                self.charged = 0
            if self.recorded == PROMISED:
                self.plane.journal.unreserve()
            self.recorded = RECORDED
            if self.phase != ENDED:
                self._drop_upstream()
                self._refuse(not_recorded(self.plane.journal.trouble))
            return
        promised = self.recorded == PROMISED
        if promised:
            self.recorded = OPEN
        if self.phase == ENDED:
            if promised:
                self._close(outcome=CUT_OFF, reason="caller_gone")
        elif self.refusal is not None:
            if promised:
                self._close(outcome=UNANSWERED, reason=self.refusal.code.lower())
            self._answer_refusal(self.refusal)
        elif promised:
            self.start_stream()
            if self.upstream is not None and not self.client.write_paused:
                self.upstream.resume()
        else:
            self._leave()
            self.deliver()
            if (tally := self.plane.tally).sampling and self.entry is not None:
                tally.answered(self.begun_at, self.sent_at, self.entry.duration)

    def own_answer_fields(self, answer: AnswerHead) -> list[bytes]:
        """What the account has left; the upstream's own words about it only where we have none."""
        account = self.account
        if account is not None:
            hold = self.hold
            now = self.plane.stamp() if hold is None else hold.stamp
            fields = self.route.standing.fields(account, charged=self.charged, now=now)
            if self.shadow:
                fields += SHADOW_FIELD % self.shadow.encode("ascii")
            if fields:
                return [fields]
        return answer.remaining

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without having charged anything."""
        caller = self.caller
        self._unreserve_body()
        self.plane.refused(refusal, caller, "" if self.match is None else self.match.operation.name)
        if caller is not None and self.match is not None:
            quote = self.quote
            self.plane.refusals.count(
                RefusalKey(
                    caller.org,
                    caller.product,
                    self.match.operation.pool,
                    caller.user,
                    caller.app,
                    self.match.operation.name,
                    self.match.module if quote is None else quote.module,
                    self.method,
                    self.match.path_template,
                    refusal.status,
                    refusal.code.lower(),
                )
            )
        self._answer_refusal(refusal)

    def _answer_refusal(self, refusal: Refusal) -> None:
        self._leave()
        content_type, content = rendered(refusal, self.route.card.card.dialect.refusals)
        fields = self.plane.date.line() + fields_of(refusal, content_type)
        if self.account is not None:
            fields += self.route.standing.fields(self.account, charged=self.charged, now=self.plane.stamp())
        if self.shadow:
            fields += SHADOW_FIELD % self.shadow.encode("ascii")
        self.refuse(refusal.status, fields, content)

    # -- small things -----------------------------------------------------------------------------------------------

    def _duration(self) -> int:
        """Microseconds since the call's turn came."""
        return (time.monotonic_ns() - self.begun_at) // 1_000

    def _facts(self, answer: AnswerHead, quote: pricing.Quote) -> pricing.AnswerFacts | None:
        """What a whole answer says: needed by some prices, and how many records it carried."""
        if answer.encoded or not self.held or not answer.content_type.startswith(JSON):
            return None
        held = self.held
        if len(held) > 1:
            self.held = held = [b"".join(held)]
        return answer_facts(quote.operation.price, held[0])

    def _conditional(self) -> int:
        answer = self.answer
        if answer is None:
            return 2 if self.head.conditional else 0
        if answer.status == 304:  # noqa: PLR2004 - RFC 9110 15.4.5
            return 3
        return 2 if self.head.conditional else int(answer.validator)


def _names(head: RequestHead) -> tuple[str, str]:
    """Function and task, found out once for a head that comes again."""
    known = head.known
    if known is None:
        return function_and_task(head)
    if known.names is None:
        known.names = function_and_task(head)
    return known.names


def _ceiling(quote: pricing.Quote) -> pricing.Charge:
    return pricing.Charge(quote.ceiling, quote.quantities, pricing.NOT_COUNTED)


def unnamed(entry: Entry) -> Entry:
    """The entry without any name a caller or a card's author can make long: below 2 KiB, whatever was called."""
    return msgspec.structs.replace(
        entry,
        user="",
        app="",
        function="",
        task="",
        module="",
        path_template="",
        api_version="",
        client_ip="",
    )


def _closing(
    entry: Entry,
    *,
    credits: int,  # noqa: A002 - the field's name
    outcome: str,
    reason: str,
    duration: int,
    bytes_in: int,
    bytes_out: int,
    quantities: dict[str, int],
) -> Entry:
    """The close of a charge: same call, stamp and dimensions, signed differences, no call of its own."""
    return msgspec.structs.replace(
        entry,
        kind=CLOSE,
        outcome=outcome,
        reason=reason,
        quote=0,
        credits=credits,
        addon=max(credits, -entry.addon),
        quantities=quantities,
        records_returned=-1,
        conditional=0,
        duration=duration,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        calls=0,
    )
