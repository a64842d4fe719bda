"""The promises every quota store keeps (quota/port.py), each against a clock that passes only when told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from farebox.domain import window
from farebox.domain.identity import Account
from farebox.errors import JournalCorruptError, QuotaProtocolError, UnknownNameError
from farebox.quota.adoption import Rest, settle_one
from farebox.quota.chunks import Chunk
from farebox.quota.clock import ManualClock
from farebox.quota.port import AccountReply, AccountSync, Position

from .quota_world import ACCOUNT, DAY, HOUR, MINUTE, OTHER, SECOND, T0, World, allowance, memory_store, sqlite_store

LEASE = 2 * SECOND


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    make = {"memory": memory_store, "sqlite": sqlite_store(tmp_path / "quota.db")}[request.param]
    made = World(ManualClock(true=T0), make)
    yield made
    made.store.close()


# --- a sync: lend, keep, give up ---------------------------------------------------------------------------------


def test_a_grant_never_exceeds_what_remains(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    assert one.sync(needs=(600,), likes=10).granted == 610
    reply = two.sync(needs=(400,), likes=10)
    assert (reply.needs_granted, reply.granted) == ((False,), 10)
    reply = two.sync(keeps=10, needs=(380,))
    assert (reply.needs_granted, reply.granted) == ((True,), 380)
    assert world.store.view(ACCOUNT).held == 1_000


def test_needs_are_granted_whole_in_order_and_smaller_ones_behind_go_on(world: World) -> None:
    reply = world.gateway().sync(needs=(700, 400, 200, 150, 100))
    assert reply.needs_granted == (True, False, True, False, True)
    assert reply.granted == 1_000


def test_what_a_sync_does_not_keep_is_given_up(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    one.sync(needs=(1_000,))
    one.sync(keeps=300)
    assert two.sync(needs=(701, 700)).needs_granted == (False, True)


def test_accounts_that_are_not_in_a_sync_keep_what_they_have(world: World) -> None:
    one = world.gateway()
    one.sync(needs=(1_000,))
    one.sync(needs=(5,), account=OTHER)
    assert world.store.view(ACCOUNT).held == 1_000
    assert world.gateway().sync(needs=(1,)).needs_granted == (False,)


def test_accounts_never_mix(world: World) -> None:
    gateway = world.gateway()
    gateway.spend(1_000)
    gateway.spend(400, OTHER)
    assert (world.used(ACCOUNT), world.used(OTHER)) == (1_000, 400)


def test_a_hold_of_thirty_seconds_is_counted_once_and_never_spent_twice(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    one.sync(needs=(900,))
    admitted = world.second()
    for _ in range(30):
        world.clock.advance(SECOND)
        one.sync(keeps=900)
        assert two.sync(needs=(101,)).needs_granted == (False,)
    one.sync(settled=((admitted, 900),))
    view = world.store.view(ACCOUNT)
    assert (view.used, view.held, view.unaccounted, view.rows) == (900, 0, 0, ((admitted, 900),))


def test_a_hold_whose_gateway_was_paused_for_longer_than_its_lease_is_counted_once(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    one.sync(needs=(900,))
    admitted = world.second()
    world.clock.advance(30 * SECOND)
    assert two.sync(needs=(101,)).needs_granted == (False,)
    assert world.store.view(ACCOUNT).unaccounted == 900
    one.sync(keeps=900)
    view = world.store.view(ACCOUNT)
    assert (view.used, view.held, view.unaccounted) == (0, 900, 0)
    one.sync(settled=((admitted, 850),))
    view = world.store.view(ACCOUNT)
    assert (view.used, view.held, view.rows) == (850, 0, ((admitted, 850),))
    assert world.store.alarms() == ()


def test_more_settled_than_lent_is_booked_all_the_same_and_raises_an_alarm(world: World) -> None:
    gateway = world.gateway()
    gateway.sync(needs=(100,))
    gateway.sync(settled=((world.second(), 150),), keeps=30)
    assert world.used() == 150
    (alarm,) = world.store.alarms()
    assert (alarm.over, alarm.org, alarm.incarnation) == (80, "acme", gateway.gateway.incarnation)


def test_spend_said_to_be_unleased_is_booked_counted_and_no_reason_for_an_alarm(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    one.sync(needs=(900,))
    reply = one.sync(keeps=900 + 400, unleased=400)
    assert reply.snapshot.lent == 1_300, "in flight it is counted like any other hold"
    second = world.second()
    assert two.sync(needs=(1,)).needs_granted == (False,)
    one.sync(settled=((second, 1_250),))
    view = world.store.view(ACCOUNT)
    assert (view.used, view.held) == (1_250, 0), "used may exceed the total"
    assert two.sync(needs=(1,), likes=100).granted == 0
    one.sync(settled=((second, 30),), unleased=30)
    assert world.used() == 1_280
    assert world.store.alarms() == ()
    world.clock.advance(DAY + SECOND)
    assert two.sync(needs=(1_000,)).needs_granted == (True,)


def test_what_was_neither_lent_nor_said_to_be_unleased_is_an_alarm_of_exactly_that(world: World) -> None:
    gateway = world.gateway()
    gateway.sync(needs=(100,))
    gateway.sync(settled=((world.second(), 150),), keeps=30, unleased=60)
    assert [alarm.over for alarm in world.store.alarms()] == [20]


def test_unleased_credits_of_a_gateway_that_dies_stay_counted_until_its_journal_is_settled(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    one.sync(needs=(800,))
    one.sync(keeps=800 + 500, unleased=500)
    second = world.second()
    world.clock.advance(3 * SECOND)
    two.sync(likes=1)
    assert world.store.view(ACCOUNT).unaccounted == 1_300
    chunk = Chunk(Position(1, one.position.byte + 100))
    chunk.add(ACCOUNT, second, 800)
    chunk.add(ACCOUNT, second, 500)
    chunk.unleased[ACCOUNT] = 500
    assert not settle_one(world.store, one.gateway.incarnation, Rest([chunk]))
    view = world.store.view(ACCOUNT)
    assert (view.used, view.held, view.unaccounted) == (1_300, 0, 0)
    assert world.store.alarms() == ()


def test_unleased_spend_first_told_by_the_journal_of_the_dead_raises_no_alarm(world: World) -> None:
    dead = world.gateway()
    dead.sync(needs=(100,))
    chunks = [Chunk(Position(1, 100)), Chunk(Position(1, 200))]
    for chunk, amount in zip(chunks, (100, 300), strict=True):
        chunk.add(ACCOUNT, world.second(), amount)
    chunks[1].unleased[ACCOUNT] = 300
    rest = Rest(chunks)
    assert settle_one(world.store, dead.gateway.incarnation, rest)
    assert not settle_one(world.store, dead.gateway.incarnation, rest)
    assert world.used() == 400
    assert world.store.alarms() == ()


def test_unleased_spend_told_in_several_syncs_of_one_adoption_excuses_nothing_twice(world: World) -> None:
    dead = world.gateway()
    dead.sync(needs=(100,))
    chunks = [Chunk(Position(1, 100)), Chunk(Position(1, 200)), Chunk(Position(1, 300))]
    for chunk, account, amount in zip(chunks, (ACCOUNT, ACCOUNT, OTHER), (100, 500, 70), strict=True):
        chunk.add(account, world.second(), amount)
    chunks[1].unleased[ACCOUNT] = 300  # of 500; 200 were spent without anybody having lent them
    chunks[2].unleased[OTHER] = 70
    rest = Rest(chunks)
    while settle_one(world.store, dead.gateway.incarnation, rest):
        pass
    assert world.used() == 600
    assert sum(alarm.over for alarm in world.store.alarms()) == 200


def test_the_part_of_a_grant_above_the_plans_own_credits_is_told(world: World) -> None:
    world.allowances[ACCOUNT] = allowance(1_000, plan_part=600)
    gateway = world.gateway()
    assert gateway.sync(needs=(500,)).addon_part == 0
    assert gateway.sync(keeps=500, needs=(300,)).addon_part == 200
    assert gateway.sync(keeps=800, needs=(50,)).addon_part == 50


def test_the_reply_says_how_the_account_stands(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    second = one.spend(300)
    one.sync(needs=(100,))
    world.clock.advance(SECOND)
    snapshot = two.sync(needs=(50,)).snapshot
    assert (snapshot.used, snapshot.lent, snapshot.unaccounted) == (300, 150, 0)
    assert snapshot.allowance == world.allowances[ACCOUNT]
    assert snapshot.schedule == ((second, 300),)


def test_a_lowered_allowance_binds_the_next_grant_and_a_raised_one_too(world: World) -> None:
    gateway = world.gateway()
    gateway.spend(500)
    world.allowances[ACCOUNT] = allowance(400)
    assert gateway.sync(needs=(1,)).needs_granted == (False,)
    world.allowances[ACCOUNT] = allowance(2_000)
    assert gateway.sync(needs=(1_500,)).needs_granted == (True,)


def test_an_account_without_a_subscription_is_lent_nothing_and_its_spend_is_still_booked(world: World) -> None:
    gateway = world.gateway()
    gateway.sync(needs=(300,))
    second = world.second()
    kept = world.allowances.pop(ACCOUNT)
    reply = gateway.sync(settled=((second, 300),), needs=(1,), likes=5)
    assert (reply.granted, reply.snapshot.used, reply.snapshot.allowance.total) == (0, 300, 0)
    with pytest.raises(UnknownNameError):
        world.store.view(ACCOUNT)
    world.allowances[ACCOUNT] = kept
    assert world.used() == 300


def test_a_card_that_became_invalid_stops_its_own_account_and_no_other_and_is_logged_once(world: World) -> None:
    peer = world.gateway()
    peer.sync(needs=(100,), account=OTHER)
    world.broken.add(OTHER)
    with capture_logs() as logs:
        for _ in range(3):
            parts = (
                AccountSync(OTHER.org, OTHER.product, OTHER.pool, (), 0, (10,), 0),
                AccountSync(ACCOUNT.org, ACCOUNT.product, ACCOUNT.pool, (), 0, (10,), 0),
            )
            replies = peer.send(peer.request(*parts)).accounts
            assert [reply.needs_granted for reply in replies] == [(False,), (True,)]
    assert [(log["event"], log["product"], log["code"]) for log in logs] == [
        ("quota.no_allowance", "bigin", "CARD_INVALID")
    ]
    world.broken.clear()
    assert peer.sync(needs=(10,), account=OTHER).needs_granted == (True,)


# --- stamps: booked in the second of admission ------------------------------------------------------------------


def test_credits_return_when_their_whole_second_is_24_hours_old(world: World) -> None:
    gateway = world.gateway()
    world.clock.advance(400_000)
    gateway.spend(1_000)  # somewhere inside its second
    start_of_second = world.second() * SECOND
    world.clock.advance(DAY + SECOND - 1 - (world.store.now() - start_of_second))
    assert world.used() == 1_000
    assert gateway.sync(needs=(1,)).needs_granted == (False,)
    world.clock.advance(1)
    assert world.used() == 0
    assert gateway.sync(needs=(1_000,)).needs_granted == (True,)


def test_a_refund_counts_in_the_second_of_its_charge_and_leaves_nothing_behind_a_day_later(world: World) -> None:
    gateway = world.gateway()
    second = gateway.spend(500)
    world.clock.advance(5 * MINUTE)
    gateway.sync(settled=((second, -500),))
    assert world.used() == 0
    gateway.spend(1_000)
    world.clock.advance(DAY - 5 * MINUTE + 2 * SECOND)
    assert world.used() == 1_000, "the refund left with its charge: there were never 1,500 of 1,000"
    assert gateway.sync(needs=(1,)).needs_granted == (False,)


def test_a_change_to_a_row_that_no_longer_counts_never_touches_the_sum(world: World) -> None:
    gateway = world.gateway()
    second = gateway.spend(500)
    world.clock.advance(DAY + 2 * SECOND)
    gateway.spend(200)
    gateway.sync(settled=((second, -500), (second - 10, 300)))
    assert world.used() == 200
    assert world.store.alarms() == ()


def test_a_late_journal_replaces_what_was_unaccounted_even_after_it_left_the_window(world: World) -> None:
    dead = world.gateway()
    dead.sync(needs=(200,))
    second = world.second()
    world.clock.advance(DAY + HOUR)
    world.gateway().sync()
    assert world.used() == 0
    dead.sync(settled=((second, 200),), closing=True)
    assert (world.used(), world.store.view(ACCOUNT).held) == (0, 0), "not -200 for ever"


# --- the store's clock ------------------------------------------------------------------------------------------


def test_the_wall_clock_stepping_an_hour_ahead_gives_nobody_credits_back(world: World) -> None:
    gateway = world.gateway()
    gateway.spend(1_000)
    world.clock.step_wall(HOUR)
    for _ in range(10):
        world.clock.advance(DAY // 10 - HOUR // 20)
        assert gateway.sync(needs=(1,)).needs_granted == (False,)
    assert world.used() == 1_000


def test_the_stores_time_is_slewed_by_at_most_half_a_millisecond_per_second_and_never_overshoots(world: World) -> None:
    gateway = world.gateway()
    gateway.sync()
    world.clock.step_wall(20_000)
    gateway.sync()
    before = world.store.now()
    world.clock.advance(10 * SECOND)
    gateway.sync()
    assert world.store.now() - before == 10 * SECOND + 5_000
    world.clock.advance(HOUR)
    assert world.store.now() == world.clock.wall()


def test_the_stores_time_never_steps_back(world: World) -> None:
    gateway = world.gateway()
    gateway.sync()
    seen = world.store.now()
    disturbances: list[Callable[[], None]] = [
        lambda: world.clock.step_wall(-5 * HOUR),
        lambda: world.clock.reboot(down_for=-HOUR),
    ]
    for disturb in disturbances:
        disturb()
        gateway.sync()
        assert world.store.now() >= seen
        seen = world.store.now()
        world.clock.advance(10 * SECOND)
        assert world.store.now() >= seen + 9_990_000, "and it goes on"
        seen = world.store.now()


def test_after_a_reboot_the_stores_time_goes_on_from_the_wall_clock(world: World) -> None:
    gateway = world.gateway()
    gateway.sync()
    world.clock.reboot(down_for=3 * HOUR)
    gateway.sync()
    assert world.store.now() == world.clock.true


# --- incarnations and retries ------------------------------------------------------------------------------------


def test_a_repeated_sync_is_booked_once_and_answered_the_same(world: World) -> None:
    gateway = world.gateway()
    gateway.sync(needs=(300,))
    request = gateway.request(AccountSync("acme", "crm", "api", ((world.second(), 300),), 0, (200,), 7))
    first = gateway.send(request)
    world.clock.advance(SECOND)
    assert world.store.sync(request) == first
    assert world.used() == 300


def test_a_retry_that_differs_is_refused(world: World) -> None:
    gateway = world.gateway()
    gateway.sync(needs=(300,))
    assert gateway.last is not None
    other = AccountSync("acme", "crm", "api", (), 0, (301,), 0)
    with pytest.raises(QuotaProtocolError):
        world.store.sync(msgspec.structs.replace(gateway.last, accounts=(other,)))
    assert world.store.view(ACCOUNT).held == 300


@pytest.mark.parametrize("sequence", [0, 1, 4, 5])
def test_a_sync_out_of_order_is_refused(world: World, sequence: int) -> None:
    gateway = world.gateway()
    gateway.sync()
    gateway.sync()
    request = msgspec.structs.replace(gateway.request(), sequence=sequence)
    with pytest.raises(QuotaProtocolError):
        world.store.sync(request)
    gateway.sync()


def test_journal_bytes_are_settled_exactly_once_and_without_gaps(world: World) -> None:
    gateway = world.gateway()
    gateway.spend(100)
    good = gateway.request(AccountSync("acme", "crm", "api", ((world.second(), 1),), 0, (), 0))
    for start in (Position(0, 0), Position(1, 99), Position(1, 101)):
        with pytest.raises(QuotaProtocolError):
            world.store.sync(msgspec.structs.replace(good, settled_from=start))
    assert world.store.settled_to(gateway.gateway.incarnation) == Position(1, 100)
    assert world.used() == 100


@pytest.mark.parametrize(
    "part",
    [
        AccountSync("acme", "crm", "api", (), -1, (), 0),
        AccountSync("acme", "crm", "api", (), 0, (-1,), 0),
        AccountSync("acme", "crm", "api", (), 0, (), -1),
    ],
)
def test_a_sync_that_means_less_than_nothing_is_refused(world: World, part: AccountSync) -> None:
    gateway = world.gateway()
    with pytest.raises(QuotaProtocolError):
        gateway.send(gateway.request(part))
    with pytest.raises(QuotaProtocolError):
        gateway.send(gateway.request(*[AccountSync("acme", "crm", "api", (), 0, (), 0)] * 2))


def test_each_incarnation_is_a_life_of_its_own(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    one.spend(100)
    assert world.store.settled_to(two.gateway.incarnation) == Position(0, 0)
    assert (world.store.sequence_of(one.gateway.incarnation), world.store.sequence_of("never heard of")) == (2, 0)
    two.spend(50)
    assert world.used() == 150


# --- short of credits --------------------------------------------------------------------------------------------


def test_when_less_remains_than_everybody_likes_only_needs_are_granted(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    reply = one.sync(needs=(10,), likes=400)
    assert (reply.granted, reply.short) == (410, False)
    reply = two.sync(needs=(10,), likes=400)
    assert (reply.granted, reply.short) == (10, True)
    reply = one.sync(keeps=10, likes=400)
    assert (reply.granted, reply.short) == (400, False), "980 remain and 800 are liked"


def test_likes_of_a_gateway_that_is_gone_lapse_with_its_lease(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    one.sync(likes=600)
    one.sync(likes=0)
    one.sync(likes=1_100)  # short: nothing lent, but liked
    assert two.sync(likes=100).short
    world.clock.advance(LEASE)
    assert not two.sync(likes=100).short


def test_the_last_credit_can_be_spent(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    one.sync(likes=400)
    for gateway in (one, two) * 3:  # each gives back what it does not hold, as a gateway does that is told `short`
        gateway.sync(likes=600)
    assert two.sync(needs=(999, 1, 1), likes=600).needs_granted == (True, True, False)


def test_retry_after_is_true_to_the_second(world: World) -> None:
    gateway = world.gateway()
    seconds = []
    for _ in range(10):
        seconds.append(gateway.spend(100))
        world.clock.advance(MINUTE)
    reply = gateway.sync(needs=(250,))
    assert reply.needs_granted == (False,)
    fits = _fits(world, reply, 250)
    assert fits == (seconds[2] + 86_401) * SECOND, "when the third hundred returns"
    world.clock.advance(fits - world.store.now() - 1)
    assert gateway.sync(needs=(250,)).needs_granted == (False,)
    world.clock.advance(1)
    assert gateway.sync(needs=(250,)).needs_granted == (True,)


def test_retry_after_takes_lent_credits_as_back_at_their_expiry(world: World) -> None:
    one, two = world.gateway(), world.gateway()
    two.sync(needs=(800,))
    reply = one.sync(needs=(300,))
    assert reply.needs_granted == (False,)
    assert _fits(world, reply, 300) == world.store.now() + LEASE


def test_a_ceiling_above_the_whole_allowance_never_fits(world: World) -> None:
    reply = world.gateway().sync(needs=(1_001,))
    assert reply.needs_granted == (False,)
    assert _fits(world, reply, 1_001) is None


def test_the_schedule_reaches_the_largest_refused_need_in_at_most_64_steps(world: World) -> None:
    world.allowances[ACCOUNT] = allowance(3_000)
    gateway = world.gateway()
    seconds = []
    for _ in range(300):
        assert gateway.sync(needs=(10,)).needs_granted == (True,)
        seconds.append(world.second())
        gateway.sync(settled=((seconds[-1], 10),))
        world.clock.advance(7 * SECOND)
    for asked in ({"needs": (2_000,)}, {"asks": 2_000}):
        reply = gateway.sync(**asked)
        schedule = reply.snapshot.schedule
        assert len(schedule) <= 64
        assert schedule[0] == (seconds[0], 10), "when the next credits return is exact"
        assert list(schedule) == sorted(schedule)
        assert _fits(world, reply, 2_000) == (seconds[199] + 86_401) * SECOND
        returned = 0
        for second, amount in schedule:
            returned += amount
            assert returned <= 10 * sum(1 for s in seconds if s <= second), "never promised before it returns"


def _fits(world: World, reply: AccountReply, ceiling: int) -> int | None:
    snapshot = reply.snapshot
    return window.fits_at(
        total=snapshot.allowance.total,
        used_now=snapshot.used,
        lent=snapshot.lent,
        lent_back_at=reply.expires_at,
        schedule=snapshot.schedule,
        ceiling=ceiling,
        at=world.store.now(),
    )


# --- a gateway that dies -----------------------------------------------------------------------------------------


def test_what_a_dead_gateway_had_stays_counted_and_becomes_unaccounted_at_its_expiry(world: World) -> None:
    dead, other = world.gateway(), world.gateway()
    dead.sync(needs=(700,))
    expiry = world.second() + 2
    assert other.sync(needs=(301,)).needs_granted == (False,)
    world.clock.advance(HOUR)
    assert other.sync(needs=(301,)).needs_granted == (False,)
    view = world.store.view(ACCOUNT)
    assert (view.used, view.unaccounted, view.held, view.rows) == (700, 700, 0, ((expiry, 700),))


def test_unaccounted_credits_return_a_day_after_the_expiry(world: World) -> None:
    dead, other = world.gateway(), world.gateway()
    dead.sync(needs=(700,))
    world.clock.advance(HOUR)
    other.sync()
    world.clock.advance(DAY - HOUR + LEASE + SECOND - 1)
    assert other.sync(needs=(301,)).needs_granted == (False,)
    world.clock.advance(1)
    assert other.sync(needs=(1_000,)).needs_granted == (True,)
    assert world.store.view(ACCOUNT).unaccounted == 0


def test_its_journal_replaces_what_was_unaccounted_and_frees_the_rest(world: World) -> None:
    dead, other = world.gateway(), world.gateway()
    dead.sync(needs=(700,))
    second = world.second()
    world.clock.advance(10 * SECOND)
    other.sync()
    dead.sync(settled=((second, 250),), closing=True)
    view = world.store.view(ACCOUNT)
    assert (view.used, view.unaccounted, view.held, view.rows) == (250, 0, 0, ((second, 250),))
    assert world.store.alarms() == ()


def test_closing_frees_accounts_its_journal_does_not_name(world: World) -> None:
    dead = world.gateway()
    dead.sync(needs=(700,))
    dead.sync(needs=(100,), account=OTHER)
    world.clock.advance(10 * SECOND)
    world.gateway().sync()
    dead.send(dead.request(closing=True))
    for account in (ACCOUNT, OTHER):
        view = world.store.view(account)
        assert (view.used, view.held, view.unaccounted) == (0, 0, 0)


def test_what_an_incarnation_has_on_loan_is_told_before_and_after_its_expiry_and_while_it_counts(world: World) -> None:
    dead = world.gateway()
    name = dead.gateway.incarnation
    dead.sync(needs=(50,))
    assert world.store.on_loan(name, ACCOUNT) == 50
    assert (world.store.on_loan(name, OTHER), world.store.on_loan("unknown", ACCOUNT)) == (0, 0)
    world.clock.advance(LEASE + SECOND)
    world.gateway().sync()
    assert (world.store.view(ACCOUNT).unaccounted, world.store.on_loan(name, ACCOUNT)) == (50, 50)
    world.clock.advance(DAY + LEASE)
    assert world.store.on_loan(name, ACCOUNT) == 0


@pytest.mark.parametrize("expired", [False, True])
def test_a_damaged_journal_leaves_counted_what_may_have_been_spent_after_the_damage(
    world: World,
    expired: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    dead, alive = world.gateway(), world.gateway()
    dead.sync(needs=(50,))
    if expired:
        world.clock.advance(LEASE + SECOND)
        alive.sync()
    chunk = Chunk(Position(1, 100))
    chunk.add(ACCOUNT, world.second(), 10)
    rest = Rest([chunk], damaged=JournalCorruptError("a bad sector", path="x", offset=1))
    assert not settle_one(world.store, dead.gateway.incarnation, rest)
    view = world.store.view(ACCOUNT)
    assert (view.used, view.held, view.unaccounted) == (10, 40, 0)
    world.clock.advance(LEASE + SECOND)
    assert alive.sync(needs=(951,)).needs_granted == (False,)
    assert alive.sync(needs=(950,)).needs_granted == (True,)
    view = world.store.view(ACCOUNT)
    assert (view.used, view.unaccounted) == (50, 40)
    assert world.store.alarms() == ()


def test_a_closed_incarnation_is_over(world: World) -> None:
    gateway = world.gateway()
    gateway.sync(needs=(10,))
    assert not world.store.is_closed(gateway.gateway.incarnation)
    gateway.sync(closing=True)
    assert world.store.is_closed(gateway.gateway.incarnation)
    assert gateway.last is not None
    world.store.sync(gateway.last)  # a repeat of the last one is still answered
    with pytest.raises(QuotaProtocolError):
        gateway.sync(needs=(1,))


def test_closing_keeps_nothing(world: World) -> None:
    gateway = world.gateway()
    gateway.sync(needs=(10,))
    for part in ({"keeps": 1}, {"needs": (1,)}):
        with pytest.raises(QuotaProtocolError):
            gateway.sync(**part, closing=True)


def test_many_accounts_in_one_sync(world: World) -> None:
    accounts = [Account(f"org{n}", "crm", "api") for n in range(1_000)]
    world.allowances |= dict.fromkeys(accounts, allowance(100))
    gateway = world.gateway()
    parts = [AccountSync(a.org, a.product, a.pool, (), 0, (60, 60), 0) for a in accounts]
    reply = gateway.send(gateway.request(*parts))
    assert [(answer.org, answer.needs_granted) for answer in reply.accounts] == [
        (a.org, (True, False)) for a in accounts
    ]


def test_no_answer_is_of_a_time_before_one_that_was_given_even_before_the_first_sync(world: World) -> None:
    given = world.store.view(ACCOUNT).store_time
    world.clock.step_wall(-HOUR)
    assert world.store.view(ACCOUNT).store_time >= given
    assert world.store.now() >= given
