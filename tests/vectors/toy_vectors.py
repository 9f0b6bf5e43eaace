"""A planted data set with vectors that are good by construction: shares of the true concepts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from recsae.datasets import Dataset, prepare, read_dataset, read_truth

OPTIONS = {"users": 60, "items": 80, "concepts": 4, "noise_tags": 4, "seed": 0}


class Toy(NamedTuple):
    """Data, and arrays in the order of its ids."""

    data: Path
    content: Dataset
    user_ids: list[str]
    item_ids: list[str]
    users: np.ndarray
    """(n_users, 4) share of each concept in the items before the test item."""
    items: np.ndarray
    """(n_items, 4) 1 for the concept that the item was made from."""


def toy(data: Path) -> Toy:
    prepare("planted", data, **OPTIONS)
    content = read_dataset("planted", data)
    concepts = read_truth("planted", data).sort("item_id")["concept"].to_list()
    names = sorted(set(concepts))
    items = np.array([[float(one == name) for name in names] for one in concepts])
    users = np.array(
        [
            items[rows["item_id"].to_numpy() - 1].mean(0)
            for _, rows in content.interactions.filter(pl.col("split") != "test")
            .sort("user_id")
            .group_by("user_id", maintain_order=True)
        ]
    )
    return Toy(
        data,
        content,
        content.users["source_user_id"].to_list(),
        content.items["source_item_id"].to_list(),
        users.astype(np.float32),
        items.astype(np.float32),
    )


def per_position(given: Toy) -> tuple[list[str], list[int], np.ndarray]:
    """Ids, positions and vectors of every user at every position: shares of what came before."""
    ids, positions, rows = [], [], []
    for (user,), own in given.content.interactions.sort("user_id", "position").group_by(
        "user_id", maintain_order=True
    ):
        seen = np.cumsum(given.items[own["item_id"].to_numpy() - 1], axis=0)
        for position in range(1, len(own)):
            ids.append(given.user_ids[int(str(user)) - 1])
            positions.append(position)
            rows.append(seen[position - 1] / position)
    return ids, positions, np.array(rows, np.float32)
