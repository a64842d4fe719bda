"""What an organisation bought, as the command line enters and changes it: only what is said changes, and it is shown.

Everything is checked against directory and rate card before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from farebox.errors import CardInvalidError, UnknownNameError

if TYPE_CHECKING:
    from farebox.domain.cards import RateCard
    from farebox.quota.directory import Directory
    from farebox.quota.directory_image import DirectoryImage, SubscriptionRecord

WHAT_CAN_BE_SET = (
    "--name, --time-zone, --shadow, or of what it bought: --plan, --users, --base (or --plan-base), --addon, --card; "
    "--product says of which product where it bought several"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line said; None was not said. `base` and `addon` in whole credits."""

    product: str | None = None
    card: str | None = None
    plan: str | None = None
    users: int | None = None
    base: int | None = None
    plan_base: bool = False
    addon: int | None = None

    def __post_init__(self) -> None:
        if self.plan_base and self.base is not None:
            raise typer.BadParameter("--base and --plan-base contradict each other: give one of them")

    def says_anything(self) -> bool:
        """Whether something of a subscription is to change; a product alone changes nothing."""
        said = (self.card, self.plan, self.users, self.base, self.addon)
        return self.plan_base or any(each is not None for each in said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A subscription as it was and as it becomes. Totals by pool in millicredits; `before` is empty for a new one."""

    org: str
    product: str
    card: str
    plan: str
    users: int
    base: int | None
    addon: int
    before: dict[str, int]
    after: dict[str, int]

    def enter(self, directory: Directory) -> None:
        """Write it: in force everywhere within one lease time."""
        directory.subscribe(
            self.org,
            self.product,
            card=self.card,
            plan=self.plan,
            users=self.users,
            base=self.base,
            addon=self.addon,
        )

    def text(self) -> str:
        """What it does to the total: "crm: 52,500 -> 53,000 credits in any 24 hours, in force within a second".

        A line for the first pool, and one for each further pool that changes.
        """
        from farebox.domain.credits import text_of

        lines = []
        for number, (pool, total) in enumerate(self.after.items()):
            was = self.before.get(pool)
            name = self.product if number == 0 else f"{self.product} {pool}"
            if was == total:
                lines += [f"{name}: {text_of(total)} credits in any 24 hours, as before"] if number == 0 else []
                continue
            seconds = "a second" if was is None or total > was else "two seconds"
            arrow = "" if was is None else f"{text_of(was)} -> "
            lines.append(f"{name}: {arrow}{text_of(total)} credits in any 24 hours, in force within {seconds}")
        return "\n".join(lines)

    def report(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "product": self.product,
            "plan": self.plan,
            "users": self.users,
            "base_millicredits": self.base,
            "addon_millicredits": self.addon,
            "before_millicredits": self.before or None,
            "after_millicredits": self.after,
        }


def changed(wish: Wish, org: str, image: DirectoryImage, card_of: Callable[[str], RateCard]) -> Change:
    """What the org's subscription becomes; what the wish leaves out stays as it is.

    Raises `UnknownNameError` for an org, card, plan or product there is none of, and `typer.BadParameter` when it is
    not clear which product is meant.
    """
    from farebox.domain.credits import credits_of

    if image.org(org) is None:
        raise UnknownNameError(f"There is no organisation {org!r}. `farebox org list` shows those there are.")
    found = _subscription(wish, org, image, card_of)
    card = wish.card or (found.card if found else "")
    rates = card_of(card)
    if found is None and wish.plan is None:
        raise typer.BadParameter(f"{org} has bought nothing of {rates.product} yet: give --plan with --card {card}")
    plan = rates.plan(wish.plan or (found.plan if found else "")).name
    users, base, addon = (found.users, found.base, found.addon) if found else (0, None, 0)
    users = users if wish.users is None else wish.users
    base = None if wish.plan_base else base if wish.base is None else credits_of(wish.base)
    addon = addon if wish.addon is None else credits_of(wish.addon)
    return Change(
        org=org,
        product=rates.product,
        card=card,
        plan=plan,
        users=users,
        base=base,
        addon=addon,
        before=_known_totals(found, card_of) if found else {},
        after=_totals(rates, plan, users, base, addon),
    )


def _subscription(
    wish: Wish, org: str, image: DirectoryImage, card_of: Callable[[str], RateCard]
) -> SubscriptionRecord | None:
    """The subscription that is meant; None when the wish's card is of a product not bought yet."""
    bought = image.subscriptions(org)
    products = ", ".join(each.product for each in bought)
    if wish.card is not None:
        product = card_of(wish.card).product
        if wish.product not in (None, product):
            raise typer.BadParameter(f"card {wish.card} prices {product}, not {wish.product}: give one of the two")
        return image.subscription(org, product)
    if not bought:
        raise typer.BadParameter(f"{org} has bought nothing yet: give --card and --plan")
    if wish.product is None and len(bought) > 1:
        raise typer.BadParameter(f"{org} has bought several products ({products}): say which with --product")
    found = image.subscription(org, wish.product or bought[0].product)
    if found is None:
        raise UnknownNameError(f"{org} has bought nothing of {wish.product!r}, but of {products}: give --card to add.")
    return found


def _known_totals(found: SubscriptionRecord, card_of: Callable[[str], RateCard]) -> dict[str, int]:
    """What it gave so far; nothing where its card or plan is not there any more, which a change is to mend."""
    try:
        return _totals(card_of(found.card), found.plan, found.users, found.base, found.addon)
    except (UnknownNameError, CardInvalidError):
        return {}


def _totals(rates: RateCard, plan: str, users: int, base: int | None, addon: int) -> dict[str, int]:
    from farebox.domain import plans

    return {
        pool.pool: plans.allowance(pool, users, base_override=base, addon=addon).total
        for pool in rates.plan(plan).pools
    }
