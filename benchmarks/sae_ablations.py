"""Variants of the autoencoder's training, side by side on the case vectors of a recommender run.

Each row is one deviation from the preset of its k; the numbers are means over seeds, with the
standard error of the NDCG kept. A seed also draws the users that are held out, those of the run
that `recsae sae train` would make. The shipped trainer stays plain: what is tried and not kept
lives here.

    python benchmarks/sae_ablations.py sasrec-ml-100k --warehouse warehouse
    python benchmarks/sae_ablations.py sasrec-ml-100k --only dead --seeds 2 --store cells.jsonl
    python benchmarks/sae_ablations.py sasrec-ml-100k --only recipe --names base score-1 --concepts
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from recsae.config import (
    MOST_BATCH,
    MOST_SCALE,
    ConceptsConfig,
    ConfidenceConfig,
    SAEConfig,
    digest,
)
from recsae.progress import Reporter
from recsae.recommenders.ranking import held_out_cases, top_items
from recsae.recommenders.trainer import epoch_generator
from recsae.sae.model import SAE, Encoding, auxk_loss, fvu
from recsae.sae.presets import preset, with_preset
from recsae.sae.trainer import measure, rate_factor
from recsae.stages import concepts, confidence, encode
from recsae.stages.common import open_stage
from recsae.stages.sae_train import draw_user_sides, name_sae_run, publish_sae
from recsae.stages.stored import Stored, load_stored
from recsae.warehouse import Run, Warehouse

WIDER = 4
"""BatchTopK gives one vector at most this many times k latents."""


@dataclass(frozen=True)
class Variant:
    """A training recipe: settings over the preset of k, and what the shipped trainer lacks."""

    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of SAEConfig."""
    centre: Literal["mean", "median"] = "mean"
    """Initial b_dec: the mean of the vectors, or their geometric median."""
    rows: Literal["random", "data"] = "random"
    """Initial directions: random ones, or training vectors."""
    aux: Literal["residual", "half", "input", "none"] = "residual"
    """What dead latents learn: the residual (AuxK), what the stronger half of the chosen latents
    leaves over, the vector itself with k of them, nothing."""
    aux_until: float = 1.0
    """Share of the training after which they learn nothing any more."""
    aux_latents: int | None = None
    """How many dead latents rebuild a residual together; None: half the width, as in AuxK."""
    nudge: float = 0.0
    """What each step adds to b_enc of the dead latents, as a share of the mean k-th value."""
    weak: float = 0.0
    """AuxK also helps latents that fired, last epoch, less than this share of the mean latent."""
    resample: tuple[float, ...] = ()
    """Shares of the training after which silent latents start again at badly rebuilt vectors."""
    at: Literal["input", "residual", "place", "aimed"] = "place"
    """Where they start: at the vectors; at what is left of them; in place of the weakest latent of
    a vector, which they then rebuild exactly, with the moments of Adam of an average row; or like
    that, but with an encoder row along the vector and a bias as others have it."""
    batch_topk: bool = False
    """The largest b * k of a batch are kept instead of k of each vector; a threshold afterwards."""
    prefixes: tuple[float, ...] = (1.0,)
    """Matryoshka: shares of the dictionary that each rebuild the vector alone."""
    score_weight: float = 0.0
    """Weight of the error of the scores over all items, e^T Cov(V) e, as a share of its variance
    (Arviv et al. 2026 train on predictions through the frozen item vectors)."""
    balance: tuple[float, float] = (0.0, 0.0)
    """Step of an offset, used in choosing latents only, that rises for those that fire less than
    the mean and falls for the others; and the share of the training over which it goes away."""
    bias: bool = True
    """Whether b_enc is trained."""
    eps: float = 1e-8
    """What Adam adds to the root of the mean square: keeps rarely used rows from jumping."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's memory of gradients and of their squares."""
    anneal: tuple[float, float] = (1.0, 0.0)
    """First k as a multiple of the last, and the share of the steps over which it falls to it."""
    standardise: bool = False
    """Divide each dimension by its own deviation instead of all by one number."""

    def config(self, seed: int) -> SAEConfig:
        usual = SAEConfig(scale=MOST_SCALE, batch_size=MOST_BATCH, seed=seed)
        return with_preset(usual.with_options(**self.settings, revival=self.revival()))

    def revival(self) -> str:
        """What the shipped trainer calls it, or the nearest that it has."""
        if self.aux == "none":
            return "restarts" if self.resample else "none"
        return "auxk-half" if self.aux == "half" else "auxk"


