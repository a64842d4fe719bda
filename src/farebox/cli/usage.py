"""`farebox usage`: what was spent, and by whom. Asks the console; without one, the totals come from the quota file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farebox.cli.places import DataOption, JsonOption, card_loader_here, data_directory, require_file
from farebox.errors import ConsoleUnavailableError, DataDirectoryError, UnknownNameError

if TYPE_CHECKING:
    import httpx

ASK_SECONDS_MAX = 10.0
NO_CONSOLE = "no console runs on this data directory, so only the totals are known; `farebox serve` starts one"
SILENT_CONSOLE = (
    "the console at {url} does not answer ({error}), so only the totals are known, from the quota file; "
    "if it stays silent, start `farebox serve` again"
)


class By(StrEnum):
    """What a breakdown has one line for each of (as `farebox.usage.port.Dimension`, without loading it for --help)."""

    USER = "user"
    APP = "app"
    MODULE = "module"
    OPERATION = "operation"
    FUNCTION = "function"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class _Asked:
    org: str | None
    product: str | None
    by: str


def usage(
    *,
    org: Annotated[str | None, typer.Option("--org", help="This organisation only.")] = None,
    product: Annotated[str | None, typer.Option("--product", help="This product only.")] = None,
    by: Annotated[By, typer.Option("--by", help="One line per value of this.")] = By.USER,
    console_url: Annotated[
        str | None,
        typer.Option(
            "--console-url", envvar="FAREBOX_CONSOLE_URL", help="A console elsewhere. Default: this machine's."
        ),
    ] = None,
    login: Annotated[str | None, typer.Option("--login", help="Sign in to it as this login.")] = None,
    password: Annotated[
        str | None, typer.Option("--password", envvar="FAREBOX_CONSOLE_PASSWORD", help="Its password.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="FAREBOX_CONSOLE_TOKEN", help="A console token or Farebox key instead."),
    ] = None,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """Credits of the last 24 hours: total, used, unused, and who or what spent them."""
    asked, folder = _Asked(org, product, by.value), data_directory(data)
    if console_url or login or token:
        report = _as_somebody(asked, console_url or _url_here(folder), login, password, token)
    else:
        report = _as_operator(asked, folder)
    if json_output:
        print(json.dumps(report, indent=2))
    else:
        _print(report)


def _as_somebody(asked: _Asked, url: str, login: str | None, password: str | None, token: str | None) -> dict[str, Any]:
    import httpx

    if token is not None:
        headers, auth = {"Authorization": f"Bearer {token}"}, None
    elif login is not None:
        headers, auth = {}, httpx.BasicAuth(login, password or typer.prompt("Password", hide_input=True, err=True))
    else:
        raise ConsoleUnavailableError("give --login, or a token in FAREBOX_CONSOLE_TOKEN, to ask a console elsewhere")
    with httpx.Client(base_url=url, headers=headers, auth=auth, timeout=ASK_SECONDS_MAX) as client:
        try:
            return _ask(client, asked)
        except httpx.HTTPError as error:
            raise ConsoleUnavailableError(
                f"the console at {url} did not answer: {error}; is the address right?"
            ) from error


def _url_here(folder: Path) -> str:
    from farebox.console.secret import read_local_access

    access = read_local_access(folder)
    if access is None:
        raise ConsoleUnavailableError(f"no console has run on {folder}; say where it is with --console-url")
    return access.url


def _as_operator(asked: _Asked, folder: Path) -> dict[str, Any]:
    """By the token the console left in its data directory; from the quota file where no console answers."""
    import httpx

    from farebox.console.secret import read_local_access

    access = read_local_access(folder)
    if access is not None:
        headers = {"Authorization": f"Bearer {access.token}"}
        with httpx.Client(base_url=access.url, headers=headers, timeout=ASK_SECONDS_MAX) as client:
            try:
                return _ask(client, asked)
            except httpx.ConnectError:  # it wrote the token and ended
                pass
            except httpx.TransportError as error:  # it hangs, or ends just now
                silent = SILENT_CONSOLE.format(url=access.url, error=str(error) or type(error).__name__)
                return _from_quota(asked, folder, note=silent)
    return _from_quota(asked, folder, note=NO_CONSOLE)


def _ask(client: httpx.Client, asked: _Asked) -> dict[str, Any]:
    accounts = [
        {**account, "org": org["id"], "name": org["name"]}
        for org in _get(client, "/api/v1/organisations")
        for account in org["accounts"]
    ]
    found = []
    for account in _chosen(accounts, asked):
        path, pool = f"/api/v1/organisations/{account['org']}/{account['product']}", {"pool": account["pool"]}
        found.append(
            {
                **account,
                "allowance": _get(client, f"{path}/allowance", pool),
                "usage": _get(client, f"{path}/usage", {**pool, "by": asked.by}),
            }
        )
    return {"source": str(client.base_url), "note": None, "accounts": found}


def _get(client: httpx.Client, path: str, parameters: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
    answer = client.get(path, params=parameters)
    if answer.is_success:
        return answer.json()
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError):
        detail = "it does not look like a Farebox console"
    raise ConsoleUnavailableError(f"the console at {client.base_url} answered {answer.status_code}: {detail}")


def _from_quota(asked: _Asked, folder: Path, *, note: str) -> dict[str, Any]:
    """Totals straight from the quota file, read-only; nothing is made where nothing was served yet."""
    from farebox.app import QUOTA_FILE
    from farebox.console.directory import DirectoryOrgs
    from farebox.domain.identity import Account
    from farebox.domain.instants import text_of
    from farebox.quota.directory import FILE_NAME
    from farebox.quota.sqlite_view import SpendFile

    require_file(folder, FILE_NAME, makes_it="farebox org add")
    if not (folder / QUOTA_FILE).exists():
        raise DataDirectoryError(
            f"Nothing was served from the data directory {folder} yet, so nothing is spent: start `farebox serve`. "
            "If it serves from another directory, name that with --data or FAREBOX_DATA."
        )
    orgs = DirectoryOrgs(folder, card_of=card_loader_here())
    try:
        quota = SpendFile(folder / QUOTA_FILE, allowance_of=orgs.allowance)
        accounts = [
            {
                "org": org.id,
                "name": org.name,
                "product": each.product,
                "pool": pool,
                "card": each.card,
                "plan": each.plan,
            }
            for org in orgs.orgs()
            for each, pool in org.accounts()
        ]
        found: list[dict[str, Any]] = []
        for account in _chosen(accounts, asked):
            view = quota.view(Account(account["org"], account["product"], account["pool"]))
            org = orgs.org(account["org"])
            shadow = org is not None and org.shadow
            allowance = {
                "at": text_of(view.store_time),
                "total": view.allowance.total,
                "used": view.used,
                "held": view.held,
                "unused": view.allowance.total - view.used - view.held,
                "unaccounted": view.unaccounted,
                "shadow": shadow,
            }
            found.append({**account, "allowance": allowance, "usage": None})
    finally:
        orgs.close()
    return {"source": str(folder / QUOTA_FILE), "note": note, "accounts": found}


def _chosen(accounts: Sequence[dict[str, Any]], asked: _Asked) -> list[dict[str, Any]]:
    found = [each for each in accounts if asked.org in (None, each["org"]) and asked.product in (None, each["product"])]
    if not found and (asked.org or asked.product):
        known = ", ".join(sorted({f"{each['org']} ({each['product']})" for each in accounts})) or "none"
        raise UnknownNameError(f"there is no such organisation or product here; known: {known}")
    return found


def _print(report: dict[str, Any]) -> None:
    if report["note"]:
        print(f"Note: {report['note']}.")
    for account in report["accounts"]:
        _print_account(account)
    if not report["accounts"]:
        print("No organisation uses a product yet. `farebox org add ORG --card CARD --plan PLAN` adds one.")


def _print_account(account: dict[str, Any]) -> None:
    from farebox.domain.credits import text_of

    allowance, spent = account["allowance"], account["usage"]
    print(f"\n{account['name']} · {account['product']} · {account['pool']} · plan {account['plan']}")
    if "sentence" in allowance:
        print(f"  {allowance['sentence']}")
    rows = [("total", allowance["total"]), ("used", allowance["used"]), ("held", allowance["held"])]
    print("  " + "   ".join(f"{name} {text_of(n)}" for name, n in [*rows, ("unused", allowance["unused"])]))
    if spent is None and allowance["shadow"]:
        print("  in shadow mode: nothing is refused for want of credits")
    if allowance["unaccounted"]:
        print(f"  of it unaccounted {text_of(allowance['unaccounted'])}")
    if spent is None:
        return
    print(f"  by {spent['by']}, as of {spent['as_of'] or 'never: nothing is loaded yet'}")
    lines = [(_shown(line), line["calls"], line["millicredits"], line["refusals"]) for line in spent["lines"]]
    if spent["others_millicredits"]:
        lines.append(("(others)", 0, spent["others_millicredits"], 0))
    lines.append(("sum", spent["calls"], spent["millicredits"], spent["refusals"]))
    if spent["unleased_millicredits"]:
        lines.append(("of it unleased", 0, spent["unleased_millicredits"], 0))
    width = max(len(name) for name, *_ in lines)
    print(f"  {'':{width}}  {'calls':>10}  {'credits':>12}  {'refused':>8}")
    for name, calls, credits_, refusals in lines:
        print(f"  {name:{width}}  {calls:>10,}  {text_of(credits_):>12}  {refusals:>8,}")
    shadowed = spent["would_have_been_refused"]
    if shadowed or allowance["shadow"]:
        cost = text_of(spent["would_have_been_refused_millicredits"])
        print(
            f"  would have been refused: {shadowed:,} {'call' if shadowed == 1 else 'calls'} of {cost} credits", end=""
        )
        print(", let through in shadow mode")
    if spent["organisation_less_sum"] is not None:
        print(f"  organisation less sum: {text_of(spent['organisation_less_sum'])} at {spent['at']}")


def _shown(line: dict[str, Any]) -> str:
    return line["name"] or line["value"] or "(none)"
