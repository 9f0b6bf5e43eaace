"""``recsae sweep``: a grid of autoencoders, and the grid as a table or a plot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from recsae.cli.options import JsonOption, RecommenderRun, WarehouseOption
from recsae.errors import DataError, UsageError

Number = TypeVar("Number", int, float)


class SweepGroup(TyperGroup):
    """Takes ``recsae sweep RUN ...`` for ``recsae sweep run RUN ...``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


app = typer.Typer(
    cls=SweepGroup,
    no_args_is_help=True,
    help="Train a grid of autoencoders on one recommender, and compare them. "
    "recsae sweep RUN is short for recsae sweep run RUN.",
)


@app.command()
def run(
    run: RecommenderRun = "latest",
    k: Annotated[
        str, typer.Option(metavar="K,K,...", help="Latents kept per case, with commas between.")
    ] = "4,8,16,32",
    scale: Annotated[
        str, typer.Option(metavar="N,N,...", help="Dictionary sizes / width of the vectors.")
    ] = "16",
    lr: Annotated[
        str | None,
        typer.Option(metavar="X,X,...", help="Highest Adam step sizes. Default: by k and scale."),
    ] = None,
    revival: Annotated[
        str | None,
        typer.Option(
            metavar="auxk|auxk-half|restarts|none",
            help="What is done for silent latents. Default: by k and scale.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Autoencoders per cell, with seeds 0, 1, ...")] = 1,
    epochs: Annotated[int | None, typer.Option(help="Passes over the vectors.")] = None,
    permutations: Annotated[
        int | None, typer.Option(help="Rounds of permuted tags in the confidence stage.")
    ] = None,
    until: Annotated[
        str,
        typer.Option(
            metavar="sae|encode|concepts|confidence", help="Last stage that a cell goes through."
        ),
    ] = "confidence",
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Train a grid of autoencoders on one recommender, then show it.

    Every combination of the values is a cell, every seed of it a run of its own that goes through
    all stages. What is done is skipped, so the same command goes on after an interruption. A cell
    that fails does not stop the others.

    \b
    Example:
      recsae sweep run latest --k 4,8,16,32 --scale 16,32 --seeds 3
      recsae sweep latest --k 8 --lr 2e-3,4e-3 --until sae
    """
    from recsae.config import ConfidenceConfig
    from recsae.progress import reporter
    from recsae.stages.sweep import SweepConfig, sweep

    config = SweepConfig(
        k=numbers("--k", k, int),
        scale=numbers("--scale", scale, int),
        lr=() if lr is None else numbers("--lr", lr, float),
        revival=revival,
        seeds=seeds,
        epochs=epochs,
        until=until,
        confidence=ConfidenceConfig().with_options(permutations=permutations),
    )
    result = sweep(warehouse, run, config, reporter=reporter())
    if result.run_ids:
        show(warehouse, result.recommender, as_json=as_json, plot=None)
    if result.failures:
        n = len(result.failures) + len(result.run_ids)
        lines = "".join(f"\n  {line}" for line in result.failures)
        raise DataError(
            f"{len(result.failures)} of {n} cells failed:{lines}",
            "the same command tries them again",
        )


@app.command()
def report(
    run: RecommenderRun = "latest",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the grid: .svg, or .png with matplotlib."),
    ] = None,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Show all autoencoders of a recommender as a grid, with means over seeds.

    A star marks the Pareto front: no other cell is at least as good in NDCG@10 kept (more is
    better), L0 (less) and the share of interpretable latents (more), and better in one of them.

    \b
    Example:
      recsae sweep report
      recsae sweep report latest --plot grid.svg
    """
    show(warehouse, run, as_json=as_json, plot=plot)


def show(root: Path, ref: str, *, as_json: bool, plot: Path | None) -> None:
    """Write the grid of a recommender to stdout, and to ``plot``."""
    import json

    from recsae.cli.files import refuse_output, write_whole
    from recsae.cli.report import write, write_json
    from recsae.report.plots import check_format, sweep_panels
    from recsae.report.sweep import drawing, sweep_table
    from recsae.stages.sweep import grid
    from recsae.warehouse import Warehouse

    # an SVG is drawn without matplotlib
    as_svg = plot is not None and plot.suffix.lower() == ".svg"
    if plot is not None and not as_svg:
        check_format(plot.suffix)
    refuse_output("--plot", plot, root)
    with Warehouse.open(root, read_only=True) as store:
        run_id, frame = grid(store, ref)
    cells = [
        {**row, "settings": json.loads(row["settings"])} for row in frame.drop("run_id").to_dicts()
    ]
    if plot is not None:
        draw = drawing(run_id, cells).encode() if as_svg else sweep_panels(run_id, cells)
        write_whole(plot, draw)
    if as_json:
        write_json({"recommender_run_id": run_id, "cells": cells})
    else:
        write(sweep_table(run_id, cells))


def numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """Values of an option with commas between, each once; UsageError naming the one that is bad."""
    words, example = ("a whole number", "4,8") if kind is int else ("a number", "2e-3,4e-3")
    found: dict[Number, None] = {}
    for part in text.split(","):
        try:
            found[kind(part)] = None
        except ValueError:
            raise UsageError(
                f"{option} has {part.strip()!r}, which is not {words}",
                f"write values with commas between, as {option} {example}",
            ) from None
    return tuple(found)
