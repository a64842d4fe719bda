"""COQL: what a query finds and shows, every way to get one wrong, and agreement with a plain filter."""

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from farebox.crm import narrowing
from farebox.crm.organisations import UserSeed
from farebox.testing.crm import Caller, RunningCrm

Row = dict[str, Any]


def ask(caller: Caller, query: str, **more: Any) -> Any:
    return caller.send("POST", "coql", {"select_query": query, **more})


def rows(caller: Caller, query: str) -> list[Row]:
    answer = ask(caller, query)
    assert answer.status_code in (200, 204), answer.text
    return [] if answer.status_code == 204 else answer.json()["data"]


@pytest.fixture
def world(caller: Caller) -> Caller:
    acme, bolt = caller.insert(
        "Accounts", {"Account_Name": "Acme", "Industry": "Service Provider"}, {"Account_Name": "Bolt"}
    )
    contacts = caller.insert(
        "Contacts",
        {"Last_Name": "Burns", "Account_Name": acme, "Email": "b@x.example"},
        {"Last_Name": "Meyer", "Account_Name": bolt},
        {"Last_Name": "O'Neil"},
    )
    caller.insert(
        "Deals",
        {"Deal_Name": "D1", "Stage": "Closed Won", "Amount": 100, "Account_Name": acme, "Contact_Name": contacts[0]},
        {"Deal_Name": "D2", "Stage": "Closed Won", "Amount": 50.5, "Account_Name": bolt, "Closing_Date": "2026-05-01"},
        {"Deal_Name": "D3", "Stage": "Qualification", "Closing_Date": "2026-07-01"},
    )
    return caller


def test_lookups_owners_and_joined_fields_are_shown(world: Caller) -> None:
    query = (
        "select Last_Name, Account_Name, Account_Name.Account_Name, Account_Name.Industry as branch, "
        "Owner, Owner.email from Contacts where Email = 'B@X.example'"
    )
    (row,) = rows(world, query)
    assert row["Account_Name"]["name"] == row["Account_Name.Account_Name"] == "Acme"
    assert set(row["Account_Name"]) == {"name", "id"}
    assert row["branch"] == "Service Provider"
    assert row["Owner"]["name"]
    assert row["Owner.email"].endswith(".example")
    assert row["id"].isdecimal()


def test_two_relations_deep(world: Caller) -> None:
    query = "select Contact_Name.Account_Name.Account_Name from Deals where Contact_Name.Last_Name = 'Burns'"
    assert [each["Contact_Name.Account_Name.Account_Name"] for each in rows(world, query)] == ["Acme"]


def test_what_a_task_is_about_may_be_in_any_module(world: Caller) -> None:
    deal = rows(world, "select id from Deals where Deal_Name = 'D1'")[0]["id"]
    world.insert("Tasks", {"Subject": "Call", "What_Id": {"id": deal}, "$se_module": "Deals"}, {"Subject": "Rest"})
    query = "select Subject, What_Id->Deals.Deal_Name from Tasks where What_Id->Deals.Amount > 99"
    assert [(each["Subject"], each["What_Id->Deals.Deal_Name"]) for each in rows(world, query)] == [("Call", "D1")]


def test_aggregates_groups_and_aliases(world: Caller) -> None:
    query = (
        "select Stage, COUNT(id) as number, SUM(Amount) from Deals where Deal_Name is not null "
        "group by Stage order by number desc"
    )
    assert rows(world, query) == [
        {"Stage": "Closed Won", "number": 2, "SUM(Amount)": 150.5},
        {"Stage": "Qualification", "number": 1, "SUM(Amount)": None},
    ]
    query = "select MAX(Closing_Date), MIN(Amount), AVG(Amount) from Deals where id is not null"
    assert rows(world, query) == [{"MAX(Closing_Date)": "2026-07-01", "MIN(Amount)": 50.5, "AVG(Amount)": 75.25}]


def test_order_limit_and_offset(world: Caller) -> None:
    ordered = "select Last_Name from Contacts where Last_Name is not null order by Last_Name desc"
    assert [each["Last_Name"] for each in rows(world, ordered)] == ["O'Neil", "Meyer", "Burns"]
    for ending in ("limit 1, 1", "limit 1 offset 1"):
        answer = ask(world, f"{ordered} {ending}").json()
        assert [each["Last_Name"] for each in answer["data"]] == ["Meyer"]
        assert answer["info"] == {"count": 1, "more_records": True}
    assert ask(world, f"{ordered} limit 2, 200").json()["info"] == {"count": 1, "more_records": False}
    assert ask(world, f"{ordered} limit 3, 200").status_code == 204


