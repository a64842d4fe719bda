"""How long a run of the fuzzers is, and how it is replayed."""

from __future__ import annotations

import os
import random

SEED = int(os.environ.get("FAREBOX_SEED") or random.randrange(1 << 32))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 800)
