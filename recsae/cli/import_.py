"""``recsae import``: models that were trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsae.cli.options import DataOption, ForceOption, SeedOption, WarehouseOption

SASREC = "For SASRec"
AUTOENCODER = "For a file with an autoencoder"
app = typer.Typer(no_args_is_help=True, help="Take over models that were trained elsewhere.")


@app.callback()
def root() -> None:
    """Take over models that were trained elsewhere."""


@app.command()
def rechorus(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="State dict that the reference saved.")
    ],
    model: Annotated[str, typer.Option(help="SASRec or BPRMF.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option(
            help="Data set that it was trained on, prepared from the same folder.",
            show_default=False,
        ),
    ],
    num_layers: Annotated[
        int | None, typer.Option(help="Transformer blocks. Default 1.", rich_help_panel=SASREC)
    ] = None,
    num_heads: Annotated[
        int | None, typer.Option(help="Attention heads. Default 1.", rich_help_panel=SASREC)
    ] = None,
    history_max: Annotated[
        int | None,
        typer.Option(help="Items of the history it sees. Default 20.", rich_help_panel=SASREC),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(help="Latents kept per case. Default 8.", rich_help_panel=AUTOENCODER),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Dictionary size / width of the vectors. Default: as in the file.",
            rich_help_panel=AUTOENCODER,
        ),
    ] = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    data: DataOption = Path("data"),
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Make finished runs of a state dict of the reference (ReChorus); prints their ids.

    A file of SASRec-SAE makes two: the recommender, and the autoencoder on it. Only weights are
    read; a file that would run code is refused.

    \b
    Example:
      recsae data prepare rechorus --source FOLDER --name rechorus-ml
      recsae import rechorus sasrec.pt --model SASRec --dataset rechorus-ml
    """
    from recsae import stages
    from recsae.progress import reporter

    config = stages.ImportConfig(num_layers, num_heads, history_max, k, scale, seed)
    run_ids = stages.import_rechorus(
        warehouse, data, file, model, dataset, config, force=force, reporter=reporter()
    )
    print("\n".join(run_ids))
