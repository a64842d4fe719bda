"""A charge reaches page and API by itself; how long it takes is measured by tools/measure_screen.py, not asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from farebox.testing.screen import Screen, signed_in
from farebox.testing.system import RunningFarebox, until
from farebox.testing.upstream import StubUpstream

DEADLINE_SECONDS = 60.0

pytestmark = pytest.mark.slow


def test_a_charge_appears_on_the_open_page_and_in_the_api_without_anybody_asking_again(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    with (
        RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox,
        farebox.caller("acme", "ada") as ada,
        signed_in(farebox, "acme") as person,
        Screen(person, "acme", "api") as screen,
    ):
        assert screen.used == screen.users_sum == "0"
        for call in (1, 2, 3):
            assert ada.get("/things").status_code == 200
            screen.wait_for(used=str(call), users_sum=str(call), within_seconds=DEADLINE_SECONDS)
        until(
            lambda: farebox.ask_console("usage", "acme")["calls"] == 3,
            what="the API shows it",
            within_seconds=DEADLINE_SECONDS,
        )
