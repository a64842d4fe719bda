"""LiteLLM's own session budget under the load of compare_check_then_increment.py; run by a Python that has LiteLLM.

The proxy's limiter is driven as the proxy drives it: its hook before the call, the call, its hook after the call.
Prints one line of JSON. Arguments: calls, credits, milliseconds a call takes. It needs no provider and no network.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from importlib.metadata import version
from typing import Any

AGENT, COST = "compare", 0.01


def limiter(budget: int) -> Any:  # noqa: ANN401 - LiteLLM's own class
    """The proxy's limiter with one agent whose sessions have a budget of so many calls."""
    registry = importlib.import_module("litellm.proxy.agent_endpoints.agent_registry").global_agent_registry
    agent = importlib.import_module("litellm.types.agents").AgentResponse(
        agent_id=AGENT,
        agent_name=AGENT,
        agent_card_params={},
        litellm_params={"max_budget_per_session": budget * COST},
    )
    registry.register_agent(agent)
    cache = importlib.import_module("litellm.caching.caching").DualCache()
    usage = importlib.import_module("litellm.proxy.utils").InternalUsageCache(cache)
    hooks = importlib.import_module("litellm.proxy.hooks.max_budget_per_session_limiter")
    return hooks.PROXY_MaxBudgetPerSessionHandler(usage)


async def main() -> None:
    """The same number of calls one after the other and at once, each in a session of its own."""
    calls, budget, call_ms = (int(argument) for argument in sys.argv[1:4])
    handler = limiter(budget)
    key = importlib.import_module("litellm.proxy._types").UserAPIKeyAuth(agent_id=AGENT)
    refused = importlib.import_module("litellm.proxy.common_utils.proxy_rate_limit_error").ProxyRateLimitError

    async def call(session: str, seconds: float) -> bool:
        metadata = {"session_id": session, "agent_id": AGENT}
        try:
            await handler.async_pre_call_hook(key, None, {"metadata": metadata, "model": "any"}, "completion")
        except refused:
            return False
        await asyncio.sleep(seconds)
        outcome = {"litellm_params": {"metadata": metadata}, "response_cost": COST}
        await handler.async_log_success_event(outcome, None, None, None)
        return True

    in_order = [await call("in order", 0) for _ in range(calls)]
    at_once = await asyncio.gather(*[call("at once", call_ms / 1000) for _ in range(calls)])
    print(json.dumps({"version": version("litellm"), "in_order": sum(in_order), "at_once": sum(at_once)}))


if __name__ == "__main__":
    asyncio.run(main())
