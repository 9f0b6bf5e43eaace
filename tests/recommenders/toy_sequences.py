"""Sequences with an answer known in advance, and plain-loop versions of what is done with them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import torch
from hypothesis import strategies as st

from recsae.config import TrainConfig
from recsae.recommenders.base import Sequences
from recsae.recommenders.bprmf import PairBatch
from recsae.recommenders.directau import PositiveBatch
from recsae.recommenders.presets import MODELS
from recsae.recommenders.sasrec import DrawnBatch, PrefixBatch, WindowBatch

NAMES = tuple(MODELS)
KINDS = (*NAMES, "SASRec bpr")
"""Models, and a model with another objective than its preset's."""
SMALL = TrainConfig(emb_size=8, history_max=4, batch_size=7, lr=1e-2, dropout=0.3, epochs=4)


class Toy(NamedTuple):
    """Item lists per user in order of time, and how many of each are training data."""

    lists: tuple[tuple[int, ...], ...]
    n_train: tuple[int, ...]
    n_items: int

    def frame(self) -> pl.DataFrame:
        names = ("train", "dev", "test")
        rows = [
            (user, position, item, names[min(max(position - n_train, 0), 2)])
            for user, (items, n_train) in enumerate(zip(self.lists, self.n_train, strict=True), 1)
            for position, item in enumerate(items, 1)
        ]
        schema = {"user_id": pl.Int32, "position": pl.Int32, "item_id": pl.Int32, "split": str}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def sequences(self) -> Sequences:
        shuffled = self.frame().sample(fraction=1, shuffle=True, seed=0)
        return Sequences.from_frame(shuffled, len(self.lists), self.n_items)


def toy(lists: Sequence[Sequence[int]], n_items: int | None = None) -> Toy:
    """The last item of every list is test, the one before dev."""
    return Toy(
        tuple(map(tuple, lists)),
        tuple(max(len(items) - 2, 0) for items in lists),
        n_items or max(map(max, lists)),
    )


def random_toy(n_users: int = 12, n_items: int = 30, seed: int = 0) -> Toy:
    """Lists of 3 to 12 different items."""
    draw = random.Random(seed)
    ids = range(1, n_items + 1)
    return toy([draw.sample(ids, draw.randint(3, 12)) for _ in range(n_users)], n_items)


def checkerboard(n: int = 30, seed: int = 0) -> Toy:
    """User u likes the items of u's parity, in random order; the withheld test item is u itself.

    All of these items but two are training data, so that at the end one right answer is left.
    """
    draw = random.Random(seed)
    lists = []
    for user in range(1, n + 1):
        liked = [item for item in range(1, n + 1) if item % 2 == user % 2 and item != user]
        lists.append([*draw.sample(liked, len(liked)), user])
    return toy(lists)


@st.composite
def toys(draw: st.DrawFn) -> Toy:
    """Up to 5 users with up to 9 different items each; some have no dev or test item."""
    n_items = draw(st.integers(2, 9))
    items = st.permutations(range(1, n_items + 1))
    lists, n_train = [], []
    for _ in range(draw(st.integers(1, 5))):
        length = draw(st.integers(1, n_items))
        lists.append(tuple(draw(items)[:length]))
        n_train.append(length - draw(st.integers(0, min(2, length))))
    return Toy(tuple(lists), tuple(n_train), n_items)


def small_numbers(n: int, d: int, seed: int) -> torch.Tensor:
    """(n, d) of whole numbers from -2 to 2: exact sums, and many ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, (n, d), generator=generator).float()


def trained_pairs(batch: object) -> list[tuple[int, int]]:
    """What one batch asks the model to predict, as (user, item), or (item before, item)."""
    if isinstance(batch, PairBatch | PositiveBatch):
        return list(zip(batch.users.tolist(), batch.positives.tolist(), strict=True))
    if isinstance(batch, PrefixBatch):
        last = (batch.histories > 0).sum(1) - 1
        before = batch.histories[torch.arange(len(last)), last]
        return list(zip(before.tolist(), batch.positives.tolist(), strict=True))
    assert isinstance(batch, WindowBatch | DrawnBatch)
    asked = batch.targets > 0
    return list(zip(batch.inputs[asked].tolist(), batch.targets[asked].tolist(), strict=True))
