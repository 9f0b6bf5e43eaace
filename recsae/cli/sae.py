"""``recsae sae``: train a sparse autoencoder, and encode all cases with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsae.cli.options import ForceOption, RecommenderRun, SaeRun, WarehouseOption

app = typer.Typer(no_args_is_help=True, help="Train sparse autoencoders and encode with them.")


@app.command()
def train(
    run: RecommenderRun = "latest",
    k: Annotated[int | None, typer.Option(help="Latents kept per case. Default 8.")] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Dictionary size / width of the vectors. Default 16, less for few vectors."
        ),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Highest Adam step size. Default: by k and scale.")
    ] = None,
    revival: Annotated[
        str | None,
        typer.Option(
            metavar="auxk|auxk-half|restarts|none",
            help="What is done for latents that fell silent: an auxiliary loss on what the others "
            "leave over, or the stronger half of them; a new start after each epoch at a badly "
            "rebuilt vector; or nothing. Default: by k and scale.",
        ),
    ] = None,
    warm_up: Annotated[
        float | None, typer.Option(help="Share of the steps over which the step size rises.")
    ] = None,
    decay: Annotated[
        float | None, typer.Option(help="Share of the steps, at the end, over which it falls.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Vectors per step. Default 512, less for few vectors.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the vectors.")] = None,
    aux_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the auxiliary loss of --revival auxk and auxk-half."),
    ] = None,
    dead_after: Annotated[
        float | None,
        typer.Option(help="Epochs of silence after which the auxiliary loss helps a latent."),
    ] = None,
    fold_in: Annotated[
        int | None,
        typer.Option(
            help="For models with one vector per user: vectors of random parts of a history that "
            "train beside the user's own, which counts a third as much as they do together. "
            "Default 24, fewer for many users."
        ),
    ] = None,
    construct_share: Annotated[
        float | None, typer.Option(help="Share of users whose cases build concepts.")
    ] = None,
    heldout_share: Annotated[
        float | None, typer.Option(help="Share of users whose vectors do not train.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random choices.")] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(min=1, help="Steps between two checkpoints. Default: one each minute."),
    ] = None,
    force: ForceOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Train a TopK autoencoder on a recommender's case vectors; prints the id of its run.

    \b
    Example:
      recsae sae train latest --k 8 --scale 16
    """
    from recsae import stages
    from recsae.config import SAEConfig
    from recsae.progress import reporter

    config = SAEConfig().with_options(
        k=k,
        scale=scale,
        lr=lr,
        revival=revival,
        warm_up=warm_up,
        decay=decay,
        batch_size=batch_size,
        epochs=epochs,
        aux_weight=aux_weight,
        dead_after=dead_after,
        fold_in=fold_in,
        construct_share=construct_share,
        heldout_share=heldout_share,
        seed=seed,
    )
    run_id = stages.train_sae(
        warehouse,
        run,
        config,
        force=force,
        reporter=reporter(),
        checkpoint_every=checkpoint_every,
    )
    print(run_id)


@app.command()
def encode(
    run: SaeRun = "latest",
    force: ForceOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Write the sparse activations of all cases as Parquet; prints the id of the run.

    \b
    Example:
      recsae sae encode latest
    """
    from recsae import stages
    from recsae.progress import reporter

    print(stages.encode(warehouse, run, force=force, reporter=reporter()))
