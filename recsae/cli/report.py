"""``recsae report`` and ``recsae latent``: what was found, without computing anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsae.cli.options import JsonOption, SaeRun, WarehouseOption
from recsae.cli.output import json_line
from recsae.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

TOP = 12
"""Concepts listed by default."""


def report(
    run: SaeRun = "latest",
    top: Annotated[int, typer.Option(min=0, help="Concepts listed; 0 lists all.")] = TOP,
    every: Annotated[
        bool, typer.Option("--all", help="List every latent, not only the best of each tag.")
    ] = False,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Show the concepts of a run, how sure they are, and what the autoencoder keeps.

    \b
    Example:
      recsae report
      recsae report latest --top 0 --all --json
    """
    print_report(warehouse, run, top=top, every=every, as_json=as_json)


def print_report(
    root: Path, ref: str, *, top: int = TOP, every: bool = False, as_json: bool = False
) -> None:
    """Write the report of a run to stdout."""
    from recsae.report.collect import collect, verified_run
    from recsae.report.tables import report as render
    from recsae.warehouse import Warehouse

    with Warehouse.open(root, read_only=True) as store:
        parts = collect(store, verified_run(store, ref))
    found = [row for row in parts.concepts if every or row["place"] == 1]
    shown = found[:top] if top else found
    if as_json:
        write_json(parts.as_json(shown))
    else:
        left = len(found) - len(shown)
        write(render(parts.card, parts.histogram, shown, left, parts.controls, parts.advice))


def latent(
    run: SaeRun,
    latent_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the latent, from 0.")],
    users: Annotated[int, typer.Option(min=0, help="Users listed.")] = 5,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Show one latent: concept, numbers, example items, users, items of its decoder row.

    \b
    Example:
      recsae latent latest 42
    """
    from recsae.report.collect import verified_run
    from recsae.report.tables import latent_card
    from recsae.warehouse import Warehouse

    with Warehouse.open(warehouse, read_only=True) as store:
        run_id = verified_run(store, run)
        key = {"run_id": run_id, "latent_id": latent_id}
        cards = store.query("report.latent_card", key).to_dicts()
        if not cards:
            last = int(store.run(run_id).params["n_latents"]) - 1
            raise UsageError(f"run {run_id!r} has no latent {latent_id}", f"use 0 to {last}")
        parts = {
            name: store.query(f"report.latent_{name}", key).to_dicts()
            for name in ("tags", "examples", "decoder_items")
        }
        known = store.exists("raw.descriptions")  # not in a warehouse of an older version
        parts["descriptions"] = (
            store.query("report.latent_descriptions", key).to_dicts() if known else []
        )
        parts["users"] = store.query("report.latent_users", {**key, "n_users": users}).to_dicts()
    if as_json:
        write_json({"latent": cards[0], **parts})
        return
    shown = parts["users"] if users else None
    write(
        latent_card(
            cards[0],
            parts["tags"],
            parts["examples"],
            shown,
            parts["decoder_items"],
            parts["descriptions"],
        )
    )


def write(renderable: RenderableType) -> None:
    """Print to stdout: with colour on a terminal, plain and without trailing blanks elsewhere."""
    import io

    from rich.console import Console

    from recsae.report.tables import WIDTH

    console = Console(file=sys.stdout, highlight=False)
    if console.is_terminal:
        console.print(renderable, width=min(console.width, WIDTH))
        return
    # neither the terminal behind the pipe nor COLUMNS says how wide a file is
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None, highlight=False).print(renderable)
    sys.stdout.writelines(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def write_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json_line(value, indent=1) + "\n")
