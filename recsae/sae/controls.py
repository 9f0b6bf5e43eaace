"""Autoencoders that nobody trained, to see what training buys.

Both have the form of a TopK autoencoder, so that everything after it treats them alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsae.sae.model import SAE


def control(name: str, vectors: Tensor, h: int, k: int, generator: torch.Generator) -> SAE:
    """A control for vectors (n, d): ``untrained`` has ``h`` random unit directions, ``neurons`` the
    2d sides of the coordinates.

    Centre and scale come from ``vectors``. Neuron i is two latents, i its positive and d + i its
    negative side, since a latent fires in one direction only. Raises DataError for vectors that no
    autoencoder could be trained on.
    """
    d = vectors.shape[1]
    sae = SAE(d, h if name == "untrained" else 2 * d, min(k, h, 2 * d))
    sae.initialise_(vectors, generator)
    if name == "neurons":
        sides = torch.cat([torch.eye(d), -torch.eye(d)])
        for weights in (sae.W_enc, sae.W_dec):
            weights.data.copy_(sides)
    return sae
