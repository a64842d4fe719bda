"""Matching: which operation a call is, whatever the path looks like."""

from __future__ import annotations

import pytest

from farebox.domain.cards import CompiledCard, Dialect, Operation, Pool, RateCard, RefusalStyle
from farebox.domain.pricing_rules import Fixed


def _operation(
    name: str, method: str, path: str, *, query: tuple[str, ...] = (), cost: int = 1, module: str = ""
) -> Operation:
    return Operation(name, name, (method,), path, query, Fixed(cost * 1_000), "api", "s", module=module)


def _compiled(*operations: Operation) -> CompiledCard:
    return CompiledCard(
        RateCard(
            name="card",
            product="api",
            title="Card",
            pools=(Pool("api", "API"),),
            plans=(),
            operations=operations,
            default_operation=_operation("other", "*", ""),
            dialect=Dialect(RefusalStyle.PROBLEM, frozenset()),
        )
    )


CARD = _compiled(
    _operation("list", "GET", "/crm/{version}/{module}"),
    _operation("list_sorted", "GET", "/crm/{version}/{module}", query=("sort_by",)),
    _operation("list_view", "GET", "/crm/{version}/{module}", query=("cvid",), cost=3),
    _operation("both", "GET", "/crm/{version}/{module}", query=("cvid", "approved"), cost=2),
    _operation("insert", "POST", "/crm/{version}/{module}", cost=10),
    _operation("one", "GET", "/crm/{version}/{module}/{id}"),
    _operation("upsert", "POST", "/crm/{version}/{module}/upsert", cost=10),
    _operation("count", "GET", "/crm/{version}/{module}/actions/count", cost=50),
    _operation("convert", "POST", "/crm/{version}/Leads/{id}/actions/convert", cost=5),
    _operation("fields", "GET", "/crm/{version}/settings/fields", module="?module"),
    _operation("settings", "*", "/crm/{version}/settings/{*}", module="settings"),
    _operation("bulk", "POST", "/crm/bulk/{version}/read", cost=50),
    _operation("root", "GET", "/"),
    _operation("any_file", "*", "/files"),
    _operation("get_file_of", "GET", "/files", query=("of",)),
)


@pytest.mark.parametrize(
    ("method", "path", "query", "name"),
    [
        ("GET", "/crm/v8/Leads", "", "list"),
        ("GET", "/crm/v2.1/Leads", "page=2", "list"),
        ("GET", "/crm/v8/Leads/", "", "list"),
        ("POST", "/crm/v8/Leads/", "", "insert"),
        ("POST", "/crm/v8;a=b/Leads;c", "", "insert"),
        ("GET", "/crm/v8/Leads/1", "", "one"),
        ("GET", "/crm/v8/Leads/upsert", "", "one"),
        ("POST", "/crm/v8/Leads/upsert", "", "upsert"),
        ("GET", "/crm/v8/Leads/actions/count", "", "count"),
        ("POST", "/crm/v8/Leads/1/actions/convert", "", "convert"),
        ("POST", "/crm/v8/Deals/1/actions/convert", "", "other"),
        ("GET", "/crm/v8/settings/fields", "", "fields"),
        ("DELETE", "/crm/v8/settings/fields/1", "", "settings"),
        ("GET", "/crm/v8/settings/a/b/c", "", "settings"),
        ("POST", "/crm/bulk/v8/read", "", "bulk"),
        ("GET", "/crm/bulk/v8", "", "other"),
        ("GET", "/crm/latest/Leads", "", "other"),
        ("GET", "/", "", "root"),
        ("GET", "", "", "root"),
        ("PATCH", "/crm/v8/Leads", "", "other"),
        ("PATCH", "/files", "of=1", "any_file"),
        ("GET", "/files", "of=1", "get_file_of"),
        ("GET", "/files", "", "any_file"),
        ("HEAD", "/crm/v8/Leads", "cvid=1", "list_view"),
    ],
)
def test_a_call_is_the_most_exact_row_that_lists_it(method: str, path: str, query: str, name: str) -> None:
    assert CARD.match(method, path, query).operation.name == name


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("cvid=1", "list_view"),
        ("cvid", "list_view"),
        ("%63vid=1", "list_view"),
        ("a=cvid", "list"),
        ("xcvid=1&cvidx=2", "list"),
        ("sort_by=id&cvid=1", "list_view"),
        ("sort_by=id", "list_sorted"),
        ("approved=1&cvid=1", "both"),
        ("%zz&%=&==", "list"),
    ],
)
def test_query_parameters_choose_the_row_however_they_are_written(query: str, name: str) -> None:
    assert CARD.match("GET", "/crm/v8/Leads", query).operation.name == name


def test_a_match_names_module_version_and_template() -> None:
    assert CARD.match("GET", "/crm/v8/Leads/77", "")[1:] == ("Leads", "v8", "/crm/{version}/{module}/{id}")
    assert CARD.match("GET", "/crm/v8/settings/fields", "module=Deals").module == "Deals"
    assert CARD.match("GET", "/crm/v8/settings/roles", "").module == "settings"
    assert CARD.match("GET", "/nowhere", "")[1:] == ("", "", "")


def test_a_name_too_long_for_a_module_is_recorded_as_none() -> None:
    assert CARD.match("GET", "/crm/v8/" + "x" * 101, "").module == ""


def test_of_two_rows_that_fit_equally_the_dearer_one_counts() -> None:
    card = _compiled(
        _operation("cheap", "GET", "/a", query=("x",)), _operation("dear", "GET", "/a", query=("y",), cost=9)
    )
    assert card.match("GET", "/a", "x=1&y=1").operation.name == "dear"


def test_an_operation_without_path_is_found_by_name_only() -> None:
    card = _compiled(_operation("by_name", "GET", ""))
    assert card.operation("by_name") is not None
    assert card.match("GET", "", "").operation.name == "other"
