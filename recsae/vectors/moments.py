"""Whether the vector of a position knows what the user had met by then, and nothing later.

Between two positions of a user a model learns one item, so the step from one vector to the next
depends on that item, whatever the model does with it and however well it ranks. With positions
counted wrongly it is the item after it, or the one before it, that explains the steps.

What a step is: the part of the later vector that is at right angles to the earlier one, with length
1. So neither the lengths of vectors nor the slowing down of an average matters. What an item
explains: the mean step of the other half of the users at that item is the guess for a step, and the
gain is how much smaller the guess leaves the squared error. The items' own vectors take no part: a
model may store items in another space than the one that it scores in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsae.vectors.table import Floats

LAGS = (-1, 1, -2, 2)
"""Errors of counting that are looked for: the vector of position p knows p + lag items."""

NEARER = 1.5
"""How many times as much a later one of LAGS has to explain to be taken for an earlier one."""

MOST_CASES = 60_000
"""Steps that are looked at, about; users are taken at equal distances where there are more."""

LEAST_SURE = 4.0
"""Standard errors over users by which another item has to explain the steps better: by chance once
in thirty thousand imports for one lag."""

LEAST_TIMES = 2.0
"""How many times as much of the steps it has to explain."""

DRAWN = (1, 4, 16, 64)
"""Steps of length 0 that a mean step may be drawn towards zero with: more where steps are noise."""

LEAST_USERS = 10
"""Users with steps at known items, below which nothing is said."""

STILL = 1e-5
"""Share of a vector below which a step is rounding."""

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """Positions that are counted wrongly."""

    lag: int
    """The vector of position p knows p + lag items."""
    gain: float
    """Share of the squared steps that the item at this lag explains, users alike, 0-1."""
    own_gain: float
    """The same for the item that the positions say; not above zero where it explains nothing."""


def find_shift(vectors: Floats, items: Ints, offsets: Ints) -> Shift | None:
    """Which of LAGS the steps between the vectors follow; None when it is the given position.

    ``items[offsets[u] : offsets[u + 1]]`` are those of user u (0-based) in order; ``vectors``
    (n_cases, d) has a row for each of the positions 1 to n - 1 of every user, in this order. None
    as well when too little can be told: few users, few repeated items, vectors that do not change.
    """
    steps = _Steps.of(vectors, items, offsets)
    best: Shift | None = None
    for lag in LAGS:
        found = steps.compare(lag)
        # a model that goes on changing for a while follows the item before the right one as well
        if found is not None and (best is None or found.gain > NEARER * best.gain):
            best = found
    return best


@dataclass(frozen=True)
class _Steps:
    """Steps of some users, and where the item of each stands."""

    directions: Doubles
    """(n, d) of length 1."""
    users: Ints
    """(n,) user of each, numbered from 0 without gaps."""
    places: Ints
    """(n,) place in ``items`` of the item that the positions say."""
    first: Ints
    """(n,) place of the user's first item."""
    after: Ints
    """(n,) place after the user's last item."""
    items: Ints

    @classmethod
    def of(cls, vectors: Floats, items: Ints, offsets: Ints) -> _Steps:
        lengths = np.diff(offsets)
        cases = np.maximum(lengths - 1, 0)
        rows = np.cumsum(cases) - cases  # of each user's position 1
        able = np.flatnonzero(lengths >= 3)
        n_steps = int((lengths[able] - 2).sum())
        able = able[:: max(1, -(-n_steps // MOST_CASES))]
        counts = lengths[able] - 2
        user = np.repeat(np.arange(len(able)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        before = rows[able][user] + within
        directions, moved = _directions(vectors[before], vectors[before + 1])
        user, within = user[moved], within[moved]
        # the step from position p to p + 1 is that of item p + 1; p is within + 1, places from 0
        first = offsets[able][user]
        return cls(directions, user, first + within + 1, first, offsets[able + 1][user], items)

    def compare(self, lag: int) -> Shift | None:
        """Whether the steps follow the item at this lag rather than the one given."""
        places = self.places + lag
        inside = (places >= self.first) & (places < self.after)
        own = self._gains(self.places[inside], inside)
        other = self._gains(places[inside], inside)
        users = self.users[inside]
        known = np.isfinite(own) & np.isfinite(other)
        means = [_per_user(gains[known], users[known]) for gains in (own, other)]
        if len(means[0]) < LEAST_USERS:
            return None
        gain, own_gain = float(means[1].mean()), float(means[0].mean())
        sure = _is_sure(means[1]) and _is_sure(means[1] - means[0])
        return Shift(lag, gain, own_gain) if sure and gain > LEAST_TIMES * own_gain else None

    def _gains(self, places: Ints, inside: npt.NDArray[np.bool_]) -> Doubles:
        """(n,) share of each squared step that its item explains; NaN for an unknown item."""
        directions, half = self.directions[inside], self.users[inside] % 2
        numbers = np.unique(self.items[places], return_inverse=True)[1]
        n_items = int(numbers.max(initial=-1)) + 1
        gains = np.full((len(DRAWN), len(places)), np.nan)
        for side in (0, 1):
            learns, tries = half == side, np.flatnonzero(half != side)
            sums, counts = _sums(numbers[learns], directions[learns], n_items)
            tries = tries[counts[numbers[tries]] > 0]
            own, count = sums[numbers[tries]], counts[numbers[tries]]
            along, square = (own * directions[tries]).sum(1), (own * own).sum(1)
            for row, drawn in enumerate(DRAWN):
                gains[row, tries] = 2 * along / (count + drawn) - square / (count + drawn) ** 2
        known = np.isfinite(gains[0])
        best = int(gains[:, known].mean(1).argmax()) if known.any() else 0
        return gains[best]


def _directions(before: Floats, after: Floats) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Steps (m, d) between vectors (n, d), and which of the n are steps at all."""
    early, late = _units(before), _units(after)
    steps = late - (late * early).sum(1, keepdims=True) * early
    length = np.linalg.norm(steps, axis=1)
    moved = length > STILL
    return steps[moved] / length[moved, None], moved


def _units(matrix: Floats) -> Doubles:
    """Rows of length 1; zero stays zero."""
    wide = matrix.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    units: Doubles = wide / np.where(length > 0, length, 1)
    return units


def _sums(numbers: Ints, rows: Doubles, n: int) -> tuple[Doubles, Doubles]:
    """Sum of the rows of each number (n, d), and how many there are (n,)."""
    counts = np.bincount(numbers, minlength=n).astype(np.float64)
    order = np.argsort(numbers, kind="stable")
    sums = np.zeros((n, rows.shape[1]))
    present = counts > 0
    starts = (np.cumsum(counts) - counts)[present].astype(np.int64)
    if len(starts):
        sums[present] = np.add.reduceat(rows[order], starts, axis=0)
    return sums, counts


def _is_sure(values: Doubles) -> bool:
    """Whether the mean of one value per user is above zero, by LEAST_SURE standard errors."""
    return bool(values.mean() > LEAST_SURE * values.std(ddof=1) / np.sqrt(len(values)))


def _per_user(values: Doubles, users: Ints) -> Doubles:
    """Mean of the values of every user that has some."""
    counts = np.bincount(users)
    totals = np.bincount(users, weights=values)
    means: Doubles = totals[counts > 0] / counts[counts > 0]
    return means
