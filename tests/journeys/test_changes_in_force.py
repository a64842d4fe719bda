"""G1 and G5: what changes in the directory is in force everywhere in time, while calls go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from farebox.testing.system import Provision, RunningFarebox, in_time, seconds_until, until
from farebox.testing.upstream import StubUpstream

LEASE_SECONDS = 2.0
RAISED_SECONDS = 1.0
MACHINE_SECONDS = 1.0
"""What a busy test machine may add to a promise, in the best of its tries."""

Call = Callable[[], httpx.Response]

pytestmark = pytest.mark.slow


def _is_in_force(change: Callable[[], Call], status: int, *, seconds: float) -> Call:
    """`change` changes something; the call that it gives back comes to answer `status` in time."""
    call: Call

    def once() -> float:
        nonlocal call
        call = change()
        took = seconds_until(lambda: call().status_code == status, what=f"status {status}")
        print(f"status {status} after {took:.2f} s, promised {seconds:g} s")
        return took

    in_time(once, seconds=seconds + MACHINE_SECONDS)
    return call


def _until(call: Call, status: int) -> None:
    until(lambda: call().status_code == status, what=f"status {status}")


def test_a_revoked_key_and_a_suspended_org_are_refused_within_one_lease_time(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    orgs = [Provision(org="acme"), Provision(org="other")]
    with (
        RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs) as farebox,
        farebox.caller("acme", "ben") as ben,
    ):

        def revoke() -> Call:
            with farebox.directory() as directory:
                made = directory.add_key("acme", user="ada")
                headers = {"X-Api-Key": made.key}
                _until(lambda: httpx.get(farebox.gateway_url, headers=headers), 200)
                directory.revoke_key(made.id)
            return lambda: httpx.get(farebox.gateway_url, headers=headers)

        def suspend(*, suspended: bool) -> Call:
            with farebox.directory() as directory:
                directory.suspend("acme", suspended=not suspended)
                _until(lambda: ben.get("/"), 200 if suspended else 403)
                directory.suspend("acme", suspended=suspended)
            return lambda: ben.get("/")

        refused = _is_in_force(revoke, 401, seconds=LEASE_SECONDS)()
        assert refused.json()["code"] == "CREDENTIALS_UNKNOWN"
        assert ben.get("/").status_code == 200, "another key of the org goes on"
        refused = _is_in_force(lambda: suspend(suspended=True), 403, seconds=LEASE_SECONDS)()
        assert refused.json()["code"] == "ORG_SUSPENDED"
        reached = len(upstream.requests)
        assert ben.get("/").status_code == 403
        assert len(upstream.requests) == reached
        with farebox.caller("other", "ada") as other:
            assert other.get("/").status_code == 200, "another org goes on"
        _is_in_force(lambda: suspend(suspended=False), 200, seconds=LEASE_SECONDS)


def test_a_raised_allowance_admits_within_a_second_and_a_lowered_one_refuses_within_one_lease_time(
    tmp_path: Path, upstream: StubUpstream
) -> None:
    orgs = [Provision(org="acme", base=5)]
    with (
        RunningFarebox(tmp_path, upstream_url=upstream.url, orgs=orgs) as farebox,
        farebox.caller("acme", "ada") as ada,
    ):
        assert [ada.get("/").status_code for _ in range(6)] == [200] * 5 + [429]

        def change(base: int, *, first: int) -> Call:
            farebox.set_base("acme", first)
            _until(lambda: ada.get("/"), 200 if first > base else 429)
            if first > base:
                for _ in range(50):  # a rate, so that a lease is there that outlives the change
                    assert ada.get("/").status_code == 200
            farebox.set_base("acme", base)
            return lambda: ada.get("/")

        _is_in_force(lambda: change(50_000, first=5), 200, seconds=RAISED_SECONDS)
        refused = _is_in_force(lambda: change(10, first=50_000), 429, seconds=LEASE_SECONDS)()
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

        def leave() -> Call:
            with farebox.directory() as directory:
                directory.set_user_active("acme", "ada", active=True)
                _until(lambda: ada.get("/"), 200)
                directory.set_user_active("acme", "ada", active=False)
            return lambda: ada.get("/")

        refused = _is_in_force(leave, 403, seconds=LEASE_SECONDS)()
        assert refused.json()["code"] == "USER_INACTIVE"
        assert ben.get("/").status_code == 200
