"""``train``: data set -> recommender, its cases, vectors and recommendations."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsae.config import TrainConfig, digest
from recsae.datasets import Dataset, read_dataset
from recsae.errors import DataError
from recsae.progress import Reporter
from recsae.recommenders import rechorus
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.cases import write_cases
from recsae.recommenders.presets import FINETUNING, create, model_name, used_settings
from recsae.recommenders.timirec import TiMiRec
from recsae.recommenders.trainer import CHECKPOINT, evaluate, fit
from recsae.saving import replacing
from recsae.stages.common import StageRun, final_metrics, metric_rows, open_stage
from recsae.warehouse import Warehouse, run_folder
from recsae.warehouse.checksums import sha256

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
    init_from: Path | None = None,
) -> str:
    """Train a recommender on a prepared data set and return the id of its run.

    The same model, settings and data are the same run, which is skipped when done unless ``force``.
    ``init_from`` is a state dict of the reference to start from. To finetune TiMiRec the run of its
    other stage with the same settings is trained first where it is missing.
    """
    name = model_name(model)
    content = read_dataset(dataset, data)
    config = pretraining(config) if _is(name, config, "pretrain") else config
    sequences = sequences_of(content)
    recommender, origin = create(name, config, sequences), {}
    if init_from is not None:  # refused here, before anything is stored
        rechorus.require_known(name)
        load_reference(recommender, rechorus.read_state(init_from), init_from, content)
        origin = {"init_from": init_from.name, "init_sha256": sha256(init_from)}
    used = used_settings(name, config)
    made_by = recommender.TRAINING_VERSION
    identity = digest("train", name, made_by, used, dataset, content.fingerprint, *origin.values())
    run_id, done = name_run(root, content, _base(name, config), identity)
    parent = None
    if _is(name, config, "finetune") and (force or not done):
        parent = _pretrained(root, data, name, dataset, config, reporter)
    run = NewRun(run_id, name, dataset, {**used, **origin}, content, config.seed, parent)
    with run.open(root, identity, force=force, reporter=reporter) as stage:
        checkpoint = run_folder(root, run_id) / CHECKPOINT
        if stage is not None:
            if force:
                checkpoint.unlink(missing_ok=True)
            if parent is not None:
                _load_extractor(recommender, root, parent, f"recsae train {name} {dataset}")
            _train(stage, recommender, sequences, config, identity, reporter)
        # also what a process left that was killed after it had published
        checkpoint.unlink(missing_ok=True)
    return run_id


@dataclass(frozen=True)
class NewRun:
    """What a recommender's run is registered with when its stage starts."""

    run_id: str
    model: str
    dataset: str
    params: dict[str, Any]
    content: Dataset
    seed: int
    parent: str | None = None

    def register(self, warehouse: Warehouse) -> None:
        warehouse.start_run(
            self.run_id,
            kind="recommender",
            parent_run_id=self.parent,
            dataset=self.dataset,
            model=self.model,
            params=self.params,
            data_fingerprint=self.content.fingerprint,
            seed=self.seed,
            replace=True,
        )

    def open(
        self, root: Path, identity: str, *, force: bool, reporter: Reporter
    ) -> AbstractContextManager[StageRun | None]:
        """The training stage, which registers this run first; None when it is done already."""
        return open_stage(
            root,
            self.run_id,
            "train",
            self.params,
            identity,
            force=force,
            reporter=reporter,
            register=self.register,
        )


def name_run(root: Path, content: Dataset, base: str, identity: str) -> tuple[str, bool]:
    """Load a data set into the warehouse; a run's id, and whether it is trained already."""
    with Warehouse.open(root, create=True) as warehouse:
        warehouse.load_dataset(
            content.users, content.items, content.item_tags, content.interactions, content.info
        )
        run_id = warehouse.name_run(f"{base}-{content.name}", identity)
        return run_id, warehouse.stage_done(run_id, "train", identity)


def sequences_of(content: Dataset) -> Sequences:
    """The interactions of a data set as a recommender takes them."""
    return Sequences.from_frame(content.interactions, len(content.users), len(content.items))


