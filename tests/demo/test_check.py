"""The demo's verdict: whatever a witness says differently is named, and nothing else is."""

from __future__ import annotations

import json
from collections import Counter
from http import HTTPStatus

import httpx
import msgspec
import pytest

from farebox.demo.cast import Organisation, cast
from farebox.demo.plain import step_of
from farebox.demo.programs import Done
from farebox.demo.seen import CHARGED_HEADER, SOME_SECONDS, Seen, Step, Upserted, words
from farebox.demo.strategies import NAIVE, PERSON, THRIFTY, spent
from farebox.demo.verdict import Charges, Page, Program, Verdict, judge, priced_by_card, table, total

BAKERY = "Corner Bakery"
SINGLE = ("POST", "insert_records", 1_000)
TWENTY = ("POST", "insert_records", 2_000)


@pytest.fixture
def bakery() -> Organisation:
    return next(organisation for organisation in cast() if organisation.name == BAKERY)


def _log(organisation: Organisation, *records: int) -> str:
    """The CRM API's request log of inserts of so many records."""
    call = {"zgid": organisation.org, "method": "POST", "path": "/bigin/v2/Contacts", "query": "", "status": 201}
    return "\n".join(json.dumps({**call, "records": count}) for count in records)


def _priced(organisation: Organisation) -> Charges:
    return priced_by_card(organisation, _log(organisation, *[1] * 20, 20))


def _partial(**changed: object) -> Step:
    """An insert that was answered as it must be, but for what is `changed`."""
    seen = Seen(HTTPStatus.MULTI_STATUS, written=2, of=3, refused=("MANDATORY_NOT_FOUND",))
    right = Step("3 records", seen=(seen,), must_see=(seen,), charged=1_000, must_cost=1_000)
    return msgspec.structs.replace(right, **changed)


def _judged(priced: Charges, charges: Charges, *, page: Page | None = None, step: Step | None = None) -> Verdict:
    agreed = Page(quota=total(charges), used=total(charges), apps=total(charges), users=total(charges))
    return judge(BAKERY, priced=priced, charges=charges, page=page or agreed, steps=[step or _partial()])


def test_the_card_prices_what_arrived_by_itself(bakery: Organisation) -> None:
    assert _priced(bakery) == Counter({SINGLE: 20, TWENTY: 1})


def test_another_organisations_calls_are_not_priced(bakery: Organisation) -> None:
    assert not priced_by_card(bakery, _log(next(each for each in cast() if each.name != BAKERY), 1, 20))


def test_witnesses_that_say_the_same_agree(bakery: Organisation) -> None:
    verdict = _judged(_priced(bakery), _priced(bakery))
    assert verdict.agrees
    assert "yes" in table([verdict])


def test_one_charge_at_a_tampered_price_is_named(bakery: Organisation) -> None:
    charges = _priced(bakery)
    charges[SINGLE] -= 1
    charges[TWENTY] += 1
    verdict = _judged(_priced(bakery), charges)
    assert verdict.differences == (
        "POST insert_records at 1: card says 20 times, charged 19 times",
        "POST insert_records at 2: card says 1 times, charged 2 times",
    )
    assert "NO" in table([verdict])
    assert verdict.differences[0] in table([verdict])


@pytest.mark.parametrize(
    ("witness", "name"),
    [
        ("quota", "quota"),
        ("used", "the page's used"),
        ("apps", "the page's sum of applications"),
        ("users", "the page's sum of users"),
    ],
)
def test_a_sum_that_is_off_by_a_thousandth_is_named(bakery: Organisation, witness: str, name: str) -> None:
    sums = dict.fromkeys(("quota", "used", "apps", "users"), 22_000) | {witness: 22_001}
    verdict = _judged(_priced(bakery), _priced(bakery), page=Page(**sums))
    assert verdict.differences == (f"{name} says 22.001, the entries sum up to 22",)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (
            {"seen": (Seen(HTTPStatus.CREATED, written=3, of=3),)},
            "3 records: must see 207, 2 of 3 records, the other MANDATORY_NOT_FOUND; saw 201, 3 of 3 records",
        ),
        ({"seen": ()}, "3 records: must see 207, 2 of 3 records, the other MANDATORY_NOT_FOUND; saw no answer"),
        ({"charged": 3_000}, "3 records: the card says 1, the answers named 3"),
        ({"charged": None}, "3 records: an answer named no X-Farebox-Credits-Charged"),
    ],
)
def test_a_step_that_saw_or_paid_something_else_is_named(
    bakery: Organisation, changed: dict[str, object], difference: str
) -> None:
    assert _judged(_priced(bakery), _priced(bakery), step=_partial(**changed)).differences == (difference,)


