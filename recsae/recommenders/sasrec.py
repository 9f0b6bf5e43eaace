"""SASRec: self-attentive sequential recommendation (Kang and McAuley, ICDM 2018).

The block is the one of the reference (ReChorus): item embedding plus position embedding without
scaling, post-norm, attention without an output projection, a feed-forward layer as wide as the
embedding. Training differs on purpose: every position of a window is trained in one pass with a
softmax over all items instead of one sampled negative (docs/results.md has the comparison).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsae.config import TrainConfig
from recsae.recommenders.base import PADDING, Recommender, Sequences


class WindowBatch(NamedTuple):
    """Windows of consecutive training items and, for each place, the item that came next."""

    inputs: Tensor
    """(b, length) item ids, 0 after the end."""
    targets: Tensor
    """(b, length) item ids, 0 where there is none."""


class Block(nn.Module):
    """Causal self-attention, then a position-wise layer, each followed by LayerNorm."""

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, length, d) to (b, length, d); place t sees places 0..t."""
        b, length, dim = x.shape
        query, key, value = (
            layer(x).view(b, length, self.n_heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = self.norm1(x + self.dropout(mixed.transpose(1, 2).reshape(b, length, dim)))
        return self.norm2(x + self.dropout(self.outer(F.relu(self.inner(x)))))


class SASRec(Recommender):
    """The case vector is the last place of the block stack over the last ``history_max`` items."""

    name: ClassVar[str] = "SASRec"
    is_sequential: ClassVar[bool] = True

    def __init__(self, config: TrainConfig, n_users: int, n_items: int) -> None:
        super().__init__()
        dim = config.emb_size
        self.batch_size, self.history_max = config.batch_size, config.history_max
        self.position_from = config.position_from
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=PADDING)
        self.positions = nn.Embedding(config.history_max + 1, dim)
        self.input_dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(dim, config.num_heads, config.dropout) for _ in range(config.num_layers)
        )
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=1 / math.sqrt(dim))
        with torch.no_grad():
            self.items.weight[PADDING].zero_()

    def item_vectors(self) -> Tensor:
        return self.items.weight[1:]

    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        history = sequences.history(users, positions, self.history_max)
        last = (history != PADDING).sum(1) - 1
        return self.hidden(history)[torch.arange(users.numel()), last]

    def hidden(self, items: Tensor) -> Tensor:
        """Hidden vectors of every place: items (b, length) -> (b, length, d)."""
        x = self.input_dropout(self.items(items) + self.positions(self.position_ids(items)))
        for block in self.blocks:
            x = block(x)
        return x

    def position_ids(self, items: Tensor) -> Tensor:
        """Position of every place, (b, length), 1-based, 0 where there is no item."""
        valid = items != PADDING
        if self.position_from == "start":
            return torch.cumsum(valid, 1) * valid
        return (valid.sum(1, keepdim=True) - torch.arange(items.shape[1])) * valid

    def n_batches(self, sequences: Sequences) -> int:
        inputs = sequences.n_train - 1
        inputs = inputs[inputs > 0]
        # n inputs cut at a random place make 1 + (n - 1) / length windows on average
        windows = float((1 + (inputs - 1) / self.history_max).sum())
        return math.ceil(windows / self.batch_size)

    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[WindowBatch]:
        starts, ends = self._windows(sequences, generator)
        column = torch.arange(self.history_max)
        if not starts.numel():
            return
        for chunk in torch.randperm(starts.numel(), generator=generator).split(self.batch_size):
            index = starts[chunk, None] + column
            valid = index < ends[chunk, None]
            index = torch.where(valid, index, 0)
            inputs = sequences.items[index] * valid
            yield WindowBatch(inputs, sequences.items[index + 1] * valid)

    def _windows(self, sequences: Sequences, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cut every training sequence into windows at places that change from epoch to epoch.

        Returns flat start and end (exclusive) of the inputs of each window. The first window of a
        user is cut short by a random offset, so that an item meets every context length.
        """
        length = self.history_max
        n_inputs = (sequences.n_train - 1).clamp(min=0)
        shift = torch.randint(0, length, n_inputs.shape, generator=generator)
        count = (n_inputs + shift + length - 1) // length
        user = torch.repeat_interleave(torch.arange(n_inputs.numel()), count)
        number = torch.arange(user.numel()) - (torch.cumsum(count, 0) - count)[user]
        base = sequences.offsets[user]
        start = base + (number * length - shift[user]).clamp(min=0)
        end = base + torch.minimum((number + 1) * length - shift[user], n_inputs[user])
        keep = end > start  # not so for users without inputs
        return start[keep], end[keep]

    def loss(self, batch: object) -> Tensor:
        assert isinstance(batch, WindowBatch)
        hidden = self.hidden(batch.inputs)[batch.targets != PADDING]
        targets = batch.targets[batch.targets != PADDING] - 1
        return F.cross_entropy(hidden @ self.item_vectors().T, targets)
