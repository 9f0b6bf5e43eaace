"""Train the autoencoder: large batches, sparse decode, Adam with warm-up and linear decay.

Everything random in an epoch comes from the run's seed and the epoch's number, so a killed run goes
on from its last checkpoint to the same weights.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from recsae.config import SAEConfig
from recsae.errors import DataError
from recsae.progress import Reporter
from recsae.recommenders.trainer import (
    CHECKPOINT,
    epoch_generator,
    load_checkpoint,
    save_checkpoint,
)
from recsae.sae.model import SAE, auxk_loss, fvu

ENCODE_BATCH = 8192


@dataclass
class State:
    """What a checkpoint holds beside the weights."""

    epoch: int = 0
    """Epochs done."""
    silent: Tensor = field(default_factory=lambda: torch.zeros(0))
    """(h,) samples seen since each latent last fired."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per epoch."""


class Quality(dict[str, float]):
    """FVU, L0 (mean active latents per vector) and dead (share of latents that never fire).

    Each is NaN when there was no vector to measure.
    """


def fit(
    train: Tensor,
    heldout: Tensor,
    config: SAEConfig,
    folder: Path,
    identity: str,
    reporter: Reporter,
) -> tuple[SAE, list[dict[str, float]]]:
    """Train on ``train`` (n, d); ``heldout`` (m, d) is only measured. Returns model and history.

    ``folder`` gets a checkpoint after each epoch; one of the same ``identity`` is continued. Raises
    DataError when the vectors or the loss are not finite, UsageError when k exceeds the dictionary.
    """
    n, d = train.shape
    sae = SAE(d, config.scale * d, config.k)
    sae.initialise_(train, epoch_generator(config.seed, 0))
    state = State(silent=torch.zeros(sae.h))
    optimizer = torch.optim.Adam(sae.parameters(), lr=config.lr, fused=True)
    if content := load_checkpoint(folder / CHECKPOINT, identity):
        sae.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        state = State(**content["state"])
        reporter.note(f"going on after epoch {state.epoch}, found in {CHECKPOINT}")
    x = sae.normalise(train)
    spread = float((x - x.mean(0)).square().sum(1).mean())
    with reporter.task("train SAE", n * config.epochs, "vectors") as step:
        step(state.epoch * n)
        while state.epoch < config.epochs:
            row = _epoch(sae, x, spread, config, optimizer, state)
            quality = measure(sae, heldout)
            state.history.append({**row, **{f"heldout {k}": v for k, v in quality.items()}})
            content = {"identity": identity, "model": sae.state_dict()}
            content |= {"optimizer": optimizer.state_dict(), "state": vars(state)}
            save_checkpoint(folder / CHECKPOINT, content)
            step(n, f"FVU {row['FVU']:.3f}, held-out {quality['FVU']:.3f}")
    return sae, state.history


def _epoch(
    sae: SAE,
    x: Tensor,
    spread: float,
    config: SAEConfig,
    optimizer: torch.optim.Optimizer,
    state: State,
) -> dict[str, float]:
    """One pass over normalised vectors (n, d), of variance ``spread``, in a new order."""
    started = time.monotonic()
    number = state.epoch + 1
    order = torch.randperm(x.shape[0], generator=epoch_generator(config.seed, number))
    chunks = order.split(config.batch_size)
    total, weighted = 0.0, 0.0
    for i, chunk in enumerate(chunks):
        rate = config.lr * rate_factor(state.epoch * len(chunks) + i, len(chunks), config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        dead = state.silent > config.dead_after * x.shape[0]
        error = train_step(sae, x[chunk], spread, optimizer, dead, state.silent, config.aux_weight)
        if not math.isfinite(error):
            raise DataError(
                f"the loss of the SAE is not finite in epoch {number}, step {i + 1}",
                f"lower --lr (it is {config.lr:g})",
            )
        total, weighted = total + chunk.numel(), weighted + error * chunk.numel()
    # a step shows in the next one's loss, the last one only here
    if not all(bool(torch.isfinite(weights).all()) for weights in sae.parameters()):
        raise DataError(
            f"the weights of the SAE are not finite after epoch {number}",
            f"lower --lr (it is {config.lr:g})",
        )
    state.epoch = number
    seconds = time.monotonic() - started
    return {"epoch": float(number), "FVU": weighted / total, "seconds": seconds}


def train_step(
    sae: SAE,
    x: Tensor,
    spread: float,
    optimizer: torch.optim.Optimizer,
    dead: Tensor,
    silent: Tensor,
    aux_weight: float,
) -> float:
    """One Adam step on normalised x (b, d); updates ``silent`` (h,). Returns the FVU of the batch.

    ``spread`` is the variance of all training vectors, ``dead`` (h,) bool marks the latents that
    AuxK revives.
    """
    optimizer.zero_grad(set_to_none=True)
    encoding = sae.encode_normalised(x)
    x_hat = sae.decode_normalised(encoding)
    error = fvu(x, x_hat, spread)
    loss = error
    if aux_weight and bool(dead.any()):
        loss = loss + aux_weight * auxk_loss(sae, x, x_hat, dead)
    loss.backward()
    sae.project_decoder_gradient_()
    optimizer.step()
    sae.normalise_decoder_()
    silent += x.shape[0]
    silent[encoding.indices[encoding.values > 0]] = 0
    return float(error.detach())


def rate_factor(step: int, steps_per_epoch: int, config: SAEConfig) -> float:
    """Share of the highest learning rate at a step (0-based): linear up, flat, linear down to 0."""
    total = steps_per_epoch * config.epochs
    up = config.warm_up * total
    down = max(config.decay * total, 1e-9)
    return max(min((step + 1) / up if up else 1.0, (total - step) / down, 1.0), 0.0)


@torch.no_grad()
def measure(sae: SAE, vectors: Tensor) -> Quality:
    """FVU, L0 and share of latents that never fire over vectors (n, d), in batches."""
    n = vectors.shape[0]
    if not n:
        return Quality(FVU=math.nan, L0=math.nan, dead=math.nan)
    fired = torch.zeros(sae.h, dtype=torch.bool)
    squares, active = 0.0, 0
    for batch in vectors.split(ENCODE_BATCH):
        values, indices = sae.encode(batch)
        fired[indices[values > 0]] = True
        active += int((values > 0).sum())
        squares += float((batch - sae.decode(values, indices)).double().square().sum())
    spread = float((vectors - vectors.mean(0)).double().square().sum())
    unexplained = squares / spread if spread > 0 else float("nan")
    return Quality(FVU=unexplained, L0=active / n, dead=1 - float(fired.double().mean()))