def _refused(retry_after: str) -> Step:
    must_see = Seen(HTTPStatus.TOO_MANY_REQUESTS, exception="TOO_MANY_REQUESTS", retry_after=SOME_SECONDS)
    seen = msgspec.structs.replace(must_see, retry_after=retry_after)
    return Step("refused", seen=(seen,), must_see=(must_see,), charged=0, must_cost=0)


@pytest.mark.parametrize("retry_after", ["1", "86400"])
def test_a_refusal_may_name_any_wait_within_a_day(retry_after: str) -> None:
    assert not _refused(retry_after).differences()


@pytest.mark.parametrize("retry_after", ["", "0", "86401", "-1", "soon"])
def test_a_refusal_without_a_possible_wait_is_a_difference(retry_after: str) -> None:
    assert len(_refused(retry_after).differences()) == 1


def test_the_answers_of_an_upsert_are_read_record_by_record() -> None:
    results = [
        {"status": "success", "code": "SUCCESS", "action": "update", "duplicate_field": "Email"},
        {"status": "success", "code": "SUCCESS", "action": "insert", "duplicate_field": None},
        {"status": "error", "code": "INVALID_DATA"},
    ]
    answer = httpx.Response(207, json={"data": results}, headers={CHARGED_HEADER: "0.25"})
    step = step_of("upsert", [answer, answer], must_see=[], must_cost=1)
    upserted = (Upserted("update", "Email"), Upserted("insert", None))
    assert step.seen == (Seen(207, written=2, of=3, refused=("INVALID_DATA",), upserted=upserted),) * 2
    assert step.charged == 500
    assert words(step.seen) == "2 x 207, 2 of 3 records, the other INVALID_DATA, 1 update by Email, 1 insert"


def test_one_answer_that_names_no_charge_leaves_the_step_without_a_sum() -> None:
    named = httpx.Response(204, headers={CHARGED_HEADER: "1"})
    assert step_of("read", [named, httpx.Response(204)], must_see=[], must_cost=2).charged is None


@pytest.mark.parametrize(
    ("witness", "difference"),
    [
        ("entries", "Lead sync, naive: the entries of its app say 639, its answers named 640"),
        ("page", "Lead sync, naive: the page says of it 639, its answers named 640"),
    ],
)
def test_a_program_whose_spending_shows_elsewhere_is_named(bakery: Organisation, witness: str, difference: str) -> None:
    sums = {"answers": 640_000, "entries": 640_000, "page": 640_000} | {witness: 639_000}
    agreed = Page(quota=22_000, used=22_000, apps=22_000, users=22_000)
    verdict = judge(
        BAKERY,
        priced=_priced(bakery),
        charges=_priced(bakery),
        page=agreed,
        steps=[],
        programs=[Program(name=NAIVE, **sums)],
    )
    assert verdict.differences == (difference,)


def test_the_sums_of_the_same_job_are_of_both_programs_and_of_nobody_else() -> None:
    organisation = cast()[0]

    def done(position: int, name: str, credits_charged: int | None) -> Done:
        step = Step(name, seen=(), must_see=(), charged=credits_charged, must_cost=0)
        return Done(organisation.name, organisation.people[position].name, step)

    naive, thrifty = PERSON[NAIVE], PERSON[THRIFTY]
    steps = [done(naive, "searches", 600_000), done(naive, "polls", 40_000), done(thrifty, "upserts", 23_000)]
    steps += [done(naive, "history, inserts", 1_000_000), done(thrifty, "history, bulk", 502_000)]
    others = [done(0, "searches", 77_000), done(1, "by hand", 4_000)]
    assert [str(each) for each in spent(steps + others, organisation)] == [
        "the same 200 leads: 640 credits, 23 credits (27.8 times as many)",
        "the same 10,000 records of history: 1,000 credits, 502 credits (2.0 times as many)",
    ]
    assert spent([*steps, done(thrifty, "upserts", None)], organisation) == []
