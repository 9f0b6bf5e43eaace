"""More training vectors for models that have one per user: what they make of parts of a history.

A table of users gives as few vectors as there are users, and an autoencoder memorises them. Such
a vector is nearly a linear function of the items that its user met, so a ridge regression learns
that function, and random parts of every training user's history, folded in by it, train beside the
vectors themselves. Users that are held out take no part. docs/results.md shows what it brings.

What is to be rebuilt are the users' own vectors, and parts may lie elsewhere: with ALS, the mean
squared distance of 30% of a history from the whole is .7 of the variance of all users. So a user's
own vector counts several times.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from recsae.recommenders.base import Sequences

FOLD_INS = 24
"""Vectors per user by default, and as many as leave at most MOST_FOLDED in all."""

MOST_FOLDED = 150_000
"""Folded vectors by default, over all users, at most."""

PARTS_PER_OWN = 3
"""How many times more the parts of histories count than the users' own vectors, at most."""

LEAST_SHARE = 0.1
"""Least expected share of a history that is kept; the share is drawn between it and 1."""

RIDGE = 1 / 64
"""Penalty of the regression on standardised features, per user."""

LEAST_FIT = 0.5
"""Share of the variance of left-out users that the regression must explain to be used."""


class FoldIn:
    """The linear map from a user's items to the user's vector, and how well it fits.

    Features of a history are the mean of its item vectors and their sum over the root of their
    number, which knows how long it is: 2 d numbers, standardised over the users.
    """

    def __init__(self, sequences: Sequences, users: Tensor, vectors: Tensor, items: Tensor) -> None:
        """Fit to ``vectors`` (n, d), row r of user ``users[r]``; ``items`` is (n_items, d).

        Users without training interactions are left out.
        """
        has_history = sequences.n_train[users - 1] > 0
        self.users, self.sequences, self.items = users[has_history], sequences, items
        self.fit = 0.0
        """R^2 of each user's vector as the regression on all the others predicts it."""
        targets = vectors[has_history].double()
        features = self._features(torch.ones(len(self.users)), torch.Generator())[0]
        if len(features) < 2:
            return
        self._mean, self._scale = features.mean(0), _spread(features)
        self._centre = targets.mean(0)
        inputs, outputs = (features - self._mean) / self._scale, targets - self._centre
        penalty = RIDGE * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
        inverse = torch.linalg.inv(inputs.T @ inputs + penalty)
        self._weights = inverse @ inputs.T @ outputs
        # the residual of a user that is left out, without another regression: e / (1 - h)
        leverage = ((inputs @ inverse) * inputs).sum(1) + 1 / len(inputs)
        residuals = (outputs - inputs @ self._weights) / (1 - leverage).clamp(min=1e-6)[:, None]
        spread = outputs.square().sum()
        if spread > 0:
            self.fit = float(1 - residuals.square().sum() / spread)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Fold in ``count`` random parts of every history: (at most count * n, d) float32.

        A part keeps each item with a probability that is drawn for it; one without an item is
        left out.
        """
        parts = [torch.empty(0, self.items.shape[1])]
        for _ in range(count):
            share = torch.rand(len(self.users), generator=generator)
            features, counts = self._features(LEAST_SHARE + (1 - LEAST_SHARE) * share, generator)
            inputs = (features[counts > 0] - self._mean) / self._scale
            parts.append((inputs @ self._weights + self._centre).float())
        return torch.cat(parts)

    def _features(self, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features (n, 2 d) of parts of the training histories, and the items in each (n,)."""
        rows, items = self.sequences.seen(self.users, self.sequences.n_train[self.users - 1])
        kept = torch.rand(len(rows), generator=generator) < share[rows]
        rows, items = rows[kept], items[kept]
        counts = torch.bincount(rows, minlength=len(self.users))
        offsets = torch.cumsum(counts, 0) - counts
        # a bag adds up in one order on any number of threads
        sums = F.embedding_bag(items - 1, self.items, offsets, mode="sum").double()
        some = counts.clamp(min=1)[:, None].double()
        return torch.cat([sums / some, sums / some.sqrt()], dim=1), counts


def _spread(features: Tensor) -> Tensor:
    """Standard deviation (m,) of features (n, m); 1 where it is what rounding leaves of none."""
    spread = features.std(0)
    noise = 1e-6 * features.square().mean(0).sqrt()
    return torch.where(spread > noise, spread, torch.ones_like(spread))


def default_fold_ins(n: int) -> int:
    """Vectors to fold in per user where there are ``n`` training vectors."""
    return min(FOLD_INS, MOST_FOLDED // max(n, 1))


def with_parts(own: Tensor, parts: Tensor) -> Tensor:
    """What trains (m, d): the users' ``own`` vectors (n_users, d), and ``parts`` (n, d).

    ``own`` comes as often as it takes for the parts to be at most ``PARTS_PER_OWN`` times as many.
    """
    times = math.ceil(len(parts) / max(PARTS_PER_OWN * len(own), 1))
    return torch.cat([own] * max(times, 1) + [parts])
