"""Interactions that come with their split: what no split can be, and what is none any more."""

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


def _counts(interactions: pl.DataFrame) -> pl.DataFrame:
    """Rows of every user: the user, train, dev, test."""
    return interactions.group_by(PAIR[0]).agg(
        (pl.col("split") == split).sum().alias(split) for split in SPLITS
    )


def check_users(interactions: pl.DataFrame) -> None:
    """A user has train rows, then at most one dev row, then at most one test row."""
    counts = _counts(interactions)
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


def without_gaps(interactions: pl.DataFrame) -> pl.DataFrame:
    """Leave out held-out rows that lack what comes before them, as ratings were left out.

    A dev row needs a train row of the same user, a test row needs both.
    """
    counts = _counts(interactions)
    gap = {"dev": pl.col("train") == 0, "test": (pl.col("train") == 0) | (pl.col("dev") == 0)}
    for split, rule in gap.items():
        users = counts.filter(rule).get_column(PAIR[0])
        lacking = (pl.col("split") == split) & pl.col(PAIR[0]).is_in(users.implode())
        interactions = interactions.filter(~lacking)
    return interactions


def check_held_out(interactions: pl.DataFrame) -> None:
    """Some user has to have a dev row, and some a test row."""
    present = set(interactions["split"].cast(pl.String).unique())
    for split in SPLITS:
        if split not in present:
            raise DataError(
                f"no interaction in the split {split}, so nothing could be "
                f"{'learned' if split == 'train' else 'measured'}",
                "a user's last rows are dev and test; without a given split they become so",
            )