def load_reference(model: Recommender, state: rechorus.State, path: Path, content: Dataset) -> None:
    """Fill ``model`` with a state dict of the reference that was read from ``path``.

    The reference's ids must be the source ids of the data set, 1 to n; DataError when they are not.
    """
    users = _reference_ids(content.users["source_user_id"], "users", content.name)
    items = _reference_ids(content.items["source_item_id"], "items", content.name)
    model.load_state_dict(rechorus.recommender_state(state, model, path, users, items))


def _reference_ids(source: pl.Series, what: str, dataset: str) -> Tensor:
    ids = source.cast(pl.Int64, strict=False)
    if not ids.sort().equals(pl.Series(range(1, len(ids) + 1), dtype=pl.Int64)):
        raise DataError(
            f"the {what} of {dataset} are not numbered 1 to {len(ids)} by their source, so the "
            "rows of a checkpoint cannot be assigned to them",
            "recsae data prepare rechorus --source FOLDER",
        )
    return torch.from_numpy(ids.to_numpy().copy())


def _is(name: str, config: TrainConfig, stage: str) -> bool:
    return name == TiMiRec.name and config.stage == stage


def _base(name: str, config: TrainConfig) -> str:
    return f"{name.lower()}-pretrain" if _is(name, config, "pretrain") else name.lower()


def pretraining(config: TrainConfig) -> TrainConfig:
    """Settings of TiMiRec's first stage: those of the second without what it alone has."""
    default = TrainConfig()
    unused = {field: getattr(default, field) for field in FINETUNING}
    return replace(config, stage="pretrain", **unused)


def _pretrained(
    root: Path, data: Path, name: str, dataset: str, config: TrainConfig, reporter: Reporter
) -> str:
    """The run of the first stage with the same settings; trained now where it is not done."""
    reporter.note(f"{name}: its interests come from the pretraining stage")
    first = pretraining(config)
    return train(root, data, name, dataset, first, force=False, reporter=reporter)


def _load_extractor(model: Recommender, root: Path, run_id: str, hint: str) -> None:
    """Take over the interests of a pretrained run; DataError when its weights are damaged."""
    path = run_folder(root, run_id) / WEIGHTS
    try:
        model.load_state_dict({**model.state_dict(), **load_file(path)})
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        hint = f"{hint} --stage pretrain --force"
        raise DataError(f"{path} is missing or damaged ({reason})", hint) from None


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
    losses = [{k: row[k] for k in ("epoch", "loss", "seconds")} for row in state.history]
    scores = [
        {k: v for k, v in row.items() if k not in losses[0] or k == "epoch"}
        for row in state.history
    ]
    metrics = pl.concat(
        [
            metric_rows(losses, "train"),
            metric_rows(scores, "dev"),
            final_metrics({"best epoch": state.best_epoch}, "all"),
        ]
    )
    publish_recommender(
        stage, model, sequences, metrics, f"best epoch {state.best_epoch}", reporter
    )


def publish_recommender(
    stage: StageRun,
    model: Recommender,
    sequences: Sequences,
    metrics: pl.DataFrame,
    about: str,
    reporter: Reporter,
) -> None:
    """Write all that a finished model leaves behind, measure it, and end its training stage.

    ``metrics`` are stored with those of the finished model, ``about`` goes before its note.
    """
    folder = run_folder(stage.root, stage.run_id)
    save_weights(model, folder)
    folders = {name: stage.folder(name) for name in ("cases", "recommendations")}
    write_cases(model, sequences, folder, folders["cases"], folders["recommendations"], reporter)
    dev, test = (evaluate(model, sequences, split) for split in ("dev", "test"))
    reporter.note(
        f"{stage.run_id}: {about}, test HR@10 {test['HR@10']:.4f}, NDCG@10 {test['NDCG@10']:.4f}"
    )
    final = [final_metrics(dev, "dev"), final_metrics(test, "test")]
    stage.publish(folders, metrics=pl.concat([metrics, *final]), ends_run=True)


def save_weights(model: Recommender, folder: Path) -> None:
    """Write the model's weights, safetensors, by rename."""
    with replacing(folder / WEIGHTS) as file:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
