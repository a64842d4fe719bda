"""`farebox crm`: the reference CRM API as a process of its own, and what can be done with its store."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from farebox.crm.deliveries import Delivery
    from farebox.crm.store import Store

DATA = Path("farebox-data")
STORE_FILE = "crm.sqlite3"
CREDENTIALS_FILE = "crm-credentials.json"
DEMO_ORGANISATIONS: tuple[dict[str, Any], ...] = (
    {"name": "Zylker CRM standard", "product": "crm", "edition": "standard", "users": 10, "sample_records": 2_000},
    {"name": "crm free", "product": "crm", "edition": "free", "users": 3, "sample_records": 50},
    {"name": "Bigin Express", "product": "bigin", "edition": "express", "users": 10, "sample_records": 200},
)


DataOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Directory of the store; that of `farebox crm` when not given.")
]

crm = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@crm.callback(invoke_without_command=True)
def run(  # noqa: PLR0917 (typer names them all)
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8_787,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the store; made if it is missing.")] = DATA,
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address under which clients reach the API, when something stands in front."),
    ] = None,
    seed_file: Annotated[
        Path | None,
        typer.Option(
            "--seed-file",
            "--organisations",
            metavar="FILE",
            help="JSON file of organisations to make unless they are there: name, product (crm or bigin), edition, "
            "users, client_id, client_secret, refresh_token, sample_records, records.",
        ),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Start with an empty store; asks before it removes one with organisations.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    request_log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append one JSON line per API call: who, what, status, how many records."),
    ] = None,
    local_callbacks: Annotated[
        bool,
        typer.Option(
            "--local-callbacks", help="Let callbacks and notifications go to this machine too, also by http: for tests."
        ),
    ] = False,
    no_token_limits: Annotated[
        bool,
        typer.Option("--no-token-limits", help="Let tokens be asked for as often as wanted, unlike the original."),
    ] = False,
    functions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of functions: NAME.py with def run(crm, ...) is the function NAME."),
    ] = None,
    gateway_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where functions call the API. Default: the public URL."),
    ] = None,
    function_seconds: Annotated[
        float, typer.Option(min=0.1, max=900, help="A run of a function that takes longer is ended.")
    ] = 60,
    function_memory_mb: Annotated[
        int, typer.Option(min=16, max=8_192, help="Memory of a run of a function, beyond Python's own.")
    ] = 128,
    functions_at_once: Annotated[int, typer.Option(min=1, max=100, help="More functions at once are refused.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Say where it listens as one line of JSON.")] = False,
) -> None:
    """Run the reference CRM API: Zoho CRM v8 and Bigin v2 on SQLite, for tests (long because of its options).

    Without --seed-file an empty store gets three organisations: "Zylker CRM standard", "crm free", "Bigin Express".
    Credentials of what it makes are kept in DIR/crm-credentials.json, readable by you only.
    """
    if context.invoked_subcommand is not None:
        return
    from farebox.crm.errors import StoreError
    from farebox.crm.request_log import RequestLog
    from farebox.crm.serve import serve
    from farebox.crm.settings import FunctionSettings, TokenLimits
    from farebox.crm.store import Store

    with _problems_in_a_sentence():
        if functions is not None and not functions.is_dir():
            raise StoreError(f"--functions {functions} is no folder. Make it, or name another.")
        bounds = None
        if functions is not None:
            bounds = FunctionSettings(
                folder=functions,
                gateway_url=gateway_url,
                seconds_max=function_seconds,
                memory_mb=function_memory_mb,
                at_once=functions_at_once,
            )
        if reset:
            _reset(data, yes=yes)
        store = Store(data / STORE_FILE)
        credentials = _provision(store, data, seed_file)
        serve(
            store,
            host=host,
            port=port,
            public_url=public_url,
            request_log=None if request_log is None else RequestLog(request_log),
            local_callbacks=local_callbacks,
            token_limits=None if no_token_limits else TokenLimits(),
            functions=bounds,
            on_listening=lambda url: _announce(url, credentials, data=data, as_json=as_json),
        )
    store.close()


@crm.command("export")
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make: a zip; it must not exist.")],
    data: DataOption = None,
) -> None:
    """Write the whole store to one file: organisations, users, clients, records, jobs, files.

    Also while the API runs. Secrets and tokens are in it as digests, as in the store.
    """
    from farebox.crm.store import Store
    from farebox.crm.transfer import export_store

    with _problems_in_a_sentence():
        store = Store(_existing(_directory(context, data)))
        try:
            done = export_store(store, file)
        finally:
            store.close()
    typer.echo(f"{file}: {done.organisations} organisations, {done.records} records, {done.files} files.")


@crm.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `farebox crm export` made.")],
    data: DataOption = None,
) -> None:
    """Make the store from an exported file; it must be empty. The same calls then have the same answers."""
    from farebox.crm.transfer import import_store

    with _problems_in_a_sentence():
        done = import_store(file, _directory(context, data))
    typer.echo(f"{done.organisations} organisations, {done.records} records and {done.files} files are in the store.")


@crm.command("deliveries")
def deliveries(
    context: typer.Context,
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each.")] = False,
) -> None:
    """Notifications and callbacks that wait for their receiver or were given up, oldest first."""
    from farebox.crm.deliveries import pending
    from farebox.crm.store import Store

    with _problems_in_a_sentence():
        store = Store(_existing(_directory(context, data)))
        found, now = pending(store), store.now()
        store.close()
    for each in found:
        typer.echo(json.dumps(asdict(each)) if as_json else _delivery_line(each, now=now))
    if not found and not as_json:
        typer.echo("Nothing waits and nothing was given up.")


def _delivery_line(delivery: Delivery, *, now: int) -> str:
    state = "given up" if delivery.due is None else f"due in {max(0, delivery.due - now)} s"
    records = f", {delivery.records} records" if delivery.records else ""
    problem = f": {delivery.problem}" if delivery.problem else ""
    return f"{state}, {delivery.attempts} attempts: {delivery.what}{records} to {delivery.url}{problem}"


@contextmanager
def _problems_in_a_sentence() -> Iterator[None]:
    from farebox.crm.errors import StoreError

    try:
        yield
    except StoreError as error:
        typer.echo(f"farebox crm: {error}", err=True)
        raise typer.Exit(1) from error


def _directory(context: typer.Context, data: Path | None) -> Path:
    """The directory given to the command, or to `farebox crm` before it."""
    if data is not None or context.parent is None:
        return data or DATA
    return Path(context.parent.params["data"])


def _existing(directory: Path) -> Path:
    """The store's file; a command that only looks makes none."""
    from farebox.crm.errors import StoreError

    if not (directory / STORE_FILE).exists():
        raise StoreError(f"There is no store in {directory}; give --data the directory `farebox crm` was given.")
    return directory / STORE_FILE


