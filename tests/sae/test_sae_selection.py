"""Which epoch is kept: scores first, held-out error among those that are as good."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from sae.test_sae_trainer import CONFIG, fitted
from sae.toy_vectors import random_sae
from torch import Tensor

from recsae.sae.model import SAE
from recsae.sae.selection import Kept, is_worse

NOISE = torch.randn(400, generator=torch.Generator().manual_seed(0))


def offered(*epochs: tuple[float, float | None]) -> int:
    """The epoch kept after offers of (held-out error, mean of noisy scores)."""
    kept = Kept()
    for number, (error, mean) in enumerate(epochs, 1):
        other = NOISE.roll(7 * number)
        scores = None if mean is None else mean + (other - other.mean()) / 10
        kept.offer(number, random_sae(3, 5, 2, seed=number), error, scores)
    expected = random_sae(3, 5, 2, seed=kept.epoch).state_dict()
    assert all(torch.equal(kept.weights[name], tensor) for name, tensor in expected.items())
    return kept.epoch


@pytest.mark.parametrize(
    ("epochs", "kept"),
    [
        # the standard error of a difference is about .007
        ([(0.5, 0.10), (0.4, 0.50), (0.3, 0.20)], 2),
        ([(0.5, 0.500), (0.4, 0.499), (0.45, 0.501)], 2),
        ([(0.5, 0.500), (0.4, 0.530), (0.6, 0.900)], 3),
        ([(0.3, 0.500), (0.4, 0.503)], 1),
        ([(0.3, 0.500), (0.4, 0.600)], 2),
        # without scores, and without held-out vectors
        ([(0.5, None), (0.3, None), (0.4, None)], 2),
        ([(math.nan, None), (math.nan, None)], 2),
        ([(math.nan, 0.5), (math.nan, 0.2), (math.nan, 0.499)], 3),
    ],
)
def test_kept(epochs: list[tuple[float, float | None]], kept: int) -> None:
    assert offered(*epochs) == kept


def test_small_steps_do_not_add_up() -> None:
    """Each epoch is as good as the one before, but it is compared with the best of all."""
    falling = [(1 - number / 100, 0.5 - 0.004 * number) for number in range(30)]
    assert offered(*falling) <= 6


def test_the_highest_of_many_noisy_figures_does_not_beat_the_last() -> None:
    """Thirty epochs with the same mean score and falling error, a hundred times."""
    generator, sae, last = torch.Generator().manual_seed(0), random_sae(3, 5, 2), 0
    for _ in range(100):
        kept = Kept()
        for epoch in range(1, 31):
            scores = torch.randn(400, generator=generator)
            kept.offer(epoch, sae, 1 / epoch, scores)
        last += kept.epoch == 30
    assert last >= 95


def test_worse_is_by_the_paired_error() -> None:
    """A difference that all users share counts, however far the users lie apart."""
    assert is_worse(NOISE * 10 - 1e-3, NOISE * 10)
    assert not is_worse(NOISE.roll(1) - 1e-3, NOISE)
    assert not is_worse(NOISE, NOISE)
    assert not is_worse(torch.tensor([0.0]), torch.tensor([1.0]))


def test_fit_returns_the_kept_epoch(tmp_path: Path) -> None:
    """Scores that are best after the second of five epochs."""
    seen: list[dict[str, Tensor]] = []

    def score(sae: SAE) -> Tensor:
        seen.append({name: tensor.clone() for name, tensor in sae.state_dict().items()})
        return torch.full((20,), 0.9 if len(seen) == 2 else 0.1)

    sae, history = fitted(tmp_path, CONFIG, score=score)
    assert [row["epoch"] for row in history if "kept" in row] == [2]
    assert [row["dev score"] for row in history] == pytest.approx([0.1, 0.9, 0.1, 0.1, 0.1])
    assert all(torch.equal(sae.state_dict()[name], tensor) for name, tensor in seen[1].items())
    assert history[1]["heldout FVU"] > history[4]["heldout FVU"]
