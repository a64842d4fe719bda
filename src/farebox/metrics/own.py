"""What every process says about itself: version, start, memory, processor time, open files."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Final

import farebox
from farebox.metrics.figures import Figures

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STARTED: Final = time.time()


def own_figures() -> Figures:
    """Figures with those of this process in them; the others are added by who knows them."""
    figures = Figures()
    figures.add("build_info", 1, version=farebox.__version__, python=platform.python_version())
    figures.add("process_start_seconds", _STARTED)
    figures.add("process_resident_bytes", int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES)
    figures.add("process_cpu_seconds_total", time.process_time())
    figures.add("process_open_files", sum(1 for _ in Path("/proc/self/fd").iterdir()))
    return figures
