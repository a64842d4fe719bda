"""`farebox price`: the published examples through the command and its JSON."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from farebox.cli import price as command
from farebox.errors import UnknownNameError

APP = typer.Typer()
APP.command()(command.price)


def price(*arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    result = CliRunner().invoke(APP, [*arguments, "--json"], input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.output)
    return report


def _records(count: int) -> bytes:
    return json.dumps({"data": [{"Last_Name": "A"}] * count}).encode()


def _coql(limit: int) -> bytes:
    return json.dumps({"select_query": f"select Last_Name from Leads where a is not null limit {limit}"}).encode()


@pytest.mark.parametrize(("records", "cost"), [(1, 1), (10, 1), (11, 2), (20, 2), (100, 10)])
def test_records_cost_one_credit_per_ten(records: int, cost: int, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_bytes(_records(records))
    report = price("POST", "/crm/v8/Leads", "--body", str(body))
    assert report["millicredits"] == cost * 1_000
    assert isinstance(report["millicredits"], int)
    assert (report["operation"], report["module"], report["final"]) == ("insert_records", "Leads", True)
    assert report["quantities"] == {"records": records}
    assert "per 10 records" in report["rule"]
    assert "api-limits" in report["rule"]


def test_twenty_records_one_by_one_cost_20() -> None:
    charges = [price("POST", "/crm/v8/Leads", "--body", "-", stdin=_records(1))["millicredits"] for _ in range(20)]
    assert sum(charges) == 20_000


def test_a_gzip_body_of_100_records_costs_the_ceiling_of_10() -> None:
    for count in (1, 100):
        body = gzip.compress(_records(count))
        report = price("POST", "/crm/v8/Leads", "--body", "-", "--content-encoding", "gzip", stdin=body)
        assert report["millicredits"] == 10_000


def test_a_body_larger_than_the_gateway_reads_costs_the_ceiling() -> None:
    body = b'{"data":[{"a":"' + b"x" * 1024 * 1024 + b'"}]}'
    assert price("POST", "/crm/v8/Leads", "--body", "-", stdin=body)["millicredits"] == 10_000


@pytest.mark.parametrize(
    ("arguments", "body", "cost"),
    [
        (("POST", "/crm/v8/Leads/1/actions/convert"), _records(1), 5),
        (("POST", "/crm/v8/coql"), _coql(200), 1),
        (("POST", "/crm/v8/coql"), _coql(1_000), 2),
        (("POST", "/crm/v8/coql"), _coql(2_000), 3),
        (("GET", "/crm/v8/Leads?fields=Last_Name&cvid=1"), b"", 3),
        (("GET", "https://www.zohoapis.com/crm/v8/Leads?cvid=1"), b"", 3),
        (("post", "/crm/bulk/v8/read"), b"{}", 50),
        (("POST", "/crm/bulk/v8/write"), b"{}", 500),
        (("POST", "/bigin/v2/Contacts", "--card", "bigin"), _records(11), 2),
        (("DELETE", "/x?y", "--card", "generic"), b"", 1),
        (("POST", "/oauth/v2/token"), b"", 0),
    ],
)
def test_the_published_examples_come_out(arguments: tuple[str, ...], body: bytes, cost: int) -> None:
    report = price(*arguments, *(("--body", "-") if body else ()), stdin=body)
    assert (report["millicredits"], report["final"]) == (cost * 1_000, True)


def test_a_composite_in_rollback_mode_costs_1_or_2_known_from_the_answer(tmp_path: Path) -> None:
    request = b'{"rollback_on_fail":true,"__composite_requests":[{"sub_request_id":"1"}]}'
    call = ("POST", "/crm/v8/__composite_requests", "--body", "-")
    before = price(*call, stdin=request)
    assert (before["millicredits"], before["final"]) == (2_000, False)
    answer = tmp_path / "answer.json"
    answer.write_text('{"__composite_requests":[{"code":"SUCCESS","details":{"response":{"status_code":201}}}]}')
    after = price(*call, "--status", "200", "--answer", str(answer), stdin=request)
    assert (after["millicredits"], after["final"]) == (2_000, True)
    answer.write_text('{"__composite_requests":[{"code":"ROLLBACK_PERFORMED","details":{}}]}')
    assert price(*call, "--status", "400", "--answer", str(answer), stdin=request)["millicredits"] == 1_000
    plain = price(*call, stdin=request.replace(b"true", b"false"))
    assert (plain["millicredits"], plain["final"]) == (1_000, True)


def test_people_read_operation_credits_and_rule() -> None:
    result = CliRunner().invoke(APP, ["GET", "/crm/v8/Leads?cvid=1"])
    assert "get_records_by_view (Get Records with cvid)" in result.output
    assert "3 (final)" in result.output
    assert "[off] https://www.zoho.com/crm/developer/docs/api/v8/api-limits.html" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("GET", "/a/../b"),
        ("GET", "/a//b"),
        ("GET", "crm/v8"),
        ("GET", "/a%2fb"),
        ("POST", "/a", "--body", "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_priced_is_explained(arguments: tuple[str, ...]) -> None:
    body = ("--body", arguments[-1]) if "--body" in arguments else ()
    result = CliRunner().invoke(APP, ["POST", "/crm/v8/Leads", *body] if body else list(arguments))
    assert result.exit_code == 2
    assert "Invalid value" in result.output


def test_an_unknown_card_names_those_that_ship() -> None:
    with pytest.raises(UnknownNameError, match="bigin, generic, zoho-crm"):
        CliRunner().invoke(APP, ["GET", "/x", "--card", "salesforce"], catch_exceptions=False)


def test_without_a_card_the_packaged_card_that_lists_the_call_prices_it() -> None:
    bigin = price("POST", "/bigin/v2/Contacts", "--body", "-", stdin=_records(20))
    assert (bigin["card"], bigin["operation"], bigin["millicredits"]) == ("bigin", "insert_records", 2_000)
    crm = price("POST", "/crm/v8/Leads", "--body", "-", stdin=_records(20))
    assert (crm["card"], crm["listed"], crm["millicredits"]) == ("zoho-crm", True, 2_000)


def test_a_call_that_no_card_lists_is_priced_with_a_word_on_which_card_did() -> None:
    report = price("GET", "/my/api")
    assert (report["card"], report["listed"], report["operation"]) == ("zoho-crm", False, "other")
    told = CliRunner().invoke(APP, ["GET", "/my/api"]).output
    assert "zoho-crm (no row of zoho-crm or bigin lists this call; --card names another card)" in told
    told = CliRunner().invoke(APP, ["GET", "/my/api", "--card", "bigin"]).output
    assert "bigin (no row of bigin lists this call" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("GET", "/crm/v8/Leads", "--body", "/nowhere/at/all"),
        ("GET", "/crm/v8/Leads", "--status", "200", "--answer", "/nowhere/at/all"),
        ("GET", "/crm/v8/Leads", "--answer", __file__),
    ],
    ids=["body", "answer", "answer without a status"],
)
def test_a_file_that_is_not_there_is_a_misuse_even_where_the_price_needs_none(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(APP, list(arguments))
    assert result.exit_code == 2
    assert "Invalid value" in result.output
