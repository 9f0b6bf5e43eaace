"""``recsae train`` and ``recsae evaluate``: recommenders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recsae.cli.options import DataOption, ForceOption, JsonOption, Run, WarehouseOption
from recsae.cli.output import frame_table, json_text, note

SEQUENCES, SASREC = "For SASRec and TiMiRec", "For SASRec"
LAYERS, DIRECTAU, TIMIREC = "For LightGCN and TiMiRec", "For DirectAU", "For TiMiRec"


def train(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="BPRMF, LightGCN, DirectAU, SASRec or TiMiRec."),
    ],
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="A prepared data set; see recsae data list.")
    ],
    emb_size: Annotated[int | None, typer.Option(help="Width of the vectors.")] = None,
    lr: Annotated[float | None, typer.Option(help="Adam step size.")] = None,
    l2: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples per step.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs.")] = None,
    early_stop: Annotated[
        int | None, typer.Option(help="Epochs without a better dev NDCG@5 before it ends.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random choices.")] = None,
    history_max: Annotated[
        int | None, typer.Option(help="Items of the history it sees.", rich_help_panel=SEQUENCES)
    ] = None,
    position_from: Annotated[
        str | None,
        typer.Option(
            metavar="start|recent",
            help="Where positions are counted from; the reference uses recent.",
            rich_help_panel=SEQUENCES,
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="softmax|bpr",
            help="Softmax over all or many drawn items, or one drawn negative as the reference.",
            rich_help_panel=SEQUENCES,
        ),
    ] = None,
    num_heads: Annotated[
        int | None, typer.Option(help="Attention heads.", rich_help_panel=SEQUENCES)
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Share of hidden units dropped.", rich_help_panel=SEQUENCES),
    ] = None,
    num_layers: Annotated[
        int | None, typer.Option(help="Transformer blocks.", rich_help_panel=SASREC)
    ] = None,
    n_layers: Annotated[
        int | None,
        typer.Option(
            help="Propagation layers, or layers of the interest predictor.",
            rich_help_panel=LAYERS,
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(help="Weight of uniformity against alignment.", rich_help_panel=DIRECTAU),
    ] = None,
    k: Annotated[
        int | None, typer.Option("--K", help="Interests of a user.", rich_help_panel=TIMIREC)
    ] = None,
    attn_size: Annotated[
        int | None, typer.Option(help="Width of the attention.", rich_help_panel=TIMIREC)
    ] = None,
    add_pos: Annotated[
        int | None,
        typer.Option(metavar="0|1", help="Use position embeddings.", rich_help_panel=TIMIREC),
    ] = None,
    add_trm: Annotated[
        int | None,
        typer.Option(metavar="0|1", help="Use a transformer layer.", rich_help_panel=TIMIREC),
    ] = None,
    temp: Annotated[
        float | None,
        typer.Option(help="Temperature of the distillation.", rich_help_panel=TIMIREC),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            metavar="pretrain|finetune",
            help="finetune also runs the other where it is missing.",
            rich_help_panel=TIMIREC,
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Start from a state dict of the reference (ReChorus), with its positions.",
        ),
    ] = None,
    force: ForceOption = False,
    data: DataOption = Path("data"),
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Train a recommender; prints the id of its run. Settings not given are the preset of the model
    and the data set.

    \b
    Example:
      recsae train SASRec ml-100k
      recsae train BPRMF ml-100k --emb-size 64 --lr 1e-3 --l2 1e-6
    """
    from recsae import stages
    from recsae.progress import reporter
    from recsae.recommenders.presets import FIELDS, model_name, preset

    if init_from is not None and "position_from" in FIELDS[model_name(model)]:
        position_from = position_from or "recent"
    config = preset(
        model,
        dataset,
        emb_size=emb_size,
        lr=lr,
        l2=l2,
        batch_size=batch_size,
        epochs=epochs,
        early_stop=early_stop,
        seed=seed,
        history_max=history_max,
        position_from=position_from,
        objective=objective,
        num_heads=num_heads,
        dropout=dropout,
        num_layers=num_layers,
        n_layers=n_layers,
        gamma=gamma,
        K=k,
        attn_size=attn_size,
        add_pos=add_pos,
        add_trm=add_trm,
        temp=temp,
        stage=stage,
    )
    run_id = stages.train(
        warehouse,
        data,
        model,
        dataset,
        config,
        force=force,
        reporter=reporter(),
        init_from=init_from,
    )
    print(run_id)


def evaluate(
    run: Run = "latest",
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Rank the dev and test items again with a run's vectors; an SAE run also with its SAE.

    \b
    Example:
      recsae evaluate latest
    """
    from recsae import stages

    run_id, frame = stages.evaluate(warehouse, run)
    if as_json:
        sys.stdout.write(json_text([{"run_id": run_id, **row} for row in frame.to_dicts()]))
        return
    import polars as pl

    note(f"run {run_id}; full ranking, items met before are left out")
    metrics = [name for name in frame.columns if "@" in name]
    columns = {
        f"{row['split']} {row['vectors']}": [row[m] for m in metrics] for row in frame.to_dicts()
    }
    table = pl.DataFrame({"metric": metrics, **columns})
    sys.stdout.write(frame_table(table.with_columns(pl.selectors.float().round(4))))
