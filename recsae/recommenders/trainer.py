"""Fit a recommender: early stopping on dev NDCG@5, the best epoch kept, a checkpoint every epoch.

Everything random in an epoch comes from a seed made of the run's seed and the epoch's number, so a
run that was killed goes on from its last checkpoint to the same result.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsae.config import TrainConfig
from recsae.errors import DataError
from recsae.progress import Reporter
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.ranking import held_out_cases, ranking_metrics, target_ranks
from recsae.saving import new_file

STOP_METRIC = "NDCG@5"
CHECKPOINT = "checkpoint.pt"
EVALUATION_BATCH = 4096


@dataclass
class Progress:
    """What a checkpoint holds beside the weights."""

    epoch: int = 0
    """Epochs done."""
    best_epoch: int = 0
    best_score: float = -1.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per epoch: epoch, loss, seconds and the dev metrics."""


def fit(
    model: Recommender,
    sequences: Sequences,
    config: TrainConfig,
    folder: Path,
    identity: str,
    reporter: Reporter,
) -> Progress:
    """Train ``model`` in place and leave the best epoch's weights in it.

    ``folder`` gets a checkpoint after each epoch; one of the same ``identity`` is continued. Raises
    DataError when there is nothing to train on, and when the loss or a score is not finite.
    """
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.lr, weight_decay=config.l2, fused=True
    )
    state = _resume(folder / CHECKPOINT, identity, model, optimizer)
    if state.epoch:
        reporter.note(f"going on after epoch {state.epoch}, found in {CHECKPOINT}")
    with reporter.task(f"train {model.name}", config.epochs, "epochs") as step:
        step(state.epoch)
        while state.epoch < config.epochs and not _stalled(state, config):
            row = _epoch(model, sequences, config, optimizer, state.epoch + 1)
            _record(state, row, model)
            _save(folder / CHECKPOINT, identity, model, optimizer, state)
            step(1, f"loss {row['loss']:.4f}  dev {STOP_METRIC} {row[STOP_METRIC]:.4f}")
    model.load_state_dict(state.best_weights)
    model.eval()
    return state


def evaluate(
    model: Recommender, sequences: Sequences, split: str, hint: str | None = None
) -> dict[str, float]:
    """HR@k and NDCG@k over all users by full ranking of the ``dev`` or ``test`` item.

    Raises DataError for a model whose scores may not be finite, with ``hint``, or when there is
    nobody to rank.
    """
    users, positions = held_out_cases(sequences, split)
    if not users.numel():
        raise DataError(f"no user has a {split} item")
    vectors = case_vectors(model, sequences, users, positions)
    with torch.no_grad():
        items = model.item_vectors()
        # no score is larger than the product of the longest vectors
        longest = [
            float(torch.linalg.vector_norm(one, dim=-1, dtype=torch.float64).max())
            for one in (vectors, items)
        ]
        if not longest[0] * longest[1] <= torch.finfo(torch.float32).max:
            raise DataError(
                f"the vectors of {model.name} are not finite, or too long for finite scores: "
                f"{longest[0]:.0e} and {longest[1]:.0e}",
                hint,
            )
        ranks = target_ranks(vectors, items, sequences, users, positions)
    return ranking_metrics(ranks)


@torch.no_grad()
def case_vectors(
    model: Recommender, sequences: Sequences, users: Tensor, positions: Tensor
) -> Tensor:
    """Vectors of many cases, (n, d) or (n, K, d), in batches and without dropout."""
    model.eval()
    parts = [
        model.case_vectors(sequences, batch_users, batch_positions)
        for batch_users, batch_positions in zip(
            users.split(EVALUATION_BATCH), positions.split(EVALUATION_BATCH), strict=True
        )
    ]
    return torch.cat(parts)


def _epoch(
    model: Recommender,
    sequences: Sequences,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    number: int,
) -> dict[str, float]:
    started = time.monotonic()
    generator = epoch_generator(config.seed, number)
    model.train()
    total, count = 0.0, 0
    for batch in model.batches(sequences, generator):
        optimizer.zero_grad(set_to_none=True)
        loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        total, count = total + float(loss.detach()), count + 1
        if not math.isfinite(total):
            raise DataError(
                f"the loss of {model.name} is not finite in epoch {number}, step {count}",
                f"lower --lr (it is {config.lr:g})",
            )
    if not count:
        raise DataError(f"there is nothing to train {model.name} on: the sequences are too short")
    row = {"epoch": float(number), "loss": total / count}
    measured = evaluate(model, sequences, "dev", f"lower --lr (it is {config.lr:g})")
    return {**row, **measured, "seconds": time.monotonic() - started}


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers of one epoch; also seeds the global generator that dropout uses."""
    mixed = (seed * 1_000_003 + epoch) % 2**62
    torch.manual_seed(mixed)
    return torch.Generator().manual_seed(mixed)


def _stalled(state: Progress, config: TrainConfig) -> bool:
    return state.epoch - state.best_epoch >= config.early_stop and state.epoch > 0


def _record(state: Progress, row: dict[str, float], model: Recommender) -> None:
    state.epoch += 1
    state.history.append(row)
    if row[STOP_METRIC] > state.best_score:
        state.best_score, state.best_epoch = row[STOP_METRIC], state.epoch
        state.best_weights = {k: v.clone() for k, v in model.state_dict().items()}


def _save(
    path: Path,
    identity: str,
    model: Recommender,
    optimizer: torch.optim.Optimizer,
    state: Progress,
) -> None:
    content = {
        "identity": identity,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(state),
    }
    save_checkpoint(path, content)


def _resume(
    path: Path, identity: str, model: Recommender, optimizer: torch.optim.Optimizer
) -> Progress:
    content = load_checkpoint(path, identity)
    if content is None:
        return Progress()
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return Progress(**content["progress"])


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint beside and rename it, so that a kill leaves the old or the new one."""
    partial = path.with_suffix(".partial")
    with new_file(partial) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch hides what the system said
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
    os.replace(partial, path)


def load_checkpoint(path: Path, identity: str) -> dict[str, Any] | None:
    """A checkpoint of the same identity; None when there is none or it cannot be read."""
    try:
        content = torch.load(path, weights_only=True)
    except Exception:  # what damage does to the unpickler cannot be listed
        return None
    known = isinstance(content, dict) and content.get("identity") == identity
    return content if known else None
