"""What to say about an autoencoder that rebuilds badly, and what may help: only what can."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from recsae.config import SAEConfig
from recsae.report.text import number
from recsae.sae.presets import preset
from recsae.vectors.lengths import outweighing

FEW_STEPS = 200
"""Steps of training below which more epochs may help."""


def warnings_about(
    train: float,
    heldout: float,
    vectors: Tensor,
    users: Tensor,
    trained: SAEConfig | None,
    n_train: int,
) -> Iterator[str]:
    """Lines about the FVU of the training and held-out vectors, NaN where there were none.

    ``vectors`` (n_cases, d) are all of them, ``users`` (n_cases,) their users. ``trained`` are the
    settings of the training on ``n_train`` vectors; without them (imported, or a control that
    nobody trained) there is no advice about settings.
    """
    memorises, useless = heldout > max(2 * train, 0.1), train >= 1
    # beside an overlong vector those held out may not differ from each other
    if not (memorises or useless or math.isnan(heldout)):
        return
    if culprits := _overlong(vectors, users):
        yield f"warning: FVU {number(train, 2)}, {number(heldout, 2)} on held-out users: {culprits}"
        return
    if memorises:
        what = f"warning: FVU {heldout:.2f} on held-out users, {train:.2f} on those that trained"
        cause = "the latents memorise vectors" if trained else "it was made for other vectors"
        advice = f"; {fewer_latents(trained, vectors.shape[1])}" if trained else ""
        yield f"{what}: {cause}{advice}"
    if useless:
        advice = f"; {_better_steps(trained, n_train)}" if trained else ""
        yield f"warning: FVU {train:.2f} is no better than the mean vector{advice}"


def _overlong(vectors: Tensor, users: Tensor) -> str:
    """What a few vectors that outweigh all others are, and what helps; nothing without them."""
    found = outweighing(vectors.numpy())
    if not len(found.rows):
        return ""
    named = found.named(lambda row: f"case {row} of user_id {int(users[row])}")
    return (
        f"{len(found.rows):,} of {len(vectors):,} vectors hold {found.share:.1%} of the variance: "
        f"{named}; shorten them and import again"
    )


def fewer_latents(config: SAEConfig, d: int) -> str:
    """How latents can become fewer, for vectors of width d; or what else helps."""
    if config.scale is not None and config.scale > -(-config.k // d):
        return f"lower --scale (it is {config.scale})"
    return "there cannot be fewer latents, so only vectors of more users or positions help"


def _better_steps(config: SAEConfig, n_train: int) -> str:
    usual = preset(config.k, config.scale or 1).lr
    if config.lr is not None and config.lr != usual:
        return f"change --lr (it is {config.lr:g}; {usual:g} is usual for k = {config.k})"
    steps = config.epochs * -(-n_train // config.vectors_per_step(n_train))
    if steps < FEW_STEPS:
        return f"raise --epochs (there were {steps:,} steps)"
    return f"raise --k (it is {config.k})"
