"""From raw interactions to splits: which are kept, in what order, and which are held out.

The protocol of the reference (ReChorus): implicit positives, iterated k-core, leave-one-out by
time. All functions are pure; a frame of interactions has ``source_user_id``, ``source_item_id``
(Int64, or an Enum in the order of the ids) and ``time`` (Int64, or Decimal where it has fractions).
A source that comes split has ``split`` (an Enum) as well, and ``row``, its order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsae.datasets.canonical import SCHEMAS, Tables
from recsae.datasets.given import SPLIT, check_held_out
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
    """source_user_id, source_item_id, time and perhaps split, row; one row per interaction."""
    items: pl.DataFrame
    """source_item_id (unique), title String; an item without a row here has no title."""
    tags: pl.DataFrame
    """source_item_id, kind String, tag String (``prefix:value``)."""
    dropped: dict[str, int]
    """What the reader left out, by reason."""
    notes: tuple[str, ...] = ()
    """What the user should know about the source."""
    dense: bool = False
    """Whether the source's ids count from 1, so that they are kept and gaps are filled."""
    rows: int | None = None
    """Rows of interactions that the source has; None: they are not counted."""


@dataclass(frozen=True)
class Made:
    """What a recipe gives: tables to write and what to record about them."""

    tables: Tables
    dropped: dict[str, int]
    sources: list[dict[str, str]]


def latest(ratings: pl.DataFrame) -> pl.DataFrame:
    """Keep the last of several ratings of one item by one user.

    Only rows whose pair may occur twice are sorted, which spares memory where there are millions.
    """
    pair = ("source_user_id", "source_item_id")
    hashes = ratings.select(pair=pl.struct(pair).hash())["pair"]
    ordered = np.sort(hashes.to_numpy())
    again = hashes.is_in(pl.Series(ordered[1:][ordered[1:] == ordered[:-1]]).unique().implode())
    if not again.any():
        return ratings
    order = sorted(ratings.columns, key=lambda column: column != "time")
    last = ratings.filter(again).sort(order).unique(pair, keep="last")
    return pl.concat([ratings.filter(~again), last])


def positives(ratings: pl.DataFrame, least: float | None) -> tuple[pl.DataFrame, dict[str, int]]:
    """Interactions that count, without the column ``rating``: the latest of every user and item,
    and of these the ones rated ``least`` or more; and how many were dropped for which reason.
    """
    last = latest(ratings)
    kept = last if least is None else last.filter(pl.col("rating") >= least)
    dropped = {
        "duplicate": ratings.height - last.height,
        "below_min_rating": last.height - kept.height,
    }
    return kept.drop("rating", strict=False), dropped


def k_core(interactions: pl.DataFrame, k: int) -> pl.DataFrame:
    """The largest part in which every user and every item has at least k interactions."""
    while True:
        kept = interactions.filter(pl.len().over("source_user_id") >= k)
        kept = kept.filter(pl.len().over("source_item_id") >= k)
        if kept.height == interactions.height:
            return kept
        interactions = kept


def in_order(interactions: pl.DataFrame) -> pl.DataFrame:
    """Add position, from 1: by split where one is given, then time; ties by row, else item id."""
    user = "source_user_id"
    given = interactions.columns
    split = ["split"] if "split" in given else []
    tie = "row" if "row" in given else "source_item_id"
    ordered = interactions.sort(user, *split, "time", tie)
    return ordered.with_columns(position=pl.int_range(1, pl.len() + 1).over(user))


def leave_one_out(interactions: pl.DataFrame) -> pl.DataFrame:
    """Add position (from 1) and split: by time, ties by item id; last is test, second last dev.

    A user with fewer than MIN_CORE interactions has train rows only.
    """
    position, size = pl.col("position"), pl.len().over("source_user_id")
    return in_order(interactions).with_columns(
        split=pl.when((position < size - 1) | (size < MIN_CORE))
        .then(pl.lit("train", SPLIT))
        .when(position == size)
        .then(pl.lit("test", SPLIT))
        .otherwise(pl.lit("dev", SPLIT))
    )


