"""Vectors put into the order of a data set's users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from recsae.datasets import Dataset
from recsae.errors import DataError
from recsae.vectors.table import Floats, VectorTable, shown

Score = Literal["dot", "cosine"]


@dataclass(frozen=True)
class Matched:
    """Vectors whose dot products are the scores."""

    users: Floats
    """(n_users, d), row r = user r + 1; or (n_cases, d), one row per user and position 1 to n - 1
    of that user's n interactions, in this order."""
    items: Floats
    """(n_items, d), row r = item r + 1."""
    is_sequential: bool
    """Whether the rows of ``users`` are those of users and positions."""
    has_bias: bool
    """Whether the last dimension is 1 for users and the bias for items."""
    notes: tuple[str, ...]
    """What the user should know about the match."""


def match(content: Dataset, users: VectorTable, items: VectorTable, score: Score) -> Matched:
    """Find the vector of every user (or of every user at every position) and of every item.

    ``cosine`` scales all vectors to length 1. A bias of the items is added to the score.
    Errors: DataError for vectors of different widths, for a user, position or item without a
    vector (the first one is named), for a vector of length 0 where it has no direction, and for
    scores that may be infinite.
    """
    if users.vectors.shape[1] != items.vectors.shape[1]:
        raise DataError(
            f"the vectors of users have {users.vectors.shape[1]} dimensions ({users.name}), those "
            f"of items {items.vectors.shape[1]} ({items.name})",
            "a score is their dot product, which needs one width",
        )
    if items.positions is not None:
        raise DataError(f"{items.name} has positions, but an item has one vector")
    if users.bias is not None:
        raise DataError(f"{users.name} has a bias of users, which ranks nothing", "leave it out")
    item_rows, notes = _rows(items, content.items["source_item_id"], "item", content)
    if users.positions is None:
        rows, more = _rows(users, content.users["source_user_id"], "user", content)
    else:
        rows, more = _case_rows(users, content)
    left, right = users.vectors[rows], items.vectors[item_rows]
    if score == "cosine":
        left, right = _unit(left, users, rows), _unit(right, items, item_rows)
    if items.bias is not None:
        left = np.hstack([left, np.ones((len(left), 1), np.float32)])
        right = np.hstack([right, items.bias[item_rows, None]])
    _check_scores(left, right, f"{users.name} and {items.name}")
    sequential, biased = users.positions is not None, items.bias is not None
    return Matched(left, right, sequential, biased, (*notes, *more))


def _check_scores(left: Floats, right: Floats, names: str) -> None:
    """DataError for vectors so long that a score may not be a 32-bit number."""
    # no score is larger than the product of the longest vectors
    users, items = (
        float(np.linalg.norm(one.astype(np.float64), axis=1).max()) for one in (left, right)
    )
    if users * items > float(np.finfo(np.float32).max):
        raise DataError(
            f"the vectors of {names} are so long ({users:.0e} and {items:.0e}) that their scores "
            "may be infinite",
            "scale them down",
        )


def _rows(
    table: VectorTable, source_ids: pl.Series, what: str, content: Dataset
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Row of the table for every id of the data, (n,), and a note about rows that are not used."""
    place = {one: row for row, one in enumerate(table.ids)}
    wanted = source_ids.to_list()
    lacking = [one for one in wanted if one not in place]
    if lacking:
        raise DataError(
            f"{table.name} has no vector for {what} {lacking[0]!r} of {content.name} "
            f"({_count(len(lacking), what)} without a vector, of {len(wanted):,})",
            _ids_hint(table, what),
        )
    notes = _spare(
        table, len(table.ids) - len(wanted), f"{what}s that {content.name} does not have"
    )
    return np.array([place[one] for one in wanted], dtype=np.int64), notes


def _case_rows(table: VectorTable, content: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """Row of the table for every user and position, (n_cases,), and a note about spare rows."""
    assert table.positions is not None
    place = {
        key: row for row, key in enumerate(zip(table.ids, table.positions.tolist(), strict=True))
    }
    lengths = content.interactions.group_by("user_id").len()
    sizes = content.users.join(lengths, on="user_id", how="left").sort("user_id")
    wanted = [
        (user, position)
        for user, n in sizes.select("source_user_id", pl.col("len").fill_null(0)).rows()
        for position in range(1, n)
    ]
    lacking = [key for key in wanted if key not in place]
    if lacking:
        user, position = lacking[0]
        raise DataError(
            f"{table.name} has no vector for user {user!r} of {content.name} at position "
            f"{position} ({len(lacking):,} of {len(wanted):,} without a vector)",
            "a user with n interactions needs one for every position from 1 to n - 1; "
            + _ids_hint(table, "user"),
        )
    spare = len(place) - len(wanted)
    notes = _spare(table, spare, f"users and positions that {content.name} does not have")
    return np.array([place[key] for key in wanted], dtype=np.int64), notes


def _spare(table: VectorTable, n: int, what: str) -> tuple[str, ...]:
    return (f"{table.name}: {n:,} vectors of {what} are not used",) if n else ()


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' if n != 1 else ''}"


def _ids_hint(table: VectorTable, what: str) -> str:
    known = f"its ids are {shown(table.ids)}, ..."
    if table.row_ids:
        return f"it has no ids, so row r is {what} r; give --{what}-ids FILE"
    return known


def _unit(matrix: Floats, table: VectorTable, rows: np.ndarray) -> Floats:
    """Rows scaled to length 1."""
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=1)
    if not lengths.all():
        zero = table.ids[int(rows[int(np.argmin(lengths))])]
        raise DataError(
            f"{table.name}: the vector of {zero!r} is zero, so its cosine is not defined",
            "use --score dot",
        )
    unit: Floats = (matrix / lengths[:, None]).astype(np.float32)
    return unit
