"""``train``: data set -> recommender, its cases, vectors and recommendations."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
from safetensors.torch import save_file

from recsae.config import TrainConfig, digest
from recsae.datasets import Dataset, read_dataset
from recsae.progress import Reporter
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.cases import write_cases
from recsae.recommenders.presets import create, model_name
from recsae.recommenders.trainer import CHECKPOINT, evaluate, fit
from recsae.stages.common import StageRun, final_metrics, metric_rows, open_stage
from recsae.warehouse import Warehouse, run_folder

WEIGHTS = "model.safetensors"


def train(
    root: Path,
    data: Path,
    model: str,
    dataset: str,
    config: TrainConfig,
    *,
    force: bool,
    reporter: Reporter,
) -> str:
    """Train a recommender on a prepared data set and return the id of its run.

    The same model, settings and data are the same run, which is skipped when done unless ``force``.
    """
    name = model_name(model)
    content = read_dataset(dataset, data)
    fingerprint = str(content.info["fingerprint"])
    identity = digest("train", name, config.to_json(), dataset, fingerprint)
    with Warehouse.open(root, create=True) as warehouse:
        _load(warehouse, content)
        run_id = warehouse.name_run(f"{name.lower()}-{dataset}", identity)

    def register(warehouse: Warehouse) -> None:
        warehouse.start_run(
            run_id,
            kind="recommender",
            dataset=dataset,
            model=name,
            params=config.to_json(),
            data_fingerprint=fingerprint,
            seed=config.seed,
            replace=True,
        )

    params = config.to_json()
    with open_stage(
        root, run_id, "train", params, identity, force=force, reporter=reporter, register=register
    ) as stage:
        if stage is not None:
            if force:
                (run_folder(root, run_id) / CHECKPOINT).unlink(missing_ok=True)
            n_users, n_items = len(content.users), len(content.items)
            sequences = Sequences.from_frame(content.interactions, n_users, n_items)
            recommender = create(name, config, n_users, n_items)
            _train(stage, recommender, sequences, config, identity, reporter)
    return run_id


def _load(warehouse: Warehouse, content: Dataset) -> None:
    warehouse.load_dataset(
        content.users, content.items, content.item_tags, content.interactions, content.info
    )


def _train(
    stage: StageRun,
    model: Recommender,
    sequences: Sequences,
    config: TrainConfig,
    identity: str,
    reporter: Reporter,
) -> None:
    folder = run_folder(stage.root, stage.run_id)
    state = fit(model, sequences, config, folder, identity, reporter)
    save_weights(model, folder)
    folders = {name: stage.folder(name) for name in ("cases", "recommendations")}
    write_cases(model, sequences, folder, folders["cases"], folders["recommendations"], reporter)
    dev, test = (evaluate(model, sequences, split) for split in ("dev", "test"))
    reporter.note(
        f"{stage.run_id}: best epoch {state.best_epoch}, "
        f"test HR@10 {test['HR@10']:.4f}, NDCG@10 {test['NDCG@10']:.4f}"
    )
    losses = [{k: row[k] for k in ("epoch", "loss", "seconds")} for row in state.history]
    scores = [
        {k: v for k, v in row.items() if k not in losses[0] or k == "epoch"}
        for row in state.history
    ]
    metrics = pl.concat(
        [
            metric_rows(losses, "train"),
            metric_rows(scores, "dev"),
            final_metrics(dev, "dev"),
            final_metrics(test, "test"),
            final_metrics({"best epoch": state.best_epoch}, "all"),
        ]
    )
    stage.publish(folders, metrics=metrics, ends_run=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def save_weights(model: Recommender, folder: Path) -> None:
    """Write the model's weights, safetensors, by rename."""
    partial = folder / f"{WEIGHTS}.partial"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, partial)
    os.replace(partial, folder / WEIGHTS)
