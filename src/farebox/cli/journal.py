"""`farebox journal`: what of the journal cannot be read, and giving it up so that everything else goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farebox.cli.places import DataOption, JsonOption, data_directory

if TYPE_CHECKING:
    from farebox.domain.identity import Account
    from farebox.journal.damage import Damage
    from farebox.quota.sqlite_view import SpendFile

DAMAGED = 1

journal = typer.Typer(
    help="The journal: is it whole, and what to do when it is not.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@dataclass(frozen=True, slots=True)
class _Finding:
    """One incarnation's journal. `loans`: what stays counted until it is settled; empty once it is closed."""

    incarnation: str
    in_use: bool
    closed: bool
    damages: tuple[Damage, ...]
    loans: tuple[tuple[Account, int], ...]


@journal.command("check")
def check(*, data: DataOption = None, json_output: JsonOption = False) -> None:
    """Read every record of every journal on this machine and say what is damaged. Changes nothing.

    Exit status 0: all can be read; 1: something cannot.
    """
    from farebox.journal.directory import incarnations

    root, spend = _places(data)
    found = [_look(root, name, spend) for name in incarnations(root)]
    damaged = [finding for finding in found if finding.damages]
    if json_output:
        print(json.dumps({"ok": not damaged, "journals": [_report(finding) for finding in found]}, indent=2))
    else:
        for finding in damaged:
            _print(finding)
        whole = len(found) - len(damaged)
        print(f"{whole} {'journal' if whole == 1 else 'journals'} can be read to the end, {len(damaged)} cannot.")
    if damaged:
        raise typer.Exit(DAMAGED)


@journal.command("accept-loss")
def accept_loss(
    incarnation: Annotated[str, typer.Argument(help="The journal, as `farebox journal check` names it.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = None,
    json_output: JsonOption = False,
) -> None:
    """Give up what cannot be read of one journal; all the rest is settled, loaded and removed within half a minute.

    Exactly what is shown is given up, nothing that was damaged or restored meanwhile. First see whether the file can be
    restored from a copy: then nothing is lost. The damaged bytes stay where they are
    until their journal goes, and `NNNNNNNN.lost` beside them says what was given up. Safe to repeat.
    """
    from farebox.errors import UnknownNameError
    from farebox.journal.damage import give_up
    from farebox.journal.directory import incarnations

    root, spend = _places(data)
    if incarnation not in incarnations(root):
        raise UnknownNameError(f"There is no journal {incarnation!r} in {root}; see `farebox journal check`.")
    declined = False

    def confirm(damages: list[Damage]) -> bool:
        nonlocal declined
        if not json_output:
            _print(replace(_look(root, incarnation, spend), damages=tuple(damages)))
        declined = not yes and not typer.confirm("Give this up for good?")
        return not declined

    accepted = give_up(root / incarnation, needed_from=lambda: spend.settled_to(incarnation), confirm=confirm)
    if declined:
        raise typer.Exit(DAMAGED)
    if json_output:
        print(json.dumps({"incarnation": incarnation, "accepted": [_place(damage) for damage in accepted]}, indent=2))
    elif accepted:
        print(
            f"Given up: {len(accepted)} {'place' if len(accepted) == 1 else 'places'}. Gateway and console go on by "
            "themselves within half a minute; `farebox journal check` and `farebox status` show it."
        )
    else:
        print(f"Nothing to give up: {incarnation} can be read to its end.")


def _places(data: Path | None) -> tuple[Path, SpendFile]:
    from farebox.app import JOURNAL_FOLDER, QUOTA_FILE
    from farebox.quota.port import NO_ALLOWANCE
    from farebox.quota.sqlite_view import SpendFile

    folder = data_directory(data)
    return folder / JOURNAL_FOLDER, SpendFile(folder / QUOTA_FILE, allowance_of=lambda _: NO_ALLOWANCE)


def _look(root: Path, incarnation: str, spend: SpendFile) -> _Finding:
    from farebox.journal.damage import find
    from farebox.journal.reader import orphans

    directory = root / incarnation
    closed = spend.is_closed(incarnation)
    return _Finding(
        incarnation,
        in_use=incarnation not in orphans(root),
        closed=closed,
        damages=tuple(find(directory, needed_from=lambda: spend.settled_to(incarnation))),
        loans=() if closed else tuple(spend.loans_of(incarnation)),
    )


def _report(finding: _Finding) -> dict[str, object]:
    return {
        "incarnation": finding.incarnation,
        "in_use": finding.in_use,
        "closed": finding.closed,
        "damages": [_place(damage) for damage in finding.damages],
        "lent": [
            {"org": account.org, "product": account.product, "pool": account.pool, "millicredits": amount}
            for account, amount in finding.loans
        ],
    }


def _place(damage: Damage) -> dict[str, object]:
    loss = damage.loss
    return {
        "file": damage.path,
        "from": [loss.start.segment, loss.start.byte],
        "to": [loss.end.segment, loss.end.byte],
        "bytes": damage.bytes,
        "calls_about": damage.calls,
        "reason": loss.reason,
    }


def _print(finding: _Finding) -> None:
    from farebox.domain.credits import text_of

    whose = "of a gateway that runs" if finding.in_use else "left behind by a gateway that is gone"
    print(f"Journal {finding.incarnation}, {whose}:")
    for damage in finding.damages:
        loss = damage.loss
        print(
            f"  {damage.path}: unreadable from segment {loss.start.segment} byte {loss.start.byte:,} to segment "
            f"{loss.end.segment} byte {loss.end.byte:,} ({damage.bytes:,} bytes, about {damage.calls:,} calls): "
            f"{loss.reason}"
        )
    if finding.in_use or finding.closed:
        print("  Quota has counted these calls; usage cannot list them. No credits are at stake.")
    for account, amount in finding.loans if not finding.in_use else ():
        print(
            f"  At most {text_of(amount)} credits of {account.org} ({account.product}, {account.pool}) stay counted "
            "until then; what was spent of them in the damaged place comes back to it."
        )
    if finding.damages:
        print(
            "  Restore the file from a copy, and all goes on by itself; or give up what cannot be read: "
            f"farebox journal accept-loss {finding.incarnation}"
        )