def test_a_quote_inside_a_text(world: Caller) -> None:
    for text in ("O''Neil", "O\\'Neil"):
        assert len(rows(world, f"select id from Contacts where Last_Name = '{text}'")) == 1


def test_older_versions_show_a_lookup_by_its_id(world: Caller, crm: RunningCrm) -> None:
    with crm.caller(world.credentials, base="/crm/v6") as older:
        (row,) = rows(older, "select Account_Name from Contacts where Last_Name = 'Burns'")
        assert set(row["Account_Name"]) == {"id"}


def test_metadata_of_the_selected_fields_on_demand(world: Caller) -> None:
    query = "select Last_Name, Account_Name.Industry from Contacts where id is not null"
    answer = ask(world, query, include_meta=["fields"]).json()
    assert [each["api_name"] for each in answer["fields"]["fields"]] == ["Last_Name"]


OK = "where id is not null"


@pytest.mark.parametrize(
    ("query", "code", "details"),
    [
        ("", "SYNTAX_ERROR", {"clause": "SELECT"}),
        ("select", "SYNTAX_ERROR", {"line": 1}),
        ("update Leads", "SYNTAX_ERROR", {"clause": "SELECT"}),
        ("select id", "SYNTAX_ERROR", {"clause": "FROM"}),
        ("select id from Leads", "SYNTAX_ERROR", {"clause": "WHERE"}),
        ("select id from Leads limit 1", "SYNTAX_ERROR", {"clause": "WHERE"}),
        (
            f"select id id from Leads {OK}",
            "SYNTAX_ERROR",
            {"line": 1, "column": 11, "near": f"id from Leads {OK}"[:20]},
        ),
        ("select id\nfrom Leads where ; = 1", "SYNTAX_ERROR", {"line": 2, "column": 18, "near": "; = 1"}),
        ("select id from Leads where City = 'open", "SYNTAX_ERROR", {"near": "'open"}),
        ("select id from Leads where City = x", "SYNTAX_ERROR", {"near": "x"}),
        ("select id from Leads where City = 'a' and City = 'b' and City = 'c'", "SYNTAX_ERROR", {"column": 54}),
        ("select id from Leads where (City = 'a'", "SYNTAX_ERROR", {"near": ""}),
        ("select id from Leads where " + "(" * 5000, "SYNTAX_ERROR", {}),
        (f"select id from Leads {OK} limit many", "SYNTAX_ERROR", {"near": "many"}),
        (f"select count(id) from Leads {OK}", "SYNTAX_ERROR", {"near": f"count(id) from Leads {OK}"[:20]}),
        ("select id from Leads where City between 'a' or 'b'", "SYNTAX_ERROR", {"near": "or 'b'"}),
        (f"select id from Nope {OK}", "INVALID_QUERY", {"module": "Nope"}),
        (f"select Nope from Leads {OK}", "INVALID_QUERY", {"column_name": "Nope"}),
        (f"select City.Name from Leads {OK}", "INVALID_QUERY", {"column_name": "City.Name"}),
        (f"select Owner.password from Leads {OK}", "INVALID_QUERY", {"column_name": "Owner.password"}),
        (f"select Subject, What_Id.Name from Tasks {OK}", "INVALID_QUERY", {"column_name": "What_Id.Name"}),
        ("select id from Leads where No_of_Employees = 'x'", "INVALID_QUERY", {"expected_data_type": "integer"}),
        ("select id from Leads where No_of_Employees like '1%'", "INVALID_QUERY", {"operator": "like"}),
        ("select id from Leads where Email_Opt_Out != true", "INVALID_QUERY", {"data_type": "boolean"}),
        (f"select SUM(City) from Leads {OK}", "INVALID_QUERY", {"data_type": "text"}),
        (f"select City, COUNT(id) from Leads {OK}", "INVALID_QUERY", {"column_name": "City"}),
        (f"select Quoted_Items from Quotes {OK}", "INVALID_QUERY", {"data_type": "subform"}),
        (f"select City, City from Leads {OK}", "DUPLICATE_DATA", {"column_name": "City"}),
        (f"select City as a, State as a from Leads {OK}", "DUPLICATE_ALIAS", {"alias": "a"}),
        (f"select City as a.b from Leads {OK}", "INVALID_ALIAS", {"alias": "a.b"}),
        (f"select id from Leads {OK} limit 2001", "LIMIT_EXCEEDED", {"limit": 2000}),
        (f"select id from Leads {OK} limit 99000, 2000", "LIMIT_EXCEEDED", {"limit": 100_000}),
        (f"select {','.join(['City'] * 51)} from Leads {OK}", "LIMIT_EXCEEDED", {"clause": "SELECT"}),
        (f"select id from Leads where City in ({','.join(['1'] * 101)})", "LIMIT_EXCEEDED", {"clause": "IN"}),
        ("select Contact_Name.Account_Name.Owner.email from Deals " + OK, "LIMIT_EXCEEDED", {"clause": "relations"}),
    ],
)
def test_what_is_wrong_with_a_query_is_said(world: Caller, query: str, code: str, details: Row) -> None:
    answer = ask(world, query)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert details.items() <= answer.json()["details"].items(), answer.text


