"""The queue of what the API tells others: what is next, and what looking for it costs."""

from collections.abc import Iterator

import pytest

from farebox.crm import deliveries
from farebox.crm.store import Store

INSERT = (
    "INSERT INTO notice (zgid, channel_id, call_id, module, operation, record_id, changed, shown, url, token, "
    "resource_uri, due) VALUES (?, ?, ?, 'Leads', 'insert', ?, '[]', 'null', 'http://127.0.0.1:1/', '', '', ?)"
)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(clock=lambda: 1_000)
    yield made
    made.close()


def wait(
    store: Store, *, zgid: int = 1, channel: int = 1, call: str = "c", due: int = 900, first: int, count: int = 1
) -> None:
    """So many notices of a call, about records from `first` on."""
    with store.transaction() as db:
        db.executemany(INSERT, [(zgid, channel, call, first + n, due) for n in range(count)])


def next_records(store: Store) -> list[list[int]]:
    """The records of each post that is due, in the order of the posts."""
    with store.reading() as db:
        return [
            [db.execute("SELECT record_id FROM notice WHERE id = ?", (each,)).fetchone()[0] for each in post.ids]
            for post in deliveries._due(store)
        ]


def test_of_each_channel_the_call_that_has_been_due_the_longest_is_next(store: Store) -> None:
    wait(store, zgid=2, channel=1, first=50, due=950)
    wait(store, channel=7, call="a", first=10, count=2)
    wait(store, channel=7, call="b", first=20)
    wait(store, channel=8, first=30, due=1_001)
    wait(store, channel=9, call="a", first=40, due=901)
    wait(store, channel=9, call="b", first=41, due=899)
    assert next_records(store) == [[41], [10, 11], [50]]


def test_a_channel_whose_first_is_asked_again_later_goes_on_with_the_rest(store: Store) -> None:
    wait(store, call="a", first=10)
    wait(store, call="b", first=20)
    (post,) = deliveries._due(store)
    with store.transaction() as db:
        deliveries._settle(db, post, "answered 500", at=1_000)
    assert next_records(store) == [[20]]


@pytest.mark.parametrize(("few", "many"), [((1, 400), (1, 20_000)), ((400, 1), (20_000, 1))])
def test_what_the_next_notices_of_a_channel_cost_does_not_grow_with_what_waits(
    store: Store, few: tuple[int, int], many: tuple[int, int]
) -> None:
    assert _cost_of_telling(store, many) < 2 * _cost_of_telling(store, few)


def _cost_of_telling(store: Store, waiting: tuple[int, int]) -> int:
    """Instructions of SQLite's machine, in tens, for the next post of a channel; waiting: so many calls of so many."""
    taken = 0

    def ten_more() -> int:
        nonlocal taken
        taken += 1
        return 0

    calls, notices = waiting
    with store.transaction() as db:
        db.execute("DELETE FROM notice")
        for call in range(calls):
            wait(store, call=f"c{call}", first=0, count=notices)
    with store.transaction() as db:
        db.set_progress_handler(ten_more, 10)
        (post,) = deliveries._due(store)
        deliveries._settle(db, post, "", at=1_000)
        db.set_progress_handler(None, 0)
    return taken
