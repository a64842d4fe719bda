"""Reading bodies for pricing: what a price rule asks of a JSON body, and nothing else of it.

Items of an array are counted as `list[msgspec.Raw]`, so that 100 records (53 KB) take about 50 us. A body that is read
but is not what the rule expects has none of its items and costs the rule's minimum; a body that is not even UTF-8 text
cannot be judged and is `Unreadable`.
"""

from __future__ import annotations

import codecs
from functools import lru_cache
from typing import Any

import msgspec

from farebox.domain.names import module_name
from farebox.domain.pricing import (
    ABOVE_ALL,
    NO_BODY,
    NOT_COUNTED,
    ROLLBACK,
    AnswerFacts,
    Body,
    BodyFacts,
    Unreadable,
    whole_number,
)
from farebox.domain.pricing_coql import facts_of
from farebox.domain.pricing_rules import ByOutcome, Number, Outcome, PerItems, Price, Tiers

_NOT_AS_EXPECTED = (msgspec.DecodeError, RecursionError)
SERVED_STATUS_BELOW = 400


class _SubResponse(msgspec.Struct):
    status_code: int = 200


class _SubDetails(msgspec.Struct):
    response: _SubResponse = msgspec.field(default_factory=_SubResponse)


class _SubAnswer(msgspec.Struct):
    code: str = ""
    details: _SubDetails = msgspec.field(default_factory=_SubDetails)


class _CompositeAnswer(msgspec.Struct):
    subs: list[_SubAnswer] = msgspec.field(default_factory=list, name="__composite_requests")


class _Records(msgspec.Struct):
    data: list[msgspec.Raw] = msgspec.field(default_factory=list)


_composite_answers = msgspec.json.Decoder(_CompositeAnswer)
_records = msgspec.json.Decoder(_Records)


def body_facts(price: Price, content: bytes) -> Body:
    """What `content`, a request's whole body with no Content-Encoding, says to a price rule.

    >>> body_facts(PerItems("data", 10, 1_000, 100, 1_000, "records"), b'{"data": [{}, {}, {}]}').quantities
    {'records': 3}
    """
    if not content:
        return NO_BODY
    content = content.removeprefix(codecs.BOM_UTF8)  # RFC 8259 8.1: a reader may ignore it, so may the upstream
    match price:
        case PerItems():
            found = _at(price.path, list[msgspec.Raw], content)
            return _charset_or(content, found, BodyFacts({price.quantity: len(found or ())}))
        case Tiers(number=Number.COQL_LIMIT):
            select_query = _at(price.at, str, content)
            return _charset_or(content, select_query, _coql(price, select_query or ""))
        case Tiers(number=Number.BODY):
            said = _at(price.at, msgspec.Raw, content)
            return _charset_or(content, said, BodyFacts({price.quantity: _whole(said, price.default)}))
        case ByOutcome(outcome=Outcome.ROLLBACK):
            mode = _at("rollback_on_fail", Any, content)
            return _charset_or(content, mode, BodyFacts({ROLLBACK: int(mode not in (None, False))}))
        case _:
            return NO_BODY


def answer_facts(price: Price, content: bytes) -> AnswerFacts | None:
    """What an answer's whole body with no Content-Encoding says; None when it is not what the rule can read.

    For a composite: whether there is at least one sub-request and all of them succeeded.
    """
    if isinstance(price, ByOutcome) and price.outcome is Outcome.ROLLBACK:
        try:
            subs = _composite_answers.decode(content).subs
        except _NOT_AS_EXPECTED:
            return None
        served = [sub.code == "SUCCESS" and sub.details.response.status_code < SERVED_STATUS_BELOW for sub in subs]
        return AnswerFacts(succeeded=bool(served) and all(served))
    return AnswerFacts(succeeded=True, records=records_in(content))


def records_in(content: bytes) -> int:
    """How many records stand in `data` of an answer; -1 when it is not JSON of that shape."""
    try:
        return len(_records.decode(content).data)
    except _NOT_AS_EXPECTED:
        return NOT_COUNTED


def _whole(said: msgspec.Raw | None, default: int) -> int:
    """A JSON number or a text with one; what is a number but not plainly whole (1e3, 1.5, -1) is above every tier."""
    written = b"" if said is None else bytes(said)
    if written[:1] == b'"':
        return whole_number(msgspec.json.decode(written, type=str), default=default)
    if written[:1].isdigit() or written[:1] == b"-":
        return whole_number(written.decode("ascii"), default=ABOVE_ALL)
    return default


def _coql(price: Tiers, select_query: str) -> BodyFacts:
    said = facts_of(select_query)
    limit = price.default if said.limit is None else said.limit
    return BodyFacts({price.quantity: limit}, module=module_name(said.module))


def _charset_or(content: bytes, found: object, facts: BodyFacts) -> Body:
    if found is None and (b"\0" in content[:4] or not _is_utf8(content)):
        return Unreadable("the body is not UTF-8 text")
    return facts


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _at(path: str, kind: Any, content: bytes) -> Any:  # noqa: ANN401 - the kind asked for, or None
    """The value at a dotted path, None when it is absent, of another kind, or the content is not JSON."""
    keys = path.split(".")
    try:
        value = _decoder(path, kind).decode(content)
    except _NOT_AS_EXPECTED:
        return None
    for _ in keys:
        value = getattr(value, "value", None)
    return value


@lru_cache(maxsize=256)  # one per path of the cards loaded
def _decoder(path: str, kind: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401 - a type
    inner = kind
    for depth, key in enumerate(reversed(path.split("."))):
        inner = msgspec.defstruct(
            f"At{depth}", [("value", inner if inner is msgspec.Raw else inner | None, None)], rename={"value": key}
        )
    return msgspec.json.Decoder(inner)
