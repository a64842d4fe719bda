"""`farebox org|user|app|key`: who there is, what they bought, and the keys they call with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farebox.cli.places import DataOption, JsonOption, card_loader_here, data_directory, require_file
from farebox.cli.subscriptions import WHAT_CAN_BE_SET, Wish, changed

if TYPE_CHECKING:
    from farebox.quota.directory import Directory

SHADOW_TEXT = (
    "In shadow mode within two seconds: its calls are judged and recorded and none is refused for want of credits"
)
USERS_MAX = 10_000_000
CREDITS_MAX = 10**12

OrgArgument = Annotated[str, typer.Argument(help="The organisation's id.")]
PlanOption = Annotated[str | None, typer.Option("--plan", help="The plan (edition) of that card.")]
LicencesOption = Annotated[int | None, typer.Option("--users", min=0, max=USERS_MAX, help="Purchased user licences.")]
BaseOption = Annotated[
    int | None,
    typer.Option("--base", min=0, max=CREDITS_MAX, help="The base limit of this account, instead of the plan's."),
]
AddonOption = Annotated[int | None, typer.Option("--addon", min=0, max=CREDITS_MAX, help="Add-on credits.")]
CardOption = Annotated[str | None, typer.Option("--card", help="A packaged rate card or a card file.")]


def groups() -> Mapping[str, typer.Typer]:
    """The four groups of commands, by name."""
    return {"org": _org, "user": _user, "app": _app, "key": _key}


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


_org = _group("Organisations: who pays, by which plan.")
_user = _group("Users of an organisation.")
_app = _group("Client applications of an organisation.")
_key = _group("Farebox keys: what callers call with.")


@_org.command("add")
def add_org(
    org: OrgArgument,
    *,
    name: Annotated[str, typer.Option("--name", help="What people call it. Default: the id.")] = "",
    card: CardOption = None,
    plan: PlanOption = None,
    users: LicencesOption = None,
    base: BaseOption = None,
    addon: AddonOption = None,
    time_zone: Annotated[str, typer.Option("--time-zone", help="The IANA zone its pages show times in.")] = "UTC",
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """A new organisation; with --card and --plan also what it bought. More products: `farebox org set`."""
    wish = Wish(card=card, plan=plan, users=users, base=base, addon=addon)
    if wish.says_anything() and (card is None or plan is None):
        raise typer.BadParameter("--users, --base and --addon are of something bought: give both --card and --plan")
    if card is not None and plan is not None:
        card_loader_here()(card).plan(plan)  # found wrong here, before anything is written
    with _directory(data) as directory:
        directory.add_org(org, name=name or org, time_zone=time_zone)
        change = changed(wish, org, directory.image(), card_loader_here()) if card is not None else None
        if change:
            change.enter(directory)
    report = {"org": org, "name": name or org} | ({"bought": change.report()} if change else {})
    _say(json_output, report, f"Organisation {org} added." + (f"\n{change.text()}." if change else ""))


@_org.command("set")
def set_org(
    org: OrgArgument,
    *,
    name: Annotated[str | None, typer.Option("--name", help="A new name.")] = None,
    product: Annotated[
        str | None, typer.Option("--product", help="Which product, where it bought several: crm, bigin ...")
    ] = None,
    card: CardOption = None,
    plan: PlanOption = None,
    users: LicencesOption = None,
    base: BaseOption = None,
    plan_base: Annotated[bool, typer.Option("--plan-base", help="The plan's own base limit again.")] = False,
    addon: AddonOption = None,
    time_zone: Annotated[str | None, typer.Option("--time-zone", help="A new IANA zone.")] = None,
    shadow: Annotated[
        bool | None,
        typer.Option("--shadow/--no-shadow", help="Shadow mode: judge and record its calls, refuse none."),
    ] = None,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """Change what is given, of an organisation or of what it bought; --card and --plan of a new product add it."""
    wish = Wish(product=product, card=card, plan=plan, users=users, base=base, plan_base=plan_base, addon=addon)
    says_org = any(each is not None for each in (name, time_zone, shadow))
    if not wish.says_anything() and (product is not None or not says_org):
        raise typer.BadParameter(f"nothing to change; give {WHAT_CAN_BE_SET}")
    with _directory(data, makes_it="farebox org add") as directory:
        image = directory.image()
        _require_known(image.org(org) is not None, org)
        change = changed(wish, org, image, card_loader_here()) if wish.says_anything() else None
        if says_org:
            directory.set_org(org, name=name, time_zone=time_zone, shadow=shadow)
        if change:
            change.enter(directory)
    said = [change.text() if change else "in force on all pages within a second"]
    if shadow is not None:
        said.append(SHADOW_TEXT if shadow else "Shadow mode is over within two seconds: calls are refused again")
    text = ".\n".join(said)
    report = {"org": org} | ({} if shadow is None else {"shadow": shadow}) | (change.report() if change else {})
    _say(json_output, report, f"Organisation {org} changed.\n{text}.")


@_org.command("suspend")
def suspend(
    org: OrgArgument,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on instead.")] = False,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """Refuse all calls of an organisation, everywhere within two seconds; nothing of it is forgotten."""
    with _directory(data) as directory:
        directory.suspend(org, suspended=not resume)
    _say(
        json_output,
        {"org": org, "suspended": not resume},
        f"Organisation {org} {'goes on' if resume else 'is suspended'}.",
    )


@_org.command("credential")
def credential(
    org: OrgArgument,
    *,
    upstream: Annotated[str, typer.Option("--upstream", help="Its name in farebox.toml. Default: all.")] = "",
    authorization: Annotated[
        str,
        typer.Option(
            "--authorization",
            prompt="Authorization",
            hide_input=True,
            help='The whole value, e.g. "Bearer abc"; empty removes it.',
        ),
    ],
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """What is sent upstream as Authorization when a caller came with a Farebox key of this organisation."""
    with _directory(data) as directory:
        directory.set_upstream_credential(org, upstream=upstream, authorization=authorization or None)
    _say(json_output, {"org": org, "upstream": upstream, "set": bool(authorization)}, f"Credential of {org} changed.")


@_org.command("list")
def list_orgs(*, data: DataOption = None, json_output: JsonOption = False) -> None:
    """Every organisation and what it bought."""
    with _directory(data, makes_it="farebox org add") as directory:
        image = directory.image()
    rows = [
        {
            "org": org.org,
            "name": org.name,
            "suspended": org.suspended,
            "shadow": org.shadow,
            "time_zone": org.time_zone,
            "subscriptions": [
                {
                    "product": bought.product,
                    "card": bought.card,
                    "plan": bought.plan,
                    "users": bought.users,
                    "base_millicredits": bought.base,
                    "addon_millicredits": bought.addon,
                }
                for bought in image.subscriptions(org.org)
            ],
        }
        for org in image.orgs()
    ]
    if json_output:
        print(json.dumps(rows, indent=2))
        return
    lines = [
        (
            org.org,
            org.name,
            ", ".join(f"{s.product} {s.plan} x{s.users}" for s in image.subscriptions(org.org)) or "nothing bought",
            ", ".join(["suspended"] * org.suspended + ["shadow mode"] * org.shadow),
        )
        for org in image.orgs()
    ]
    _table(
        ("ORG", "NAME", "BOUGHT", ""), lines, "No organisations yet. `farebox org add ID --card C --plan P` adds one."
    )


@_user.command("add")
def add_user(
    org: OrgArgument,
    user: Annotated[str, typer.Argument(help="The user's id, as the upstream knows it.")],
    *,
    name: Annotated[str, typer.Option("--name", help="What people call them. Default: the id.")] = "",
    email: Annotated[str, typer.Option("--email", help="Their e-mail address.")] = "",
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """A new user of an organisation."""
    with _directory(data) as directory:
        directory.add_user(org, user, name=name or user, email=email)
    _say(json_output, {"org": org, "user": user}, f"User {user} of {org} added.")


@_user.command("suspend")
def suspend_user(
    org: OrgArgument,
    user: Annotated[str, typer.Argument(help="The user's id.")],
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Let their calls go on instead.")] = False,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """Refuse all calls of one user, everywhere within two seconds; the organisation's others go on."""
    with _directory(data) as directory:
        directory.set_user_active(org, user, active=resume)
    text = f"User {user} of {org} {'may call again' if resume else 'is not active: their calls are refused'}."
    _say(json_output, {"org": org, "user": user, "active": resume}, text)


