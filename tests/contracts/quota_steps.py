"""What can happen to the gateways of the quota model, and how likely it is.

Each says in a few words what it did, or None when there was nothing to do. Every step draws from a generator of its own
(seed and number), so that leaving steps out does not change what the others do.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from farebox.domain.instants import returns_at
from farebox.quota.port import Position

from .quota_judge import DRIFT, LEASE, Spend
from .quota_machine import Life, Line, Machine
from .quota_twin import ACCOUNTS
from .quota_world import HOUR, SECOND, T0, allowance

CEILINGS = (1, 5, 20, 50, 120, 300, 900, 1_500)
TOTALS = (0, 300, 500, 1_000, 1_000, 2_000)
LATE_MAX = 3 * SECOND
"""A reply older than that is mostly taken for lost, and asked for again."""

Action = Callable[[Machine, Life, random.Random], object]


def step(machine: Machine, number: int) -> None:
    """What the machine's seed has for that number."""
    chance = random.Random((machine.seed << 24) + number)
    (action,) = chance.choices(_ACTIONS, cum_weights=_WEIGHTS)
    life = chance.choice(machine.lives)
    if life.paused and action not in _WHILE_PAUSED:
        return
    at = machine.clock.true
    said = action(machine, life, chance)
    if said is not None:
        machine.story.append(f"{number:5} {(at - T0) / SECOND:13.6f} s  {life.number}  {action.__name__}: {said}")


def call(machine: Machine, life: Life, chance: random.Random) -> object:
    return machine.ask(life, chance.choice(ACCOUNTS), chance.choice(CEILINGS))


def let_through(machine: Machine, life: Life, chance: random.Random) -> object:
    """Shadow mode, or failing open: no lease covers it, G1 leaves it out, and every sum counts it all the same."""
    account, ceiling = chance.choice(ACCOUNTS), chance.choice(CEILINGS)
    hold = life.book.let_through(account, ceiling)
    if hold is None:
        return None
    now = machine.store.now()
    late = now - hold.stamp + DRIFT  # without a lease nothing bounds how old the last reply was
    spend = Spend(account, machine.clock.true, now, hold.stamp, late, 0, ceiling, leased=False)
    machine.judge.books[account].spends.append(spend)
    life.holds.append((hold, spend))
    return f"{account.product} {ceiling} without a lease"


def burst(machine: Machine, life: Life, chance: random.Random) -> object:
    account, ceiling = chance.choice(ACCOUNTS), chance.choice(CEILINGS[:-2])
    return ", ".join(machine.ask(life, account, ceiling) for _ in range(chance.randrange(2, 7)))


def fill(machine: Machine, life: Life, chance: random.Random) -> object:
    """Calls, each with a sync at once, from the largest to the smallest: the account is full after it."""
    account = chance.choice(ACCOUNTS)
    for ceiling in reversed(CEILINGS):
        machine.ask(life, account, ceiling)
        machine.sync_now(life)
    return account.product


def end_call(machine: Machine, life: Life, chance: random.Random) -> object:
    if not life.holds:
        return None
    hold, spend = life.holds.pop(chance.randrange(len(life.holds)))
    amount = chance.choice((hold.ceiling, hold.ceiling, chance.randint(0, hold.ceiling)))
    addon = life.book.charge(hold, amount)
    assert 0 <= addon <= amount
    spend.amount = amount
    life.unwritten.append(Line(spend, amount, hold))
    return f"{hold.account.product} {amount} of {hold.ceiling} charged"


def end_calls(machine: Machine, life: Life, chance: random.Random) -> object:
    return [end_call(machine, life, chance) for _ in range(len(life.holds))] or None


def release(_: Machine, life: Life, __: random.Random) -> object:
    if not life.holds:
        return None
    hold, spend = life.holds.pop()
    life.book.release(hold)
    spend.amount = 0
    return f"{hold.account.product} {hold.ceiling} never reached the upstream"


def refund(_: Machine, life: Life, chance: random.Random) -> object:
    if not life.refundable:
        return None
    spend = life.refundable.pop(chance.randrange(len(life.refundable)))
    back = chance.randint(1, spend.amount)
    life.unwritten.append(Line(spend, -back, None))
    return f"{spend.account.product} {back} of {spend.amount} given back"


def uncharge(_: Machine, life: Life, __: random.Random) -> object:
    """The journal could not be written: the charge is none."""
    if not life.unwritten or life.unwritten[-1].hold is None:
        return None
    line = life.unwritten.pop()
    assert line.hold is not None
    life.book.uncharge(line.hold, line.amount)
    line.spend.amount = 0
    return f"{line.spend.account.product} {line.amount} not recorded"


