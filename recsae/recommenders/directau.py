"""DirectAU: alignment and uniformity of vectors on the sphere (Wang et al., KDD 2022).

The loss sees directions only; the score is the product of the vectors as they are, lengths
included, in the paper's code as in the reference (ReChorus).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsae.config import TrainConfig
from recsae.recommenders.base import Recommender, Sequences


class PositiveBatch(NamedTuple):
    """Users, each with one item they liked."""

    users: Tensor
    """(b,)"""
    positives: Tensor
    """(b,)"""


class DirectAU(Recommender):
    """Score p_u . q_i, trained with alignment + gamma * (uniformity of users + of items) / 2."""

    name: ClassVar[str] = "DirectAU"
    is_sequential: ClassVar[bool] = False

    def __init__(self, config: TrainConfig, n_users: int, n_items: int) -> None:
        super().__init__()
        self.batch_size, self.gamma = config.batch_size, config.gamma
        self.users = nn.Embedding(n_users + 1, config.emb_size)
        self.items = nn.Embedding(n_items + 1, config.emb_size)
        for table in (self.users, self.items):
            nn.init.xavier_normal_(table.weight)

    def item_vectors(self) -> Tensor:
        return self.items.weight[1:]

    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        return self.users(users)

    def n_batches(self, sequences: Sequences) -> int:
        return -(-int(sequences.n_train.sum()) // self.batch_size)

    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[PositiveBatch]:
        users, items = sequences.training_pairs()
        order = torch.randperm(users.numel(), generator=generator)
        for chunk in order.split(self.batch_size):
            yield PositiveBatch(users[chunk], items[chunk])

    def loss(self, batch: object) -> Tensor:
        assert isinstance(batch, PositiveBatch)
        users, of_user, user_counts = unit_rows(self.users, batch.users)
        items, of_item, item_counts = unit_rows(self.items, batch.positives)
        spread = uniformity(users, user_counts) + uniformity(items, item_counts)
        aligned = alignment(F.embedding(of_user, users), F.embedding(of_item, items))
        return aligned + self.gamma * spread / 2


def unit_rows(table: nn.Embedding, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The different rows of a table that ids (b,) ask for, at unit length.

    Returns rows (m, d), the row of each id (b,), and how many ids ask for each row (m,).
    """
    different, row, counts = torch.unique(ids, return_inverse=True, return_counts=True)
    return F.normalize(table(different), dim=1), row, counts


def alignment(x: Tensor, y: Tensor) -> Tensor:
    """Mean of |x - y|^2 over the rows of (b, d) and (b, d)."""
    return (x - y).square().sum(1).mean()


def uniformity(x: Tensor, counts: Tensor) -> Tensor:
    """Log of the mean of exp(-2 |x_i - x_j|^2) over all pairs of rows of unit length.

    The rows are those of x (m, d), each as many times as ``counts`` (m,) says. A single row has no
    pair and gives 0.
    """
    if counts.sum() < 2:
        return 0 * x.sum()
    value: Tensor = _Uniformity.apply(x, counts.to(x.dtype))  # type: ignore[no-untyped-call]
    return value


class _Uniformity(torch.autograd.Function):
    """Uniformity by one matrix product, as |x_i - x_j|^2 is 2 - 2 x_i . x_j, its gradient by one.

    A row that stands c times is one row of weight c: batches repeat users and popular items, and
    the cost is that of pairs. The gradient leaves out what changes the lengths of the rows:
    normalisation takes that away.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: Tensor) -> Tensor:
        n = counts.sum()
        powers = (x @ x.T).sub_(1).mul_(4).exp_().fill_diagonal_(0)
        alike = (counts * (counts - 1)).sum()  # pairs at distance 0: their power is 1
        total = counts @ (powers @ counts) + alike
        pull = powers @ (counts[:, None] * x)
        ctx.save_for_backward(pull.mul_(counts[:, None]).mul_(8 / total))
        return torch.log(total / (n * (n - 1)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (own,) = ctx.saved_tensors
        return gradients[0] * own, None