def dense_ids(source_ids: pl.Series, name: str) -> pl.DataFrame:
    """Ids 1..n in ascending order of the source's ids: columns ``name`` and ``source_`` + name."""
    ordered = source_ids.unique().sort()
    return pl.DataFrame(
        {name: pl.int_range(1, len(ordered) + 1, eager=True), f"source_{name}": ordered}
    )


def build(raw: Raw, core: int | None) -> tuple[Tables, dict[str, int]]:
    """Canonical tables of raw data, and how many rows were dropped for which reason.

    ``core`` None keeps everything, and the split that the source has. Otherwise the interactions
    that the k-core leaves (0: all) are split anew, in the given order.
    Errors: DataError when nothing is left, when a split is empty, and when a user or an item would
    get lost.
    """
    if raw.interactions.is_empty():
        raise DataError("no interaction is left", "use a lower --min-rating")
    kept = raw.interactions if core is None else k_core(raw.interactions, core)
    if kept.is_empty():
        raise DataError(
            f"no interaction is left: no {core} users and {core} items are tied closely enough",
            f"use a --core below {core}" if core != MIN_CORE else None,
        )
    given = core is None and "split" in kept.columns
    if given:
        check_held_out(kept)
    split = in_order(kept) if given else leave_one_out(kept)
    if split["split"].n_unique() == 1:  # only --core 0 leaves such data
        raise DataError(f"no user has {MIN_CORE} interactions, so none can be held out")
    keep_ids = raw.dense and core is None
    users = _ids(kept["source_user_id"], None, "user_id", keep_ids)
    ids = _ids(kept["source_item_id"], raw.items["source_item_id"], "item_id", keep_ids)
    split = _joined(split, users, ids)
    if split.height != kept.height:
        lost = kept.height - split.height
        raise DataError(f"{lost:,} interactions have a user or an item that is in no table")
    ids = ids.with_columns(pl.col("source_item_id").cast(pl.String))
    tags = raw.tags.with_columns(pl.col("source_item_id").cast(pl.String)).unique()
    tags = tags.join(ids, on="source_item_id")
    common = tags.filter(pl.len().over("tag") >= RARE_BELOW)
    tables = {
        "users": users,
        "items": _items(ids, raw.items, split),
        "item_tags": common.sort("item_id", "kind", "tag"),
        "interactions": split.sort("user_id", "position"),
    }
    below = {} if core is None else {"below_core": raw.interactions.height - kept.height}
    dropped = {**raw.dropped, **below, "item_tags_rare": tags.height - common.height}
    return {name: _conform(frame, name) for name, frame in tables.items()}, dropped


def _joined(split: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """user_id and item_id instead of the source's ids, in narrow columns: there may be millions."""
    narrow = split.with_columns(pl.col("time").cast(pl.Int64), pl.col("position").cast(pl.Int32))
    for ids, name in ((users, "user_id"), (items, "item_id")):
        source = f"source_{name}"
        ids = ids.select(source, pl.col(name).cast(pl.Int32))
        narrow = narrow.join(ids, on=source).drop(source)
    return narrow


def _ids(used: pl.Series, described: pl.Series | None, name: str, keep: bool) -> pl.DataFrame:
    """Dense ids of what has interactions; kept ids run up to the largest one that occurs."""
    if not keep:
        return dense_ids(used, name)
    largest = max(int(one.max() or 0) for one in (used, described) if one is not None)  # type: ignore[arg-type]
    return dense_ids(pl.int_range(1, largest + 1, eager=True), name)


def _items(ids: pl.DataFrame, items: pl.DataFrame, split: pl.DataFrame) -> pl.DataFrame:
    """Kept items with title (null where the source has none) and popularity."""
    popularity = (
        split.filter(pl.col("split") == "train").group_by("item_id").agg(popularity=pl.len())
    )
    titles = items.with_columns(pl.col("source_item_id").cast(pl.String))
    joined = ids.join(titles, on="source_item_id", how="left").join(
        popularity, on="item_id", how="left"
    )
    return joined.with_columns(pl.col("popularity").fill_null(0)).sort("item_id")


def _conform(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """Columns, types and contiguous memory of the canonical table."""
    schema = SCHEMAS[table]
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items()).rechunk()
