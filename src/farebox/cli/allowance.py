"""`farebox allowance`: how many credits a plan gives, and how that number is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from farebox.cli.places import JsonOption

if TYPE_CHECKING:
    from farebox.domain.cards import RateCard
    from farebox.domain.plans import Allowance

USERS_MAX = 10_000_000
CREDITS_MAX = 10**12


def allowance(
    *,
    plan: Annotated[str, typer.Option("--plan", help="The plan (edition), e.g. standard.")],
    users: Annotated[int, typer.Option("--users", min=0, max=USERS_MAX, help="Purchased user licences.")] = 0,
    card: Annotated[str, typer.Option("--card", help="A packaged rate card or a card file.")] = "zoho-crm",
    base: Annotated[
        int | None,
        typer.Option("--base", min=0, max=CREDITS_MAX, help="The base limit of this account, instead of the plan's."),
    ] = None,
    addon: Annotated[int, typer.Option("--addon", min=0, max=CREDITS_MAX, help="Add-on credits.")] = 0,
    pool: Annotated[str, typer.Option("--pool", help="The card's pool. Default: its first.")] = "",
    json_output: JsonOption = False,
) -> None:
    """The credits of a plan in any 24 hours: base + users x per user + add-on, at most the cap."""
    from farebox import cards
    from farebox.domain import plans
    from farebox.domain.credits import credits_of, text_of

    rates = cards.load(card)
    chosen = rates.plan(plan)
    plan_pool = chosen.pool(pool or rates.pools[0].name)
    made = plans.allowance(
        plan_pool,
        users,
        base_override=None if base is None else credits_of(base),
        addon=credits_of(addon),
    )
    if json_output:
        report = {
            "card": card,
            "plan": made.plan,
            "pool": made.pool,
            "total": _number(made.total),
            "total_millicredits": made.total,
            "plan_part": _number(made.plan_part),
            "base": _number(made.base),
            "users": made.users,
            "per_user": _number(made.per_user),
            "addon": _number(made.addon),
            "cap": None if made.cap is None else _number(made.cap),
            "formula": _formula(made),
            "addon_usd_per_day_max": _dollars(rates, made),
            "source": plan_pool.source,
            "mark": plan_pool.mark,
        }
        print(json.dumps(report, indent=2))
        return
    print(f"{text_of(made.total)} credits in any 24 hours ({chosen.title}, {made.pool})")
    print(f"= {_formula(made)}")
    if made.addon and rates.addon_slabs:
        print(f"The add-on, fully used, costs {_dollars(rates, made):,.2f} USD a day.")
    print(f"[{plan_pool.mark}] {plan_pool.source}")


def _dollars(rates: RateCard, made: Allowance) -> float:
    """What the add-on costs when all of it is used that the cap leaves room for."""
    from farebox.domain.plans import addon_cost_microdollars

    return addon_cost_microdollars(rates.addon_slabs, made.total - made.plan_part) / 1_000_000


def _formula(made: Allowance) -> str:
    """The sum in figures: 50,000 + 10 x 250 = 52,500, below the cap of 100,000."""
    from farebox.domain.credits import text_of

    addon = f" + {text_of(made.addon)} add-on" if made.addon else ""
    summed = made.base + made.users * made.per_user + made.addon
    text = f"{text_of(made.base)} + {made.users:,} x {text_of(made.per_user)}{addon} = {text_of(summed)}"
    if made.cap is None:
        return f"{text}, no cap"
    if summed > made.cap:
        return f"{text}, capped at {text_of(made.cap)}"
    return f"{text}, below the cap of {text_of(made.cap)}" if summed < made.cap else f"{text}, which is the cap"


def _number(amount: int) -> int | float:
    """Millicredits as a JSON number of credits: whole where it is whole."""
    whole, thousandths = divmod(amount, 1_000)
    return amount / 1_000 if thousandths else whole
