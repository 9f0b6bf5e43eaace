"""Configuration of every stage: one frozen dataclass each, stored as JSON with the run.

The command-line options are these fields; a docstring under a field says what it means.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from typing import Any, Literal, Self

from recsae.errors import UsageError


@dataclass(frozen=True)
class StageConfig:
    """What all stage configurations share: JSON form and overriding from options."""

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return asdict(self)

    def with_options(self, **options: Any) -> Self:
        """Replace the fields whose option was given (is not None)."""
        return replace(self, **{k: v for k, v in options.items() if v is not None})

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild from ``to_json``; fields of other versions are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})


def require(ok: bool, option: str, value: object, rule: str) -> None:
    """Raise UsageError naming the option, its value and the rule that it breaks."""
    if not ok:
        raise UsageError(f"{option} is {value}, but it must be {rule}", f"change {option}")


_AT_LEAST_ONE = (
    *("emb_size", "num_layers", "num_heads", "history_max", "n_layers", "K", "attn_size"),
    *("batch_size", "epochs", "early_stop"),
)
_CHOICES: dict[str, tuple[object, ...]] = {
    "position_from": ("start", "recent"),
    "objective": ("softmax", "bpr"),
    "add_pos": (0, 1),
    "add_trm": (0, 1),
    "stage": ("pretrain", "finetune"),
}


@dataclass(frozen=True)
class TrainConfig(StageConfig):
    """How a recommender is trained (section 5.1.3 of the paper names the reference's settings)."""

    emb_size: int = 64
    """Width d of user, item and hidden vectors."""
    num_layers: int = 1
    """Transformer blocks (SASRec)."""
    num_heads: int = 1
    """Attention heads (SASRec, TiMiRec)."""
    history_max: int = 20
    """Items of the history that a sequence model sees (SASRec, TiMiRec)."""
    position_from: Literal["start", "recent"] = "start"
    """Where positions are counted from (SASRec, TiMiRec); the reference has recent."""
    objective: Literal["softmax", "bpr"] = "softmax"
    """Softmax over items, or one drawn negative as in the reference (SASRec, TiMiRec)."""
    n_layers: int = 1
    """Propagation layers (LightGCN), or layers of the interest predictor (TiMiRec)."""
    gamma: float = 0.3
    """Weight of uniformity against alignment (DirectAU)."""
    K: int = 6
    """Interests of a user (TiMiRec)."""
    attn_size: int = 8
    """Width of the attention that extracts interests (TiMiRec)."""
    add_pos: int = 1
    """1 adds position embeddings to the history (TiMiRec), 0 does not."""
    add_trm: int = 1
    """1 puts a transformer layer under the interests (TiMiRec), 0 does not."""
    temp: float = 1.0
    """Temperature of the distillation from target to predicted interests (TiMiRec)."""
    stage: Literal["pretrain", "finetune"] = "finetune"
    """Train the interests, or their predictor on top of a pretrained run (TiMiRec)."""
    dropout: float = 0.0
    """Share of hidden units dropped in training (SASRec, TiMiRec)."""
    lr: float = 1e-3
    """Adam step size."""
    l2: float = 1e-6
    """Weight decay of Adam."""
    batch_size: int = 256
    """Samples per step: windows (softmax) or interactions (all others)."""
    epochs: int = 200
    """Most epochs."""
    early_stop: int = 10
    """Epochs without a better dev NDCG@5 before training ends."""
    seed: int = 0
    """Seed of initial weights, order of samples, negatives and dropout."""

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            require(getattr(self, name) >= 1, option(name), getattr(self, name), "at least 1")
        for name, values in _CHOICES.items():
            allowed = " or ".join(str(value) for value in values)
            require(getattr(self, name) in values, option(name), getattr(self, name), allowed)
        require(0 <= self.gamma < inf, "--gamma", self.gamma, "zero or positive, and finite")
        require(0 < self.temp < inf, "--temp", self.temp, "positive and finite")
        require(0 < self.lr < inf, "--lr", self.lr, "positive and finite")
        require(0 <= self.l2 < inf, "--l2", self.l2, "zero or positive, and finite")
        require(0 <= self.dropout < 1, "--dropout", self.dropout, "from 0 to below 1")
        require(0 <= self.seed < 2**63, "--seed", self.seed, "zero or positive, below 2**63")
        fits = self.emb_size % self.num_heads == 0
        require(fits, "--emb-size", self.emb_size, f"a multiple of --num-heads {self.num_heads}")


MOST_SCALE = 16
"""Dictionary size / width of the vectors, unless they are few."""

MOST_BATCH, LEAST_BATCH = 512, 32
"""Vectors per step, and where they are few."""

STEPS_PER_EPOCH = 32
"""Steps of an epoch that there are at least, unless --batch-size says otherwise."""

VECTORS_PER_LATENT = 4
"""Training vectors that a latent has at least, unless --scale says otherwise."""


AUXK = ("auxk", "auxk-half")
"""Kinds of revival that are an auxiliary loss."""


@dataclass(frozen=True)
class SAEConfig(StageConfig):
    """How the sparse autoencoder is trained (section 4.1 of the paper; docs/decisions.md)."""

    k: int = 8
    """Latents kept per case."""
    scale: int | None = None
    """Dictionary size as a multiple of the vector width, h = scale * d. None: 16, or the power of
    two that leaves four training vectors to a latent where there are few."""
    lr: float | None = None
    """Highest Adam step size. None: what k and scale want (recsae/sae/presets.py)."""
    revival: Literal["auxk", "auxk-half", "restarts", "none"] | None = None
    """What is done for silent latents: the AuxK loss on what all chosen latents leave over, or on
    what the stronger half of them leaves; a fresh start at a badly rebuilt vector after each epoch;
    or nothing. None: what k and scale want."""
    warm_up: float = 0.05
    """Share of the steps over which the step size rises to the highest."""
    decay: float = 0.8
    """Share of the steps, at the end, over which it falls to zero."""
    batch_size: int | None = None
    """Vectors per step. None: 512, or the power of two that leaves 32 steps to an epoch where there
    are few vectors, but at least 32."""
    epochs: int = 30
    """Passes over the training vectors."""
    aux_weight: float = 1 / 32
    """Weight of the AuxK loss."""
    dead_after: float = 0.5
    """Epochs without firing after which AuxK helps a latent."""
    fold_in: int | None = None
    """Vectors of random parts of a user's history that train beside the user's own, for models with
    one vector per user. None: 24, fewer where vectors are many; 0 for other models. The user's own
    is repeated, so that the parts count at most three times as much."""
    construct_share: float = 0.5
    """Share of the users whose cases build concepts; the cases of the others verify them."""
    heldout_share: float = 0.2
    """Share of the users whose vectors never train the autoencoder; all of them verify."""
    seed: int = 0
    """Seed of the initial dictionary, the order of vectors, the user and item sides and draws."""

    def __post_init__(self) -> None:
        for name in ("k", "scale", "batch_size", "epochs"):
            value = getattr(self, name)
            require(value is None or value >= 1, option(name), value, "at least 1")
        fold_in = self.fold_in
        require(fold_in is None or fold_in >= 0, "--fold-in", fold_in, "zero or more")
        lr, weight, dead_after = self.lr, self.aux_weight, self.dead_after
        require(lr is None or 0 < lr < inf, "--lr", lr, "positive and finite")
        kinds = (None, *AUXK, "restarts", "none")
        rule = "auxk, auxk-half, restarts or none"
        require(self.revival in kinds, "--revival", self.revival, rule)
        for name in ("aux_weight", "dead_after"):
            value = getattr(self, name)
            fits = self.revival in (None, *AUXK) or value == getattr(type(self), name)
            require(fits, option(name), value, f"left out with --revival {self.revival}")
        require(0 <= weight < inf, "--aux-weight", weight, "zero or positive, and finite")
        require(0 < dead_after < inf, "--dead-after", dead_after, "positive and finite")
        require(0 <= self.seed < 2**63, "--seed", self.seed, "zero or positive, below 2**63")
        for name in ("warm_up", "decay"):
            value = getattr(self, name)
            require(0 <= value <= 1, option(name), value, "from 0 to 1")
        for name in ("construct_share", "heldout_share"):
            value = getattr(self, name)
            require(0 < value < 1, option(name), value, "between 0 and 1")

    def latents(self, d: int) -> int:
        """Dictionary size for vectors of width d; with a scale of None that of many vectors."""
        return (self.scale or MOST_SCALE) * d

    def for_vectors(self, n: int, d: int) -> Self:
        """The same with a scale: the one given, or what ``n`` training vectors (n, d) allow for.

        Held-out FVU hardly depends on it where vectors are few, and dead latents do
        (docs/results.md).
        """
        if self.scale is not None:
            return self
        least = -(-self.k // d)  # k must fit
        scale = MOST_SCALE
        while scale > 1 and scale * d * VECTORS_PER_LATENT > n:
            scale //= 2
        return replace(self, scale=max(scale, least))

    def vectors_per_step(self, n: int) -> int:
        """The batch size that is given, or what ``n`` vectors in an epoch allow for."""
        size = MOST_BATCH
        while size > LEAST_BATCH and size * STEPS_PER_EPOCH > n:
            size //= 2
        return self.batch_size or size


@dataclass(frozen=True)
class ConceptsConfig(StageConfig):
    """How a case is described and a concept is named (section 4.2 of the paper)."""

    top_items: int = 10
    """Recommendations that describe a case, weighted 1/log2(rank + 1)."""
    history_items: int = 10
    """Last items of the history that describe a case."""
    label_tags: int = 5
    """Tags of a label, per item half; the confidence is that of these tags alone."""
    profile_tags: int = 15
    """Tags of the longer profile whose confidence is kept for comparison."""
    max_cases: int = 500_000
    """About how many cases are looked at; where there are more, they are drawn."""
    pool_cases: int = 1000
    """Random cases of each side that serve all latents as inactive ones."""
    popularity_bins: int = 10
    """Groups of items of similar popularity inside which tags are permuted."""
    n_examples: int = 5
    """Example items kept per latent."""

    def __post_init__(self) -> None:
        for name in (
            "top_items",
            "label_tags",
            "max_cases",
            "pool_cases",
            "popularity_bins",
            "n_examples",
        ):
            require(getattr(self, name) >= 1, option(name), getattr(self, name), "at least 1")
        require(self.top_items <= 10, "--top-items", self.top_items, "at most 10, as many are kept")
        require(self.history_items >= 0, "--history-items", self.history_items, "zero or more")
        require(
            self.profile_tags >= self.label_tags,
            "--profile-tags",
            self.profile_tags,
            f"at least --label-tags {self.label_tags}",
        )


@dataclass(frozen=True)
class ConfidenceConfig(StageConfig):
    """How concepts are verified, and when a latent counts as interpretable."""

    active_cap: int = 500
    """Most active cases of a latent that are scored on each side."""
    permutations: int = 20
    """Rounds of tags permuted over items, the null."""
    min_active: int = 20
    """Held-out active cases below which a latent is too rare to judge."""
    min_users: int = 10
    """Held-out users with an active case below which a latent is too rare to judge."""
    min_confidence: float = 0.75
    """Least confidence of an interpretable latent."""
    max_q: float = 0.05
    """Largest q-value of an interpretable latent."""
    n_strong: int = 10
    """Strongest cases of the paper's protocol: half describe, half verify."""

    def __post_init__(self) -> None:
        for name in ("active_cap", "permutations", "min_active", "min_users"):
            require(getattr(self, name) >= 1, option(name), getattr(self, name), "at least 1")
        require(self.n_strong >= 2, "--n-strong", self.n_strong, "at least 2")
        for name in ("min_confidence", "max_q"):
            value = getattr(self, name)
            require(0 <= value <= 1, option(name), value, "from 0 to 1")


def option(field: str) -> str:
    """Command-line name of a field: ``emb_size`` -> ``--emb-size``."""
    return "--" + field.replace("_", "-")


def digest(*parts: Any) -> str:
    """Hex digest of JSON-able values, the identity of a configuration with its inputs."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
