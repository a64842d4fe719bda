"""X-API-CREDITS-REMAINING of an organisation with an add-on: when it appears, and what it counts."""

from __future__ import annotations

import pytest

from farebox.domain.credits import credits_of

from .conftest import GatewayMaker


@pytest.mark.parametrize(
    ("base", "addon", "said"),
    [
        pytest.param(10, 10, [None] * 4 + ["15", "14"], id="half of 10 of the plan, 15 with the add-on"),
        pytest.param(10, 0, [None] * 4 + ["5", "4"], id="no add-on"),
        pytest.param(0, 10, ["9", "8"], id="all of it add-on"),
    ],
)
def test_it_appears_from_half_of_the_plans_own_credits_on_and_counts_the_add_on_too(
    make_gateway: GatewayMaker, base: int, addon: int, said: list[str | None]
) -> None:
    gateway = make_gateway(card="zoho-crm", start=False)
    gateway.org(plan="standard", users=0)
    gateway.directory.subscribe(
        "acme", "crm", card="zoho-crm", plan="standard", base=credits_of(base), addon=credits_of(addon)
    )
    gateway.start()
    caller = gateway.caller()
    answers = [caller.ask("GET", "/crm/v8/Leads") for _ in said]
    assert [answer.status for answer in answers] == [200] * len(said)
    assert [answer.fields.get("x-api-credits-remaining") for answer in answers] == said
