"""`farebox login add|link|list|token`: who may look at the console."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farebox.cli.places import DataOption, JsonOption, data_directory, require_file
from farebox.errors import UnknownNameError

if TYPE_CHECKING:
    from farebox.console.auth import Logins

CONSOLE_URL = "http://127.0.0.1:8081"

login = typer.Typer(help="People and programs that may look at the console.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="LOGIN", help="An e-mail address, say.")]
UrlOption = Annotated[
    str, typer.Option("--console-url", envvar="FAREBOX_CONSOLE_URL", help="The address people reach the console at.")
]


@login.command("add")
def add(
    name: NameArgument,
    *,
    org: Annotated[str | None, typer.Option("--org", help="Sees this organisation only.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="Sees every organisation.")] = False,
    console_url: UrlOption = CONSOLE_URL,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """A new login, and the one-time link with which its owner sets the password."""
    from farebox.console.auth import OPERATOR
    from farebox.quota.directory import Directory

    if (org is None) == (not operator):
        raise typer.BadParameter("give either --org ORG or --operator")
    folder = data_directory(data)
    if org is not None:
        directory = Directory.open(folder)
        try:
            if org not in {known.org for known in directory.orgs()}:
                raise UnknownNameError(f"there is no organisation {org!r}; `farebox org list` shows those there are")
        finally:
            directory.close()
    with_logins = _logins(folder)
    with_logins.make_login(name, org=OPERATOR if org is None else org)
    _print_link(with_logins, name, console_url, json_output=json_output)


@login.command("link")
def link(
    name: NameArgument,
    *,
    console_url: UrlOption = CONSOLE_URL,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """A new one-time link for a login: the way back in for a forgotten password."""
    _print_link(_logins(data_directory(data)), name, console_url, json_output=json_output)


@login.command("list")
def list_logins(*, data: DataOption = None, json_output: JsonOption = False) -> None:
    """Every login and what it sees."""
    from farebox.app import LOGINS_FILE

    folder = data_directory(data)
    require_file(folder, LOGINS_FILE, makes_it="farebox login add")
    found = _logins(folder).logins()
    if json_output:
        print(
            json.dumps([{"login": each.name, "org": each.org or None, "operator": each.is_operator} for each in found])
        )
        return
    for each in found:
        print(f"{each.name:40} {'every organisation' if each.is_operator else each.org}")
    if not found:
        print("No logins yet. `farebox login add NAME --operator` makes the first.")


@login.command("token")
def token(name: NameArgument, *, data: DataOption = None, json_output: JsonOption = False) -> None:
    """A bearer token with which a program asks the console's JSON API as this login. Shown once."""
    made = _logins(data_directory(data)).make_token(name)
    print(json.dumps({"login": name, "token": made}) if json_output else made)


def _logins(folder: Path) -> Logins:
    from farebox.console.auth import Logins

    return Logins(folder / "console.db")


def _print_link(logins: Logins, name: str, console_url: str, *, json_output: bool) -> None:
    made = logins.one_time_link(name, base_url=console_url)
    if json_output:
        print(json.dumps({"login": name, "link": made}))
    else:
        print(f"One-time link for {name}, good for 24 hours:\n  {made}")