RESTARTS = tuple(epoch / 30 for epoch in range(2, 28))
"""After every epoch from the second on, but for the last three."""

RECIPES: dict[str, Variant] = {
    "base": Variant(),
    "b_dec at the geometric median": Variant(centre="median"),
    "directions from data points": Variant(rows="data"),
    "no revival": Variant(aux="none"),
    "resampling, no AuxK": Variant(aux="none", resample=(0.1, 0.2, 0.3, 0.4), at="input"),
    "restarts, no AuxK": Variant(aux="none", resample=RESTARTS),
    "standardised dimensions": Variant(standardise=True),
    "BatchTopK": Variant(batch_topk=True),
    "Matryoshka 1/8 1/4 1/2 1": Variant(prefixes=(0.125, 0.25, 0.5, 1.0)),
    "scores, weight .1": Variant(score_weight=0.1),
    "scores, weight 1": Variant(score_weight=1.0),
    "scores, weight 10": Variant(score_weight=10.0),
    "betas .9 .99": Variant(betas=(0.9, 0.99)),
    "batch 256": Variant({"batch_size": 256}),
    "batch 1024": Variant({"batch_size": 1024}),
}
"""Deviations at the default k and scale."""


def _dead(k: int, scale: int) -> dict[str, Variant]:
    """Ways to fewer dead latents at one size."""
    size, lr = {"k": k, "scale": scale}, preset(k, scale).lr
    return {
        "base": Variant(size),
        "aux half": Variant(size, aux="half"),
        "aux half, lr x .6": Variant({**size, "lr": lr * 0.6}, aux="half"),
        "aux half, lr x 1.4": Variant({**size, "lr": lr * 1.4}, aux="half"),
        "no revival": Variant(size, aux="none"),
        "aux 1/8": Variant({**size, "aux_weight": 1 / 8}),
        "4 aux latents": Variant(size, aux_latents=4),
        "1 aux latent": Variant(size, aux_latents=1),
        "aux on the vectors": Variant(size, aux="input"),
        "weak latents too": Variant(size, weak=0.1),
        "dead after 1.5": Variant({**size, "dead_after": 1.5}),
        "lr x .7": Variant({**size, "lr": lr * 0.7}),
        "lr x 2.5": Variant({**size, "lr": lr * 2.5}),
        "betas .9 .99": Variant(size, betas=(0.9, 0.99)),
        "betas 0 .999": Variant(size, betas=(0.0, 0.999)),
        "eps 1e-5": Variant(size, eps=1e-5),
        "eps 1e-4, aux 1": Variant({**size, "aux_weight": 1.0}, eps=1e-4),
        "no b_enc": Variant(size, bias=False),
        "nudged biases": Variant(size, nudge=0.01),
        "balanced .002 over .5": Variant(size, balance=(0.002, 0.5)),
        "balanced .005 over .9, no AuxK": Variant(size, balance=(0.005, 0.9), aux="none"),
        "k from 4k over .4": Variant(size, anneal=(4, 0.4)),
        "resampling at vectors too": Variant(size, resample=(0.2, 0.35, 0.5), at="input"),
        "restarts to .75 and AuxK": Variant(
            size, resample=tuple(share for share in RESTARTS if share < 0.77)
        ),
        "AuxK to .3, then restarts": Variant(
            size, aux_until=0.3, resample=tuple(s for s in RESTARTS if s >= 0.3)
        ),
        "AuxK to .5, then restarts": Variant(
            size, aux_until=0.5, resample=tuple(s for s in RESTARTS if s >= 0.5)
        ),
        "restarts": Variant(size, resample=RESTARTS, aux="none"),
        "restarts, betas .9 .99": Variant(size, resample=RESTARTS, aux="none", betas=(0.9, 0.99)),
        "aimed restarts": Variant(size, resample=RESTARTS, at="aimed", aux="none"),
        "restarts, lr x .7": Variant({**size, "lr": lr * 0.7}, resample=RESTARTS, aux="none"),
        "restarts, lr x 1.5": Variant({**size, "lr": lr * 1.5}, resample=RESTARTS, aux="none"),
        "restarts, lr x 2.5": Variant({**size, "lr": lr * 2.5}, resample=RESTARTS, aux="none"),
    }


