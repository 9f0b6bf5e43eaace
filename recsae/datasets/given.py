"""Checks of interactions that come with their split: what no split can be."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from recsae.datasets.canonical import SPLITS
from recsae.errors import DataError

SPLIT = pl.Enum(SPLITS)
"""Type of the column ``split``; its order is that of time."""

PAIR = ("source_user_id", "source_item_id")


def check_pairs(interactions: pl.DataFrame, at: Callable[[str, int], str]) -> None:
    """A user meets an item once, in one split.

    Takes the columns of PAIR, split and line; ``at`` says file and line of a split's row.
    """
    again = interactions.filter(~pl.struct(PAIR).is_first_distinct())
    if again.is_empty():
        return
    second = again.sort("split", "line").row(0, named=True)
    same = interactions.filter(*(pl.col(name) == second[name] for name in PAIR))
    first = same.sort("split", "line").row(0, named=True)
    raise DataError(
        f"{at(second['split'], second['line'])}: user {second[PAIR[0]]} and item "
        f"{second[PAIR[1]]} are in {at(first['split'], first['line'])} already",
        "take the duplicated split rows out",
    )


def check_users(interactions: pl.DataFrame) -> None:
    """A user has train rows, then at most one dev row, then at most one test row."""
    counts = interactions.group_by(PAIR[0]).agg(
        (pl.col("split") == split).sum().alias(split) for split in SPLITS
    )
    rules = {
        "no train row": pl.col("train") == 0,
        "more than one dev row": pl.col("dev") > 1,
        "more than one test row": pl.col("test") > 1,
        "a test row but no dev row": (pl.col("test") == 1) & (pl.col("dev") == 0),
    }
    for fault, rule in rules.items():
        users = counts.filter(rule).get_column(PAIR[0]).sort()
        if len(users):
            raise DataError(f"user {users[0]} has {fault} ({len(users):,} such users)")