def _reset(data: Path, *, yes: bool) -> None:
    """Remove the store, its files and its credentials; asks first when there is an organisation in it."""
    from farebox.crm.errors import StoreError
    from farebox.crm.transfer import clear

    if not yes and (data / STORE_FILE).exists():
        try:
            clear(data, only_if_empty=True, remove=False)
        except StoreError as error:
            if not sys.stdin.isatty():
                raise StoreError(f"{error} --reset removes it only with --yes.") from error
            typer.confirm(f"Remove the store in {data} and everything in it?", abort=True)
    clear(data)
    (data / CREDENTIALS_FILE).unlink(missing_ok=True)


def _provision(store: Store, data: Path, seed_file: Path | None) -> dict[str, list[dict[str, Any]]]:
    """Make what is missing; the credentials of everything this directory's store was given so far."""
    from farebox.crm.provision import create_organisation
    from farebox.crm.seed_file import load_seed

    kept = data / CREDENTIALS_FILE
    known: dict[str, list[dict[str, Any]]] = {"organisations": [], "resource_servers": []}
    if kept.exists():
        known = json.loads(kept.read_text(encoding="utf-8"))
    if seed_file is not None:
        made = load_seed(store, seed_file)
    elif store.is_empty():
        new = [create_organisation(store, **each).as_dict() for each in DEMO_ORGANISATIONS]
        made = {"organisations": new, "resource_servers": []}
    else:
        return known
    everything = {kind: known[kind] + made[kind] for kind in known}
    descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(everything, file, indent=2)
    return everything


def _announce(url: str, credentials: dict[str, list[dict[str, Any]]], *, data: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"url": url, **credentials}))
        return
    typer.echo(f"CRM API at {url}; tokens at {url}/oauth/v2/token")
    for each in credentials["organisations"]:
        typer.echo(f"  {each['name']} ({each['product']}, {len(each['users'])} users)")
        typer.echo(f"    client_id {each['client_id']}  client_secret {each['client_secret']}")
        typer.echo(f"    refresh_token {each['refresh_token']}")
    typer.echo(f"  refresh tokens of every user: {data / CREDENTIALS_FILE}")
    typer.echo("Stop with Ctrl-C.")