def variants(group: str) -> dict[str, Variant]:
    """The rows of a group: ``recipe``, or ``dead:K:SCALE``."""
    if group == "recipe":
        return RECIPES
    _, k, scale = group.split(":")
    return _dead(int(k), int(scale))


class Wide(SAE):
    """BatchTopK (Bussmann et al. 2024): a threshold for all vectors takes the place of k."""

    def __init__(self, d: int, h: int, k: int) -> None:
        super().__init__(d, h, k)
        self.threshold = 0.0
        self.width = min(WIDER * k, h)

    def encode_normalised(self, x: Tensor) -> Encoding:
        """(b, width) candidates, all but the b * k largest of the batch at zero."""
        with torch.no_grad():
            indices = self.preactivations(x).topk(self.width, dim=1).indices
        rows = F.embedding(indices, self.W_enc)
        values = torch.bmm(rows, (x - self.b_dec)[:, :, None])[:, :, 0] + self.b_enc[indices]
        values = F.relu(values)
        least = float(values.detach().flatten().topk(x.shape[0] * self.k).values[-1])
        self.threshold = 0.99 * self.threshold + 0.01 * least if self.threshold else least
        return Encoding(values * (values >= max(least, 1e-9)), indices)

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Encoding:
        values, indices = self.preactivations(self.normalise(vectors)).topk(self.width, dim=1)
        return Encoding(values * (values >= self.threshold) * (values > 0), indices)


class Balanced(SAE):
    """Chooses by pre-activation plus an offset while it trains, by pre-activation afterwards."""

    def __init__(self, d: int, h: int, k: int) -> None:
        super().__init__(d, h, k)
        self.offset = torch.zeros(h)

    def encode_normalised(self, x: Tensor) -> Encoding:
        with torch.no_grad():
            indices = (self.preactivations(x) + self.offset).topk(self.k, dim=1).indices
        rows = F.embedding(indices, self.W_enc)
        values = torch.bmm(rows, (x - self.b_dec)[:, :, None])[:, :, 0]
        return Encoding(F.relu(values + self.b_enc[indices]), indices)


def build(x: Tensor, variant: Variant, config: SAEConfig) -> SAE:
    """An autoencoder for vectors (n, d) before its first step."""
    d = x.shape[1]
    generator = epoch_generator(config.seed, 0)
    kind = Wide if variant.batch_topk else Balanced if variant.balance[0] else SAE
    sae = kind(d, config.latents(d), config.k)
    sae.initialise_(x, generator)
    if variant.standardise:
        deviation = x.std(0)
        sae.scale = deviation * (((x - sae.shift) / deviation).norm(dim=1).mean())
    with torch.no_grad():
        z = sae.normalise(x)
        if variant.centre == "median":
            sae.b_dec.copy_(geometric_median(z))
        if variant.rows == "data":
            chosen = torch.randint(len(z), (sae.h,), generator=generator)
            sae.W_dec.copy_(F.normalize(z[chosen] - sae.b_dec, dim=1))
            sae.W_enc.copy_(sae.W_dec)
    return sae


def geometric_median(x: Tensor, rounds: int = 50) -> Tensor:
    """The point with the least sum of distances to x (n, d), by Weiszfeld's iteration."""
    point = x.mean(0)
    for _ in range(rounds):
        weights = 1 / (x - point).norm(dim=1).clamp_min(1e-9)
        point = (weights[:, None] * x).sum(0) / weights.sum()
    return point


@dataclass
class Training:
    """What a training carries from step to step."""

    sae: SAE
    variant: Variant
    config: SAEConfig
    x: Tensor
    """Normalised training vectors (n, d)."""
    root: Tensor
    """(d, d): |e @ root|^2 is the squared error of the centred scores over all items."""
    silent: Tensor
    """(h,) samples since each latent fired."""
    fired: Tensor
    """(h,) firings of the running epoch."""
    weak: Tensor
    """(h,) bool: fired rarely in the last epoch."""
    optimizer: torch.optim.Optimizer

    def __post_init__(self) -> None:
        centred = self.x - self.x.mean(0)
        self.spread = float(centred.square().sum(1).mean())
        self.balance, self.raw = torch.ones(self.sae.h), torch.zeros(self.sae.h)
        self.done = 0.0
        self.sae.b_enc.requires_grad_(self.variant.bias)
        self.score_spread = float((centred @ self.root).square().sum(1).mean())


