"""Search by criteria, e-mail, phone and word, and the count of what is found."""

from collections.abc import Mapping
from typing import Any

import pytest

from farebox.testing.crm import Caller

LEADS: list[dict[str, Any]] = [
    {
        "Last_Name": "Burns",
        "First_Name": "Mary",
        "Email": "mary@burns.example",
        "Phone": "+1 555 100",
        "City": "Austin",
    },
    {"Last_Name": "Bunson", "Company": "A, B (C)", "No_of_Employees": 20, "Lead_Source": "Chat"},
    {"Last_Name": "Meyer", "Company": "Ends with \\", "No_of_Employees": 30, "Email_Opt_Out": True},
    {"Last_Name": "100%", "Company": "under_score", "Annual_Revenue": 12.5, "Mobile": "0555 200"},
]


@pytest.fixture
def leads(caller: Caller) -> Caller:
    caller.insert("Leads", *LEADS)
    return caller


def found(caller: Caller, **params: Any) -> list[str]:
    answer = caller.get("Leads/search", fields="Last_Name", **params)
    if answer.status_code == 204:
        return []
    assert answer.status_code == 200, answer.text
    return sorted(each["Last_Name"] for each in answer.json()["data"])


@pytest.mark.parametrize(
    ("criteria", "names"),
    [
        ("(Last_Name:equals:burns)", ["Burns"]),
        ("(Last_Name:equals:un)", ["Bunson"]),
        ("(Last_Name:starts_with:Bu)", ["Bunson", "Burns"]),
        ("(Last_Name:not_equal:Burns)", ["100%", "Bunson", "Meyer"]),
        ("(Last_Name:in:Burns,Meyer)", ["Burns", "Meyer"]),
        ("(Last_Name:equals:%)", ["100%"]),
        ("(Company:equals:_)", ["100%"]),
        (r"(Company:equals:A\, B \(C\))", ["Bunson"]),
        (r"(Company:equals:with \\)", ["Meyer"]),
        ("(No_of_Employees:greater_than:20)", ["Meyer"]),
        ("(No_of_Employees:between:20,30)", ["Bunson", "Meyer"]),
        ("(Annual_Revenue:equals:12.5)", ["100%"]),
        ("(Email_Opt_Out:equals:true)", ["Meyer"]),
        ("(Email_Opt_Out:equals:false)", ["100%", "Bunson", "Burns"]),
        ("(Lead_Source:equals:Chat)", ["Bunson"]),
        ("(Lead_Source:equals:Cha)", []),
        ("((Last_Name:starts_with:Bu)and(City:equals:Austin))", ["Burns"]),
        ("((City:equals:Austin)or(No_of_Employees:equals:30)and(Last_Name:equals:Meyer))", ["Burns", "Meyer"]),
        ("(((City:equals:Austin)or(No_of_Employees:equals:30))and(Last_Name:equals:Meyer))", ["Meyer"]),
        ("(City:equals:Austin)or(No_of_Employees:equals:30)", ["Burns", "Meyer"]),
    ],
)
def test_criteria_find_what_they_say(leads: Caller, criteria: str, names: list[str]) -> None:
    assert found(leads, criteria=criteria) == names


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"email": "MARY@burns.example"}, ["Burns"]),
        ({"phone": "555"}, ["100%", "Burns"]),
        ({"word": "mary"}, ["Burns"]),
        ({"word": "Aus"}, ["Burns"]),
        ({"word": "mary austin"}, ["Burns"]),
        ({"word": "mary meyer"}, []),
        ({"word": '"'}, "INVALID_DATA"),
        ({"word": "a"}, "INVALID_DATA"),
        ({}, "EXPECTED_PARAM_MISSING"),
        ({"email": "mary@burns.example", "word": "meyer"}, ["Burns"]),
        ({"criteria": "(Last_Name:equals:Meyer)", "email": "mary@burns.example"}, ["Meyer"]),
        ({"word": "un", "page": 11}, "LIMIT_REACHED"),
    ],
)
def test_the_other_ways_to_search_and_which_counts(
    leads: Caller, params: Mapping[str, Any], names: list[str] | str
) -> None:
    if isinstance(names, str):
        answer = leads.get("Leads/search", **params)
        assert (answer.status_code, answer.json()["code"]) == (400, names)
    else:
        assert found(leads, **params) == names


