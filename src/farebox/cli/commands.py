"""The table of commands: what `farebox --help` lists."""

from __future__ import annotations

from typing import Annotated

import typer

import farebox
from farebox.cli import (
    allowance,
    check,
    crm,
    demo,
    directory,
    init,
    journal,
    login,
    price,
    reload,
    serve,
    status,
    usage,
)

OPERATE = "Operate"
LOOK = "Look things up"
PEOPLE = "Organisations and callers"
TRY = "Try it out"


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="farebox",
        help="Farebox: a credit system for HTTP APIs. Start with `farebox demo`, or `farebox init --upstream URL`.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    app.command(rich_help_panel=TRY)(demo.demo)
    app.add_typer(crm.crm, name="crm", rich_help_panel=TRY)
    app.command(rich_help_panel=OPERATE)(init.init)
    app.command(rich_help_panel=OPERATE)(check.check)
    app.command(rich_help_panel=OPERATE)(serve.serve)
    app.command(rich_help_panel=OPERATE)(status.status)
    app.command(rich_help_panel=OPERATE)(reload.reload)
    app.command(rich_help_panel=OPERATE)(reload.restart)
    app.command(rich_help_panel=LOOK)(price.price)
    app.command(rich_help_panel=LOOK)(allowance.allowance)
    app.command(rich_help_panel=LOOK)(usage.usage)
    for name, group in directory.groups().items():
        app.add_typer(group, name=name, rich_help_panel=PEOPLE)
    app.add_typer(journal.journal, name="journal", rich_help_panel=OPERATE)
    app.add_typer(login.login, name="login", rich_help_panel=PEOPLE)
    return app


def _root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        print(f"farebox {farebox.__version__}")
        raise typer.Exit
