"""The contract between recommenders and everything after them.

A recommender is fitted on interactions and then gives two things: a vector for every item and a
vector for every *case* (what the model knows about a user at one moment). Its score is their dot
product. That is all the sparse autoencoder and the interpretation need, so nothing else of a model
leaves this package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

PADDING = 0
"""Item id that no item has; ids start at 1."""


@dataclass(frozen=True)
class Sequences:
    """Every user's interactions in order of time, as one flat array.

    ``items[offsets[u - 1] : offsets[u]]`` are the items of user ``u`` (ids start at 1). The first
    ``n_train[u - 1]`` of them are training data; the next are the dev item and the test item.
    """

    items: Tensor
    """(n_interactions,) int64 item ids, 1-based."""
    offsets: Tensor
    """(n_users + 1,) int64."""
    n_train: Tensor
    """(n_users,) int64."""
    n_items: int

    @property
    def n_users(self) -> int:
        return self.n_train.numel()

    @classmethod
    def from_frame(cls, interactions: pl.DataFrame, n_users: int, n_items: int) -> Sequences:
        """Take a frame with columns user_id, position, item_id and split (train, dev, test)."""
        ordered = interactions.sort("user_id", "position")
        lengths = np.bincount(ordered["user_id"].to_numpy(), minlength=n_users + 1)[1:]
        train = ordered.filter(pl.col("split") == "train")["user_id"].to_numpy()
        return cls(
            items=torch.from_numpy(ordered["item_id"].cast(pl.Int64).to_numpy().copy()),
            offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
            n_train=torch.from_numpy(np.bincount(train, minlength=n_users + 1)[1:]),
            n_items=n_items,
        )

    def training_pairs(self) -> tuple[Tensor, Tensor]:
        """Users and items of the training interactions, each (n_train_total,), in order."""
        users = torch.repeat_interleave(torch.arange(1, self.n_users + 1), self.n_train)
        return users, self.items[self._flat(users - 1, self.n_train)]

    def _flat(self, users0: Tensor, counts: Tensor) -> Tensor:
        """Flat indices of the first ``counts[u]`` items of every user, in order."""
        first = torch.cumsum(counts, 0) - counts
        within = torch.arange(users0.numel()) - first[users0]
        return self.offsets[users0] + within

    def history(self, users: Tensor, positions: Tensor, length: int) -> Tensor:
        """The last ``length`` items before ``positions`` of each user, left-aligned, 0 where empty.

        Shapes: users (b,), positions (b,) = number of items seen; returns (b, length) int64.
        """
        counts = positions.clamp(max=length)
        column = torch.arange(length)
        index = (self.offsets[users - 1] + positions - counts)[:, None] + column
        valid = column < counts[:, None]
        gathered = self.items[index.clamp(max=self.items.numel() - 1)]
        return torch.where(valid, gathered, torch.full_like(gathered, PADDING))

    def seen(self, users: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates of all items seen before ``positions``: (row, item id), each (n_seen,)."""
        rows = torch.repeat_interleave(torch.arange(users.numel()), positions)
        first = torch.cumsum(positions, 0) - positions
        within = torch.arange(rows.numel()) - first[rows]
        return rows, self.items[self.offsets[users - 1][rows] + within]


class Recommender(nn.Module, ABC):
    """Base of all recommenders: ``score(case, item) = case_vector . item_vector``."""

    name: ClassVar[str]
    is_sequential: ClassVar[bool]
    """True: one case per (user, position). False: the user vector is a table, one case per user."""
    TRAINING_VERSION: ClassVar[int] = 1
    """Part of the identity of a run. Raise it in a model whenever the same settings, data and seed
    would train other weights than before, so that a run of the old kind is not taken for it."""

    def prepare(self, sequences: Sequences) -> None:
        """Take from the training data what the model needs beside the numbers of users and items.

        Called once, when the model is made, before weights are loaded, fitted or used. What is
        taken belongs to the data, not to the weights, and is not saved.
        """

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """Vectors of all items, (n_items, d); row r belongs to item id r + 1."""

    @abstractmethod
    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        """Vectors that enter the prediction layer, (b, d).

        ``positions`` (b,) is the number of items of the user's sequence that the model may see;
        models whose user vector is a table ignore it.
        """

    @abstractmethod
    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[object]:
        """One epoch of training batches, in an order drawn from ``generator``."""

    @abstractmethod
    def n_batches(self, sequences: Sequences) -> int:
        """About how many batches one epoch has, for progress; exact where epochs are alike."""

    @abstractmethod
    def loss(self, batch: object) -> Tensor:
        """Training loss of one batch, a scalar."""
