"""Train the autoencoder: large batches, sparse decode, Adam with warm-up and linear decay.

Everything random in an epoch comes from the run's seed and the epoch's number, so a killed run goes
on from its last checkpoint, inside an epoch too, to the same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from recsae.config import AUXK, SAEConfig
from recsae.errors import DataError
from recsae.progress import Reporter, Step
from recsae.recommenders.trainer import (
    CHECKPOINT,
    epoch_generator,
    load_checkpoint,
    save_checkpoint,
)
from recsae.sae.model import SAE, differentiate_auxk_, fvu
from recsae.sae.presets import with_preset
from recsae.sae.restarts import CANDIDATES, is_due, restart_
from recsae.sae.selection import Kept, Score
from recsae.sae.vectors import Vectors, as_vectors, sample

ENCODE_BATCH = 8192

CHECKPOINT_SECONDS = 60.0
"""Time between checkpoints inside an epoch, unless a number of steps was asked for."""

SHOW_SECONDS = 1.0
"""Time between two signs of life inside an epoch."""

EXPLODED = 1e4
"""FVU of a batch at which training is given up; the mean of the vectors alone has 1."""


@dataclass
class State:
    """What a checkpoint holds beside the weights and the kept epoch."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done of the epoch after them, and over these steps:"""
    squares: float = 0.0
    """FVU of each batch times its vectors."""
    active: int = 0
    """Values above zero."""
    seconds: float = 0.0
    """Time in steps."""
    silent: Tensor = field(default_factory=lambda: torch.zeros(0))
    """(h,) samples seen since each latent last fired; float64, which counts 20 million exactly."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per epoch."""


class Quality(dict[str, float]):
    """FVU, L0 (mean active latents per vector) and dead (share of latents that never fire).

    Each is NaN when there was no vector to measure, and FVU when all vectors are the same.
    """


@dataclass
class _Run:
    """What the parts of a training share."""

    sae: SAE
    source: Vectors
    spread: float
    """Variance of the normalised vectors."""
    config: SAEConfig
    lr: float
    """Highest rate."""
    size: int
    """Vectors per step."""
    optimizer: torch.optim.Optimizer
    state: State
    kept: Kept
    save: Callable[[], None]
    every: int | None
    """Steps between checkpoints; None: by time."""


