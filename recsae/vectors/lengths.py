"""Vectors that are too long or too short: to be computed with, or for the others to count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recsae.errors import DataError
from recsae.vectors.table import Floats, VectorTable

Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

LONGEST, SHORTEST = 1e15, 1e-15
"""Lengths between which 32-bit numbers can be squared and added up, with room to spare."""

TIMES = 10.0
"""How many times the median distance from the mean makes a vector overlong."""

MOST_SHARE = 0.5
"""Share of the squared distances that overlong vectors must not hold together."""

SHOWN = 3
"""Overlong vectors that are named."""

ROWS = 65_536
"""Vectors that are widened to 64 bits at once."""


def lengths_of(vectors: Floats, centre: Doubles | None = None) -> Doubles:
    """Lengths (n,) of vectors (n, d), or their distances from a centre (d,)."""
    parts = []
    for start in range(0, len(vectors), ROWS):
        block = vectors[start : start + ROWS].astype(np.float64)
        parts.append(np.linalg.norm(block if centre is None else block - centre, axis=1))
    return np.concatenate(parts) if parts else np.empty(0)


def check_lengths(vectors: Floats, table: VectorTable, rows: Rows, what: str) -> None:
    """DataError for vectors (n, d), rows of a table, too long or too short to compute with.

    Vectors of length 0 may occur.
    """
    lengths = lengths_of(vectors)
    some = lengths[lengths > 0]
    if not len(some):
        return
    median, row = float(np.median(some)), int(np.argmax(lengths))
    other = "items" if what == "user" else "users"
    if median > LONGEST or median < SHORTEST:
        size = "long" if median > LONGEST else "short"
        raise DataError(
            f"the vectors of {table.name} are too {size} to be computed with in 32 bits: their "
            f"median length is {median:.0e}",
            f"divide them by {median:.0e} and multiply those of the {other} by it, which leaves "
            "every score as it is",
        )
    if lengths[row] > LONGEST:
        n = int((lengths > LONGEST).sum())
        raise DataError(
            f"{table.name}: the vector of {where(table, rows[row])} is too long to be computed "
            f"with in 32 bits: its length is {lengths[row]:.0e}, and the median {median:.2g} "
            f"({n:,} such {'row' if n == 1 else 'rows'})",
            "mend the model that wrote it"
            + ("; the length of a user's vector ranks nothing" if what == "user" else ""),
        )


def overlong(vectors: Floats, table: VectorTable, rows: Rows) -> tuple[str, ...]:
    """A warning about a few vectors (n, d), rows of a table, that outweigh all others."""
    found = outweighing(vectors)
    if not len(found.rows):
        return ()
    names = found.named(lambda row: where(table, rows[row]))
    return (
        f"warning: {table.name}: {len(found.rows):,} of {len(vectors):,} vectors hold "
        f"{found.share:.1%} of all variance, and the autoencoder will rebuild little else: {names}"
        "; shorten them, which leaves a user's ranking as it is where items have no bias",
    )


class Outweighing:
    """Vectors that outweigh all others, the longest first."""

    def __init__(self, rows: Rows, times: Doubles, share: float) -> None:
        self.rows, self.times, self.share = rows, times, share
        """Rows; distances from the mean in median ones; what they hold of the variance, 0-1."""

    def named(self, name: Callable[[int], str]) -> str:
        """The longest ones, by the name of their rows, with their distances."""
        longest = zip(self.rows[:SHOWN].tolist(), self.times[:SHOWN], strict=True)
        names = ", ".join(f"{name(row)} ({times:,.0f} times)" for row, times in longest)
        more = len(self.rows) - SHOWN
        rest = f" and {more:,} more" if more > 0 else ""
        return f"{names}{rest}, against the median distance from the mean"


def outweighing(vectors: Floats) -> Outweighing:
    """The vectors (n, d) more than TIMES as far from the mean as the median, where few of them hold
    more than MOST_SHARE of the variance; otherwise none.
    """
    # the median of each column, since a few vectors may be all that the mean shows
    sample = vectors[:: max(1, len(vectors) // ROWS)]
    distances = lengths_of(vectors, np.median(sample, axis=0).astype(np.float64))
    middle = float(np.median(distances)) if len(distances) else 0.0
    squares = np.square(distances)
    far = np.flatnonzero(distances > TIMES * middle) if middle > 0 else np.empty(0, np.int64)
    share = float(squares[far].sum() / squares.sum()) if len(far) else 0.0
    if share <= MOST_SHARE:
        far = far[:0]
    order = far[np.argsort(-distances[far], kind="stable")]
    return Outweighing(order, distances[order] / (middle or 1), share)


def where(table: VectorTable, row: int) -> str:
    """The id of a row, and its position, for a message."""
    place = "" if table.positions is None else f" at position {table.positions[row]}"
    return f"{table.ids[row]!r}{place}"