@_user.command("list")
def list_users(org: OrgArgument, *, data: DataOption = None, json_output: JsonOption = False) -> None:
    """The users of an organisation."""
    with _directory(data, makes_it="farebox org add") as directory:
        image = directory.image()
    _require_known(image.org(org) is not None, org)
    users = image.users(org)
    if json_output:
        rows = [{"user": u.id, "name": u.name, "email": u.email, "active": u.active} for u in users]
        print(json.dumps(rows, indent=2))
        return
    lines = [(u.id, u.name, u.email, "" if u.active else "inactive") for u in users]
    _table(("USER", "NAME", "E-MAIL", ""), lines, f"No users yet. `farebox user add {org} ID` adds one.")


@_app.command("add")
def add_app(
    org: OrgArgument,
    app: Annotated[str, typer.Argument(help="The app's id.")],
    *,
    name: Annotated[str, typer.Option("--name", help="What people call it. Default: the id.")] = "",
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """A new client application of an organisation."""
    with _directory(data) as directory:
        directory.add_app(org, app, name=name or app)
    _say(json_output, {"org": org, "app": app}, f"App {app} of {org} added.")


@_app.command("list")
def list_apps(org: OrgArgument, *, data: DataOption = None, json_output: JsonOption = False) -> None:
    """The client applications of an organisation."""
    with _directory(data, makes_it="farebox org add") as directory:
        image = directory.image()
    _require_known(image.org(org) is not None, org)
    apps = image.apps(org)
    if json_output:
        print(json.dumps([{"app": a.id, "name": a.name} for a in apps], indent=2))
        return
    _table(("APP", "NAME"), [(a.id, a.name) for a in apps], f"No apps yet. `farebox app add {org} ID` adds one.")


@_key.command("add")
def add_key(
    org: OrgArgument,
    *,
    user: Annotated[str, typer.Option("--user", help="The user its calls count under.")] = "",
    app: Annotated[str, typer.Option("--app", help="The app its calls count under.")] = "",
    label: Annotated[str, typer.Option("--label", help="What it is for.")] = "",
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """A new key. It is shown once: keep it."""
    with _directory(data) as directory:
        made = directory.add_key(org, user=user, app=app, label=label)
    text = f"{made.key}\nThis is key {made.id}. It is shown this once; `farebox key revoke {made.id}` ends it."
    _say(json_output, {"org": org, "id": made.id, "key": made.key}, text)


@_key.command("list")
def list_keys(
    org: Annotated[str | None, typer.Argument(help="Only of this organisation.")] = None,
    *,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """The keys there are, without the keys themselves."""
    with _directory(data, makes_it="farebox org add") as directory:
        if org is not None:
            _require_known(directory.image().org(org) is not None, org)
        keys = directory.keys(org)
    if json_output:
        rows = [
            {"id": k.id, "org": k.org, "user": k.user, "app": k.app, "label": k.label, "revoked": k.revoked}
            for k in keys
        ]
        print(json.dumps(rows, indent=2))
        return
    lines = [(k.id, k.org, k.user or "-", k.app or "-", k.label, "revoked" if k.revoked else "") for k in keys]
    _table(("KEY", "ORG", "USER", "APP", "LABEL", ""), lines, "No keys yet. `farebox key add ORG` makes one.")


@_key.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key's id, as `farebox key list` shows it.")],
    *,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """End a key, everywhere within two seconds."""
    with _directory(data) as directory:
        directory.revoke_key(key)
    _say(json_output, {"id": key, "revoked": True}, f"Key {key} is revoked.")


@contextmanager
def _directory(data: Path | None, *, makes_it: str = "") -> Iterator[Directory]:
    """The directory; made when there is none, unless the command only reads: then `makes_it` says what does."""
    from farebox.quota.directory import FILE_NAME, Directory

    folder = data_directory(data)
    if makes_it:
        require_file(folder, FILE_NAME, makes_it=makes_it)
    directory = Directory.open(folder)
    try:
        yield directory
    finally:
        directory.close()


def _require_known(known: bool, org: str) -> None:
    from farebox.errors import UnknownNameError

    if not known:
        raise UnknownNameError(f"There is no organisation {org!r}. `farebox org list` shows those there are.")


def _say(json_output: bool, report: object, text: str) -> None:
    print(json.dumps(report) if json_output else text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], when_empty: str) -> None:
    if not rows:
        print(when_empty)
        return
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
