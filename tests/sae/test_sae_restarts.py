"""Silent latents that start again: where, with what weights, when, and after a stop as well."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sae.test_sae_trainer import (
    VECTORS,
    fitted,
    kill_inside,
    same,
    source,
    stop_inside,
)
from sae.toy_vectors import Watcher, planted, random_sae, random_vectors
from torch import Tensor

from recsae.config import SAEConfig
from recsae.sae import trainer
from recsae.sae.model import SAE
from recsae.sae.restarts import is_due, restart_
from recsae.sae.trainer import measure, train_step
from recsae.sae.vectors import Vectors

__all__ = ["source"]
CONFIG = SAEConfig(k=1, scale=10, lr=5e-2, batch_size=64, epochs=8, revival="restarts")
"""60 latents for 300 vectors, of which many fall silent; five steps an epoch."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stepped(sae: SAE) -> torch.optim.Optimizer:
    """An optimizer with moments that differ from row to row."""
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-3)
    for i, weights in enumerate(sae.parameters()):
        weights.grad = torch.randn(weights.shape, generator=generator(i)) + 2
    before = {key: value.clone() for key, value in sae.state_dict().items()}
    optimizer.step()
    sae.load_state_dict(before)
    return optimizer


def mask(h: int, *ids: int) -> Tensor:
    silent = torch.zeros(h, dtype=torch.bool)
    silent[list(ids)] = True
    return silent


def by_hand() -> tuple[SAE, Tensor]:
    """Latents 0 and 1 are e1 and e2, 2 is silent, 3 fires on nothing here. Of three vectors the
    second one has a part along e4, which no latent gives.
    """
    sae = SAE(4, 4, 2)
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, -1, 0]]))
        sae.W_enc.copy_(sae.W_dec)
        sae.W_enc[3] *= 4
        sae.b_enc.copy_(torch.tensor([0.0, 0, -9, 0]))
    return sae, torch.tensor([[3.0, 2, 0, 0], [3, 1, 0, 5], [1, 4, 0, 0]])


def test_a_silent_latent_takes_the_place_of_the_weakest_of_a_badly_rebuilt_vector() -> None:
    """Of (3, 1, 0, 5) latent 0 gives 3 e1; left over is e2 + 5 e4, of length 26 ** .5."""
    sae, x = by_hand()
    before = {key: value.clone() for key, value in sae.state_dict().items()}
    assert restart_(sae, stepped(sae), mask(4, 2), x, generator()).tolist() == [2]
    row, size = torch.tensor([0.0, 1, 0, 5]) / 26**0.5, 26**0.5
    torch.testing.assert_close(sae.W_dec[2].detach(), row)
    # the living encoder rows are 1, 1 and 4 long
    torch.testing.assert_close(sae.W_enc[2].detach(), 2 * row)
    assert float(sae.b_enc[2].detach()) == pytest.approx(size - 2 * size)
    values, indices = sae.encode(x[1:2])
    assert indices[0].tolist() == [2, 0]
    assert values[0].tolist() == pytest.approx([size, 3])
    torch.testing.assert_close(sae(x[1:2]), x[1:2])
    for name in ("W_dec", "W_enc", "b_enc"):
        weights = sae.state_dict()[name]
        assert torch.equal(weights[[0, 1, 3]], before[name][[0, 1, 3]]), name
    assert torch.equal(sae.b_dec.detach(), before["b_dec"])


def test_a_vector_with_fewer_active_latents_loses_none() -> None:
    """The second place is free: chosen by top-k with value zero."""
    sae, x = by_hand()
    x = x[1:2].clone()
    x[0, 1] = -1
    restart_(sae, stepped(sae), mask(4, 2), x, generator())
    row = torch.tensor([0.0, -1, 0, 5]) / 26**0.5
    torch.testing.assert_close(sae.W_dec[2].detach(), row)


