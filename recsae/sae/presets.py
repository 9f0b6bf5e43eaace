"""Settings of the autoencoder by k and scale, where options leave them open; without torch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, NamedTuple

from recsae.config import AUXK, MOST_SCALE, SAEConfig


class Preset(NamedTuple):
    """What k and the size of the dictionary decide."""

    lr: float
    """Highest Adam step size, with 30 epochs of batches of 512."""
    revival: Literal["auxk", "auxk-half", "restarts"]
    """What is done for silent latents."""


PRESETS: dict[tuple[int, int], Preset] = {
    (4, 16): Preset(6e-3, "restarts"),
    (4, 32): Preset(6e-3, "restarts"),
    (8, 16): Preset(4e-3, "auxk"),
    (8, 32): Preset(4e-3, "auxk"),
    (16, 16): Preset(6e-3, "auxk"),
    (16, 32): Preset(4e-3, "auxk"),
    (32, 16): Preset(1e-2, "auxk-half"),
    (32, 32): Preset(1e-2, "auxk-half"),
}
"""(k, scale) -> the settings that leave at most one latent in a hundred dead.

A small k needs a high rate: at 1e-3, k = 4 leaves a third of the latents dead. A large dictionary
needs a lower one. At k = 4 AuxK cannot bring back what dies early; at k = 32 it can where its
latents learn more than what all 32 leave over (docs/ablations.md).
"""


def preset(k: int, scale: int) -> Preset:
    """The settings of the nearest k that was measured, and of the nearest scale at that k."""
    near_k = min((known for known, _ in PRESETS), key=lambda known: _apart(known, k))
    scales = (size for known, size in PRESETS if known == near_k)
    return PRESETS[near_k, min(scales, key=lambda size: _apart(size, scale))]


def _apart(one: int, other: int) -> float:
    return abs(math.log2(one / other))


def with_preset(config: SAEConfig) -> SAEConfig:
    """The same with the rate and the revival of its preset, unless it has its own.

    A scale that is open counts as the one of many vectors. Who sets something of AuxK wants AuxK.
    """
    found = preset(config.k, config.scale or MOST_SCALE)
    usual = SAEConfig()
    own = (config.aux_weight, config.dead_after) != (usual.aux_weight, usual.dead_after)
    wanted = "auxk" if own and found.revival not in AUXK else found.revival
    return replace(config, lr=config.lr or found.lr, revival=config.revival or wanted)
