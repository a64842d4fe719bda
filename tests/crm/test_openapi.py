"""/openapi.json says what the table of paths says, is valid, and makes a rate card."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from farebox.cards.loader import parse
from farebox.cards.openapi import card_from_file
from farebox.crm.openapi_told import BODIES, PARAMS, TOLD
from farebox.crm.routes import NEWEST, ROUTES, find_route, routes_of, split_path
from farebox.testing.crm import RunningCrm


@pytest.fixture(scope="module")
def document(crm: RunningCrm) -> dict[str, Any]:
    answer = httpx.get(f"{crm.url}/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_every_line_of_the_table_is_an_operation_with_its_scopes_and_no_other_is(document: dict[str, Any]) -> None:
    listed = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if not path.startswith("/oauth/")
    }
    found = set()
    for method, path in listed:
        product, version, parts = split_path(path)
        assert version == NEWEST[product]
        # a brace in the path stands for the value, so that the path finds its own line
        route = next(each for each in routes_of(product) if list(each.pattern) == parts and each.method == method)
        found.add((product, route.method, route.pattern))
        (security,) = document["paths"][path][method.lower()]["security"]
        assert len(security["oauth"]) == sum(len(each.operations) for each in route.scopes)
    assert found == {(product, each.method, each.pattern) for product in NEWEST for each in routes_of(product)}


def test_what_is_told_about_lines_is_told_about_lines_there_are(document: dict[str, Any]) -> None:
    lines = {(each.method, "/".join(each.pattern)) for each in ROUTES}
    assert set(TOLD) <= lines
    assert {each.body for each in TOLD.values()} - {None} == set(BODIES)
    assert {param for each in TOLD.values() for param in each.params} == set(PARAMS)


def test_names_of_operations_are_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(set(names)) == len(names)


def test_a_rate_card_can_be_made_of_it(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document))
    card = parse(card_from_file(path), file="crm.toml")
    paths = {each.path for each in card.operations}
    assert {"/crm/v8/{_module}/search", "/bigin/v2/{_module}/search"} <= paths


@pytest.mark.parametrize("path", ["/bigin/v2/__composite_requests", "/bigin/v2/Contacts/1/actions/convert"])
def test_what_bigin_lacks_is_no_path(crm: RunningCrm, path: str) -> None:
    made = crm.create_organisation(name="B", product="bigin", users=1)
    with crm.caller(made, base="/bigin/v2") as caller:
        answer = caller.http.post(path, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "INVALID_URL_PATTERN")
    assert find_route("POST", ["__composite_requests"])
