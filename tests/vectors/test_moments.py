"""Vectors of other positions are noticed, whatever the model, and right ones are let through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recsae.vectors.moments import Shift, find_shift

Model = Callable[[np.ndarray], np.ndarray]
N_ITEMS, D = 80, 6


def histories(seed: int, n_users: int = 80, n_items: int = N_ITEMS) -> list[np.ndarray]:
    """Items (from 1) of two of eight groups for each user, in random order."""
    rng = np.random.default_rng(seed)
    every = []
    for _ in range(n_users):
        groups = rng.choice(8, 2, replace=False)
        own = [item for item in range(n_items) if item % 8 in groups]
        every.append(1 + rng.permutation(own)[: rng.integers(5, 21)])
    return every


def models(seed: int) -> dict[str, Model]:
    """What a model knows after 0, 1, ... items of a history: (n + 1, D)."""
    rng = np.random.default_rng(seed)
    items = np.eye(8)[np.arange(N_ITEMS + 1) % 8][:, :D] + 0.2 * rng.normal(size=(N_ITEMS + 1, D))
    next_items = rng.normal(size=(N_ITEMS + 1, D))  # of a space of its own
    turn = np.random.default_rng(9).normal(size=(D, D)) / D**0.5

    def mean(own: np.ndarray) -> np.ndarray:
        sums = np.cumsum(np.vstack([np.zeros(D), items[own]]), 0)
        return sums / np.maximum(np.arange(len(own) + 1), 1)[:, None]

    def last(own: np.ndarray) -> np.ndarray:
        return np.vstack([np.zeros(D), next_items[own]])

    def fading(own: np.ndarray) -> np.ndarray:
        states = [np.zeros(D)]
        for item in own:
            states.append(0.8 * states[-1] + items[item])
        return np.array(states)

    def recurrent(own: np.ndarray) -> np.ndarray:
        states = [np.zeros(D)]
        for item in own:
            states.append(np.tanh(states[-1] @ turn + next_items[item]))
        return np.array(states)

    def suppressing(own: np.ndarray) -> np.ndarray:
        """Met items score lowest, as with models that never see an item twice in training."""
        return -mean(own) * np.arange(len(own) + 1)[:, None]

    return {
        "mean": mean,
        "last": last,
        "fading": fading,
        "recurrent": recurrent,
        "suppressing": suppressing,
    }


def arrays(every: list[np.ndarray], model: Model, lag: int) -> tuple[np.ndarray, ...]:
    """Vectors of positions 1 to n - 1 that know ``lag`` items more, items and offsets."""
    vectors = [model(own)[np.clip(np.arange(1, len(own)) + lag, 0, len(own))] for own in every]
    ends = np.cumsum([0, *map(len, every)])
    return np.vstack(vectors).astype(np.float32), np.concatenate(every), ends


@pytest.mark.parametrize("name", list(models(0)))
@pytest.mark.parametrize("lag", [-1, 0, 1])
def test_planted_positions(name: str, lag: int) -> None:
    """Off by one in either direction is caught, and what is right is not."""
    for seed in range(4):
        shift = find_shift(*arrays(histories(seed), models(seed)[name], lag))
        if lag == 0:
            assert shift is None
        else:
            assert shift is not None
            assert np.sign(shift.lag) == lag
            assert shift.gain > 2 * shift.own_gain


@pytest.mark.parametrize("lag", [-2, 2])
def test_off_by_two(lag: int) -> None:
    shift = find_shift(*arrays(histories(1), models(1)["mean"], lag))
    assert shift is not None
    assert shift.lag == lag


@pytest.mark.parametrize("noise", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("name", ["mean", "last", "recurrent"])
def test_weak_models_are_not_accused(name: str, noise: float) -> None:
    """Vectors that are partly or mostly noise, in their right places."""
    for seed in range(6):
        vectors, items, offsets = arrays(histories(seed), models(seed)[name], 0)
        rng = np.random.default_rng(seed)
        spoilt = vectors + noise * vectors.std() * rng.normal(size=vectors.shape)
        assert find_shift(spoilt.astype(np.float32), items, offsets) is None


def test_models_that_say_nothing_about_positions() -> None:
    """Noise; a user vector at every position; vectors that are the same for all; zero."""
    every = histories(2)
    _, items, offsets = arrays(every, models(2)["mean"], 0)
    rng = np.random.default_rng(0)
    counts = [len(own) - 1 for own in every]
    tables = (
        rng.normal(size=(sum(counts), D)),
        np.repeat(rng.normal(size=(len(every), D)), counts, axis=0),
        np.ones((sum(counts), D)),
        np.zeros((sum(counts), D)),
        np.ones((sum(counts), 1)),
    )
    for vectors in tables:
        assert find_shift(vectors.astype(np.float32), items, offsets) is None


def test_a_perfect_guess_of_a_determined_future_is_no_fault() -> None:
    """Where each item has one successor, the right vector tells it as well as a wrong one would."""
    follows = np.random.default_rng(0).normal(size=(51, D))
    every = [1 + (start + np.arange(15)) % 50 for start in range(60)]

    def model(own: np.ndarray) -> np.ndarray:
        return np.vstack([np.zeros(D), follows[own % 50 + 1]])

    assert find_shift(*arrays(every, model, 0)) is None


def test_too_little_to_tell() -> None:
    for every in (histories(3, n_users=3), [np.array([1, 2])] * 50, [np.array([1])], []):
        model = models(3)["mean"]
        if every:
            assert find_shift(*arrays(every, model, 1)) is None
    nobody = np.empty((0, D), np.float32), np.empty(0, np.int64), np.zeros(1, np.int64)
    assert find_shift(*nobody) is None


def test_an_overlong_vector_does_not_decide() -> None:
    vectors, items, offsets = arrays(histories(4), models(4)["mean"], 1)
    vectors[17] *= 1e12
    shift = find_shift(vectors, items, offsets)
    assert isinstance(shift, Shift)
    assert shift.lag == 1