def train(vectors: Tensor, items: Tensor, variant: Variant, seed: int) -> SAE:
    """Train on vectors (n, d) of a recommender with these item vectors (n_items, d)."""
    config = variant.config(seed)
    sae = build(vectors, variant, config)
    optimizer = torch.optim.Adam(
        sae.parameters(), config.lr, variant.betas, variant.eps, fused=True
    )
    own = Training(
        sae,
        variant,
        config,
        sae.normalise(vectors),
        _root(items),
        torch.zeros(sae.h),
        torch.zeros(sae.h),
        torch.zeros(sae.h, dtype=torch.bool),
        optimizer,
    )
    moments = {round(share * config.epochs) for share in variant.resample}
    for epoch in range(config.epochs):
        if epoch in moments:
            restart(own, own.silent >= len(own.x), epoch)
        _epoch(own, epoch)
    return sae


def _root(items: Tensor) -> Tensor:
    """A square root of the covariance of the item vectors (n_items, d)."""
    values, vectors = torch.linalg.eigh(torch.cov(items.T))
    return vectors * values.clamp_min(0).sqrt()


def _epoch(own: Training, epoch: int) -> None:
    n, config = len(own.x), own.config
    order = torch.randperm(n, generator=epoch_generator(config.seed, epoch + 1))
    chunks = order.split(config.batch_size or MOST_BATCH)
    own.fired.zero_()
    for i, chunk in enumerate(chunks):
        step = epoch * len(chunks) + i
        rate = config.lr * rate_factor(step, len(chunks), config)
        own.done = step / (len(chunks) * config.epochs)
        own.sae.k = annealed(own.variant, config, own.done)
        for group in own.optimizer.param_groups:
            group["lr"] = rate
        _step(own, own.x[chunk])
    own.weak = own.fired < own.variant.weak * own.fired.mean()


def annealed(variant: Variant, config: SAEConfig, done: float) -> int:
    """Latents kept after a share ``done`` of the training: falls in a geometric series."""
    factor, until = variant.anneal
    left = max(1 - done / until, 0.0) if until else 0.0
    return round(config.k * factor**left)


def _step(own: Training, x: Tensor) -> None:
    sae = own.sae
    own.optimizer.zero_grad(set_to_none=True)
    encoding = sae.encode_normalised(x)
    loss, x_hat = reconstruction_loss(own, x, encoding)
    dead = (own.silent > own.config.dead_after * len(own.x)) | own.weak
    wanted = own.variant.aux != "none" and own.done < own.variant.aux_until
    if wanted and bool(dead.any()):
        rebuilt = sae.decode_stronger_half(encoding) if own.variant.aux == "half" else x_hat
        loss = loss + own.config.aux_weight * revival_loss(own, x, rebuilt, dead)
    loss.backward()
    sae.project_decoder_gradient_()
    own.optimizer.step()
    sae.normalise_decoder_()
    if own.variant.nudge and bool(dead.any()):
        least = float(encoding.values.detach().min(1).values.mean())
        factor = own.optimizer.param_groups[0]["lr"] / own.config.lr
        with torch.no_grad():
            sae.b_enc[dead] += own.variant.nudge * least * factor
    active = encoding.indices[encoding.values > 0]
    own.silent += len(x)
    own.silent[active] = 0
    if isinstance(sae, Balanced):
        step, until = own.variant.balance
        own.balance += 0.02 * (torch.bincount(active, minlength=sae.h) - own.balance)
        left = max(1 - own.done / until, 0.0)
        own.raw += step * (1 - own.balance / own.balance.mean()).clamp(-1, 1)
        sae.offset = own.raw * left
    own.fired += torch.bincount(active, minlength=sae.h)


def reconstruction_loss(own: Training, x: Tensor, encoding: Encoding) -> tuple[Tensor, Tensor]:
    """The loss without AuxK for normalised x (b, d), and x_hat from the whole dictionary."""
    values, indices = encoding
    losses: list[Tensor] = []
    for share in own.variant.prefixes:
        inside = values if share == 1 else values * (indices < share * own.sae.h)
        x_hat = own.sae.decode_normalised(Encoding(inside, indices))
        losses.append(fvu(x, x_hat, own.spread))
    loss = torch.stack(losses).mean()
    if own.variant.score_weight:
        squares = ((x - x_hat) @ own.root).square().sum() / (own.score_spread * len(x))
        loss = loss + own.variant.score_weight * squares
    return loss, x_hat


