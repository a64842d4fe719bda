"""`make soak`: the quota model without end; a line of progress every ten seconds, and a full stop at a violation."""

from __future__ import annotations

import itertools
import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import structlog

from .quota_hunt import STEPS, hunt

EVERY_SECONDS = 10


def main() -> int:
    """Status 1 once a promise broke, with the story of the fewest steps that break it; Ctrl-C ends it well."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    given = os.environ.get("FAREBOX_SEED")
    first = random.SystemRandom().randrange(10**9) if given is None else int(given)
    print(f"seeds from {first}, {STEPS} steps each, 1 to 4 gateways, memory and SQLite; Ctrl-C ends it", flush=True)
    began = said = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farebox-soak-") as folder:
        try:
            for tally in hunt(itertools.count(first), Path(folder)):
                if time.monotonic() - said >= EVERY_SECONDS:
                    said = time.monotonic()
                    print(f"{said - began:8.0f} s  {tally}; next seed {first + tally.runs}", flush=True)
        except AssertionError as violation:
            print("\n".join(violation.__notes__[-1:]), flush=True)
            return 1
        except KeyboardInterrupt:
            print("\nno promise broke")
    return 0


if __name__ == "__main__":
    sys.exit(main())
