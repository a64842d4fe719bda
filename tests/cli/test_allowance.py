"""`farebox allowance`: a total, and how it is made."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from farebox.cli import allowance as command
from farebox.errors import UnknownNameError

APP = typer.Typer()
APP.command()(command.allowance)


def allowance(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(APP, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.output)
    return report


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ("--card zoho-crm --plan standard --users 10", 52_500),
        ("--card zoho-crm --plan standard --users 1000", 100_000),
        ("--card zoho-crm --plan enterprise --users 100", 150_000),
        ("--card zoho-crm --plan free --users 3", 5_000),
        ("--card bigin --plan express --users 10", 52_500),
        ("--card zoho-crm --plan standard --users 10 --base 60000", 62_500),
        ("--card zoho-crm --plan standard --users 10 --addon 10000", 62_500),
        ("--card zoho-crm --plan standard --users 10 --addon 90000", 100_000),
        ("--card zoho-crm --plan ultimate --users 500 --pool functions", 520_000),
    ],
)
def test_the_published_examples_come_out(arguments: str, total: int) -> None:
    report = allowance(*arguments.split())
    assert (report["total"], report["total_millicredits"]) == (total, total * 1_000)


def test_the_parts_are_named() -> None:
    report = allowance("--plan", "standard", "--users", "10", "--addon", "80000")
    assert {key: report[key] for key in ("base", "users", "per_user", "addon", "cap", "plan_part")} == {
        "base": 50_000,
        "users": 10,
        "per_user": 250,
        "addon": 80_000,
        "cap": 100_000,
        "plan_part": 52_500,
    }
    assert report["formula"] == "50,000 + 10 x 250 + 80,000 add-on = 132,500, capped at 100,000"


def test_an_add_on_costs_what_the_slabs_say_for_the_part_the_cap_leaves() -> None:
    assert allowance("--plan", "enterprise", "--users", "100", "--addon", "80000")["addon_usd_per_day_max"] == 6.8
    assert allowance("--plan", "standard", "--users", "1000", "--addon", "80000")["addon_usd_per_day_max"] == 0


def test_people_read_the_total_and_how_it_is_made() -> None:
    output = CliRunner().invoke(APP, ["--plan", "standard", "--users", "10"]).output
    assert output.startswith(
        "52,500 credits in any 24 hours (Standard, api)\n= 50,000 + 10 x 250 = 52,500, below the cap of 100,000\n"
    )


@pytest.mark.parametrize("wrong", ["--users -1", "--base -1", "--addon -1", "--users ten"])
def test_impossible_figures_are_a_misuse(wrong: str) -> None:
    assert CliRunner().invoke(APP, ["--plan", "standard", *wrong.split()]).exit_code == 2


@pytest.mark.parametrize(("wrong", "known"), [("--plan gold", "professional"), ("--plan free --pool functions", "api")])
def test_unknown_plans_and_pools_are_named_with_those_there_are(wrong: str, known: str) -> None:
    with pytest.raises(UnknownNameError, match=known):
        CliRunner().invoke(APP, wrong.split(), catch_exceptions=False)
