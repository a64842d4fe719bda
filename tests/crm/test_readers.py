"""Long reads beside other calls: nobody waits for them, and they see one state of the store."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from farebox.crm import coql, reading, search
from farebox.crm.store import Store
from farebox.testing.crm import Caller

WAIT_S = 10
QUERY = {"select_query": "select Last_Name from Leads where id is not null"}
LONG: dict[str, tuple[Any, str, Callable[[Caller], httpx.Response]]] = {
    "COQL": (coql, "_run", lambda caller: caller.send("POST", "coql", QUERY)),
    "search": (search, "_found", lambda caller: caller.get("Leads/search", criteria="(Last_Name:starts_with:A)")),
    "count": (search, "_found", lambda caller: caller.get("Leads/actions/count")),
    "view": (reading, "_select", lambda caller: caller.get("Leads", fields="Last_Name", cvid=view_of(caller))),
    "changed": (
        reading,
        "_select",
        lambda caller: caller.get(
            "Leads", {"If-Modified-Since": "2020-01-01T00:00:00+00:00"}, fields="Last_Name", per_page=200
        ),
    ),
}


def view_of(caller: Caller) -> str:
    views = caller.get("settings/custom_views", module="Leads").json()["custom_views"]
    return str(next(each["id"] for each in views if each["system_name"] == "ALLVIEWS"))


@pytest.mark.parametrize("name", LONG)
def test_other_calls_are_answered_while_a_long_read_goes_on_and_it_does_not_see_what_they_write(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module, step, ask = LONG[name]
    caller.insert("Leads", {"Last_Name": "A1"})
    begun, may_go_on = threading.Event(), threading.Event()
    original = getattr(module, step)

    def held(*args: Any, **options: Any) -> Any:
        begun.set()
        assert may_go_on.wait(WAIT_S), "the long read was not let go"
        return original(*args, **options)

    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as beside:
        patched.setattr(module, step, held)
        long = beside.submit(ask, caller)
        assert begun.wait(WAIT_S), "the long read has not begun"
        assert caller.get("users").status_code == 200
        caller.insert("Leads", {"Last_Name": "A2"})
        assert not long.done()
        may_go_on.set()
        answer = long.result().json()
    assert answer.get("count", len(answer.get("data", []))) == 1
    after = ask(caller).json()
    assert after.get("count", len(after.get("data", []))) == 2


def test_what_reads_one_state_of_the_store_writes_nothing() -> None:
    store = Store()
    with store.reading_one_state():
        with pytest.raises(AssertionError, match="writes nothing"), store.transaction():
            pass
        with store.reading() as db:
            assert db.in_transaction
    with store.transaction() as db:
        db.execute("INSERT INTO setting VALUES ('k', '')")
    store.close()


def test_connections_of_snapshots_are_used_again_and_closed_with_the_store() -> None:
    store = Store()
    with store.snapshot() as first:
        pass
    with store.snapshot() as again, store.snapshot() as other:
        assert again is first
        assert other is not first
    store.close()
    with pytest.raises(Exception, match="closed"):
        first.execute("SELECT 1")