def test_bodies_that_are_no_query(world: Caller) -> None:
    assert world.send("POST", "coql", {}).json()["code"] == "MANDATORY_NOT_FOUND"
    assert world.send("POST", "coql", {"select_query": 1}).json()["code"] == "INVALID_DATA"
    assert ask(world, f"select id from Leads {OK}", include_meta=["all"]).json()["code"] == "INVALID_DATA"


def test_every_module_read_needs_its_scope(crm: RunningCrm) -> None:
    made = crm.create_organisation(users=1)
    with crm.caller(made) as caller:
        scope = "ZohoCRM.coql.READ ZohoCRM.modules.contacts.READ"
        form = {"grant_type": "client_credentials", "client_id": made.client_id, "client_secret": made.client_secret}
        token = caller.http.post("/oauth/v2/token", data=form | {"scope": scope}).json()["access_token"]
        caller.http.headers["Authorization"] = f"Zoho-oauthtoken {token}"
        assert ask(caller, f"select id from Contacts {OK}").status_code == 204
        for query in (f"select id from Leads {OK}", f"select Account_Name.Industry from Contacts {OK}"):
            assert ask(caller, query).json()["code"] == "OAUTH_SCOPE_MISMATCH"


CITIES = ("Austin", "Boston", "austin", "%", "_", "O'Hare", None)
NUMBERS = (None, 0, 1, 2, 10, -3)


def text_tests(chance: random.Random, value: str) -> tuple[str, Callable[[Any], bool]]:
    """A comparison of a text, and the same in Python."""
    quoted = value.replace("'", "''")
    low = value.lower()
    return chance.choice(
        [
            (f"= '{quoted}'", lambda v: v is not None and v.lower() == low),
            (f"!= '{quoted}'", lambda v: v is not None and v.lower() != low),
            (f"in ('{quoted}', 'boston')", lambda v: v is not None and v.lower() in (low, "boston")),
            (f"not in ('{quoted}', 'boston')", lambda v: v is not None and v.lower() not in (low, "boston")),
            ("like 'a%'", lambda v: v is not None and v.lower().startswith("a")),
            ("not like '%ston'", lambda v: v is not None and not v.lower().endswith("ston")),
            ("is null", lambda v: v is None),
            ("is not null", lambda v: v is not None),
        ]
    )


def number_tests(chance: random.Random, value: int) -> tuple[str, Callable[[Any], bool]]:
    """A comparison of a number, and the same in Python."""
    high = value + 2
    return chance.choice(
        [
            (f"= {value}", lambda v: v == value and v is not None),
            (f"!= {value}", lambda v: v is not None and v != value),
            (f"< {value}", lambda v: v is not None and v < value),
            (f">= {value}", lambda v: v is not None and v >= value),
            (f"between {value} and {high}", lambda v: v is not None and value <= v <= high),
            (f"not between {value} and {high}", lambda v: v is not None and not value <= v <= high),
            ("is null", lambda v: v is None),
        ]
    )


