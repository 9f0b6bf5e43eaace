"""Directions in which all items agree: what a user has there is added to every score alike.

LightFM's user bias is such a direction (its items have a 1 there), and so is that of the logistic
matrix factorisation of implicit. It ranks nothing, but an autoencoder rebuilds whatever varies, and
a wide one leaves it no room for tastes. Neither need it be a column: rotated vectors rank the same.
So every direction that is at right angles to all differences of items is looked for.

What counts as agreeing is a question of rounding, since vectors are 32-bit numbers:

- A column that is the same number for all items agrees. One that differs anywhere does not, however
  little: its users may have large numbers there.
- Other directions combine columns. Columns are brought to one spread first, so that a narrow one
  counts as much as a wide one. A combination agrees where its spread is that of rounding, and where
  taking it out changes no difference of scores by more than rounding them does, for any user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from recsae.vectors.table import Floats

Doubles = npt.NDArray[np.float64]

ROUNDING = 16 * float(np.finfo(np.float32).eps)
"""Relative error that a product of 32-bit vectors may have; sums of a hundred terms stay below."""

GRAM_ROUNDING = 1e-14
"""Relative error of the correlations, per column."""

LEAST_EFFECT = 1e-3
"""Share of the spread of a user's scores that a direction must not reach, whatever the rounding."""

NO_SHARE = 1e-10
"""Share of the variance of the users below which taking a direction out changes nothing."""

ROWS = 65_536
"""Vectors that are widened to 64 bits at once."""


@dataclass(frozen=True)
class Agreed:
    """Directions of some users' vectors that rank nothing."""

    columns: tuple[int, ...]
    """Columns, from 0, in which all items have one number."""
    directions: Doubles
    """(m, d) orthonormal; others than columns."""
    share: float
    """What they hold together of the variance of the users' vectors, 0-1."""

    def __len__(self) -> int:
        return len(self.columns) + len(self.directions)

    def take_out(self, vectors: Floats) -> Floats:
        """The vectors (n, d) without these directions: every ranking stays as it is."""
        parts = []
        for block in _blocks(vectors):
            block = block - (block @ self.directions.T) @ self.directions
            block[:, self.columns] = 0
            parts.append(block.astype(np.float32))
        kept: Floats = np.concatenate(parts) if parts else vectors
        return kept

    def as_json(self) -> dict[str, Any]:
        """What a run records: columns, the number of other directions, and the share."""
        return {
            "columns": list(self.columns),
            "directions": len(self.directions),
            "variance": self.share,
        }

    def told(self, name: str) -> str:
        """A line about what is taken out of the users' vectors of a file."""
        return (
            f"{name}: all items agree in {self}, so {'they rank' if len(self) > 1 else 'it ranks'} "
            f"nothing; {self.share:.1%} of the variance of the users' vectors lay there and is "
            "taken out (rankings stay, each user's scores move by one number)"
        )

    def __str__(self) -> str:
        """What they are, in words."""
        parts = []
        if self.columns:
            shown = ", ".join(map(str, self.columns[:5])) + (", ..." * (len(self.columns) > 5))
            parts.append(f"column{'s' * (len(self.columns) > 1)} {shown} (from 0)")
        if n := len(self.directions):
            parts.append(f"{n:,} direction{'s' * (n > 1)} across columns")
        return " and ".join(parts)


