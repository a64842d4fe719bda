"""Whatever is sent to a path of /openapi.json, with whatever token, the answer is in the API's own words."""

import os
import random
import time

import httpx
from tests.crm.made_up_calls import make_calls, operations, set_stage

from farebox.testing.crm import RunningCrm

CALLS = int(os.environ.get("FAREBOX_MADE_UP_CALLS", "6"))
"""Per operation; `make fuzz` makes more."""
SECONDS_MAX = 40.0
"""After so long the rest is left out: which operations come first is up to the seed."""


def test_made_up_calls_never_come_to_500_and_are_refused_in_the_envelope(crm: RunningCrm) -> None:
    number = int(os.environ.get("FAREBOX_SEED", random.randrange(10**9)))
    print(f"FAREBOX_SEED={number}")
    until = time.monotonic() + SECONDS_MAX * max(1, CALLS / 6)
    with httpx.Client(timeout=120) as http:
        stage = set_stage(crm, http)
        found = list(operations(http.get(f"{crm.url}/openapi.json").json()))
        random.Random(number).shuffle(found)
        made = 0
        for operation in found:
            if time.monotonic() > until:
                break
            make_calls(stage, operation, calls=CALLS, number=number)
            made += 1
        print(f"{made} of {len(found)} operations, {CALLS} calls each: {dict(stage.answered)}")
        assert made
