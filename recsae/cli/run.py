"""``recsae run``: the whole pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsae.cli.options import DataOption, ForceOption, JsonOption, WarehouseOption


def run(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="ml-100k, ml-1m or planted; lastfm-2k with --source; "
            "or the name of any prepared data set, see recsae data.",
        ),
    ],
    model: Annotated[str, typer.Option(help="Recommender; see recsae train --help.")] = "SASRec",
    k: Annotated[int | None, typer.Option(help="Latents kept per case. Default 8.")] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Dictionary size / width of the vectors. Default 16, less for few vectors."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all stages.")] = 0,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Local file or folder of ml-100k, ml-1m or lastfm-2k. "
            "ml-100k and ml-1m are downloaded without it.",
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    data: DataOption = Path("data"),
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Prepare, train, train the SAE, encode, build concepts, verify them, and report.

    Stages that are done are skipped, so a second call only reports, and a call after an
    interruption goes on.

    \b
    Example:
      recsae run ml-100k
    """
    from recsae import stages
    from recsae.cli.report import print_report
    from recsae.config import SAEConfig
    from recsae.progress import reporter
    from recsae.recommenders.presets import preset

    config = stages.PipelineConfig(
        train=preset(model, dataset, seed=seed),
        sae=SAEConfig().with_options(k=k, scale=scale, seed=seed),
    )
    run_id = stages.run(
        warehouse, data, dataset, model, config, source=source, force=force, reporter=reporter()
    )
    print_report(warehouse, run_id, as_json=as_json)
