"""A worker looks after its parts: the directory whatever happens to a look, the journal until the last sync is done."""

from __future__ import annotations

import pytest

from farebox.journal import reader
from farebox.testing.upstream import StubUpstream

from .conftest import GatewayMaker, until


def test_a_directory_that_could_not_be_read_once_is_read_again(
    make_gateway: GatewayMaker, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = make_gateway(identity="key", start=False)
    gateway.org(plan="standard")
    key = gateway.directory.add_key("acme")
    gateway.start()
    watch = gateway.worker._watch
    looked = []

    def refresh() -> bool:
        looked.append(1)
        if len(looked) == 1:
            raise RuntimeError("a bug")
        return real()

    real = watch.refresh
    monkeypatch.setattr(watch, "refresh", refresh)
    until(lambda: looked)
    caller = gateway.caller()
    assert caller.ask(fields={"X-Api-Key": key.key}).status == 200
    gateway.directory.revoke_key(key.id)
    until(lambda: caller.ask(fields={"X-Api-Key": key.key}).status == 401)
    assert len(upstream.requests) >= 1


def test_the_journal_of_a_worker_that_stops_is_nobodys_before_its_last_sync(
    make_gateway: GatewayMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = make_gateway()
    assert gateway.caller().ask().status == 200
    syncer, root = gateway.worker._syncer, gateway.folder / "journal"
    found = []

    async def close() -> None:
        found.append(list(reader.orphans(root)))
        await real()
        found.append(list(reader.orphans(root)))

    real = syncer.close
    monkeypatch.setattr(syncer, "close", close)
    gateway.stop()
    assert found == [[], []]
    assert len(list(reader.orphans(root))) == 1