@pytest.mark.parametrize(
    ("criteria", "code", "details"),
    [
        ("Last_Name:equals:Burns", "INVALID_QUERY", {}),
        ("(Last_Name:equals:Burns", "INVALID_QUERY", {}),
        ("(Last_Name:equals:Burns))", "INVALID_QUERY", {}),
        ("(Last_Name:equals:(Burns))", "INVALID_QUERY", {}),
        ("()", "INVALID_QUERY", {}),
        ("(Last_Name)", "INVALID_QUERY", {}),
        ("(Nope:equals:1)", "INVALID_QUERY", {"api_name": "Nope"}),
        ("(Last_Name:greater_than:A)", "INVALID_QUERY", {"api_name": "Last_Name", "operator": "greater_than"}),
        ("(No_of_Employees:equals:many)", "INVALID_QUERY", {"api_name": "No_of_Employees"}),
        ("(No_of_Employees:between:1)", "INVALID_QUERY", {"operator": "between"}),
        ("(Last_Name:in:" + ",".join(["x"] * 101) + ")", "INVALID_QUERY", {"operator": "in"}),
        ("(" * 5000, "INVALID_QUERY", {}),
        ("(" + "and".join(["(City:equals:x)"] * 11) + ")", "CRITERIA_LIMIT_EXCEEDED", {"limit": 10}),
    ],
)
def test_criteria_that_cannot_be_read_are_refused_with_the_reason(
    leads: Caller, criteria: str, code: str, details: dict[str, Any]
) -> None:
    answer = leads.get("Leads/search", criteria=criteria)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert details.items() <= answer.json()["details"].items()


def test_words_follow_every_change(leads: Caller) -> None:
    (record_id,) = leads.insert("Leads", {"Last_Name": "Before"})
    assert found(leads, word="before") == ["Before"]
    leads.send("PUT", f"Leads/{record_id}", {"data": [{"Last_Name": "After"}]})
    assert (found(leads, word="before"), found(leads, word="after")) == ([], ["After"])
    leads.send("DELETE", f"Leads/{record_id}")
    assert found(leads, word="after") == []


def test_pages_of_a_search_add_up(leads: Caller) -> None:
    leads.insert("Leads", *({"Last_Name": f"Paged {n}"} for n in range(25)))
    seen = []
    for page in (1, 2, 3):
        answer = leads.get("Leads/search", word="paged", fields="Last_Name", per_page=10, page=page).json()
        assert answer["info"]["more_records"] == (page < 3)
        assert answer["info"]["count"] == len(answer["data"])
        seen += [each["Last_Name"] for each in answer["data"]]
    assert sorted(seen) == sorted(f"Paged {n}" for n in range(25))
    assert leads.get("Leads/search", word="paged", page=4, per_page=10).status_code == 204


def test_the_count_is_that_of_the_module_or_of_the_search(leads: Caller) -> None:
    assert leads.get("Leads/actions/count").json() == {"count": 4}
    assert leads.get("Leads/actions/count", criteria="(Last_Name:starts_with:Bu)").json() == {"count": 2}
    assert leads.get("Leads/actions/count", word="nobody").json() == {"count": 0}
    answer = leads.get("Leads/actions/count", cvid="1", word="nobody")
    assert answer.json()["code"] == "AMBIGUITY_DURING_PROCESSING"


def test_another_organisation_finds_nothing(leads: Caller, crm: Any) -> None:
    other = crm.create_organisation(name="Other", users=1)
    with crm.caller(other) as stranger:
        assert found(stranger, word="mary") == []
        assert stranger.get("Leads/actions/count").json() == {"count": 0}
