"""Where a command finds the configuration and the data, the same way everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from farebox import config as configuration

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