def commit(machine: Machine, life: Life, _: random.Random) -> object:
    if not life.unwritten:
        return None
    for line in life.unwritten:
        life.book.settled(line.spend.account, line.spend.stamp // SECOND, line.amount)
    machine.write(life)
    life.book.settled_to(Position(1, len(life.journal)))
    return f"journal up to {len(life.journal)}"


def cancel(_: Machine, life: Life, chance: random.Random) -> object:
    if not life.waits:
        return None
    _account, future = life.waits.pop(chance.randrange(len(life.waits)))
    life.book.cancel_wait(future)
    return "a caller that waited went away"


def send(_: Machine, life: Life, __: random.Random) -> object:
    if life.request is not None:
        return None
    life.request = life.book.build_sync()
    life.sent_at = life.book._clock()
    return life.request and [(p.product, p.settled, p.keeps, p.needs, p.likes) for p in life.request.accounts]


def process(machine: Machine, life: Life, _: random.Random) -> object:
    if life.request is None or life.reply is not None:
        return None
    machine.reach(life)
    assert life.reply is not None
    return [(a.product, a.granted, a.snapshot.used, a.snapshot.lent) for a in life.reply.accounts]


def repeat(machine: Machine, life: Life, _: random.Random) -> object:
    """The same sync arrives twice: nothing is booked, the answer is the same."""
    if life.request is None or life.reply is None:
        return None
    reply = machine.store.sync(life.request)
    assert reply == life.reply, "G3: a repeated sync is answered the same"
    machine.look(life)
    return "answered the same"


def stale(machine: Machine, life: Life, _: random.Random) -> object:
    """A sync of before arrives after the one that followed it."""
    if life.before is None or life.request is None or life.reply is None:
        return None
    assert machine.store.refuses(life.before), "G3: a sync of before is refused"
    machine.look_around()
    return "refused"


def fail(machine: Machine, life: Life, _: random.Random) -> object:
    """The transaction rolls back at its very end; nobody waits for the store until it answers again."""
    if life.request is None or life.reply is not None:
        return None
    if machine.store.sequence_of(life.gateway.incarnation) >= life.request.sequence:
        return None
    machine.store.fail(life.request)
    machine.look_around()
    life.book.unreachable()
    machine.collect(life)
    return "rolled back"


def deliver(machine: Machine, life: Life, chance: random.Random) -> object:
    if life.reply is None:
        return None
    if life.book._clock() - life.sent_at > LATE_MAX and chance.random() < 0.9:
        return lose(machine, life, chance)
    machine.receive(life)
    return "received"


def lose(_: Machine, life: Life, __: random.Random) -> object:
    if life.reply is None:
        return None
    life.reply = None
    return "the reply got lost"


def sync(machine: Machine, life: Life, chance: random.Random) -> object:
    commit(machine, life, chance)
    return "in no time" if machine.sync_now(life) else None


def crash(machine: Machine, life: Life, chance: random.Random) -> object:
    machine.kill(life, written=chance.random() < 0.5)
    machine.lives.append(machine.new_life())
    return f"killed; life {machine.born} begins"


def retire(machine: Machine, life: Life, _: random.Random) -> object:
    """An orderly end: what is in flight ends, the last sync gives everything back and closes the incarnation."""
    if life.request is not None or life.waits:
        return None
    for hold, spend in life.holds:
        life.book.release(hold)
        spend.amount = 0
    life.holds.clear()
    commit(machine, life, _)
    while life.book.due_in() == 0 and machine.sync_now(life):
        pass
    if not life.book.may_close() or life.waits or life.holds:
        return None
    life.request = life.book.build_sync(closing=True)
    assert life.request is not None
    machine.reach(life)
    machine.lives.remove(life)
    machine.lives.append(machine.new_life())
    return f"closed; life {machine.born} begins"


def adopt(machine: Machine, _: Life, chance: random.Random) -> object:
    if not machine.dead:
        return None
    life = chance.choice(machine.dead)
    if life.request is not None and chance.random() < 0.3:
        machine.reach(life)  # its last sync arrives after its death
    life.request = life.reply = None
    return machine.adopt_one(life, chance, chunks_max=chance.choice((1, 3, 1_000)), pause=True)


def pause(_: Machine, life: Life, __: random.Random) -> object:
    life.paused = not life.paused
    return "stands still" if life.paused else "goes on"


def change_plan(machine: Machine, _: Life, chance: random.Random) -> object:
    account, total = chance.choice(ACCOUNTS), chance.choice(TOTALS)
    found = msgspec.structs.replace(allowance(total, plan_part=total // 2), suspended=not total)
    machine.store.allowances[account] = found
    machine.judge.allowance_is(account, total)
    return f"{account.product} {total}"


def lower_and_spend(machine: Machine, life: Life, chance: random.Random) -> object:
    """A lease is filled, the allowance lowered, and the lease spent about a lease time later."""
    account = chance.choice(ACCOUNTS)
    for ceiling in (120, 120):
        machine.ask(life, account, ceiling)
        machine.sync_now(life)
    release(machine, life, chance)
    total = chance.choice((0, 100))
    machine.store.allowances[account] = allowance(total)
    machine.judge.allowance_is(account, total)
    machine.clock.advance(chance.randrange(LEASE // 2, LEASE + SECOND))
    said = [machine.ask(life, account, ceiling) for ceiling in (50, 20, 5)]
    return f"lowered to {total}, then {said}"


def step_wall(machine: Machine, _: Life, chance: random.Random) -> object:
    by = chance.choice((-HOUR, HOUR, 30_000, -30_000, -machine.clock.wall_error))
    machine.clock.step_wall(by)
    return f"by {by / SECOND} s"


def wait(machine: Machine, _: Life, chance: random.Random) -> object:
    lengths = (chance.randrange(200_000), chance.randrange(3 * SECOND), chance.randrange(8 * HOUR))
    (length,) = chance.choices(lengths, (40, 6, 1))
    machine.clock.advance(length)
    return f"{length / SECOND:.6f} s"


def wait_for_return(machine: Machine, life: Life, chance: random.Random) -> object:
    """Until just before, at or after the instant the oldest row returns; then everybody wants what it brings."""
    account = chance.choice(ACCOUNTS)
    rows = machine.store.view(account).rows
    if not rows:
        return None
    due = returns_at(rows[0][0]) - machine.store.now() + chance.choice((-SECOND, -1, 0, 0, 1, 300_000))
    machine.clock.advance(max(0, due))
    machine.look_around()
    for other in machine.lives:
        if not other.paused:
            machine.ask(other, account, chance.choice(CEILINGS))
            machine.sync_now(other)
    return f"{account.product} {rows[0]}, {due / SECOND} s"


def suspend(machine: Machine, _: Life, chance: random.Random) -> object:
    """The lid is closed: nobody runs, CLOCK_BOOTTIME counts on, and the wall clock may come back wrong."""
    length = chance.randrange(20 * HOUR)
    machine.clock.advance(length)
    machine.clock.step_wall(chance.choice((0, 0, 5 * SECOND, -HOUR, HOUR)))
    return f"{length / SECOND} s"


def freeze(machine: Machine, _: Life, chance: random.Random) -> object:
    """A virtual machine whose clocks all stop: nobody in it can know how long that took."""
    length = chance.randrange(5 * SECOND)
    machine.clock.true += length
    machine.clock.wall_error -= length
    machine.judge.frozen += length
    return f"{length / SECOND} s"


def reboot(machine: Machine, _: Life, chance: random.Random) -> object:
    """The power goes and comes back; the wall clock may be wrong afterwards."""
    gone = len(machine.lives)
    for life in list(machine.lives):
        machine.kill(life, written=chance.random() < 0.5)
    down_for = chance.randrange(1, HOUR)
    machine.clock.reboot(down_for=down_for)
    machine.clock.step_wall(chance.choice((0, 0, -HOUR, 5 * SECOND)))
    machine.judge.rebooted()
    machine.store.reopen()
    machine.lives = [machine.new_life() for _ in range(gone)]
    return f"down for {down_for / SECOND} s"


def reopen(machine: Machine, _: Life, __: random.Random) -> object:
    machine.store.reopen()
    return "the spend file"


_LIKELY: dict[Action, float] = {
    call: 30, let_through: 0.3, burst: 6, fill: 3, end_call: 24, end_calls: 5, release: 2, refund: 4, uncharge: 1,
    commit: 20, cancel: 1, send: 16, process: 16, repeat: 1, stale: 0.5, fail: 0.7, deliver: 16, lose: 2, sync: 5,
    crash: 0.5, retire: 0.3, adopt: 1, pause: 0.7, change_plan: 0.6, lower_and_spend: 0.6, step_wall: 0.4, wait: 30,
    wait_for_return: 1.5, suspend: 0.15, freeze: 0.15, reboot: 0.1, reopen: 0.1,
}  # fmt: skip
_ACTIONS = list(_LIKELY)
_WEIGHTS = [sum(list(_LIKELY.values())[: n + 1]) for n in range(len(_LIKELY))]
_WHILE_PAUSED = {
    crash, adopt, pause, change_plan, step_wall, wait, wait_for_return, suspend, freeze, reboot, reopen,
}  # fmt: skip
