"""From the directory and the rate cards to the allowance in force for an account."""

from __future__ import annotations

from collections.abc import Callable

from farebox.domain import plans
from farebox.domain.cards import RateCard
from farebox.domain.identity import Account
from farebox.errors import UnknownNameError
from farebox.quota.directory_image import DirectoryImage
from farebox.quota.port import AllowanceInForce, AllowanceOf


def allowance_of(image: Callable[[], DirectoryImage], card: Callable[[str], RateCard]) -> AllowanceOf:
    """The allowance of any account by the image of the moment; remembered until the image changes.

    `card` gives the rate card a subscription names. The result raises `UnknownNameError` for an org, product, card,
    plan or pool there is none of.
    """
    known: dict[Account, AllowanceInForce] = {}
    seen: DirectoryImage | None = None

    def of(account: Account) -> AllowanceInForce:
        nonlocal seen, known
        now = image()
        if now is not seen:
            known, seen = {}, now
        found = known.get(account)
        if found is None:
            found = known[account] = in_force(now, card, account)
        return found

    return of


def in_force(image: DirectoryImage, card: Callable[[str], RateCard], account: Account) -> AllowanceInForce:
    """min(base + users x per_user + addon, cap) by the org's subscription; 0 while the org is suspended.

    An account's own base and add-on credits belong to the card's first pool, the one calls spend from.
    """
    org = image.org(account.org)
    subscription = image.subscription(account.org, account.product)
    if org is None or subscription is None:
        raise UnknownNameError(f"Organisation {account.org!r} has no subscription of {account.product!r}.")
    rates = card(subscription.card)
    main = account.pool == rates.pools[0].name
    made = plans.allowance(
        rates.plan(subscription.plan).pool(account.pool),
        subscription.users,
        base_override=subscription.base if main else None,
        addon=subscription.addon if main else 0,
    )
    return AllowanceInForce(
        total=0 if org.suspended else made.total,
        plan_part=0 if org.suspended else made.plan_part,
        plan=made.plan,
        base=made.base,
        users=made.users,
        per_user=made.per_user,
        addon=made.addon,
        cap=made.cap,
        version=max(org.version, subscription.version),
        suspended=org.suspended,
    )
