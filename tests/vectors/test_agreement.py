"""Directions in which all items agree are found, by rotation too, and nothing that ranks is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.vectors.agreement import Agreed, Agreement

N, M, D = 200, 150, 12


def planted(seed: int, *, n: int = N, m: int = M, d: int = D) -> tuple[np.ndarray, np.ndarray]:
    """Users (n, d + 2) that end in (bias, 1), and items (m, d + 2) that end in (1, bias)."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(n, d + 2))
    users[:, d], users[:, d + 1] = -175 + 30 * users[:, d], 1
    items = rng.normal(size=(m, d + 2))
    items[:, d], items[:, d + 1] = 1, 0.05 * items[:, d + 1]
    return users, items


def rotation(d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def found(users: np.ndarray, items: np.ndarray) -> tuple[Agreed | None, np.ndarray, np.ndarray]:
    left, right = users.astype(np.float32), items.astype(np.float32)
    return Agreement(right).among(left), left, right


def differences(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Scores (n, m) without what is added to all of a row."""
    scores = users.astype(np.float64) @ items.astype(np.float64).T
    return scores - scores.mean(1, keepdims=True)


def test_a_user_bias_is_a_column() -> None:
    users, items = planted(0)
    agreed, left, right = found(users, items)
    assert agreed is not None
    assert (agreed.columns, len(agreed.directions), len(agreed)) == ((D,), 0, 1)
    assert str(agreed) == f"column {D} (from 0)"
    variances = users.var(0)
    assert agreed.share == pytest.approx(variances[D] / variances.sum(), rel=1e-4)
    kept = agreed.take_out(left)
    assert not kept[:, D].any()
    rest = [k for k in range(D + 2) if k != D]
    assert np.array_equal(kept[:, rest], left[:, rest])
    np.testing.assert_allclose(differences(kept, right), differences(left, right), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), power=st.sampled_from([-12, 0, 12]))
def test_a_rotated_one_is_found_at_any_scale(seed: int, power: int) -> None:
    """And no ranking changes but by the rounding that rotated vectors have."""
    users, items = planted(seed)
    turned, size = rotation(D + 2, seed), 10.0**power
    agreed, left, right = found(users @ turned / size, items @ turned * size)
    assert agreed is not None
    assert (agreed.columns, len(agreed.directions)) == ((), 1)
    true = turned[D]
    assert abs(float(agreed.directions[0] @ true)) == pytest.approx(1, abs=1e-6)
    kept = agreed.take_out(left)
    before, after = differences(left, right), differences(kept, right)
    assert np.abs(before - after).max() < 1e-4 * before.std()
    assert np.abs(kept @ true).max() < 1e-3 * np.abs(kept).max()


def test_more_dimensions_than_items() -> None:
    """Differences of 20 items span 19 dimensions at most; the others rank nothing."""
    rng = np.random.default_rng(1)
    agreed, left, right = found(rng.normal(size=(90, 64)), rng.normal(size=(20, 64)))
    assert agreed is not None
    assert len(agreed) == 64 - 19
    kept = agreed.take_out(left)
    np.testing.assert_allclose(differences(kept, right), differences(left, right), atol=1e-5)
    assert np.linalg.matrix_rank(kept - kept.mean(0), tol=1e-3) == 19


def wide(column_users: np.ndarray, column_items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plain vectors with one more column."""
    rng = np.random.default_rng(2)
    pairs = ((rng.normal(size=(N, D)), column_users), (rng.normal(size=(M, D)), column_items))
    return tuple(np.hstack([a, b[:, None]]) for a, b in pairs)  # type: ignore[return-value]


NOISE = np.random.default_rng(3)
USERS, ITEMS = NOISE.normal(size=N), NOISE.normal(size=M)


@pytest.mark.parametrize(
    ("users", "items"),
    [
        (-175 + 30 * USERS, 1 + 1e-3 * ITEMS),
        (1e4 * USERS, 1 + 1e-5 * ITEMS),
        (1e7 * USERS, 1 + 1.2e-7 * np.round(2 * ITEMS)),  # a few of the smallest steps there are
        (1e9 * USERS, 1e-9 * ITEMS),
        (1e9 * USERS, np.where(np.arange(M) == 7, 1 + 1e-6, 1.0)),  # one item differs
        (USERS, ITEMS),
    ],
)
def test_what_ranks_stays(users: np.ndarray, items: np.ndarray) -> None:
    """However little items differ: users may have large numbers there. By rotation as well."""
    left, right = wide(users, items)
    assert found(left, right)[0] is None
    turned = rotation(D + 1, 4)
    agreed, left, right = found(left @ turned, right @ turned)
    if agreed is not None:  # rotated in 32 bits, the difference may be lost already
        before = differences(left, right)
        assert (
            np.abs(before - differences(agreed.take_out(left), right)).max() < 2e-3 * before.std()
        )


def test_what_users_do_not_differ_in_stays() -> None:
    """A column that is constant on both sides, shares that add up to 1, items of unit length."""
    users, items = planted(5)
    users[:, D] = 3
    assert found(users, items)[0] is None
    rng = np.random.default_rng(6)
    shares = rng.dirichlet(np.ones(4), size=N)
    one_hot = np.eye(4)[rng.integers(4, size=M)]
    assert found(shares, one_hot)[0] is None
    agreed, _, _ = found(shares * rng.uniform(1, 9, (N, 1)), one_hot)
    assert agreed is not None
    np.testing.assert_allclose(np.abs(agreed.directions), 0.5, atol=1e-6)
    units = items[:, :D] / np.linalg.norm(items[:, :D], axis=1, keepdims=True)
    assert found(users[:, :D], units)[0] is None


def test_an_overlong_user_hides_nothing() -> None:
    users, items = planted(7)
    users[3] *= 1e9
    agreed, left, right = found(users, items)
    assert agreed is not None
    assert agreed.columns == (D,)
    rest = np.arange(N) != 3
    np.testing.assert_allclose(
        differences(agreed.take_out(left)[rest], right), differences(left[rest], right), atol=1e-9
    )


def test_few_items_and_few_users() -> None:
    rng = np.random.default_rng(8)
    assert found(rng.normal(size=(5, 3)), rng.normal(size=(1, 3)))[0] is None
    assert found(np.empty((0, 3)), rng.normal(size=(9, 3)))[0] is None
    assert found(rng.normal(size=(1, 14)), planted(0)[1])[0] is None  # nothing varies
