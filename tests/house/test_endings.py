"""A test that leaves a thread running fails the run, and the run still ends."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import tests.conftest

LEAVES_ONE = """
import threading

def test_it():
    threading.Thread(target=threading.Event().wait, name="left-over").start()
"""


def test_a_thread_left_behind_fails_the_run_and_is_named(tmp_path: Path) -> None:
    shutil.copy(tests.conftest.__file__, tmp_path / "conftest.py")
    (tmp_path / "test_leaves.py").write_text(LEAVES_ONE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=tmp_path)
    assert "1 passed" in done.stdout
    assert done.returncode == 1
    assert "still running after the last test: left-over" in done.stderr