def random_condition(chance: random.Random, depth: int) -> tuple[str, Callable[[Row], bool]]:
    """A condition, and the same as a function of a record."""
    if depth and chance.random() < 0.7:
        left, is_left = random_condition(chance, depth - 1)
        right, is_right = random_condition(chance, depth - 1)
        if chance.random() < 0.5:
            return f"({left} and {right})", lambda row: is_left(row) and is_right(row)
        return f"({left} or {right})", lambda row: is_left(row) or is_right(row)
    if chance.random() < 0.5:
        test, holds = text_tests(chance, chance.choice([each for each in CITIES if each]))
        return f"City {test}", lambda row: holds(row["City"])
    test, holds = number_tests(chance, chance.choice([each for each in NUMBERS if each is not None]))
    return f"No_of_Employees {test}", lambda row: holds(row["No_of_Employees"])


def test_random_queries_agree_with_a_plain_filter(caller: Caller) -> None:
    seed = int(os.environ.get("FAREBOX_SEED") or random.randrange(10**9))
    print(f"FAREBOX_SEED={seed}")
    chance = random.Random(seed)
    records = [
        {"Last_Name": str(n), "City": chance.choice(CITIES), "No_of_Employees": chance.choice(NUMBERS)}
        for n in range(200)
    ]
    caller.insert("Leads", *records[:100])
    caller.insert("Leads", *records[100:])
    for _ in range(150):
        condition, holds = random_condition(chance, 3)
        wanted = {each["Last_Name"] for each in records if holds(each)}
        seen = {each["Last_Name"] for each in rows(caller, f"select Last_Name from Leads where {condition}")}
        assert seen == wanted, json.dumps({"seed": seed, "condition": condition})


@pytest.mark.parametrize("targets", [1, narrowing.TARGETS_MAX, narrowing.TARGETS_MAX + 1])
def test_a_join_finds_the_same_whether_few_or_many_records_are_pointed_at(caller: Caller, targets: int) -> None:
    accounts = [{"Account_Name": f"A{n}", "Industry": "wanted"} for n in range(targets)]
    ids = [each for n in range(0, targets, 100) for each in caller.insert("Accounts", *accounts[n : n + 100])]
    (other,) = caller.insert("Accounts", {"Account_Name": "B", "Industry": "another"})
    last = ids[-1]
    wanted = caller.insert("Contacts", *({"Last_Name": f"C{n}", "Account_Name": last} for n in range(3)))
    caller.insert("Contacts", {"Last_Name": "D", "Account_Name": other}, {"Last_Name": "E"})
    (deal,) = caller.insert("Deals", {"Deal_Name": "F", "Stage": "Closed Won", "Contact_Name": wanted[0]})
    condition = "Account_Name.Industry = 'WANTED'"
    assert [each["id"] for each in rows(caller, f"select id from Contacts where {condition}")] == wanted
    both = f"select id from Contacts where {condition} and Last_Name = 'c1'"
    assert [each["id"] for each in rows(caller, both)] == wanted[1:2]
    either = f"select id from Contacts where {condition} or Last_Name = 'D'"
    assert len(rows(caller, either)) == 4
    assert [each["id"] for each in rows(caller, "select id from Deals where Contact_Name.Last_Name = 'C0'")] == [deal]


@pytest.mark.parametrize(
    "text", ["New York", 'a "quoted" AND word', "Zürich-Süd", "--", "新字", "x*", "o'clock", "a\tb", ""]
)
def test_a_text_is_found_by_itself_whatever_is_in_it(caller: Caller, text: str) -> None:
    ids = caller.insert("Leads", {"Last_Name": "L", "City": text}, {"Last_Name": "M", "City": f"{text} too"})
    quoted = text.replace("'", "\\'")
    answer = caller.send("POST", "coql", {"select_query": f"select City from Leads where City = '{quoted}'"})
    if not text:
        assert answer.status_code == 204
        return
    assert answer.status_code == 200, answer.text
    assert [each["id"] for each in answer.json()["data"]] == ids[:1]


def test_a_user_without_a_first_name_is_called_the_same_in_a_column_a_condition_and_a_look_up(crm: RunningCrm) -> None:
    solo = crm.create_organisation(users=[UserSeed(email="solo@x.example", last_name="Solo")])
    with crm.caller(solo) as caller:
        caller.insert("Leads", {"Last_Name": "A"})
        query = "select Owner, Owner.full_name, Owner.last_name from Leads where Owner.full_name = 'Solo'"
        (row,) = caller.send("POST", "coql", {"select_query": query}).json()["data"]
    assert (row["Owner"]["name"], row["Owner.full_name"], row["Owner.last_name"]) == ("Solo", "Solo", "Solo")
