"""Recommenders whose vectors were made elsewhere: given as they are, or changed before use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsae.recommenders.base import Recommender, Sequences


class Fixed(Recommender):
    """Score u . v with given vectors; cannot be trained.

    With ``is_sequential`` there is one vector per user and position, else one per user.
    """

    name: ClassVar[str] = "vectors"
    is_sequential = False  # of an instance: True where its vectors are those of positions

    users: Tensor
    items: Tensor

    def __init__(self, users: Tensor, items: Tensor, *, is_sequential: bool) -> None:
        """Take vectors of users (n_users, d), or of cases (n_cases, d), and of items (n_items, d).

        Cases are the positions 1 to n - 1 of every user with n interactions, in order of users and
        positions.
        """
        super().__init__()
        self.is_sequential = is_sequential  # type: ignore[misc]
        self.register_buffer("users", users)
        self.register_buffer("items", items)

    def item_vectors(self) -> Tensor:
        return self.items

    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        if not self.is_sequential:
            return self.users[users - 1]
        lengths = sequences.offsets[1:] - sequences.offsets[:-1]
        counts = (lengths - 1).clamp(min=0)
        first = torch.cumsum(counts, 0) - counts
        return self.users[first[users - 1] + positions - 1]

    def n_batches(self, sequences: Sequences) -> int:
        return 0

    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[object]:
        """No batches: there is nothing to train."""
        return iter(())

    def loss(self, batch: object) -> Tensor:
        raise TypeError("given vectors cannot be trained")


class Reduced(Recommender):
    """Another recommender, whose case vectors go through a function that leaves every ranking.

    Its weights are those of the other one; it cannot be trained.
    """

    name: ClassVar[str] = "vectors"
    is_sequential = False  # of an instance: that of the other one

    def __init__(
        self,
        inner: Recommender,
        change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    ) -> None:
        super().__init__()
        self.inner, self.change = inner, change
        self.is_sequential = inner.is_sequential  # type: ignore[misc]

    def item_vectors(self) -> Tensor:
        return self.inner.item_vectors()

    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        with torch.no_grad():
            vectors = self.inner.case_vectors(sequences, users, positions)
        return torch.from_numpy(self.change(vectors.numpy()))

    def state_dict(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:  # type: ignore[override]
        """The weights of the other one, under its names."""
        return self.inner.state_dict(*args, **kwargs)

    def n_batches(self, sequences: Sequences) -> int:
        return 0

    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[object]:
        """No batches: there is nothing to train."""
        return iter(())

    def loss(self, batch: object) -> Tensor:
        raise TypeError("vectors that are changed afterwards cannot be trained")