def test_the_badly_rebuilt_are_drawn_by_the_square_of_their_squared_error() -> None:
    """Errors 1, 4 and 9, and none: of 500 draws, shares of 1, 16 and 81 in 98."""
    counts = torch.zeros(4)
    for seed in range(500):
        sae, _ = by_hand()
        x = torch.tensor([[3.0, 2, 0, 1], [3, 2, 0, 2], [3, 2, 0, 3], [3, 2, 0, 0]])
        optimizer = stepped(sae)
        restart_(sae, optimizer, mask(4, 2), x, generator(seed))
        slope = float((sae.W_dec[2, 3] / sae.W_dec[2, 1]).detach())
        counts[round(2 * slope)] += 1  # 2 e2 + error e4 is left over
    assert counts[0] == 0
    torch.testing.assert_close(
        counts[1:] / 500, torch.tensor([1.0, 16, 81]) / 98, atol=0.04, rtol=0
    )


def test_adam_s_moments_become_those_of_an_average_row() -> None:
    sae, x = random_sae(6, 20, 3), random_vectors(50, 6)
    optimizer, silent = stepped(sae), mask(20, 4, 11)
    weights = {"W_enc": sae.W_enc, "W_dec": sae.W_dec, "b_enc": sae.b_enc}
    before = {
        name: {key: value.clone() for key, value in optimizer.state[weight].items()}
        for name, weight in weights.items()
    }
    restart_(sae, optimizer, silent, x, generator())
    for name, weight in weights.items():
        moments, old = optimizer.state[weight], before[name]
        assert not moments["exp_avg"][silent].any()
        mean = old["exp_avg_sq"][~silent].mean(0)
        torch.testing.assert_close(moments["exp_avg_sq"][silent], torch.stack([mean, mean]))
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(moments[key][~silent], old[key][~silent])
        assert torch.equal(moments["step"], old["step"])


def test_more_silent_latents_than_vectors() -> None:
    """Each vector is the start of one latent at most; the others wait."""
    sae, x = random_sae(6, 20, 3), random_vectors(4, 6)
    before = sae.W_dec.detach().clone()
    silent = mask(20, *range(5, 15))
    assert restart_(sae, stepped(sae), silent, x, generator()).tolist() == [5, 6, 7, 8]
    new = sae.W_dec.detach()
    assert torch.equal(new[9:], before[9:])
    assert torch.equal(new[:5], before[:5])
    assert len(torch.unique(new[5:9], dim=0)) == 4
    torch.testing.assert_close(new.norm(dim=1), torch.ones(20))


def test_vectors_that_are_rebuilt_exactly_start_nothing() -> None:
    sae, x = by_hand()
    before = {key: value.clone() for key, value in sae.state_dict().items()}
    assert not len(restart_(sae, stepped(sae), mask(4, 2), x[[0, 2]], generator()))
    assert all(torch.equal(value, before[key]) for key, value in sae.state_dict().items())


def test_all_latents_are_silent() -> None:
    sae, x = random_sae(6, 8, 2), random_vectors(50, 6)
    ids = restart_(sae, stepped(sae), mask(8, *range(8)), x, generator())
    assert len(ids) == 8
    assert all(bool(torch.isfinite(value).all()) for value in sae.state_dict().values())


@pytest.mark.parametrize(
    ("epochs", "due"),
    [(30, list(range(2, 28))), (8, [2, 3, 4, 5]), (5, [2]), (4, []), (1, [])],
)
def test_after_which_epochs(epochs: int, due: list[int]) -> None:
    """From the second on, but for the last three."""
    assert [epoch for epoch in range(epochs + 1) if is_due(epoch, epochs)] == due


