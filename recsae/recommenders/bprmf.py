"""BPRMF: matrix factorisation with Bayesian personalised ranking (Rendle et al., UAI 2009)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsae.config import TrainConfig
from recsae.recommenders.base import Recommender, Sequences


class PairBatch(NamedTuple):
    """Users with one item they liked and one drawn item they have no training interaction with."""

    users: Tensor
    """(b,)"""
    positives: Tensor
    """(b,)"""
    negatives: Tensor
    """(b,)"""


class BPRMF(Recommender):
    """Score p_u . q_i, trained with -log sigmoid(score of a positive - score of a negative)."""

    name: ClassVar[str] = "BPRMF"
    is_sequential: ClassVar[bool] = False

    def __init__(self, config: TrainConfig, n_users: int, n_items: int) -> None:
        super().__init__()
        self.batch_size = config.batch_size
        self.users = nn.Embedding(n_users + 1, config.emb_size)
        self.items = nn.Embedding(n_items + 1, config.emb_size)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.01)

    def item_vectors(self) -> Tensor:
        return self.items.weight[1:]

    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        return self.users(users)

    def n_batches(self, sequences: Sequences) -> int:
        return -(-int(sequences.n_train.sum()) // self.batch_size)

    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[PairBatch]:
        yield from pair_batches(sequences, self.batch_size, generator)

    def loss(self, batch: object) -> Tensor:
        assert isinstance(batch, PairBatch)
        # one look-up: each would have a gradient as large as the table
        positives, negatives = self.items(torch.stack([batch.positives, batch.negatives]))
        margin = (self.users(batch.users) * (positives - negatives)).sum(1)
        return -F.logsigmoid(margin).mean()


def pair_batches(
    sequences: Sequences, batch_size: int, generator: torch.Generator
) -> Iterator[PairBatch]:
    """Every training interaction once, in random order, each with a negative drawn for it."""
    users, items = sequences.training_pairs()
    negatives = sample_negatives(users, items, sequences.n_items, generator)
    for chunk in torch.randperm(users.numel(), generator=generator).split(batch_size):
        yield PairBatch(users[chunk], items[chunk], negatives[chunk])


def sample_negatives(
    users: Tensor, items: Tensor, n_items: int, generator: torch.Generator
) -> Tensor:
    """For each (user, item) pair draw an item that the user has no pair with, uniformly, (n,).

    Draws are numbers of missing items: the r-th missing item is r plus the number of owned items
    that have at most r missing ones before them. A user who has every item gets a random one.
    """
    width = n_items + 1
    owned = torch.unique(users * width + items - 1)
    owner = owned // width
    counts = torch.bincount(owner)
    first = torch.cumsum(counts, 0) - counts
    missing = n_items - counts
    # every row sees its items in order, so its j-th has (item - j) missing ones before it
    before = owned - (torch.arange(owned.numel()) - first[owner])
    share = torch.rand(users.shape, generator=generator, dtype=torch.float64)
    number = (share * torch.where(missing > 0, missing, n_items)[users]).long()
    passed = torch.searchsorted(before, users * width + number, right=True) - first[users]
    return number + torch.where(missing[users] > 0, passed, 0) + 1
