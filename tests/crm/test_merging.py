"""Cloning and merging: nothing that was related to a merged record is lost."""

import os
import random
from collections import Counter
from typing import Any

from farebox.testing.crm import Caller, RunningCrm


def test_a_clone_has_the_values_and_an_id_and_number_of_its_own(caller: Caller) -> None:
    (solution,) = caller.insert("Solutions", {"Solution_Title": "S", "Question": "Q"})
    answer = caller.send("POST", f"Solutions/{solution}/actions/clone")
    assert (answer.status_code, answer.json()["data"][0]["message"]) == (201, "record added")
    other = answer.json()["data"][0]["details"]["id"]
    old, new = caller.record("Solutions", solution), caller.record("Solutions", other)
    assert other != solution
    assert old["Solution_Number"] != new["Solution_Number"]
    assert (new["Solution_Title"], new["Question"]) == ("S", "Q")


def test_a_unique_value_is_not_cloned_twice_but_may_be_given_anew(caller: Caller) -> None:
    (contact,) = caller.insert("Contacts", {"Last_Name": "C", "Mobile": "1"})
    answer = caller.send("POST", f"Contacts/{contact}/actions/clone")
    assert (answer.status_code, answer.json()["data"][0]["code"]) == (400, "DUPLICATE_DATA")
    answer = caller.send("POST", f"Contacts/{contact}/actions/clone", {"data": [{"Mobile": "2"}]})
    assert answer.status_code == 201
    assert caller.send("POST", "Contacts/17/actions/clone").json()["details"] == {"resource_path_index": 1}


def merge(caller: Caller, module: str, master: str, *children: dict[str, Any]) -> Any:
    return caller.send("POST", f"{module}/{master}/actions/merge", {"data": list(children)})


def test_a_master_takes_the_fields_it_names_and_the_others_are_deleted(caller: Caller) -> None:
    ids = caller.insert(
        "Contacts",
        {"Last_Name": "A", "Phone": "1"},
        {"Last_Name": "B", "Phone": "2", "Mobile": "5"},
        {"Last_Name": "C", "Phone": "3", "Title": "T"},
    )
    children = [
        {"id": ids[1], "_fields": [{"api_name": "Mobile"}, {"api_name": "Last_Name"}]},
        {"id": ids[2], "_fields": [{"api_name": "Title"}]},
    ]
    answer = merge(caller, "Contacts", ids[0], *children)
    assert (answer.status_code, answer.json()["data"][0]["details"]) == (200, {"id": ids[0]})
    master = caller.record("Contacts", ids[0])
    assert [master[name] for name in ("Last_Name", "Phone", "Mobile", "Title")] == ["B", "1", "5", "T"]
    gone = {each["id"] for each in caller.get("Contacts/deleted").json()["data"]}
    assert gone == set(ids[1:])


def test_what_cannot_be_merged_changes_nothing(caller: Caller) -> None:
    ids = caller.insert("Leads", *({"Last_Name": f"L{n}"} for n in range(4)))
    refused: list[tuple[list[Any], str]] = [
        ([], "INVALID_DATA"),
        ([{"id": each} for each in ids[1:]], "INVALID_DATA"),
        ([{"id": ids[0]}], "DUPLICATE_DATA"),
        ([{"id": ids[1]}, {"id": ids[1]}], "DUPLICATE_DATA"),
        ([{"id": ids[1]}, {"id": "17"}], "INVALID_DATA"),
        ([{"id": ids[1], "_fields": [{"api_name": "Nothing"}]}], "INVALID_DATA"),
        ([{"id": ids[1], "_fields": [{"api_name": "Created_By"}]}], "INVALID_DATA"),
        ([{}], "MANDATORY_NOT_FOUND"),
    ]
    for children, code in refused:
        answer = merge(caller, "Leads", ids[0], *children)
        assert (answer.status_code, answer.json()["code"]) == (400, code), children
    assert caller.get("Leads", fields="id").json()["info"]["count"] == 4


