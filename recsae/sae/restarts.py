"""A fresh start for latents that have fallen silent, at vectors that are badly rebuilt.

A silent latent takes the place of the weakest latent of a vector: what the other k - 1 leave over
of that vector is its direction and the size of its activation, so the vector is then rebuilt
exactly. The idea of starting at vectors drawn by loss is that of Bricken et al. (2023, Towards
Monosemanticity, neuron resampling); why this place, and when it is better than AuxK, is in
docs/ablations.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsae.sae.model import SAE

FIRST, LAST = 2, 3
"""Epochs that are done before the first restart, and that are left after the last one."""

CANDIDATES = 8192
"""Vectors among which the badly rebuilt ones are looked for, at most."""


def is_due(epoch: int, epochs: int) -> bool:
    """Whether silent latents start again once ``epoch`` of ``epochs`` are done."""
    return FIRST <= epoch <= epochs - LAST


@torch.no_grad()
def restart_(
    sae: SAE,
    optimizer: torch.optim.Optimizer,
    silent: Tensor,
    x: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Point silent latents (h,) bool at some of the normalised vectors x (n, d).

    The vectors are drawn, each at most once, by their squared loss; where there are more silent
    latents than vectors that are not rebuilt exactly, the last latents are left as they are.
    Rows of Adam's moments become the mean of the living. Returns the latents restarted (m,).
    """
    targets, loss = _left_over(sae, x)
    chances = torch.where(targets.norm(dim=1) > 0, loss, 0.0).double().square().cpu()
    ids = silent.nonzero().squeeze(1)[: int(chances.count_nonzero())]
    if not len(ids):
        return ids
    chosen = torch.multinomial(chances, len(ids), generator=generator).to(x.device)
    targets, x = targets[chosen], x[chosen]
    living = ~silent if not bool(silent.all()) else silent
    sizes = targets.norm(dim=1)
    rows = F.normalize(targets, dim=1)
    encoder = rows * sae.W_enc[living].norm(dim=1).mean()
    sae.W_dec[ids] = rows
    sae.W_enc[ids] = encoder
    sae.b_enc[ids] = sizes - torch.linalg.vecdot(encoder, x - sae.b_dec)
    for weights in (sae.W_dec, sae.W_enc, sae.b_enc):
        moments = optimizer.state[weights]
        moments["exp_avg"][ids] = 0.0
        moments["exp_avg_sq"][ids] = moments["exp_avg_sq"][living].mean(0)
    return ids


def _left_over(sae: SAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """What all chosen latents but the weakest leave over of x (n, d), and the squared error of all
    of them (n,).
    """
    values, indices = encoding = sae.encode_normalised(x)
    rest = x - sae.decode_normalised(encoding)
    weakest = values.min(dim=1, keepdim=True)
    rows = F.embedding(indices.gather(1, weakest.indices)[:, 0], sae.W_dec)
    return rest + weakest.values * rows, rest.square().sum(1)
