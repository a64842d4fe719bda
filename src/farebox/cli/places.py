"""Where a command finds the configuration and the data, the same way everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farebox import config as configuration
from farebox.errors import DataDirectoryError

if TYPE_CHECKING:
    from farebox.domain.cards import RateCard

CONFIG_NAME = "farebox.toml"

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="FAREBOX_CONFIG", help="The configuration file.", dir_okay=False)
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help=f"The data directory. Default: what {CONFIG_NAME} here says, else ./farebox-data.",
        file_okay=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def data_directory(given: Path | None) -> Path:
    """The data directory: as given, else FAREBOX_DATA, else of ./farebox.toml, else ./farebox-data.

    Raises ConfigInvalidError when ./farebox.toml exists and is wrong: better than to work on the wrong directory.
    """
    if given is not None:
        return given
    if os.environ.get("FAREBOX_DATA"):
        return Path(os.environ["FAREBOX_DATA"])
    if Path(CONFIG_NAME).is_file():
        return configuration.load(Path(CONFIG_NAME)).data
    return Path("farebox-data")


def require_file(folder: Path, name: str, *, makes_it: str) -> None:
    """For commands that only read: `DataDirectoryError` instead of a new, empty data directory.

    `makes_it` is the command that does make `name`.
    """
    if not (folder / name).exists():
        what = f"has no {name} yet" if folder.is_dir() else "does not exist yet"
        raise DataDirectoryError(
            f"The data directory {folder} {what}: `{makes_it}` makes it. "
            "If your data is elsewhere, name its directory with --data or FAREBOX_DATA."
        )


def card_loader_here() -> Callable[[str], RateCard]:
    """Cards as the configuration here names their files; packaged cards and files without one."""
    from farebox import cards
    from farebox.app.cards import card_loader

    name = Path(CONFIG_NAME)
    return card_loader(configuration.load(name)) if name.is_file() else cards.load