def test_a_master_takes_no_unique_value_that_a_record_beside_them_holds(crm: RunningCrm, caller: Caller) -> None:
    mail = {"Email": "a@b.example"}
    ids = caller.insert("Leads", {"Last_Name": "A"}, {"Last_Name": "B", **mail}, {"Last_Name": "C", **mail})
    with crm.store.transaction() as db:  # a rule that is younger than the records
        unique = '{"Leads": ["Email"]}'
        db.execute("UPDATE organisation SET unique_fields = ? WHERE zgid = ?", (unique, caller.credentials.zgid))
    child = {"id": ids[1], "_fields": [{"api_name": "Last_Name"}, {"api_name": "Email"}]}
    answer = merge(caller, "Leads", ids[0], child)
    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (
        400,
        "DUPLICATE_DATA",
        "duplicate data",
    )
    details = answer.json()["details"]
    assert (details["api_name"], details["json_path"], details["id"]) == (
        "Email",
        "$.data[0]._fields[1].api_name",
        ids[2],
    )
    assert details["duplicate_record"]["module"]["api_name"] == "Leads"
    assert caller.record("Leads", ids[0])["Last_Name"] == "A"
    assert caller.record("Leads", ids[1])["Last_Name"] == "B"
    assert merge(caller, "Leads", ids[0], child, {"id": ids[2]}).status_code == 200
    assert caller.record("Leads", ids[0])["Email"] == "a@b.example"


def test_the_official_sdks_form_is_understood(caller: Caller) -> None:
    ids = caller.insert("Leads", {"Last_Name": "A"}, {"Last_Name": "B"})
    body = {"merge": [{"data": [{"id": int(ids[1])}], "master_record_fields": []}]}
    answer = caller.send("POST", f"Leads/{ids[0]}/actions/merge", body).json()
    assert answer["merge"][0]["code"] == "SUCCESS"


def test_a_merge_loses_no_related_record(caller: Caller) -> None:
    seed = int(os.environ.get("FAREBOX_SEED", random.randrange(2**32)))
    print(f"FAREBOX_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(3):
        accounts = caller.insert("Accounts", *({"Account_Name": f"A{n}"} for n in range(4)))
        products = caller.insert("Products", *({"Product_Name": f"P{n}"} for n in range(3)))
        of: dict[str, str] = {}
        for module, record in (
            ("Contacts", {"Last_Name": "C"}),
            ("Deals", {"Deal_Name": "D", "Stage": "Qualification"}),
        ):
            for _ in range(chance.randint(0, 5)):
                account = chance.choice(accounts)
                of[caller.insert(module, {**record, "Account_Name": account})[0]] = account
        for _ in range(chance.randint(1, 5)):
            account = chance.choice(accounts)
            of[caller.insert("Notes", {"Note_Content": "N", "Parent_Id": account})[0]] = account
        linked = {(chance.choice(accounts), chance.choice(products)) for _ in range(6)}
        for account, product in linked:
            caller.send("PUT", f"Accounts/{account}/Products/{product}", {"data": [{}]})
        caller.send("PUT", f"Accounts/{accounts[3]}", {"data": [{"Parent_Account": accounts[1]}]})
        caller.send("PUT", f"Accounts/{accounts[0]}", {"data": [{"Parent_Account": accounts[1]}]})
        assert merge(caller, "Accounts", accounts[0], {"id": accounts[1]}, {"id": accounts[2]}).status_code == 200
        into = {accounts[0]: accounts[0], accounts[1]: accounts[0], accounts[2]: accounts[0], accounts[3]: accounts[3]}
        expected = Counter({(record, into[account]): 1 for record, account in of.items()})
        found: Counter[tuple[str, str]] = Counter()
        for account in (accounts[0], accounts[3]):
            for related in ("Contacts", "Deals", "Notes"):
                answer = caller.get(f"Accounts/{account}/{related}", fields="id")
                if answer.status_code == 200:
                    found.update((each["id"], account) for each in answer.json()["data"])
            products_of = caller.get(f"Accounts/{account}/Products", fields="id")
            have = [] if products_of.status_code == 204 else [each["id"] for each in products_of.json()["data"]]
            assert sorted(have) == sorted({product for each, product in linked if into[each] == account})
        assert found == expected
        assert caller.record("Accounts", accounts[3])["Parent_Account"]["id"] == accounts[0]
        assert caller.record("Accounts", accounts[0])["Parent_Account"] is None


def test_rows_of_subforms_follow_too(caller: Caller) -> None:
    one, two = caller.insert("Products", {"Product_Name": "One"}, {"Product_Name": "Two"})
    row = {"Product_Name": {"id": two}, "Quantity": 1}
    (quote,) = caller.insert("Quotes", {"Subject": "Q", "Quoted_Items": [row]})
    assert merge(caller, "Products", one, {"id": two}).status_code == 200
    assert caller.record("Quotes", quote)["Quoted_Items"][0]["Product_Name"] == {"name": "One", "id": one}
