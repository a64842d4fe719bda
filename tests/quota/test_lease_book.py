"""A lease book against the memory store: what callers of a gateway see. Time passes only when told."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from farebox.domain.identity import Account
from farebox.errors import QuotaProtocolError
from farebox.quota.clock import ManualClock
from farebox.quota.leases import Hold, LeaseBook, Refusal
from farebox.quota.memory import MemoryQuotaStore
from farebox.quota.port import AccountSync, AllowanceInForce, Gateway, Position, SyncReply, SyncRequest

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND
ACCOUNT = Account("acme", "crm", "api")


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: object, **options: object) -> None:
        asyncio.run(test(*arguments, **options))

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run


class Desk:
    """A book, the store behind it, and syncs that happen when told."""

    def __init__(self, *, total: int = 1_000, plan_part: int | None = None, fail_open: bool = False) -> None:
        self.clock = ManualClock(true=T0)
        self.totals: dict[Account, AllowanceInForce] = {}
        self.default = self.allowance(total, plan_part)
        self.store = MemoryQuotaStore(allowance_of=lambda a: self.totals.get(a, self.default), host=self.clock)
        self.wakes = 0
        gateway = Gateway("host", 0, "life-1")
        self.book = LeaseBook(gateway, self.clock.boottime, wake=self.wake, fail_open=fail_open)
        self.position = 0

    @staticmethod
    def allowance(total: int, plan_part: int | None = None, *, suspended: bool = False) -> AllowanceInForce:
        own = total if plan_part is None else plan_part
        return AllowanceInForce(total, own, "p", own, 0, 0, total - own, None, 1, suspended)

    def wake(self) -> None:
        self.wakes += 1

    def build(self) -> SyncRequest:
        request = self.book.build_sync()
        assert request is not None
        return request

    def sync(self, *, round_trip: int = 0) -> SyncReply:
        request, sent_at = self.build(), self.clock.boottime()
        reply = self.store.sync(request)
        self.clock.advance(round_trip)
        self.book.apply(reply, sent_at, self.clock.boottime())
        return reply

    def build_and_apply(self) -> tuple[AccountSync, ...]:
        request, now = self.build(), self.clock.boottime()
        self.book.apply(self.store.sync(request), now, now)
        return request.accounts

    def build_and_apply_later(self) -> tuple[AccountSync, ...]:
        self.clock.advance(SECOND // 2)
        return self.build_and_apply()

    def hold(self, ceiling: int, account: Account = ACCOUNT) -> Hold:
        found = self.book.admit(account, ceiling)
        if found is None:
            future = self.book.wait(account, ceiling)
            self.sync()
            found = future.result()
        assert isinstance(found, Hold)
        return found

    def refusal(self, ceiling: int, account: Account = ACCOUNT) -> Refusal:
        future = self.book.wait(account, ceiling)
        self.sync()
        found = future.result()
        assert isinstance(found, Refusal)
        return found

    def commit(self, hold: Hold, amount: int) -> None:
        self.book.charge(hold, amount)
        self.book.settled(hold.account, hold.stamp // SECOND, amount)
        self.position += 100
        self.book.settled_to(Position(1, self.position))


@in_a_loop
async def test_the_first_call_waits_for_one_sync_and_the_next_ones_for_none() -> None:
    desk = Desk()
    assert desk.book.admit(ACCOUNT, 10) is None
    future = desk.book.wait(ACCOUNT, 10)
    assert (desk.wakes, desk.book.due_in()) == (1, 0)
    desk.sync()
    assert isinstance(future.result(), Hold)
    assert isinstance(desk.book.admit(ACCOUNT, 10), Hold)


@in_a_loop
async def test_calls_that_come_while_a_sync_is_under_way_share_the_next() -> None:
    desk = Desk()
    first = desk.book.wait(ACCOUNT, 500)
    request, sent_at = desk.build(), desk.clock.boottime()
    later = [desk.book.wait(ACCOUNT, 200), desk.book.wait(ACCOUNT, 200), desk.book.wait(ACCOUNT, 200)]
    assert desk.book.build_sync() is None, "one in flight"
    desk.book.apply(desk.store.sync(request), sent_at, sent_at)
    assert isinstance(first.result(), Hold)
    assert desk.book.due_in() == 0
    desk.sync()
    assert [type(future.result()) for future in later[:2]] == [Hold, Hold]
    desk.sync()  # the first one kept something spendable: the third is only refused where nothing was kept
    assert isinstance(later[2].result(), Refusal)


@in_a_loop
async def test_a_charge_returns_the_rest_of_its_ceiling_at_once() -> None:
    desk = Desk()
    hold = desk.hold(600)
    assert desk.book.left(ACCOUNT) == 400
    desk.book.charge(hold, 100)
    assert desk.book.left(ACCOUNT) == 900
    assert isinstance(desk.book.admit(ACCOUNT, 500), Hold)


@in_a_loop
async def test_a_released_hold_costs_nothing() -> None:
    desk = Desk()
    desk.book.release(desk.hold(1_000))
    assert desk.book.left(ACCOUNT) == 1_000
    desk.clock.advance(SECOND)
    desk.sync()
    view = desk.store.view(ACCOUNT)
    assert view.used == 0
    desk.clock.advance(SECOND)
    desk.sync()


@in_a_loop
async def test_a_hold_ends_once() -> None:
    desk = Desk()
    hold = desk.hold(10)
    desk.book.charge(hold, 10)
    with pytest.raises(AssertionError):
        desk.book.charge(hold, 10)
    other = desk.hold(10)
    with pytest.raises(AssertionError):
        desk.book.charge(other, 11)


@in_a_loop
async def test_a_charge_stays_kept_until_it_was_settled() -> None:
    desk = Desk()
    hold = desk.hold(1_000)
    desk.book.charge(hold, 900)
    for _ in range(5):  # its journal group takes long
        desk.clock.advance(SECOND)
        desk.sync()
        assert desk.store.view(ACCOUNT).held >= 900
    desk.book.settled(ACCOUNT, hold.stamp // SECOND, 900)
    desk.book.settled_to(Position(1, 100))
    desk.clock.advance(SECOND)
    desk.sync()
    view = desk.store.view(ACCOUNT)
    assert (view.used, view.rows) == (900, ((hold.stamp // SECOND, 900),))
    assert desk.store.alarms() == ()


@in_a_loop
async def test_a_refund_is_settled_in_the_second_of_its_charge() -> None:
    desk = Desk()
    hold = desk.hold(500)
    desk.commit(hold, 500)
    desk.clock.advance(SECOND)
    desk.sync()
    desk.book.settled(ACCOUNT, hold.stamp // SECOND, -300)
    desk.book.settled_to(Position(1, 200))
    assert desk.book.left(ACCOUNT) == 800, "seen at once"
    desk.clock.advance(SECOND)
    desk.sync()
    assert desk.store.view(ACCOUNT).rows == ((hold.stamp // SECOND, 200),)
    assert desk.book.left(ACCOUNT) == 800


@in_a_loop
async def test_a_charge_whose_record_failed_is_no_charge() -> None:
    desk = Desk()
    hold = desk.hold(500)
    desk.book.charge(hold, 400)
    desk.book.uncharge(hold, 400)
    assert desk.book.left(ACCOUNT) == 1_000
    desk.clock.advance(SECOND)
    desk.sync()
    assert desk.store.view(ACCOUNT).used == 0


@in_a_loop
async def test_a_lease_is_not_spent_after_its_deadline_however_late_the_reply_was() -> None:
    desk = Desk()
    desk.hold(10)
    desk.clock.advance(1_949_999)
    assert isinstance(desk.book.admit(ACCOUNT, 1), Hold)
    desk.clock.advance(1)
    assert desk.book.admit(ACCOUNT, 1) is None

    future = desk.book.wait(ACCOUNT, 10)
    desk.sync(round_trip=5 * SECOND)
    assert not future.done(), "what a reply lends that came after its deadline is not spent: the call asks again"
    assert desk.book.due_in() == 0
    desk.sync()
    assert isinstance(future.result(), Hold)


@in_a_loop
async def test_a_paused_gateway_spends_nothing_when_it_wakes_up() -> None:
    desk = Desk()
    desk.hold(100)
    desk.clock.advance(3_600 * SECOND)  # SIGSTOP, or the laptop was shut
    assert desk.book.admit(ACCOUNT, 1) is None


@in_a_loop
async def test_stamps_are_monotone_never_ahead_of_the_store_and_late_by_at_most_a_round_trip() -> None:
    desk = Desk()
    last = 0
    for round_trip in (0, 200_000, 1_500_000, 10_000, 700_000):
        future = desk.book.wait(ACCOUNT, 1)
        desk.sync(round_trip=round_trip)
        assert isinstance(future.result(), Hold)
        for _ in range(10):
            stamp = desk.book.stamp()
            assert last <= stamp <= desk.store.now()
            assert desk.store.now() - stamp <= 1_500_000 + 1_000
            last = stamp
            desk.clock.advance(30_000)


@in_a_loop
async def test_one_slow_reply_does_not_make_stamps_late_that_were_not() -> None:
    desk = Desk()
    desk.hold(1)
    desk.book.wait(ACCOUNT, 1_000)
    desk.sync(round_trip=1_500_000)
    assert desk.store.now() - desk.book.stamp() <= 1_000


@in_a_loop
async def test_told_that_credits_are_short_a_gateway_keeps_nothing_that_is_not_held() -> None:
    for total, kept in ((10_000, 200), (300, 0)):
        desk = Desk(total=total)
        desk.book.release(desk.hold(200))
        (part,) = desk.build_and_apply_later()
        assert part.keeps == kept, "one usual call, as long as there is enough for all"


@in_a_loop
async def test_the_add_on_part_of_charges_is_what_lies_above_the_plans_own_credits() -> None:
    desk = Desk(total=1_000, plan_part=600)
    addons = []
    for _ in range(10):
        hold = desk.hold(100)
        addons.append(desk.book.charge(hold, 100))
    assert sum(addons) == 400
    assert addons[:5] == [0] * 5


@in_a_loop
async def test_a_refusal_is_remembered_so_that_hammering_costs_no_sync_and_a_cheaper_call_is_still_admitted() -> None:
    desk = Desk()
    desk.commit(desk.hold(900), 900)
    desk.clock.advance(SECOND)
    desk.sync()
    assert desk.refusal(200).reason == "allowance"
    wakes = desk.wakes
    for _ in range(1_000):
        found = desk.book.admit(ACCOUNT, 200)
        assert isinstance(found, Refusal)
        assert found.retry_after == 86_401
    assert isinstance(desk.book.admit(ACCOUNT, 201), Refusal)
    assert desk.wakes == wakes, "no sync was asked for"
    assert isinstance(desk.hold(50), Hold)


@in_a_loop
async def test_a_refusal_is_remembered_until_the_next_sync_which_asks_again_for_those_refused() -> None:
    desk = Desk()
    desk.commit(desk.hold(900), 900)
    desk.clock.advance(SECOND)
    desk.sync()
    desk.refusal(200)
    assert isinstance(desk.book.admit(ACCOUNT, 200), Refusal)
    for _ in range(60):  # as long as somebody hammers
        desk.clock.advance(SECOND // 2)
        assert [part.asks for part in desk.build_and_apply()] == [200]
        assert isinstance(desk.book.admit(ACCOUNT, 200), Refusal)
    desk.default = desk.allowance(2_000)
    desk.clock.advance(SECOND // 2)
    desk.sync()
    assert isinstance(desk.hold(200), Hold), "a raised allowance applies within a second"


@in_a_loop
async def test_a_ceiling_above_the_whole_allowance_gets_a_different_reason_and_no_retry_after() -> None:
    found = Desk().refusal(1_001)
    assert (found.reason, found.retry_after) == ("never_fits", None)


@in_a_loop
async def test_a_suspended_org_is_refused_within_one_lease_time() -> None:
    desk = Desk()
    desk.hold(10)
    assert isinstance(desk.book.admit(ACCOUNT, 1), Hold)
    desk.default = desk.allowance(0, suspended=True)
    desk.clock.advance(SECOND // 2)
    desk.sync()
    assert desk.book.admit(ACCOUNT, 1) is None
    assert desk.refusal(1).reason == "suspended"


@in_a_loop
async def test_a_lowered_allowance_is_not_undercut_by_what_ending_holds_return() -> None:
    desk = Desk()
    hold = desk.hold(900)
    desk.default = desk.allowance(500)
    desk.clock.advance(SECOND // 2)
    desk.sync()
    desk.book.charge(hold, 600)
    assert desk.book.admit(ACCOUNT, 100) is None
    assert desk.refusal(100).reason == "allowance"


@in_a_loop
async def test_short_of_credits_the_last_one_can_be_spent() -> None:
    desk = Desk(total=100)
    for _ in range(100):
        desk.commit(desk.hold(1), 1)
        desk.clock.advance(10_000)
    assert desk.refusal(1).reason == "allowance"
    assert desk.book.left(ACCOUNT) == 0


@in_a_loop
async def test_retry_after_names_the_second_from_which_the_call_is_admitted() -> None:
    desk = Desk()
    for _ in range(10):
        desk.commit(desk.hold(100), 100)
        desk.clock.advance(60 * SECOND)
    refused = desk.refusal(250)
    assert refused.retry_after is not None
    desk.clock.advance((refused.retry_after - 2) * SECOND)
    assert desk.refusal(250).reason == "allowance"
    desk.clock.advance(2 * SECOND)
    assert isinstance(desk.hold(250), Hold)


@in_a_loop
async def test_without_the_store_calls_go_on_within_their_leases_and_then_fail_closed() -> None:
    desk = Desk()
    desk.hold(100)
    desk.book.charge(desk.hold(50), 0)
    waiting = desk.book.wait(ACCOUNT, 900)
    request, sent_at = desk.build(), desk.clock.boottime()
    desk.book.unreachable()
    found = waiting.result()
    assert isinstance(found, Refusal)
    assert (found.reason, found.retry_after) == ("quota_unavailable", None)
    assert isinstance(desk.book.admit(ACCOUNT, 10), Hold), "within the lease"
    desk.clock.advance(2 * SECOND)
    answer = desk.book.wait(ACCOUNT, 10).result()
    assert isinstance(answer, Refusal)
    assert answer.reason == "quota_unavailable"
    desk.book.apply(desk.store.sync(request), sent_at, desk.clock.boottime())
    assert isinstance(desk.hold(10), Hold), "and on again when the store is back"


@in_a_loop
async def test_failing_open_lets_calls_through_unleased_and_books_them() -> None:
    desk = Desk(fail_open=True)
    desk.hold(10)
    desk.book.wait(ACCOUNT, 1_000)
    request, sent_at = desk.build(), desk.clock.boottime()
    desk.book.unreachable()
    desk.clock.advance(2 * SECOND)
    hold = desk.book.wait(ACCOUNT, 700).result()
    assert isinstance(hold, Hold)
    assert not hold.leased
    desk.commit(hold, 700)
    desk.book.apply(desk.store.sync(request), sent_at, desk.clock.boottime())
    desk.clock.advance(SECOND)
    desk.sync()
    assert desk.store.view(ACCOUNT).used == 700
    assert desk.store.alarms() == ()


@in_a_loop
async def test_a_call_let_through_unleased_is_counted_from_the_next_sync_and_never_lends_what_it_returns() -> None:
    desk = Desk()
    desk.hold(900)
    over = desk.book.let_through(ACCOUNT, 500)
    assert isinstance(over, Hold)
    assert not over.leased
    assert desk.book.held() == 1_400
    assert not desk.book.may_close(), "it is in flight"
    desk.clock.advance(SECOND)
    assert desk.sync().accounts[0].snapshot.lent == 1_400
    desk.commit(over, 200)
    desk.clock.advance(SECOND)
    desk.sync()
    view = desk.store.view(ACCOUNT)
    assert (view.used, view.held) == (200, 900)
    assert desk.store.alarms() == ()


@in_a_loop
async def test_what_a_call_let_through_did_not_cost_was_never_lent_and_is_not_spent() -> None:
    desk = Desk()
    desk.book.release(desk.hold(10))
    free = desk.book.free()
    over = desk.book.let_through(ACCOUNT, 500)
    assert isinstance(over, Hold)
    desk.book.charge(over, 200)
    assert desk.book.free() == free
    assert desk.book.held() == 0


@in_a_loop
async def test_a_call_let_through_whose_record_failed_leaves_nothing_behind() -> None:
    desk = Desk()
    desk.hold(900)
    over = desk.book.let_through(ACCOUNT, 500)
    assert isinstance(over, Hold)
    desk.book.charge(over, 500)
    desk.book.uncharge(over, 500)
    desk.clock.advance(SECOND)
    assert desk.sync().accounts[0].snapshot.lent == 900
    desk.book.release(desk.hold(50))
    assert desk.book.left(ACCOUNT) == 100


@in_a_loop
async def test_nothing_is_let_through_before_the_store_was_reached_once() -> None:
    assert Desk(fail_open=True).book.let_through(ACCOUNT, 1) is None


@in_a_loop
async def test_a_caller_that_went_away_leaves_its_credits_to_others() -> None:
    desk = Desk()
    gone, stays = desk.book.wait(ACCOUNT, 600), desk.book.wait(ACCOUNT, 600)
    desk.book.cancel_wait(gone)
    desk.sync()
    assert isinstance(stays.result(), Hold)
    late = desk.book.wait(ACCOUNT, 300)
    desk.sync()
    desk.book.cancel_wait(late)
    assert desk.book.left(ACCOUNT) == 400


@in_a_loop
async def test_idle_accounts_are_given_up_and_forgotten() -> None:
    desk = Desk()
    accounts = [Account(f"org{n}", "crm", "api") for n in range(3_000)]
    waits = [desk.book.wait(account, 100) for account in accounts]
    while desk.book.due_in() == 0:
        assert len(desk.build_and_apply()) <= 1_000
    for wait in waits:
        hold = wait.result()
        assert isinstance(hold, Hold)
        desk.book.release(hold)
    for _ in range(200):
        desk.clock.advance(SECOND // 4)
        while desk.book.due_in() == 0:
            desk.sync()
    assert desk.book.accounts() == 0
    assert desk.store.view(accounts[0]).held == 0


@in_a_loop
async def test_all_accounts_in_use_keep_their_holds_whatever_their_number() -> None:
    desk = Desk()
    accounts = [Account(f"org{n}", "crm", "api") for n in range(2_500)]
    holds = []
    waits = [desk.book.wait(account, 100) for account in accounts]
    while desk.book.due_in() == 0:
        desk.sync()
    for wait in waits:
        hold = wait.result()
        assert isinstance(hold, Hold)
        holds.append(hold)
    for _ in range(40):
        desk.clock.advance(SECOND // 4)
        while desk.book.due_in() == 0:
            desk.sync()
    assert all(desk.store.view(account).unaccounted == 0 for account in accounts)
    for hold in holds:
        desk.commit(hold, 70)
    for _ in range(8):
        desk.clock.advance(SECOND // 4)
        while desk.book.due_in() == 0:
            desk.sync()
    assert all(desk.store.view(account).used == 70 for account in accounts)
    assert desk.store.settled_to(desk.book.gateway.incarnation) == Position(1, desk.position)
    assert desk.store.alarms() == ()


@in_a_loop
async def test_the_last_sync_gives_everything_back_and_closes_the_incarnation() -> None:
    desk = Desk()
    hold = desk.hold(300)
    assert not desk.book.may_close()
    desk.book.charge(hold, 200)
    assert not desk.book.may_close(), "charged, and not yet recorded"
    desk.book.settled(ACCOUNT, hold.stamp // SECOND, 200)
    desk.book.settled_to(Position(1, 100))
    assert desk.book.may_close()
    request = desk.book.build_sync(closing=True)
    assert request is not None
    desk.store.sync(request)
    view = desk.store.view(ACCOUNT)
    assert (view.used, view.held) == (200, 0)
    assert desk.store.is_closed(desk.book.gateway.incarnation)


@in_a_loop
async def test_a_reply_that_answers_nothing_is_refused() -> None:
    desk = Desk()
    desk.hold(1)
    with pytest.raises(QuotaProtocolError):
        desk.book.apply(SyncReply(7, T0, (), 0), 0, 0)


@pytest.mark.parametrize(("total", "spent", "ceiling"), [(15, 3, 12), (100, 30, 60), (17, 5, 12), (5_000, 10, 4_985)])
def test_a_call_that_fits_is_admitted_though_the_lease_held_a_part_of_what_it_needs(
    total: int, spent: int, ceiling: int
) -> None:
    async def scenario() -> None:
        desk = Desk(total=total)
        desk.book.charge(desk.hold(spent), spent)
        assert desk.book.admit(ACCOUNT, ceiling) is None
        waiting = desk.book.wait(ACCOUNT, ceiling)
        desk.sync()
        assert not waiting.done() or isinstance(waiting.result(), Hold)
        if not waiting.done():
            assert desk.book.admit(ACCOUNT, ceiling) is None, "others are not refused meanwhile"
            desk.sync()
        assert isinstance(waiting.result(), Hold)

    asyncio.run(scenario())


@in_a_loop
async def test_calls_of_a_thousand_accounts_in_turn_settle_in_one_sync_and_who_waits_is_not_behind_it() -> None:
    desk = Desk()
    accounts = [Account(f"org{n}", "crm", "api") for n in range(1_000)]
    waits = [desk.book.wait(account, 100) for account in accounts]
    while desk.book.due_in() == 0:
        desk.build_and_apply()
    for wait in waits:
        hold = wait.result()
        assert isinstance(hold, Hold)
        desk.book.charge(hold, 100)
    for number, account in enumerate(2 * accounts, start=1):  # commit groups of one entry: every account in turn, twice
        desk.book.settled(account, T0 // SECOND, 50)
        desk.book.settled_to(Position(1, number))
    waiting = desk.book.wait(Account("late", "crm", "api"), 100)
    first, second = desk.build_and_apply(), desk.build_and_apply()
    late = waiting.result()
    assert isinstance(late, Hold)
    desk.book.release(late)
    assert [part.org for part in first][:1] == ["late"]
    assert len(second) == 1_000
    assert sum(amount for part in second for _, amount in part.settled) == 100_000
    assert desk.book.may_close()
