"""Which epoch is kept: the best by a score that is noisy, ties by the error on held-out vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recsae.sae.model import SAE

MARGIN = 3.0
"""Standard errors by which an epoch has to be worse. The best is the highest of thirty noisy
figures: where all epochs are as good, the last is two standard errors below it in one training of
four, and an earlier one with a needlessly high error would be kept; three in one of thirty."""

Score = Callable[[SAE], Tensor]
"""Scores an autoencoder: one number per user (n,), the same users every time; higher is better."""


@dataclass
class Kept:
    """The kept epoch and what later ones are compared with. All of it goes into a checkpoint."""

    epoch: int = 0
    """0: none yet."""
    error: float = math.inf
    """Held-out FVU of the kept epoch."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    scores: Tensor = field(default_factory=lambda: torch.zeros(0))
    """(n,) scores of the kept epoch."""
    best: Tensor = field(default_factory=lambda: torch.zeros(0))
    """(n,) scores of the epoch with the highest mean so far."""

    def offer(self, epoch: int, sae: SAE, error: float, scores: Tensor | None) -> None:
        """Keep this epoch, if it is better than the one kept.

        An epoch whose mean score is less than ``MARGIN`` standard errors of the paired difference
        below the best one counts as good as that; among these the one with the lowest held-out
        ``error`` is kept. Without scores all are as good; without an error the last one is kept.
        """
        scores = torch.zeros(0) if scores is None else scores
        if not self.epoch or (len(scores) and scores.mean() > self.best.mean()):
            self.best = scores
        kept_is_worse = not self.epoch or is_worse(self.scores, self.best)
        lower = error < self.error or math.isnan(error) or math.isnan(self.error)
        if kept_is_worse or (lower and not is_worse(scores, self.best)):
            self.epoch, self.error, self.scores = epoch, error, scores
            self.weights = {k: v.detach().clone() for k, v in sae.state_dict().items()}


def is_worse(scores: Tensor, best: Tensor) -> bool:
    """Whether the mean of (n,) is below that of ``best`` by ``MARGIN`` paired standard errors."""
    if len(scores) < 2:
        return False
    difference = (best - scores).double()
    return bool(difference.mean() > MARGIN * difference.std() / math.sqrt(len(scores)))
