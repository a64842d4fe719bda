"""`farebox crm`: the reference CRM API as a process of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from farebox.crm.store import Store

CREDENTIALS_FILE = "crm-credentials.json"
DEMO_ORGANISATIONS: tuple[dict[str, Any], ...] = (
    {"name": "Zylker CRM standard", "product": "crm", "edition": "standard", "users": 10, "sample_records": 2_000},
    {"name": "crm free", "product": "crm", "edition": "free", "users": 3, "sample_records": 50},
    {"name": "Bigin Express", "product": "bigin", "edition": "express", "users": 10, "sample_records": 200},
)


def crm(  # noqa: PLR0917 (typer names them all)
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8_787,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the store; made if it is missing.")] = Path(
        "farebox-data"
    ),
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address under which clients reach the API, when something stands in front."),
    ] = None,
    organisations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON file of organisations to make unless they are there: name, product (crm or bigin), edition, "
            "users, client_id, client_secret, refresh_token, sample_records.",
        ),
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Say where it listens as one line of JSON.")] = False,
) -> None:
    """Run the reference CRM API: Zoho CRM v8 and Bigin v2 on SQLite, for tests and demonstrations.

    Without --organisations an empty store gets three: "Zylker CRM standard", "crm free" and "Bigin Express".
    Credentials of what it makes are kept in DIR/crm-credentials.json, readable by you only.
    """
    from farebox.crm.errors import StoreError
    from farebox.crm.request_log import RequestLog
    from farebox.crm.serve import serve
    from farebox.crm.store import Store

    try:
        store = Store(data / "crm.sqlite3")
        credentials = _provision(store, data, organisations)
        serve(
            store,
            host=host,
            port=port,
            public_url=public_url,
            request_log=None if request_log is None else RequestLog(request_log),
            local_callbacks=local_callbacks,
            on_listening=lambda url: _announce(url, credentials, data=data, as_json=as_json),
        )
    except StoreError as error:
        typer.echo(f"farebox crm: {error}", err=True)
        raise typer.Exit(1) from error
    store.close()


def _provision(store: Store, data: Path, organisations: Path | None) -> dict[str, list[dict[str, Any]]]:
    """Make what is missing; the credentials of everything this directory's store was given so far."""
    from farebox.crm.provision import create_organisation
    from farebox.crm.seed_file import load_seed

    kept = data / CREDENTIALS_FILE
    known: dict[str, list[dict[str, Any]]] = {"organisations": [], "resource_servers": []}
    if kept.exists():
        known = json.loads(kept.read_text(encoding="utf-8"))
    if organisations is not None:
        made = load_seed(store, organisations)
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
