"""Notifications: channels from subscribing to their end, what is told of which change, retries, and kill -9."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.crm.receiver import Receiver
from tests.crm.test_robustness import start_program

from farebox.crm import deliveries, outgoing
from farebox.crm.deliveries import Delivery, pending
from farebox.testing.crm import Caller, RunningCrm

WATCH = "actions/watch"
CHANNEL = "1000000068001"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def entry(receiver: Receiver, *events: str, channel: str = CHANNEL, **more: Any) -> dict[str, Any]:
    return {"channel_id": channel, "events": list(events), "notify_url": receiver.url, **more}


def subscribe(caller: Caller, *entries: dict[str, Any], method: str = "POST") -> httpx.Response:
    return caller.send(method, WATCH, {"watch": list(entries)})


def channels(caller: Caller, **params: str) -> list[dict[str, Any]]:
    answer = caller.get(WATCH, None, **params)
    assert answer.status_code in (200, 204), answer.text
    return [] if answer.status_code == 204 else answer.json()["watch"]


def test_a_change_is_told_with_everything_a_receiver_needs(caller: Caller, receiver: Receiver) -> None:
    wanted = entry(receiver, "Leads.all", token="secret", return_affected_field_values=True)
    wanted["notify_url"] += "?from=crm&n=1"
    assert subscribe(caller, wanted).status_code == 201
    first, second = caller.insert("Leads", {"Last_Name": "A", "Mobile": "1"}, {"Last_Name": "B"})
    caller.send("PUT", f"Leads/{first}", {"data": [{"Mobile": "2", "Last_Name": "A"}]})
    caller.send("DELETE", f"Leads/{second}")
    created, edited, deleted = receiver.wait(lambda bodies: len(bodies) == 3, "three notifications")
    assert created["ids"] == [first, second]
    assert created["operation"] == "insert"
    assert created["module"] == "Leads"
    assert created["channel_id"] == CHANNEL
    assert created["token"] == "secret"
    assert created["query_params"] == {"from": "crm", "n": "1"}
    assert created["resource_uri"].endswith("/crm/v8/Leads")
    assert created["affected_values"][0] == {"record_id": first, "values": {"Last_Name": "A", "Mobile": "1"}}
    assert edited["operation"] == "update"
    assert edited["affected_fields"] == [{first: ["Mobile"]}]
    assert edited["affected_values"] == [{"record_id": first, "values": {"Mobile": "2"}}]
    assert (deleted["operation"], deleted["ids"]) == ("delete", [second])
    assert receiver.paths[0] == "/hook?from=crm&n=1"


def test_only_what_was_subscribed_is_told(caller: Caller, receiver: Receiver) -> None:
    subscribe(caller, entry(receiver, "Leads.create", "Contacts.edit"))
    (lead,) = caller.insert("Leads", {"Last_Name": "A"})
    (contact,) = caller.insert("Contacts", {"Last_Name": "B"})
    caller.send("PUT", f"Leads/{lead}", {"data": [{"City": "X"}]})
    caller.send("PUT", f"Contacts/{contact}", {"data": [{"Title": "Y"}]})
    caller.insert("Leads", {"Last_Name": "last"})
    bodies = receiver.wait(lambda bodies: len(bodies) == 3, "the notifications")
    assert [(each["module"], each["operation"]) for each in bodies] == [
        ("Leads", "insert"),
        ("Contacts", "update"),
        ("Leads", "insert"),
    ]
    assert "affected_values" not in bodies[0]


def test_a_condition_holds_back_edits_of_other_fields(caller: Caller, receiver: Receiver) -> None:
    selection = {
        "group_operator": "or",
        "group": [
            {"field": {"api_name": "City"}},
            {"group_operator": "and", "group": [{"field": {"api_name": "State"}}, {"field": {"api_name": "Street"}}]},
        ],
    }
    condition = [{"type": "field_selection", "module": {"api_name": "Leads"}, "field_selection": selection}]
    subscribe(caller, entry(receiver, "Leads.edit", notification_condition=condition))
    (lead,) = caller.insert("Leads", {"Last_Name": "A"})
    for values in ({"State": "S"}, {"Company": "C"}, {"State": "T", "Street": "U"}, {"City": "V"}):
        caller.send("PUT", f"Leads/{lead}", {"data": [values]})
    told = receiver.wait(lambda bodies: len(bodies) == 2, "two notifications")
    assert [each["affected_fields"][0][lead] for each in told] == [["State", "Street"], ["City"]]
    assert channels(caller)[0]["notification_condition"] == condition


def test_an_undone_change_is_never_told(caller: Caller, receiver: Receiver) -> None:
    subscribe(caller, entry(receiver, "Leads.create"))
    good = {"sub_request_id": "1", "method": "POST", "uri": "/crm/v8/Leads", "body": {"data": [{"Last_Name": "gone"}]}}
    bad = {**good, "sub_request_id": "2", "body": {"data": [{}]}}
    body = {"rollback_on_fail": True, "__composite_requests": [good, bad]}
    assert caller.send("POST", "__composite_requests", body).status_code == 400
    (kept,) = caller.insert("Leads", {"Last_Name": "kept"})
    (told,) = receiver.wait(bool, "the notification")
    assert told["ids"] == [kept]


def test_subscribing_answers_with_expiry_and_resource(caller: Caller, receiver: Receiver) -> None:
    soon = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    answer = subscribe(caller, entry(receiver, "Leads.create", "Leads.edit", channel_expiry=soon.isoformat()))
    (element,) = answer.json()["watch"]
    assert element["message"] == "Successfully subscribed for actions-watch of the given module"
    (event,) = element["details"]["events"]
    assert datetime.fromisoformat(event["channel_expiry"]) == soon
    assert (event["resource_name"], event["channel_id"]) == ("Leads", CHANNEL)
    assert event["resource_uri"].endswith("/crm/v8/Leads")


@pytest.mark.parametrize("given", [None, "yesterday", "2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"])
def test_an_expiry_out_of_range_is_an_hour(caller: Caller, receiver: Receiver, given: str | None) -> None:
    subscribe(caller, entry(receiver, "Leads.create", channel_expiry=given))
    left = datetime.fromisoformat(channels(caller)[0]["channel_expiry"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


def test_an_expired_channel_is_gone(crm: RunningCrm, caller: Caller, receiver: Receiver) -> None:
    subscribe(caller, entry(receiver, "Leads.create"))
    with crm.store.transaction() as db:
        db.execute("UPDATE watch SET expires = ? WHERE channel_id = ?", (crm.store.now(), int(CHANNEL)))
    assert channels(caller) == []
    caller.insert("Leads", {"Last_Name": "unheard"})
    assert pending(crm.store) == []
    assert (
        subscribe(caller, entry(receiver, "Leads.create"), method="PUT").json()["watch"][0]["code"] == "NOT_SUBSCRIBED"
    )


def test_put_replaces_patch_adds_and_takes_away(caller: Caller, receiver: Receiver) -> None:
    subscribe(caller, entry(receiver, "Leads.create", token="t"))
    answer = subscribe(caller, {"channel_id": CHANNEL, "events": ["Deals.all"]}, method="PATCH")
    assert (answer.status_code, answer.json()["watch"][0]["message"]) == (
        200,
        "Successfully updated the subscribe details",
    )
    assert [(each["resource_name"], each["events"], each["token"]) for each in channels(caller)] == [
        ("Deals", ["Deals.all"], "t"),
        ("Leads", ["Leads.create"], "t"),
    ]
    gone = {"channel_id": CHANNEL, "events": ["Leads.create"], "_delete_events": True}
    answer = subscribe(caller, gone, method="PATCH")
    assert answer.json()["watch"][0]["message"] == "Successfully removed the subscribe details"
    assert [each["resource_name"] for each in channels(caller)] == ["Deals"]
    subscribe(caller, entry(receiver, "Contacts.create"), method="PUT")
    assert [(each["resource_name"], each["token"]) for each in channels(caller)] == [("Contacts", None)]


def test_unsubscribing_ends_the_channel(caller: Caller, receiver: Receiver) -> None:
    subscribe(caller, entry(receiver, "Leads.create"), entry(receiver, "Deals.edit", channel="77"))
    answer = caller.send("DELETE", WATCH, params={"channel_ids": f"{CHANNEL},78"})
    assert answer.status_code == 207
    assert [each["code"] for each in answer.json()["watch"]] == ["SUCCESS", "NOT_SUBSCRIBED"]
    assert answer.json()["watch"][0]["message"] == "Successfully un-subscribed from actions-watch"
    assert [each["channel_id"] for each in channels(caller)] == ["77"]
    assert caller.send("DELETE", WATCH).json()["code"] == "REQUIRED_PARAM_MISSING"


def test_channels_are_listed_by_channel_module_and_page(caller: Caller, receiver: Receiver) -> None:
    subscribe(caller, *(entry(receiver, "Leads.create", "Deals.edit", channel=str(n)) for n in (1, 2, 3)))
    assert len(channels(caller)) == 6
    assert len(channels(caller, channel_id="2")) == 2
    assert len(channels(caller, module="Deals")) == 3
    answer = caller.get(WATCH, page=2, per_page=4).json()
    assert answer["info"] == {"per_page": 4, "count": 2, "page": 2, "more_records": False}
    assert channels(caller, channel_id="9") == []


def test_another_organisation_neither_sees_nor_hears(crm: RunningCrm, caller: Caller, receiver: Receiver) -> None:
    subscribe(caller, entry(receiver, "Leads.create"))
    with crm.caller(crm.create_organisation(users=1)) as stranger:
        assert channels(stranger) == []
        stranger.insert("Leads", {"Last_Name": "foreign"})
        assert stranger.send("DELETE", WATCH, params={"channel_ids": CHANNEL}).status_code == 400
    caller.insert("Leads", {"Last_Name": "own"})
    assert len(receiver.wait(bool, "the own notification")) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"channel_id": None}, "MANDATORY_NOT_FOUND"),
        ({"channel_id": "x"}, "INVALID_DATA"),
        ({"events": None}, "MANDATORY_NOT_FOUND"),
        ({"events": ["Nope.create"]}, "INVALID_DATA"),
        ({"events": ["Leads.nope"]}, "INVALID_DATA"),
        ({"events": "Leads.create"}, "INVALID_DATA"),
        ({"notify_url": None}, "MANDATORY_NOT_FOUND"),
        ({"notify_url": "http://10.0.0.1/"}, "INVALID_DATA"),
        ({"notify_url": "http://example.com/"}, "INVALID_DATA"),
        ({"token": "x" * 51}, "INVALID_DATA"),
        ({"token": 1}, "INVALID_DATA"),
        ({"return_affected_field_values": "yes"}, "INVALID_DATA"),
        ({"notification_condition": {}}, "INVALID_DATA"),
        ({"notification_condition": [{"type": "other"}]}, "INVALID_DATA"),
        ({"notification_condition": [{"type": "field_selection"}]}, "MANDATORY_NOT_FOUND"),
    ],
)
def test_what_is_wrong_with_a_subscription_is_said_in_its_place(
    caller: Caller, receiver: Receiver, changes: dict[str, Any], code: str
) -> None:
    bad = {**entry(receiver, "Leads.create"), **changes}
    answer = subscribe(caller, bad, entry(receiver, "Leads.create", channel="7"))
    assert answer.status_code == 207
    assert [each["code"] for each in answer.json()["watch"]] == [code, "SUCCESS"]
    assert answer.json()["watch"][0]["details"]["json_path"].startswith("$.watch[0].")
    assert subscribe(caller, bad).status_code == 400


def test_a_receiver_that_fails_is_asked_again_until_it_takes_it(caller: Caller) -> None:
    with Receiver(500, 503) as receiver:
        subscribe(caller, entry(receiver, "Leads.create"))
        (lead,) = caller.insert("Leads", {"Last_Name": "A"})
        bodies = receiver.wait(lambda bodies: len(bodies) == 3, "the third attempt")
    assert [each["ids"] for each in bodies] == [[lead]] * 3


def test_what_nobody_takes_is_given_up_visibly(
    crm: RunningCrm, caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deliveries, "RETRY_AFTER_S", (0, 0))
    with Receiver(*[500] * 9) as receiver:
        subscribe(caller, entry(receiver, "Leads.create"))
        caller.insert("Leads", {"Last_Name": "A"}, {"Last_Name": "B"})
        receiver.wait(lambda bodies: len(bodies) == 3, "three attempts")
        mine: list[Delivery] = []
        while not mine or mine[0].due is not None:
            mine = [each for each in pending(crm.store) if each.url == receiver.url]
    assert (mine[0].records, mine[0].attempts, mine[0].problem) == (2, 3, "answered 500")
    assert "given up after 3 attempts: answered 500" in caplog.text


def test_a_slow_receiver_holds_up_no_other(caller: Caller, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "TIMEOUT_S", 3_600.0)  # longer than any wait here: it is not given up first
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = {
            **entry(receiver, "Leads.create", channel="1"),
            "notify_url": f"http://127.0.0.1:{mute.getsockname()[1]}/",
        }
        subscribe(caller, silent, entry(receiver, "Leads.create", channel="2"))
        caller.insert("Leads", {"Last_Name": "A"})
        receiver.wait(bool, "the notification")


def test_a_storm_of_notifications_survives_kill_9(tmp_path: Path) -> None:
    seen: set[str] = set()
    inserted: set[str] = set()
    with Receiver() as receiver:
        for round_ in range(4):
            process, started = start_program(tmp_path, "--local-callbacks")
            organisation = started["organisations"][0]
            try:
                token = httpx.post(
                    f"{started['url']}/oauth/v2/token",
                    data={
                        "grant_type": "refresh_token",
                        "client_id": organisation["client_id"],
                        "client_secret": organisation["client_secret"],
                        "refresh_token": organisation["refresh_token"],
                    },
                ).json()["access_token"]
                headers = {"Authorization": f"Zoho-oauthtoken {token}"}
                with httpx.Client(base_url=f"{started['url']}/crm/v8", headers=headers) as client:
                    if round_ == 0:
                        body = {"watch": [entry(receiver, "Contacts.create")]}
                        assert client.post("/actions/watch", json=body).status_code == 201
                    for _ in range(0 if round_ == 3 else 20):
                        answer = client.post("/Contacts", json={"data": [{"Last_Name": "S"}] * 5})
                        inserted |= {each["details"]["id"] for each in answer.json()["data"]}
                if round_ == 3:
                    receiver.wait(partial(_all_told, inserted, receiver), "every change told")
            finally:
                process.kill()
                process.wait()
                process.stdout.close()  # type: ignore[union-attr]  # it is a pipe
        seen = told(receiver)
    assert inserted <= seen
    assert len(inserted) == 300


def _all_told(records: set[str], receiver: Receiver, _: list[Any]) -> bool:
    return records <= told(receiver)


def told(receiver: Receiver) -> set[str]:
    return {record_id for body in list(receiver.bodies) for record_id in body["ids"]}
