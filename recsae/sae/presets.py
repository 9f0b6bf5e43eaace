"""Settings of the autoencoder by k, unless options say otherwise; torch is not needed to ask."""

from __future__ import annotations

import math

from recsae.config import SAEConfig

RATES: dict[int, float] = {4: 6e-3, 8: 4e-3, 16: 6e-3, 32: 8e-3}
"""k -> highest Adam step size with 30 epochs of batches of 512 (docs/results.md has the grid).

A small k needs a high rate here: at 1e-3, k = 4 leaves a third of the latents dead.
"""


def preset(k: int | None) -> SAEConfig:
    """Settings for ``k`` (None: the default), with the rate of the nearest k that was measured."""
    config = SAEConfig().with_options(k=k)
    nearest = min(RATES, key=lambda known: abs(math.log2(known / config.k)))
    return config.with_options(lr=RATES[nearest])