def fit(
    train: Tensor | Vectors,
    heldout: Tensor,
    config: SAEConfig,
    folder: Path,
    identity: str,
    reporter: Reporter,
    *,
    score: Score | None = None,
    checkpoint_every: int | None = None,
    device: torch.device | str | None = None,
) -> tuple[SAE, list[dict[str, float]]]:
    """Train on ``train`` (n, d); ``heldout`` (m, d) is only measured. Returns model and history.

    The model, on the processor, is that of the best epoch by ``score`` (``Kept.offer`` says which);
    its row in the history has ``kept`` 1. ``folder`` gets a checkpoint after each epoch and after
    ``checkpoint_every`` steps (None: each minute); one of the same ``identity`` is continued. It
    runs on ``device``, by default a GPU where there is one. What ``config`` leaves open is taken
    from its preset. Raises DataError when the vectors or the loss are not finite, or the loss
    explodes, UsageError when k exceeds the dictionary.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    source = as_vectors(train)
    config = with_preset(config)
    assert config.lr is not None
    sae = SAE(source.d, config.latents(source.d), config.k)
    spread = sae.initialise_(source, epoch_generator(config.seed, 0))
    sae.to(device)
    silent = torch.zeros(sae.h, dtype=torch.float64, device=device)
    state, kept = State(silent=silent), Kept()
    optimizer = torch.optim.Adam(sae.parameters(), lr=config.lr, fused=True)
    if content := load_checkpoint(folder / CHECKPOINT, identity):
        sae.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        state, kept = State(**content["state"]), Kept(**content["kept"])
        state.silent = state.silent.to(device)
        amid = f", step {state.step}" if state.step else ""
        reporter.note(f"going on after epoch {state.epoch}{amid}, found in {CHECKPOINT}")

    def save() -> None:
        content = {"identity": identity, "model": sae.state_dict(), "kept": vars(kept)}
        content |= {"optimizer": optimizer.state_dict(), "state": vars(state)}
        save_checkpoint(folder / CHECKPOINT, content)

    lr, size = config.lr, config.vectors_per_step(source.n)
    run = _Run(
        sae, source, spread, config, lr, size, optimizer, state, kept, save, checkpoint_every
    )
    heldout = heldout.to(device)
    with reporter.task("train SAE", source.n * config.epochs, "vectors") as step:
        step(state.epoch * source.n + min(state.step * size, source.n))
        while state.epoch < config.epochs:
            row = _epoch(run, step)
            info = _end_epoch(run, row, heldout, score)
            if config.revival == "restarts" and is_due(state.epoch, config.epochs):
                _restart(run)
            save()
            step(0, info)
    sae.load_state_dict(kept.weights)
    state.history[kept.epoch - 1]["kept"] = 1.0
    return sae.cpu(), state.history


def _epoch(run: _Run, show: Step) -> dict[str, float]:
    """The rest of one pass over the vectors in a new order; its row of the history."""
    config, state, n = run.config, run.state, run.source.n
    number, per_epoch = state.epoch + 1, -(-n // run.size)
    generator = epoch_generator(config.seed, number)
    batches = run.source.batches(run.size, generator, state.step)
    started = shown = saved = time.monotonic()
    earlier, seen = state.seconds, min(state.step * run.size, n)
    told = seen
    for batch in batches:
        rate = run.lr * rate_factor(state.epoch * per_epoch + state.step, per_epoch, config)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        _step(run, batch)
        state.step, seen = state.step + 1, seen + len(batch)
        now = time.monotonic()
        state.seconds = earlier + now - started
        if now - shown >= SHOW_SECONDS:
            show(seen - told, f"FVU {state.squares / seen:.3f}")
            shown, told = now, seen
        if state.step < per_epoch and _is_due(run, now - saved):
            run.save()
            saved = now
    show(n - told)
    # a step shows in the next one's loss, the last one only here
    if not all(bool(torch.isfinite(weights).all()) for weights in run.sae.parameters()):
        raise DataError(
            f"the weights of the SAE are not finite after epoch {number}",
            f"lower --lr (it is {run.lr:g})",
        )
    dead = float((state.silent >= n).double().mean())
    row = {"epoch": float(number), "FVU": state.squares / n, "L0": state.active / n, "dead": dead}
    return {**row, "seconds": state.seconds, "vectors/s": n / max(state.seconds, 1e-9)}


def _is_due(run: _Run, seconds: float) -> bool:
    """Whether a checkpoint is due, ``seconds`` after the last one."""
    if run.every:
        return run.state.step % run.every == 0
    return seconds >= CHECKPOINT_SECONDS


def _step(run: _Run, batch: Tensor) -> None:
    """One step on recommender vectors (b, d), with what is counted about it."""
    config, state, sae = run.config, run.state, run.sae
    x = sae.normalise(batch.to(sae.shift.device))
    dead = state.silent > config.dead_after * run.source.n
    aux_weight = config.aux_weight if config.revival in AUXK else 0.0
    half = config.revival == "auxk-half"
    error, active = train_step(
        sae, x, run.spread, run.optimizer, dead, state.silent, aux_weight, half
    )
    if not 0 <= error < EXPLODED:
        what = f"has grown to {error:.3g}" if math.isfinite(error) else "is not finite"
        raise DataError(
            f"the loss of the SAE {what} in epoch {state.epoch + 1}, step {state.step + 1}",
            f"lower --lr (it is {run.lr:g})",
        )
    state.squares += error * len(batch)
    state.active += active


def _end_epoch(run: _Run, row: dict[str, float], heldout: Tensor, score: Score | None) -> str:
    """Measure and offer the epoch; the next one may start. Returns what to say about it."""
    quality = measure(run.sae, heldout)
    row |= {f"heldout {name}": value for name, value in quality.items()}
    scores = None if score is None else score(run.sae)
    about = f"FVU {row['FVU']:.3f}, held-out {_shown(quality['FVU'])}"
    if scores is not None and len(scores):
        row["dev score"] = float(scores.double().mean())
        about += f", dev {row['dev score']:.4f}"
    state = run.state
    state.history.append(row)
    state.epoch, state.step = state.epoch + 1, 0
    state.squares, state.active, state.seconds = 0.0, 0, 0.0
    run.kept.offer(state.epoch, run.sae, quality["FVU"], scores)
    return about


def _shown(value: float) -> str:
    """A metric in a message; a dash where there was nothing to measure."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _restart(run: _Run) -> None:
    """Start the latents again that were silent for an epoch; the next one may start."""
    silent = run.state.silent >= run.source.n
    if not bool(silent.any()):
        return
    # epochs have the generators 1, 2, ...
    generator = epoch_generator(run.config.seed, -1 - run.state.epoch)
    x = run.sae.normalise(sample(run.source, CANDIDATES, generator).to(silent.device))
    run.state.silent[restart_(run.sae, run.optimizer, silent, x, generator)] = 0