def revival_loss(own: Training, x: Tensor, x_hat: Tensor, dead: Tensor) -> Tensor:
    """What the dead latents (h,) are to learn, for normalised x (b, d)."""
    on_input, count = own.variant.aux == "input", own.variant.aux_latents
    if own.variant.aux == "half":
        return auxk_loss(own.sae, x, x_hat, dead, max(own.sae.k // 2, 1))
    if not on_input and count is None:
        return auxk_loss(own.sae, x, x_hat, dead)
    sae, ids = own.sae, dead.nonzero().squeeze(1)
    target = (x - (own.sae.b_dec if on_input else x_hat)).detach()
    pre = torch.addmm(sae.b_enc[ids], x - sae.b_dec, sae.W_enc[ids].T)
    values, chosen = pre.topk(min(count or sae.k, len(ids)), dim=1, sorted=False)
    rebuilt = F.embedding_bag(ids[chosen], sae.W_dec, per_sample_weights=F.relu(values), mode="sum")
    return (target - rebuilt).square().sum() / target.square().sum().clamp_min(1e-12)


@torch.no_grad()
def restart(own: Training, silent: Tensor, epoch: int) -> None:
    """Point the silent latents (h,) at vectors drawn by squared loss (Bricken et al. 2023)."""
    ids = silent.nonzero().squeeze(1)
    if not len(ids):
        return
    sae = own.sae
    generator = epoch_generator(own.config.seed, 10_000 + epoch)
    sample = own.x[torch.randperm(len(own.x), generator=generator)[:8192]]
    values, indices = sae.encode_normalised(sample)
    rest = sample - sae.decode_normalised(Encoding(values, indices))
    weights = rest.square().sum(1).square()
    chosen = torch.multinomial(weights, len(ids), generator=generator)
    if own.variant.at == "residual":
        rest = rest[chosen]
    elif own.variant.at == "input":
        rest = sample[chosen] - sae.b_dec
    else:
        weakest = values[chosen].min(1)
        places = indices[chosen].gather(1, weakest.indices[:, None])[:, 0]
        rest = rest[chosen] + weakest.values[:, None] * sae.W_dec[places]
    rows = F.normalize(rest, dim=1)
    sae.W_dec[ids] = rows
    sae.W_enc[ids] = rows * sae.W_enc[~silent].norm(dim=1).mean()
    sae.b_enc[ids] = 0
    if own.variant.at == "place":
        pre = (sae.W_enc[ids] * (sample[chosen] - sae.b_dec)).sum(1)
        sae.b_enc[ids] = rest.norm(dim=1) - pre
    elif own.variant.at == "aimed":
        seeds, bias = sample[chosen] - sae.b_dec, min(float(sae.b_enc[~silent].mean()), 0.0)
        sizes = (rest.norm(dim=1) - bias) / seeds.norm(dim=1)
        sae.W_enc[ids] = F.normalize(seeds, dim=1) * sizes[:, None]
        sae.b_enc[ids] = bias
    for parameter in (sae.W_dec, sae.W_enc, sae.b_enc):
        moments = own.optimizer.state[parameter]
        moments["exp_avg"][ids] = 0
        alive = moments["exp_avg_sq"][~silent].mean(0)
        moments["exp_avg_sq"][ids] = alive if own.variant.at in ("place", "aimed") else 0.0
    own.silent[ids] = 0


def heldout_users(seed: int, n_users: int, share: float) -> Tensor:
    """The users that staging.user_sides holds out."""
    held = [user for user in range(1, n_users + 1) if _draw(f"{seed}|user|{user}") >= 1 - share]
    return torch.tensor(held)


def _draw(text: str) -> float:
    return int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little") / 2**64


def agreement(stored: Stored, sae: SAE) -> float:
    """Share of the ten best items of the test cases that are still among the ten best."""
    users, positions = held_out_cases(stored.sequences, "test")
    own = stored.vectors[stored._case_of(users, positions)]
    tops = [
        torch.cat(
            [
                ids
                for _, ids, _ in top_items(v, stored.items, stored.sequences, users, positions, 10)
            ]
        )
        for v in (own, sae(own))
    ]
    return float((tops[0][:, :, None] == tops[1][:, None, :]).any(2).double().mean())


def examine(stored: Stored, variant: Variant, seed: int) -> tuple[SAE, dict[str, float]]:
    """Train a variant and measure it; the keys are the columns of the table."""
    config = variant.config(seed)
    held = heldout_users(seed, stored.sequences.n_users, config.heldout_share)
    aside = torch.isin(stored.users, held)
    started = time.process_time()
    sae = train(stored.vectors[~aside], stored.items, variant, seed)
    seconds = time.process_time() - started
    own, other = measure(sae, stored.vectors[~aside]), measure(sae, stored.vectors[aside])
    kept = {
        name: _kept(stored, sae, split, users)
        for name, split, users in (
            ("dev", "dev", None),
            ("test", "test", None),
            ("heldout dev", "dev", held),
            ("heldout test", "test", held),
        )
    }
    return sae, {
        "FVU": other["FVU"],
        "L0": other["L0"],
        "dead": own["dead"],
        **kept,
        "top-10": agreement(stored, sae),
        "seconds": seconds,
    }


def _kept(stored: Stored, sae: SAE, split: str, users: Tensor | None) -> float:
    whole = stored.evaluate(split, None, users).get("NDCG@10", nan)
    return stored.evaluate(split, sae, users).get("NDCG@10", nan) / whole


@torch.no_grad()
def plain(sae: SAE) -> SAE:
    """The same weights as a TopK autoencoder with one scale, as a run stores it."""
    own = SAE(sae.d, sae.h, sae.k)
    own.shift.copy_(sae.shift)
    wide = sae.scale if sae.scale.ndim else torch.ones(())
    own.scale.copy_(torch.ones(()) if sae.scale.ndim else sae.scale)
    own.W_enc.copy_(sae.W_enc / wide)
    own.W_dec.copy_(sae.W_dec * wide)
    own.b_dec.copy_(sae.b_dec * wide)
    own.b_enc.copy_(sae.b_enc)
    return own


def interpret(root: Path, parent: Run, name: str, sae: SAE, config: SAEConfig) -> dict[str, float]:
    """Store an autoencoder as a run of its own, go through the stages, and count concepts."""
    with Warehouse.open(root) as warehouse:
        state = warehouse.require_stage(parent.run_id, "train", "train it first")
        identity = digest("ablation", name, config.to_json(), parent.run_id, state.input_hash)
        run_id = name_sae_run(warehouse, parent, sae.k, identity)
    params = {**config.to_json(), "ablation": name}

    def register(warehouse: Warehouse) -> None:
        warehouse.start_run(
            run_id,
            kind="sae",
            parent_run_id=parent.run_id,
            dataset=parent.dataset,
            model="TopK",
            params={**params, "d": sae.d, "n_latents": sae.h},
            data_fingerprint=parent.data_fingerprint,
            seed=config.seed,
            replace=True,
        )

    quiet = Reporter()
    with open_stage(
        root, run_id, "train", params, identity, force=True, reporter=quiet, register=register
    ) as stage:
        assert stage is not None
        sides = draw_user_sides(root, run_id, config)
        publish_sae(stage, load_stored(root, parent), plain(sae), sides, [], quiet)
    encode(root, run_id, force=False, reporter=quiet)
    concepts(root, run_id, ConceptsConfig(), force=False, reporter=quiet)
    confidence(root, run_id, ConfidenceConfig(), force=False, reporter=quiet)
    with Warehouse.open(root, read_only=True) as warehouse:
        card = warehouse.query("report.overview", {"run_id": run_id}).row(0, named=True)
    return {
        "interpretable": card["n_interpretable"],
        "tags": card["n_concepts"],
        "covered": card["user_coverage"],
    }


class Cell(NamedTuple):
    """One training: where it belongs and what came out."""

    run: str
    group: str
    name: str
    seed: int
    values: dict[str, float]


def cells(options: argparse.Namespace, known: list[Cell]) -> Iterator[Cell]:
    """Train what is not known yet, seed by seed, so that an early stop leaves whole rows."""
    with Warehouse.open(options.warehouse, read_only=True) as warehouse:
        parent = warehouse.find_run(options.run, "recommender")
    stored = load_stored(options.warehouse, parent)
    seen = {(c.run, c.group, c.name, c.seed): c for c in known}
    for seed in options.seed or range(options.seeds):
        for group in options.only:
            for name, variant in variants(group).items():
                if options.names and name not in options.names:
                    continue
                cell = seen.get((parent.run_id, group, name, seed))
                if cell and ("tags" in cell.values or not options.concepts):
                    continue
                sae, values = examine(stored, variant, seed)
                if options.concepts:
                    config = variant.config(seed)
                    label = f"{group}: {name}"
                    values |= interpret(options.warehouse, parent, label, sae, config)
                yield Cell(parent.run_id, group, name, seed, values)


def load_cells(store: Path | None) -> list[Cell]:
    if store is None or not store.exists():
        return []
    rows = [Cell(**json.loads(line)) for line in store.read_text().splitlines()]
    return list({(c.run, c.group, c.name, c.seed): c for c in rows}.values())


COLUMNS: dict[str, tuple[str, str, float]] = {
    "FVU": ("FVU", "{:.3f}", 1),
    "L0": ("L0", "{:.1f}", 1),
    "dead": ("dead %", "{:.1f}", 100),
    "dev": ("dev", "{:.1f}", 100),
    "test": ("test", "{:.1f}", 100),
    "heldout dev": ("held dev", "{:.1f}", 100),
    "heldout test": ("held test", "{:.1f}", 100),
    "both": ("dev+test", "{:.1f}", 100),
    "top-10": ("top-10", "{:.1f}", 100),
    "seconds": ("CPU s", "{:.0f}", 1),
    "interpretable": ("interp.", "{:.0f}", 1),
    "tags": ("tags", "{:.0f}", 1),
    "covered": ("covered", "{:.1f}", 100),
}
"""Value -> heading, format and factor."""


def table(found: list[Cell]) -> pl.DataFrame:
    """Mean and standard error over seeds, in the order of first appearance."""
    rows = [
        {
            "run": cell.run,
            "group": cell.group,
            "name": cell.name,
            **cell.values,
            "both": (cell.values["dev"] + cell.values["test"]) / 2,
        }
        for cell in found
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    measured = [name for name in COLUMNS if name in frame.columns]
    return frame.group_by("run", "group", "name", maintain_order=True).agg(
        pl.len().alias("seeds"),
        *(pl.col(name).mean() for name in measured),
        (pl.col("both").std() / pl.len().sqrt()).alias("both error"),
        (pl.col("top-10").std() / pl.len().sqrt()).alias("top-10 error"),
    )


def show(frame: pl.DataFrame) -> None:
    """Print a table per run and group."""
    for (run, group), rows in frame.group_by("run", "group", maintain_order=True):
        drawn = Table(title=f"{run}, {group}: NDCG@10 kept, top-10 kept and dead in per cent")
        drawn.add_column("variant")
        used = [name for name in COLUMNS if name in rows.columns]
        for heading in ("seeds", *(COLUMNS[name][0] for name in used)):
            drawn.add_column(heading, justify="right")
        for row in rows.to_dicts():
            shown = [_shown(row, name) for name in used]
            drawn.add_row(row["name"], str(row["seeds"]), *shown)
        Console(width=160).print(drawn)


def _shown(row: dict[str, Any], name: str) -> str:
    _, form, factor = COLUMNS[name]
    if row[name] is None:
        return ""
    error = row.get(f"{name} error")
    tail = f" ± {error * factor:.1f}" if error is not None else ""
    return form.format(row[name] * factor) + tail


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="recommender run: id, the start of one, or latest")
    parser.add_argument("--warehouse", type=Path, default=Path("warehouse"))
    parser.add_argument("--only", nargs="+", default=["recipe"], help="recipe, or dead:K:SCALE")
    parser.add_argument("--names", nargs="+", help="rows, by name")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--seed", type=int, nargs="+", help="these seeds instead")
    parser.add_argument("--store", type=Path, help="file of finished cells, which are not repeated")
    parser.add_argument("--concepts", action="store_true", help="also store runs, count concepts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = load_cells(options.store)
    for cell in cells(options, found):
        found.append(cell)
        print(cell.name, cell.seed, json.dumps(cell.values), file=sys.stderr, flush=True)
        if options.store:
            with options.store.open("a", encoding="utf-8") as file:
                file.write(json.dumps(cell._asdict()) + "\n")
    frame = table(found)
    if options.json:
        print(json.dumps(frame.to_dicts(), indent=1))
    else:
        show(frame)


if __name__ == "__main__":
    main()
