"""Live updates: what differs, to any number of watchers, and an end when the console stops."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import pytest

from farebox.console import live as live_module
from farebox.console.live import Fragments, Live
from farebox.errors import ConsoleBusyError


class Numbers:
    """Fragments that a test changes; counts how often they were made."""

    def __init__(self) -> None:
        self.fragments: Fragments = {"a": "1", "b": "1"}
        self.renderings = 0

    def __call__(self, _: Hashable) -> Fragments:
        self.renderings += 1
        return self.fragments


def test_a_watcher_gets_everything_first_and_then_what_differs() -> None:
    async def watch() -> None:
        numbers = Numbers()
        watcher = Live(numbers).changes("key", org="acme")
        assert await anext(watcher) == {"a": "1", "b": "1"}
        numbers.fragments = {"a": "2", "b": "1"}
        assert await anext(watcher) == {"a": "2"}
        await watcher.aclose()

    asyncio.run(asyncio.wait_for(watch(), 60))


def test_watchers_of_one_account_share_one_rendering_and_a_slow_one_skips_steps() -> None:
    async def watch() -> None:
        numbers = Numbers()
        live = Live(numbers)
        fast, slow = live.changes("key", org="acme"), live.changes("key", org="acme")
        assert await anext(fast) == await anext(slow)
        for value in "234":
            numbers.fragments = {"a": value, "b": "1"}
            assert await anext(fast) == {"a": value}
        assert await anext(slow) == {"a": "4"}
        assert numbers.renderings <= 8
        assert len(live._watches) == 1
        await fast.aclose()
        await slow.aclose()
        assert not live._watches

    asyncio.run(asyncio.wait_for(watch(), 60))


def test_stopping_ends_every_watch() -> None:
    async def watch() -> None:
        live = Live(Numbers())
        watcher = live.changes("key", org="acme")
        await anext(watcher)
        waiting = asyncio.create_task(anext(watcher, None))
        await asyncio.sleep(0)
        live.stop()
        assert await waiting is None

    asyncio.run(asyncio.wait_for(watch(), 60))


def test_a_failing_rendering_ends_its_watchers_with_its_error_and_a_new_one_tries_again() -> None:
    async def watch() -> None:
        trouble = True

        def render(_: Hashable) -> Fragments:
            if trouble:
                raise RuntimeError("the renderer broke")
            return {"a": "1"}

        live = Live(render)
        with pytest.raises(RuntimeError, match="the renderer broke"):
            await anext(live.changes("key", org="acme"))
        trouble = False
        again = live.changes("key", org="acme")
        assert await anext(again) == {"a": "1"}
        await again.aclose()

    asyncio.run(asyncio.wait_for(watch(), 60))


def test_there_are_never_more_watchers_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch() -> None:
        monkeypatch.setattr(live_module, "WATCHERS_MAX", 1)
        live = Live(Numbers())
        first = live.changes("key", org="acme")
        await anext(first)
        with pytest.raises(ConsoleBusyError):
            await anext(live.changes("key", org="acme"))
        await first.aclose()
        second = live.changes("key", org="acme")
        assert await anext(second)
        await second.aclose()

    asyncio.run(asyncio.wait_for(watch(), 60))


def test_one_org_cannot_take_the_places_of_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch() -> None:
        monkeypatch.setattr(live_module, "WATCHERS_PER_ORG_MAX", 2)
        live = Live(Numbers())
        greedy = [live.changes("key", org="acme") for _ in range(3)]
        await anext(greedy[0])
        await anext(greedy[1])
        with pytest.raises(ConsoleBusyError):
            await anext(greedy[2])
        other = live.changes("key", org="other")
        assert await anext(other)
        for watcher in (*greedy, other):
            await watcher.aclose()
        assert not live._watchers

    asyncio.run(asyncio.wait_for(watch(), 60))


def test_silence_is_broken_by_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch() -> None:
        monkeypatch.setattr(live_module, "HEARTBEAT_SECONDS", 0.05)
        watcher = Live(Numbers()).changes("key", org="acme")
        await anext(watcher)
        assert await anext(watcher) == {}
        await watcher.aclose()

    asyncio.run(asyncio.wait_for(watch(), 60))
