"""Vectors put into the order of a data set's users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from recsae.datasets import Dataset
from recsae.errors import DataError
from recsae.vectors.agreement import Agreed, Agreement
from recsae.vectors.lengths import check_lengths, lengths_of, overlong
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
    agreed: Agreed | None = None
    """Directions that rank nothing and were taken out of ``users``, if there were such."""


def match(content: Dataset, users: VectorTable, items: VectorTable, score: Score) -> Matched:
    """Find the vector of every user (or of every user at every position) and of every item.

    ``cosine`` scales all vectors to length 1. A bias of the items is added to the score. Directions
    in which all items agree are taken out of the users' vectors: every score of a user (or case)
    then differs by one number, and the ranking is the same.
    Errors: DataError for vectors of different widths, for a user, position or item without a
    vector (the first one is named), for positions that do not count from 1 or go beyond a user's
    interactions, for a vector of length 0 where it has no direction, and for vectors so long or so
    short that they cannot be multiplied or squared.
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
    if score == "dot":
        check_lengths(left, users, rows, "user")
        check_lengths(right, items, item_rows, "item")
    if score == "cosine":
        left, right = _unit(left, users, rows), _unit(right, items, item_rows)
    if items.bias is not None:
        left = np.hstack([left, np.ones((len(left), 1), np.float32)])
        right = np.hstack([right, items.bias[item_rows, None]])
    _check_scores(left, right, f"{users.name} and {items.name}")
    agreed = Agreement(right).among(left)
    if agreed is not None:
        left = agreed.take_out(left)
        more = (*more, agreed.told(users.name))
    more = (*more, *overlong(left, users, rows))
    sequential, biased = users.positions is not None, items.bias is not None
    return Matched(left, right, sequential, biased, (*notes, *more), agreed)


def _check_scores(left: Floats, right: Floats, names: str) -> None:
    """DataError for vectors so long that a score may not be a 32-bit number."""
    # no score is larger than the product of the longest vectors
    users, items = (float(lengths_of(one).max()) for one in (left, right))
    if users * items > float(np.finfo(np.float32).max):
        raise DataError(
            f"the vectors of {names} are so long ({users:.0e} and {items:.0e}, biases included) "
            "that their scores may be infinite",
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
    given = pl.DataFrame(
        {"source_user_id": table.ids, "position": table.positions, "row": range(len(table.ids))}
    )
    n_met = pl.len().over("user_id").alias("n_met")
    met = content.interactions.select("user_id", pl.col("position").cast(pl.Int64), n_met)
    met = met.sort("user_id", "position").join(content.users, on="user_id", maintain_order="left")
    _check_numbering(table, given, met.unique("user_id", maintain_order=True), content)
    wanted = met.filter(pl.col("position") < pl.col("n_met")).join(
        given, on=("source_user_id", "position"), how="left", maintain_order="left"
    )
    lacking = wanted.filter(pl.col("row").is_null())
    if lacking.height:
        first = lacking.row(0, named=True)
        raise DataError(
            f"{table.name} has no vector for user {first['source_user_id']!r} of {content.name} at "
            f"position {first['position']} ({lacking.height:,} of {wanted.height:,} without a "
            "vector)",
            "a user with n interactions needs one for every position from 1 to n - 1; "
            + _ids_hint(table, "user"),
        )
    spare = given.height - wanted.height
    notes = _spare(table, spare, f"users and positions that {content.name} does not have")
    return wanted["row"].to_numpy(), (*notes, *_dropped(content))


def _check_numbering(
    table: VectorTable, given: pl.DataFrame, users: pl.DataFrame, content: Dataset
) -> None:
    """Positions of the users of the data count their interactions, from 1."""
    known = given.join(users.select("source_user_id", "n_met"), on="source_user_id")
    beyond = known.filter((pl.col("position") > pl.col("n_met")) | (pl.col("position") < 0))
    if beyond.height:
        user, position, _, n_met = beyond.sort("row").row(0)
        raise DataError(
            f"{table.name} has a vector for user {user!r} at position {position}, but "
            f"{content.name} has {n_met:,} interactions of that user ({beyond.height:,} such "
            "vectors), so the positions count others",
            "position p is what is known after the first p interactions that the data set keeps"
            + ("" if position < 0 else "; one that drops repeats or ratings has fewer"),
        )
    at_start = known.filter(pl.col("position") == 0)
    whole = known.filter(pl.col("position") == pl.col("n_met"))
    doubtful = at_start.join(whole, on="source_user_id", how="anti")
    vectors = table.vectors[doubtful["row"].to_numpy()]
    # what is known of nobody is the same for everybody
    if len(vectors) and not bool((vectors == vectors[0]).all()):
        raise DataError(
            f"the positions of {table.name} start at 0, with another vector for each user",
            "position p is what is known after p items: where the first vector of a user knows one "
            "item, add 1 to all positions; where it knows none, leave the rows of position 0 out",
        )


def _dropped(content: Dataset) -> tuple[str, ...]:
    """A note about interactions that positions must not count."""
    dropped = content.info.get("dropped", {})
    n = sum(dropped.get(reason, 0) for reason in ("duplicate", "below_min_rating", "below_core"))
    if not n:
        return ()
    return (
        f"{content.name} was prepared without {n:,} interactions of its source; positions have to "
        "count those that it keeps",
    )


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
