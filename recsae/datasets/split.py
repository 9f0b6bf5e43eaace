"""From raw interactions to splits: which are kept, in what order, and which are held out.

The protocol of the reference (ReChorus): implicit positives, iterated k-core, leave-one-out by
time. All functions are pure; a frame of interactions has ``source_user_id``, ``source_item_id``
and ``time``, all Int64.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recsae.datasets.canonical import SCHEMAS, Tables
from recsae.errors import DataError

MIN_CORE = 3
"""Least k of the k-core: a user needs one interaction for each of train, dev and test."""

RARE_BELOW = 5
"""Tags on fewer items say nothing that could be tested."""

TAG_RULE = f"tags on fewer than {RARE_BELOW} of the items are dropped"


@dataclass(frozen=True)
class Raw:
    """What a reader delivers, under the source's own ids."""

    interactions: pl.DataFrame
    """source_user_id, source_item_id, time; Int64, one row per interaction, in any order."""
    items: pl.DataFrame
    """source_item_id Int64 (unique), title String."""
    tags: pl.DataFrame
    """source_item_id Int64, kind String, tag String (``prefix:value``)."""
    dropped: dict[str, int]
    """Interactions that the reader left out, by reason."""


def latest(ratings: pl.DataFrame) -> pl.DataFrame:
    """Keep the last of several ratings of one item by one user."""
    order = sorted(ratings.columns, key=lambda column: column != "time")
    return ratings.sort(order).unique(["source_user_id", "source_item_id"], keep="last")


def k_core(interactions: pl.DataFrame, k: int) -> pl.DataFrame:
    """The largest part in which every user and every item has at least k interactions."""
    while True:
        kept = interactions.filter(pl.len().over("source_user_id") >= k)
        kept = kept.filter(pl.len().over("source_item_id") >= k)
        if kept.height == interactions.height:
            return kept
        interactions = kept


def leave_one_out(interactions: pl.DataFrame) -> pl.DataFrame:
    """Add position (from 1) and split: by time, ties by item id; last is test, second last dev."""
    user = "source_user_id"
    position, size = pl.col("position"), pl.len().over(user)
    return (
        interactions.sort(user, "time", "source_item_id")
        .with_columns(position=pl.int_range(1, pl.len() + 1).over(user))
        .with_columns(
            split=pl.when(position == size)
            .then(pl.lit("test"))
            .when(position == size - 1)
            .then(pl.lit("dev"))
            .otherwise(pl.lit("train"))
        )
    )


def dense_ids(source_ids: pl.Series, name: str) -> pl.DataFrame:
    """Ids 1..n in ascending order of the source's ids: columns ``name`` and ``source_`` + name."""
    ordered = source_ids.unique().sort()
    return pl.DataFrame(
        {name: pl.int_range(1, len(ordered) + 1, eager=True), f"source_{name}": ordered}
    )


def build(raw: Raw, core: int) -> tuple[Tables, dict[str, int]]:
    """Canonical tables of raw data, and how many rows were dropped for which reason.

    Errors: DataError when nothing is left.
    """
    kept = k_core(raw.interactions, core)
    if kept.is_empty():
        raise DataError(
            f"no interaction is left: no {core} users and {core} items are tied closely enough",
            f"use a --core below {core}" if core > MIN_CORE else None,
        )
    users = dense_ids(kept["source_user_id"], "user_id")
    ids = dense_ids(kept["source_item_id"], "item_id")
    split = leave_one_out(kept).join(users, on="source_user_id").join(ids, on="source_item_id")
    tags = raw.tags.unique().join(ids, on="source_item_id")
    common = tags.filter(pl.len().over("tag") >= RARE_BELOW)
    tables = {
        "users": users,
        "items": _items(ids, raw.items, split),
        "item_tags": common.sort("item_id", "kind", "tag"),
        "interactions": split.sort("user_id", "position"),
    }
    dropped = {
        **raw.dropped,
        "below_core": raw.interactions.height - kept.height,
        "item_tags_rare": tags.height - common.height,
    }
    return {name: _conform(frame, name) for name, frame in tables.items()}, dropped


def _items(ids: pl.DataFrame, items: pl.DataFrame, split: pl.DataFrame) -> pl.DataFrame:
    """Kept items with title and popularity; DataError when one has no title."""
    popularity = (
        split.filter(pl.col("split") == "train").group_by("item_id").agg(popularity=pl.len())
    )
    joined = ids.join(items, on="source_item_id", how="left").join(
        popularity, on="item_id", how="left"
    )
    untitled = joined.filter(pl.col("title").is_null())
    if not untitled.is_empty():
        raise DataError(f"item {untitled['source_item_id'][0]} has interactions but no title")
    return joined.with_columns(pl.col("popularity").fill_null(0)).sort("item_id")


def _conform(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """Columns, types and contiguous memory of the canonical table."""
    schema = SCHEMAS[table]
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items()).rechunk()
