"""G1 and G5: what changes in the directory is in force everywhere in time, while calls go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from farebox.testing.system import Provision, RunningFarebox, until
from farebox.testing.upstream import StubUpstream

LEASE_SECONDS = 2.0
RAISED_SECONDS = 1.0
MACHINE_SECONDS = 1.0
"""What a busy test machine may add to a promise."""

pytestmark = pytest.mark.slow


def _status_within(call: Callable[[], httpx.Response], status: int, *, seconds: float) -> httpx.Response:
    """Calls on and on until `status` comes, which must be in time; how long it took is printed."""
    began = time.monotonic()

    def wanted() -> httpx.Response | None:
        answer = call()
        return answer if answer.status_code == status else None

    answer = until(wanted, what=f"status {status}", within_seconds=seconds + MACHINE_SECONDS)
    print(f"status {status} after {time.monotonic() - began:.2f} s, promised {seconds:g} s")
    return answer


def test_a_revoked_key_and_a_suspended_org_are_refused_within_one_lease_time(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    orgs = [Provision(org="acme"), Provision(org="other")]
    with (
        RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs) as farebox,
        farebox.caller("acme", "ada") as ada,
        farebox.caller("acme", "ben") as ben,
    ):
        assert ada.get("/").status_code == ben.get("/").status_code == 200
        with farebox.directory() as directory:
            directory.revoke_key(farebox.key("acme", "ada").id)
        refused = _status_within(lambda: ada.get("/"), 401, seconds=LEASE_SECONDS)
        assert refused.json()["code"] == "CREDENTIALS_UNKNOWN"
        assert ben.get("/").status_code == 200, "another key of the org goes on"
        with farebox.directory() as directory:
            directory.suspend("acme")
        refused = _status_within(lambda: ben.get("/"), 403, seconds=LEASE_SECONDS)
        assert refused.json()["code"] == "ORG_SUSPENDED"
        reached = len(upstream.requests)
        assert ben.get("/").status_code == 403
        assert len(upstream.requests) == reached
        with farebox.caller("other", "ada") as other:
            assert other.get("/").status_code == 200, "another org goes on"
        with farebox.directory() as directory:
            directory.suspend("acme", suspended=False)
        _status_within(lambda: ben.get("/"), 200, seconds=LEASE_SECONDS)


def test_a_raised_allowance_admits_within_a_second_and_a_lowered_one_refuses_within_one_lease_time(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    orgs = [Provision(org="acme", base=5)]
    with (
        RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs) as farebox,
        farebox.caller("acme", "ada") as ada,
    ):
        assert [ada.get("/").status_code for _ in range(6)] == [200] * 5 + [429]
        farebox.set_base("acme", 5_000)
        _status_within(lambda: ada.get("/"), 200, seconds=RAISED_SECONDS)
        for _ in range(50):  # a rate, so that a lease is there that outlives the change
            assert ada.get("/").status_code == 200
        farebox.set_base("acme", 10)
        refused = _status_within(lambda: ada.get("/"), 429, seconds=LEASE_SECONDS)
        assert refused.json()["code"] == "CREDITS_EXHAUSTED"
        reached = len(upstream.requests)
        assert [ada.get("/").status_code for _ in range(20)] == [429] * 20
        assert len(upstream.requests) == reached


def test_an_inactive_user_is_refused_and_the_others_go_on(tmp_path: Path, upstream: StubUpstream) -> None:
    with (
        RunningFarebox(tmp_path, upstream_url=upstream.url) as farebox,
        farebox.caller("acme", "ada") as ada,
        farebox.caller("acme", "ben") as ben,
    ):
        assert ada.get("/").status_code == 200
        with farebox.directory() as directory:
            directory.set_user_active("acme", "ada", active=False)
        assert _status_within(lambda: ada.get("/"), 403, seconds=LEASE_SECONDS).json()["code"] == "USER_INACTIVE"
        assert ben.get("/").status_code == 200