class Spy:
    """Restarts with their epoch, in the form epoch -> latents; silent counts checked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.found: dict[int, int] = {}
        self.weights: set[float] = set()
        real, steps = restart_, [0]

        def step(*args: Any) -> Any:
            steps[0] += 1
            self.weights.add(args[6])
            return train_step(*args)

        def restart(sae: SAE, optimizer: Any, silent: Tensor, x: Tensor, own: Any) -> Tensor:
            assert steps[0] % 5 == 0
            ids = real(sae, optimizer, silent, x, own)
            assert bool(silent[ids].all())
            self.found[steps[0] // 5] = len(ids)
            return ids

        patch.setattr(trainer, "train_step", step)
        patch.setattr(trainer, "restart_", restart)


def test_a_training_restarts_in_these_epochs_without_auxk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    _, history = fitted(tmp_path, CONFIG)
    assert list(spy.found) == [2, 3, 4, 5]
    assert all(spy.found.values())
    assert spy.weights == {0.0}
    # who starts again after epoch 5 and stays silent is dead at the end of epoch 6
    assert history[5]["dead"] < history[1]["dead"]


@pytest.mark.parametrize("revival", ["auxk", "auxk-half", "none"])
def test_no_other_revival_restarts(
    revival: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    fitted(tmp_path, CONFIG.with_options(revival=revival))
    assert spy.found == {}
    assert spy.weights == {0.0 if revival == "none" else 1 / 32}


def test_fewer_latents_are_dead_than_by_other_means(tmp_path: Path) -> None:
    """Every vector has one of 192 latents, at a rate that kills many."""
    _, vectors = planted(n=4000, n_directions=100)
    config = SAEConfig(k=1, scale=8, lr=3e-2, batch_size=256, epochs=10)
    dead = {}
    for revival in ("restarts", "auxk", "none"):
        own = config.with_options(revival=revival)
        sae, _ = fitted(tmp_path / revival, own, vectors=vectors)
        dead[revival] = measure(sae, vectors)["dead"]
    assert dead["restarts"] <= 0.01
    assert min(dead["auxk"], dead["none"]) >= 0.2


def test_determined_by_the_seed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = fitted(tmp_path / "one", CONFIG)
    torch.manual_seed(2)
    assert same(first, fitted(tmp_path / "again", CONFIG))
    assert not same(first, fitted(tmp_path / "other", CONFIG.with_options(seed=1)))


def test_two_threads_give_the_same_bits_twice(tmp_path: Path) -> None:
    vectors = random_vectors(9000, 6)
    config = SAEConfig(k=4, scale=60, lr=6e-3, batch_size=4500, epochs=5, revival="restarts")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first = fitted(tmp_path / "one", config, vectors=vectors)
        assert same(first, fitted(tmp_path / "again", config, vectors=vectors))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("steps", "every"), [(9, 4), (10, 5), (13, 1), (19, 3), (37, 2)])
def test_going_on_inside_an_epoch(
    steps: int,
    every: int,
    source: Tensor | Vectors,
    tmp_path: Path,
) -> None:
    """Before, between and after the restarts, from memory and from a file."""
    whole = fitted(tmp_path / "whole", CONFIG, vectors=source)
    stop_inside(tmp_path / "cut", CONFIG, source, steps, every)
    reporter = Watcher()
    assert same(fitted(tmp_path / "cut", CONFIG, reporter=reporter, vectors=source), whole)
    assert len(reporter.notes) == 1
    assert reporter.notes[0].startswith("going on after epoch")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_going_on_after_a_kill_inside_an_epoch(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole", CONFIG)
    kill_inside(tmp_path / "killed", __name__, steps=17, every=1)
    reporter = Watcher()
    assert same(fitted(tmp_path / "killed", CONFIG, reporter=reporter), whole)
    assert reporter.notes == ["going on after epoch 3, step 2, found in checkpoint.pt"]


def test_memory_and_file_draw_the_same_vectors(
    source: Tensor | Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidates of a restart are a draw from all vectors, whatever holds them."""
    seen: list[Tensor] = []

    def spy(sae: SAE, optimizer: Any, silent: Tensor, x: Tensor, own: Any) -> Tensor:
        seen.append(sae.restore(x))
        return restart_(sae, optimizer, silent, x, own)

    monkeypatch.setattr(trainer, "restart_", spy)
    monkeypatch.setattr(trainer, "CANDIDATES", 40)
    fitted(tmp_path, CONFIG.with_options(epochs=6), vectors=source)
    assert [len(x) for x in seen] == [40, 40]
    assert not torch.equal(seen[0], seen[1])
    for x, epoch in zip(seen, (2, 3), strict=True):
        chosen = torch.randperm(300, generator=trainer.epoch_generator(0, -1 - epoch))[:40]
        torch.testing.assert_close(x, VECTORS[chosen.sort().values])
