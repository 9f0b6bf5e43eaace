"""Options that several commands share, declared once so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PLACES = "Where things are"
"""Heading of the options that name folders in the help of every command."""

WarehouseOption = Annotated[
    Path,
    typer.Option(
        "--warehouse",
        metavar="FOLDER",
        envvar="RECSAE_WAREHOUSE",
        help="Folder with the results of all stages.",
        show_default=True,
        rich_help_panel=PLACES,
    ),
]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FOLDER",
        envvar="RECSAE_DATA",
        help="Folder with the prepared data sets.",
        show_default=True,
        rich_help_panel=PLACES,
    ),
]
LATEST = "the last to finish, never a control; stderr says which"
"""The one rule for the word latest. The kind of run is that of the command."""

Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help=f"Run: id, the start of one, or latest ({LATEST})."),
]
SaeRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help=f"Autoencoder run: id, the start of one, or latest ({LATEST}). "
        "A recommender stands for its last autoencoder.",
    ),
]
RecommenderRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help=f"Recommender run: id, the start of one, or latest ({LATEST}). "
        "An autoencoder stands for its recommender.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of all random choices.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Do it again, even if it is done.")]
