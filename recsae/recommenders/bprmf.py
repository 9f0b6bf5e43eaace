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
        users, items = sequences.training_pairs()
        negatives = sample_negatives(users, items, sequences.n_items, generator)
        order = torch.randperm(users.numel(), generator=generator)
        for chunk in order.split(self.batch_size):
            yield PairBatch(users[chunk], items[chunk], negatives[chunk])

    def loss(self, batch: object) -> Tensor:
        assert isinstance(batch, PairBatch)
        users = self.users(batch.users)
        margin = (users * (self.items(batch.positives) - self.items(batch.negatives))).sum(-1)
        return -F.logsigmoid(margin).mean()


def sample_negatives(
    users: Tensor, items: Tensor, n_items: int, generator: torch.Generator
) -> Tensor:
    """For each (user, item) pair draw an item that the user has no pair with, uniformly, (n,).

    All draws are made at once; those that hit one of the user's own items are drawn again. A user
    who has every item keeps a random one after 50 rounds.
    """
    width = n_items + 1
    owned = torch.sort(users * width + items).values
    draws = torch.randint(1, width, users.shape, generator=generator)
    for _ in range(50):
        keys = users * width + draws
        found = torch.searchsorted(owned, keys).clamp(max=owned.numel() - 1)
        clash = (owned[found] == keys).nonzero().squeeze(1)
        if clash.numel() == 0:
            break
        draws[clash] = torch.randint(1, width, clash.shape, generator=generator)
    return draws