class Agreement:
    """Where all items (n, d) agree, as far as the items tell."""

    def __init__(self, items: Floats) -> None:
        self.items = items
        # a single item agrees with itself in everything
        same = (items == items[0]).all(0) & (len(items) > 1)
        self.columns = np.flatnonzero(same)
        self.others = np.flatnonzero(~same)
        self.candidates = self._combinations()
        """(m, d) orthonormal directions across columns that may agree."""

    def __bool__(self) -> bool:
        return len(self.columns) + len(self.candidates) > 0

    def among(self, users: Floats) -> Agreed | None:
        """The directions in which these users (n, d) differ, and items do not; None for none."""
        if not self or not len(users):
            return None
        total = self._total(users)
        columns = np.array([k for k in self.columns if _spread(users[:, k]) > NO_SHARE * total])
        directions = self._in_use(users, self._harmless(users), total)
        if not len(columns) + len(directions):
            return None
        held = sum(_spread(users[:, k]) for k in columns)
        held += sum(_variances(users, directions))
        return Agreed(tuple(map(int, columns)), directions, held / total)

    @cached_property
    def _covariance(self) -> Doubles:
        """(d, d) of the items."""
        return _covariance(self.items)

    def _combinations(self) -> Doubles:
        d, own = self.items.shape[1], self.others
        if len(own) < 2 or len(self.items) < 2:
            return np.empty((0, d))
        covariance = self._covariance[np.ix_(own, own)]
        spread = np.sqrt(np.diag(covariance))
        size = np.sqrt(_squares(self.items)[own])
        values, basis = np.linalg.eigh(covariance / spread / spread[:, None])
        # a column's rounding is relative to its size, here in units of its spread
        rounding = (basis**2 * (ROUNDING * size / spread)[:, None] ** 2).sum(0)
        small = values <= np.maximum(rounding, GRAM_ROUNDING * len(own))
        wide = np.zeros((int(small.sum()), d))
        wide[:, own] = (basis[:, small] / spread[:, None]).T
        return _orthonormal(wide)

    def _harmless(self, users: Floats) -> Doubles:
        """Candidates (m, d) that change no user's scores by more than rounding does."""
        found = self.candidates
        if not len(found):
            return found
        reach = np.zeros(len(found))
        centre = self.items.mean(0, dtype=np.float64)
        for block in _blocks(self.items):
            np.maximum(reach, np.abs((block - centre) @ found.T).max(0), out=reach)
        size, harmless = np.sqrt(_squares(self.items)), np.ones(len(found), bool)
        for block in _blocks(users):
            allowed = np.minimum(
                ROUNDING * (np.abs(block) @ size),
                LEAST_EFFECT * np.sqrt(np.maximum(((block @ self._covariance) * block).sum(1), 0)),
            )
            harmless &= (np.abs(block @ found.T) * reach <= allowed[:, None]).all(0)
        return found[harmless]

    def _in_use(self, users: Floats, found: Doubles, total: float) -> Doubles:
        """What the users' vectors vary in, of the span of some directions (m, d)."""
        if not len(found):
            return found
        values, basis = np.linalg.eigh(found @ _covariance(users) @ found.T)
        return basis.T[values > NO_SHARE * total] @ found

    def _total(self, users: Floats) -> float:
        """Variance of the users' vectors, all columns together."""
        return float(sum(_spread(users[:, k]) for k in range(users.shape[1])))


def _blocks(matrix: Floats) -> Iterator[Doubles]:
    for start in range(0, len(matrix), ROWS):
        yield matrix[start : start + ROWS].astype(np.float64)


def _covariance(matrix: Floats) -> Doubles:
    """(d, d) of vectors (n, d)."""
    centre, total = matrix.mean(0, dtype=np.float64), np.zeros((matrix.shape[1],) * 2)
    for block in _blocks(matrix):
        block -= centre
        total += block.T @ block
    return total / len(matrix)


def _squares(matrix: Floats) -> Doubles:
    """(d,) mean square of each column."""
    squares: Doubles = sum((np.square(block).sum(0) for block in _blocks(matrix)), np.zeros(1))
    return squares / len(matrix)


def _spread(column: Floats) -> float:
    """Variance of numbers (n,)."""
    return float(column.astype(np.float64).var())


def _variances(users: Floats, directions: Doubles) -> list[float]:
    """Variance of users (n, d) along each direction (m, d)."""
    covariance = _covariance(users) if len(directions) else np.empty((0, 0))
    return [float(one @ covariance @ one) for one in directions]


def _orthonormal(rows: Doubles) -> Doubles:
    """An orthonormal basis (m, d) of the span of independent rows (m, d)."""
    if not len(rows):
        return rows
    # of one length first, since columns of small spread make long rows
    basis: Doubles = np.linalg.qr((rows / np.linalg.norm(rows, axis=1)[:, None]).T)[0].T
    return basis
