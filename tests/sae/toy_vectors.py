"""Vectors made of known directions, random autoencoders, and a reporter that can interrupt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recsae.progress import Reporter, Step
from recsae.sae.model import SAE


class Planted(NamedTuple):
    """Vectors that are sums of a few directions, moved and stretched."""

    directions: Tensor
    """(n_directions, d) of unit norm."""
    vectors: Tensor
    """(n, d)"""


def planted(
    n: int = 6000, d: int = 24, n_directions: int = 32, active: int = 3, seed: int = 0
) -> Planted:
    """Each vector is the sum of ``active`` different directions, weights from 1 to 2."""
    # not a seed of the trainer, whose initial dictionary would be these very directions
    generator = torch.Generator().manual_seed(777_777 + seed)
    directions = F.normalize(torch.randn(n_directions, d, generator=generator), dim=1)
    chosen = torch.rand(n, n_directions, generator=generator).topk(active, dim=1).indices
    weights = 1 + torch.rand(n, active, generator=generator)
    sums = (weights[:, :, None] * directions[chosen]).sum(1)
    return Planted(directions, 5 * sums + torch.randn(d, generator=generator))


def random_sae(d: int, h: int, k: int, seed: int = 0, scaled: bool = False) -> SAE:
    """All weights random, rows of W_dec of unit norm; ``scaled`` also gives it shift and scale."""
    generator = torch.Generator().manual_seed(seed)
    sae = SAE(d, h, k)
    with torch.no_grad():
        for weights in sae.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator))
        sae.normalise_decoder_()
    if scaled:
        sae.shift.copy_(torch.randn(d, generator=generator))
        sae.scale.fill_(2.5)
    return sae


def random_vectors(n: int, d: int, seed: int = 1) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


class Interrupted(Exception):
    """Raised from a reporter, as Ctrl-C would be."""


class Watcher(Reporter):
    """Calls back with the number of the epoch that ended, and keeps the notes."""

    def __init__(self, after: Callable[[int], None] = lambda epoch: None) -> None:
        self.after, self.notes, self.infos, self.done = after, list[str](), list[str](), 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Step]:
        def step(n: int = 1, info: str = "") -> None:
            self.done += n
            if info:
                self.infos.append(info)
                self.after(len(self.infos))

        yield step
        assert self.done == total


def stop_after(number: int) -> Watcher:
    def after(epoch: int) -> None:
        if epoch == number:
            raise Interrupted

    return Watcher(after)