def train_step(
    sae: SAE,
    x: Tensor,
    spread: float,
    optimizer: torch.optim.Optimizer,
    dead: Tensor,
    silent: Tensor,
    aux_weight: float,
    half: bool = False,
) -> tuple[float, int]:
    """One Adam step on normalised x (b, d); updates ``silent`` (h,).

    Returns the FVU of the batch and the number of values above zero. ``spread`` is the variance of
    all training vectors, ``dead`` (h,) bool marks the latents that AuxK revives. With ``half``, k/2
    of them learn what the stronger half of the chosen latents leaves over. What all k leave is so
    little that its latents stay too weak to be chosen.
    """
    x_hat, encoding = sae.differentiate_(x, spread)
    error = fvu(x, x_hat, spread)
    if aux_weight and bool(dead.any()):
        rebuilt = sae.decode_stronger_half(encoding) if half else x_hat
        most = max(sae.k // 2, 1) if half else None
        differentiate_auxk_(sae, x, rebuilt, dead, aux_weight, most)
    sae.project_decoder_gradient_()
    optimizer.step()
    sae.normalise_decoder_()
    values, indices = encoding
    sums = torch.bincount(indices.flatten(), values.flatten(), minlength=sae.h)
    silent.add_(x.shape[0]).masked_fill_(sums > 0, 0)
    return float(error), int(values.count_nonzero())


def rate_factor(step: int, steps_per_epoch: int, config: SAEConfig) -> float:
    """Share of the highest learning rate at a step (0-based): linear up, flat, linear down to 0."""
    total = steps_per_epoch * config.epochs
    up = config.warm_up * total
    down = max(config.decay * total, 1e-9)
    return max(min((step + 1) / up if up else 1.0, (total - step) / down, 1.0), 0.0)


def measure(sae: SAE, vectors: Tensor | Vectors) -> Quality:
    """FVU, L0 and share of latents that never fire over vectors (n, d), part by part."""
    return measure_fired(sae, vectors)[0]


@torch.no_grad()
def measure_fired(sae: SAE, vectors: Tensor | Vectors) -> tuple[Quality, Tensor]:
    """What ``measure`` says, and which latents (h,) fire on one of the vectors at least."""
    source = as_vectors(vectors)
    n, device = source.n, sae.shift.device
    fired = torch.zeros(sae.h, dtype=torch.bool, device=device)
    if not n:
        return Quality(FVU=math.nan, L0=math.nan, dead=math.nan), fired
    total = torch.zeros(sae.d, dtype=torch.float64, device=device)
    errors, squares, active = 0.0, 0.0, 0
    for block in source.blocks():
        for batch in block.split(ENCODE_BATCH):
            own = batch.to(device)
            values, indices = sae.encode(own)
            fired[indices[values > 0]] = True
            active += int((values > 0).sum())
            errors += float((own - sae.decode(values, indices)).double().square().sum())
            centred = (own - sae.shift).double()
            total += centred.sum(0)
            squares += float(centred.square().sum())
    spread = squares - float(total.square().sum()) / n
    # of equal vectors a rounding error is left
    unexplained = errors / spread if spread > 1e-12 * squares else math.nan
    dead = 1 - float(fired.double().mean())
    return Quality(FVU=unexplained, L0=active / n, dead=dead), fired
