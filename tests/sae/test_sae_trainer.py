"""Training on vectors whose directions are known, the schedule, and going on after a stop."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae.toy_vectors import Interrupted, Watcher, planted, random_sae, random_vectors, stop_after
from torch import Tensor

import recsae
from recsae.config import SAEConfig
from recsae.errors import DataError, UsageError
from recsae.progress import Reporter
from recsae.recommenders.trainer import CHECKPOINT
from recsae.sae import trainer
from recsae.sae.model import SAE, auxk_loss, fvu
from recsae.sae.trainer import fit, measure, rate_factor, train_step
from recsae.sae.vectors import FileVectors, Vectors

PARTS = Path(recsae.__file__).parents[1], Path(__file__).parents[1]
VECTORS = random_vectors(300, 6) * torch.arange(1, 7) + 3
CONFIG = SAEConfig(k=2, scale=3, lr=4e-3, batch_size=64, epochs=5, revival="auxk")
NOBODY = torch.zeros(0, 6)
History = list[dict[str, float]]


def fitted(
    folder: Path,
    config: SAEConfig = CONFIG,
    reporter: Reporter | None = None,
    identity: str = "x",
    vectors: Tensor | Vectors = VECTORS,
    heldout: Tensor | None = None,
    **options: Any,
) -> tuple[SAE, History]:
    folder.mkdir(exist_ok=True)
    if heldout is None:
        heldout = (vectors if isinstance(vectors, Tensor) else VECTORS)[:50] + 0.1
    return fit(vectors, heldout, config, folder, identity, reporter or Reporter(), **options)


def same(one: tuple[SAE, History], other: tuple[SAE, History]) -> bool:
    """Bit for bit, but for the time that it took."""
    unequal = {"seconds": 0, "vectors/s": 0}
    (sae, history), (sae2, history2) = one, other
    state, state2 = sae.state_dict(), sae2.state_dict()
    rows = zip(history, history2, strict=True)
    return all(torch.equal(state[key], state2[key]) for key in state) and all(
        row | unequal == row2 | unequal for row, row2 in rows
    )


def recovered(directions: Tensor, sae: SAE) -> float:
    """Share of the directions that a row of W_dec points along."""
    best = (directions @ sae.W_dec.detach().T).abs().max(dim=1).values
    return float((best > 0.95).float().mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_recovers_planted_directions(seed: int, tmp_path: Path) -> None:
    """Twice as many latents as directions; those without a direction of their own may stay dead."""
    directions, vectors = planted(n=7000, n_directions=64, d=32, seed=seed)
    config = SAEConfig(k=3, scale=4, lr=1e-2, batch_size=256, epochs=15, seed=seed, revival="auxk")
    sae, history = fitted(tmp_path, config, vectors=vectors[:6000], heldout=vectors[6000:])
    assert recovered(directions, sae) >= 0.9
    train, heldout = measure(sae, vectors[:6000]), measure(sae, vectors[6000:])
    assert train["dead"] <= 0.5
    assert (train["L0"], heldout["FVU"] < 0.1) == (pytest.approx(3, abs=0.05), True)
    assert history[-1]["FVU"] == pytest.approx(train["FVU"], abs=0.01)
    assert history[-1]["FVU"] < history[0]["FVU"] / 4
    norms = sae.W_dec.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize("revival", ["auxk", "auxk-half", "restarts"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_latent_is_dead_where_each_has_work(seed: int, revival: str, tmp_path: Path) -> None:
    """More directions than latents."""
    _, vectors = planted(n=4000, n_directions=100, seed=seed)
    usual = SAEConfig(k=3, scale=2, lr=1e-2, batch_size=256, epochs=10, seed=seed)
    config = usual.with_options(revival=revival)
    sae, _ = fitted(tmp_path, config, vectors=vectors)
    assert measure(sae, vectors)["dead"] <= 0.02


def test_with_a_large_k_half_of_auxk_leaves_fewer_dead(tmp_path: Path) -> None:
    """Of 16 dimensions 8 latents leave so little over that AuxK's latents stay weak."""
    _, vectors = planted(n=3000, n_directions=200, d=16, active=12)
    config = SAEConfig(k=8, scale=32, lr=1e-2, batch_size=256, epochs=8)
    dead = {}
    for revival in ("auxk", "auxk-half"):
        own = config.with_options(revival=revival)
        sae, _ = fitted(tmp_path / revival, own, vectors=vectors)
        dead[revival] = measure(sae, vectors)["dead"]
    assert dead["auxk-half"] < dead["auxk"] / 2


@pytest.mark.parametrize("half", [False, True])
def test_auxk_is_added_to_the_gradient_of_the_fvu(half: bool) -> None:
    """In a step, with its weight and on the right part of the vector."""
    sae, x = random_sae(6, 40, 4).double(), random_vectors(50, 6).double()
    dead = torch.arange(40) % 3 == 0
    x_hat = sae.decode_normalised(sae.encode_normalised(x))
    rebuilt = sae.decode_stronger_half(sae.encode_normalised(x)) if half else x_hat
    loss = fvu(x, x_hat, 1.0) + 0.25 * auxk_loss(sae, x, rebuilt, dead, 2 if half else None)
    loss.backward()
    sae.project_decoder_gradient_()
    expected = {name: weights.grad for name, weights in sae.named_parameters()}
    optimizer = torch.optim.SGD(sae.parameters(), lr=0.0)
    train_step(sae, x, 1.0, optimizer, dead, torch.zeros(40), 0.25, half)
    for name, weights in sae.named_parameters():
        torch.testing.assert_close(weights.grad, expected[name], rtol=1e-9, atol=1e-9)


def test_auxk_teaches_a_dead_latent_what_is_missing() -> None:
    """Vectors are a e1 + b e2; latent 0 gives a e1, latent 1 starts between e2 and e3."""
    sae, dead = SAE(4, 2, 1), torch.tensor([False, True])
    rows = torch.tensor([[1.0, 0, 0, 0], [0, 0.5**0.5, 0.5**0.5, 0]])
    with torch.no_grad():
        sae.W_enc.copy_(rows)
        sae.W_dec.copy_(rows)
    x = torch.zeros(100, 4)
    x[:, :2] = torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([2, 1])
    x_hat = x * torch.tensor([1.0, 0, 0, 0])
    optimizer = torch.optim.Adam(sae.parameters(), lr=0.02)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = auxk_loss(sae, x, x_hat, dead)
        loss.backward()
        sae.project_decoder_gradient_()
        optimizer.step()
        sae.normalise_decoder_()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.5)
    assert losses[-1] < 0.02
    assert float(sae.W_dec[1, 1].detach()) > 0.99
    assert torch.equal(sae.W_dec[0], rows[0])


def test_history_and_what_is_said(tmp_path: Path) -> None:
    reporter = Watcher()
    sae, history = fitted(tmp_path, reporter=reporter)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    quality = {"FVU", "L0", "dead"}
    keys = {"epoch", "seconds", "vectors/s", *quality, *(f"heldout {name}" for name in quality)}
    assert all(set(row) - {"kept"} == keys for row in history)
    assert [row["epoch"] for row in history if "kept" in row] == [5]
    last = history[-1]
    assert reporter.infos[-1] == f"FVU {last['FVU']:.3f}, held-out {last['heldout FVU']:.3f}"
    assert reporter.done == 5 * len(VECTORS)
    assert (sae.d, sae.h, sae.k) == (6, 18, 2)
    measured = measure(sae, VECTORS[:50] + 0.1)
    assert {name: last[f"heldout {name}"] for name in quality} == measured


def test_the_first_epoch_s_fvu_is_the_mean_over_all_vectors(tmp_path: Path) -> None:
    """One batch, before its step: the FVU of the initial autoencoder."""
    config = CONFIG.with_options(batch_size=1000, epochs=1)
    _, history = fitted(tmp_path, config)
    start = SAE(6, 18, 2)
    start.initialise_(VECTORS, trainer.epoch_generator(config.seed, 0))
    assert history[0]["FVU"] == pytest.approx(measure(start, VECTORS)["FVU"], rel=1e-4)


def test_determined_by_the_seed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = fitted(tmp_path / "one")
    torch.manual_seed(2)
    assert same(first, fitted(tmp_path / "again"))
    assert not same(first, fitted(tmp_path / "other", CONFIG.with_options(seed=1)))


def dense_step(sae: SAE, x: Tensor, spread: float, rate: float, moments: dict[str, Tensor]) -> None:
    """One step by the plain formulas: dense latents, Adam written out, projection, unit rows."""
    pre = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
    values, indices = pre.relu().topk(sae.k, dim=1)
    x_hat = torch.zeros_like(pre).scatter(1, indices, values) @ sae.W_dec + sae.b_dec
    loss = (x - x_hat).square().sum() / (spread * len(x))
    names, weights = zip(*sae.named_parameters(), strict=True)
    moments["t"] = moments.get("t", torch.zeros((), dtype=torch.float64)) + 1
    for name, weight, slope in zip(names, weights, torch.autograd.grad(loss, weights), strict=True):
        if name == "W_dec":
            slope = slope - (slope * weight).sum(1, keepdim=True) * weight
        mean, square = f"{name} mean", f"{name} square"
        moments[mean] = 0.9 * moments.get(mean, 0 * slope) + 0.1 * slope
        moments[square] = 0.999 * moments.get(square, 0 * slope) + 0.001 * slope**2
        move = moments[mean] / (1 - 0.9 ** moments["t"])
        size = (moments[square] / (1 - 0.999 ** moments["t"])).sqrt()
        weight.data -= rate * (move / (size + 1e-8)).detach()
    sae.W_dec.data /= sae.W_dec.data.norm(dim=1, keepdim=True)


def test_steps_equal_the_dense_formula() -> None:
    """Twenty steps from the same weights, in float64: the fast path changes no weight."""
    fast, plain = (SAE(6, 40, 3) for _ in range(2))
    for sae in (fast, plain):
        sae.initialise_(VECTORS, torch.Generator().manual_seed(5))
        sae.double()
    x, moments = fast.normalise(VECTORS.double()), dict[str, Tensor]()
    spread = float((x - x.mean(0)).square().sum(1).mean())
    optimizer = torch.optim.Adam(fast.parameters(), lr=0.01, fused=True)
    none, silent = torch.zeros(40, dtype=torch.bool), torch.zeros(40)
    for batch in x.split(60) * 4:
        train_step(fast, batch, spread, optimizer, none, silent, 1.0)
        dense_step(plain, batch, spread, 0.01, moments)
    for name, weights in fast.named_parameters():
        expected = dict(plain.named_parameters())[name]
        torch.testing.assert_close(weights, expected, rtol=1e-8, atol=1e-8)


def test_two_threads_give_the_same_bits_twice(tmp_path: Path) -> None:
    """Also where so many values are chosen that torch shares their sums out to threads."""
    vectors = random_vectors(9000, 6)
    config = SAEConfig(k=8, scale=8, batch_size=4500, epochs=1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first = fitted(tmp_path / "one", config, vectors=vectors)
        assert same(first, fitted(tmp_path / "again", config, vectors=vectors))
    finally:
        torch.set_num_threads(threads)


def test_the_gradient_of_an_encoding_is_the_same_twice() -> None:
    """That of the bias too, with two threads (it was not, as b_enc[indices])."""
    sae, x, found = random_sae(6, 40, 8), random_vectors(9000, 6), []
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for _ in range(5):
            sae.zero_grad()
            sae.encode_normalised(x).values.square().sum().backward()
            assert sae.b_enc.grad is not None
            found.append(sae.b_enc.grad.clone())
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_going_on_after_an_interruption(after: int, tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    with pytest.raises(Interrupted):
        fitted(tmp_path / "cut", reporter=stop_after(after))
    torch.manual_seed(99)
    reporter = Watcher()
    assert same(fitted(tmp_path / "cut", reporter=reporter), whole)
    assert reporter.notes == [f"going on after epoch {after}, found in checkpoint.pt"]
    assert len(reporter.infos) == 5 - after


def process_environment() -> dict[str, str]:
    """So that a process of its own finds the code and the tests."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PARTS))}


def run_until_killed(script: str, folder: Path) -> None:
    """Run a program on a folder that is to end by SIGKILL."""
    command = [sys.executable, "-c", script, str(folder)]
    ended = subprocess.run(command, env=process_environment(), capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads({threads})
from sae.test_sae_trainer import Watcher, fitted
reporter = Watcher(lambda epoch: os.kill(os.getpid(), signal.SIGKILL) if epoch == 2 else None)
fitted(Path(sys.argv[1]), reporter=reporter)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_going_on_after_a_kill(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    run_until_killed(KILLED.format(threads=torch.get_num_threads()), tmp_path / "killed")
    reporter = Watcher()
    assert same(fitted(tmp_path / "killed", reporter=reporter), whole)
    assert reporter.notes == ["going on after epoch 2, found in checkpoint.pt"]


class Stopped(Exception):
    """Raised inside an epoch."""


def stop_inside(
    folder: Path, config: SAEConfig, vectors: Tensor | Vectors, steps: int, every: int
) -> None:
    """Train until some steps are done, with a checkpoint every few of them."""
    left = iter(range(steps))

    def stopping(*args: Any) -> Any:
        if next(left, None) is None:
            raise Stopped
        return train_step(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train_step", stopping)
        with pytest.raises(Stopped):
            fitted(folder, config, vectors=vectors, checkpoint_every=every)


@pytest.fixture(params=["memory", "file"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Tensor | Vectors:
    """The vectors, in memory or to be read from a file."""
    if request.param == "memory":
        return VECTORS
    np.save(tmp_path / "vectors.npy", VECTORS.numpy())
    return FileVectors(tmp_path / "vectors.npy", tmp_path)


@pytest.mark.parametrize(("steps", "every"), [(3, 1), (9, 4), (10, 5), (14, 3), (24, 4)])
def test_going_on_inside_an_epoch(
    steps: int,
    every: int,
    source: Tensor | Vectors,
    tmp_path: Path,
) -> None:
    """Five steps an epoch; a checkpoint every few of its steps, and at its end."""
    whole = fitted(tmp_path / "whole", vectors=source)
    stop_inside(tmp_path / "cut", CONFIG, source, steps, every)
    reporter = Watcher()
    assert same(fitted(tmp_path / "cut", reporter=reporter, vectors=source), whole)
    epoch, step = divmod(steps, 5)
    step -= step % every
    amid = f", step {step}" if step else ""
    assert reporter.notes == [f"going on after epoch {epoch}{amid}, found in checkpoint.pt"]


KILLED_INSIDE = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads({threads})
from {module} import CONFIG, fitted, train_step, trainer
left = iter(range({steps}))
def killing(*args):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return train_step(*args)
trainer.train_step = killing
fitted(Path(sys.argv[1]), CONFIG, checkpoint_every={every})
"""


def kill_inside(folder: Path, module: str, steps: int, every: int) -> None:
    """Train with the CONFIG of a test module in a process that is killed after some steps."""
    threads = torch.get_num_threads()
    options = {"threads": threads, "module": module, "steps": steps, "every": every}
    run_until_killed(KILLED_INSIDE.format(**options), folder)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_going_on_after_a_kill_inside_an_epoch(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    kill_inside(tmp_path / "killed", __name__, steps=13, every=2)
    reporter = Watcher()
    assert same(fitted(tmp_path / "killed", reporter=reporter), whole)
    assert reporter.notes == ["going on after epoch 2, step 2, found in checkpoint.pt"]


def test_checkpoints_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    real = trainer.save_checkpoint

    def spy(path: Path, content: dict[str, Any]) -> None:
        saved.append(content["state"]["step"])
        real(path, content)

    monkeypatch.setattr(trainer, "save_checkpoint", spy)
    fitted(tmp_path / "few")
    assert saved == [0] * 5
    saved.clear()
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    fitted(tmp_path / "many")
    assert saved == [1, 2, 3, 4, 0] * 5


def test_signs_of_life_inside_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SHOW_SECONDS", 0.0)
    reporter = Watcher()
    fitted(tmp_path, CONFIG.with_options(epochs=2), reporter=reporter)
    assert len(reporter.infos) == 2 * (5 + 1)
    assert "held-out" in reporter.infos[5]
    assert reporter.infos[0].startswith("FVU ")


@pytest.mark.parametrize("spoil", ["identity", "half", "text"])
def test_a_checkpoint_that_cannot_be_continued_counts_as_none(spoil: str, tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    identity = "another" if spoil == "identity" else "x"
    with pytest.raises(Interrupted):
        fitted(tmp_path / "cut", reporter=stop_after(3), identity=identity)
    path = tmp_path / "cut" / CHECKPOINT
    content = path.read_bytes()
    if spoil != "identity":
        path.write_bytes(content[: len(content) // 2] if spoil == "half" else b"text")
    reporter = Watcher()
    assert same(fitted(tmp_path / "cut", reporter=reporter), whole)
    assert reporter.notes == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "fvu", lambda x, x_hat, spread: (x - x_hat).sum() * value)
    with pytest.raises(DataError) as caught:
        fitted(tmp_path)
    assert caught.value.message == "the loss of the SAE is not finite in epoch 1, step 1"
    assert caught.value.hint == "lower --lr (it is 0.004)"
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_loss_that_explodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "fvu", lambda x, x_hat, spread: (x - x_hat).square().sum() * 1e6)
    with pytest.raises(
        DataError, match=r"the loss of the SAE has grown to .*e\+0. in epoch 1"
    ) as e:
        fitted(tmp_path)
    assert e.value.hint == "lower --lr (it is 0.004)"


def test_a_learning_rate_that_is_far_too_high(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not finite") as caught:
        fitted(tmp_path, CONFIG.with_options(lr=1e30))
    assert caught.value.hint == "lower --lr (it is 1e+30)"


def test_weights_that_blow_up_in_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the last of five steps has dead latents; no later loss would tell."""

    def blow_up(sae: SAE, *rest: Any) -> None:
        assert sae.W_enc.grad is not None
        sae.W_enc.grad.fill_(torch.inf)

    monkeypatch.setattr(trainer, "differentiate_auxk_", blow_up)
    config = CONFIG.with_options(k=1, scale=10, epochs=1, dead_after=0.7)
    with pytest.raises(DataError, match="the weights of the SAE are not finite after epoch 1"):
        fitted(tmp_path, config)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (float("nan"), "the training vectors hold NaN or infinite values"),
        (float("inf"), "the training vectors hold NaN or infinite values"),
        (1e30, "the training vectors are too large to be squared"),
    ],
)
def test_vectors_that_are_no_numbers(bad: float, message: str, tmp_path: Path) -> None:
    vectors = VECTORS.clone()
    vectors[17, 3] = bad
    with pytest.raises(DataError) as caught:
        fitted(tmp_path, vectors=vectors)
    assert caught.value.message == message
    assert caught.value.hint == "train again"


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-20, -1234.567])
@pytest.mark.parametrize("n", [1, 2, 1001])
def test_vectors_that_are_all_the_same(value: float, n: int, tmp_path: Path) -> None:
    row = torch.linspace(0.3, 0.9, 6) * value
    with pytest.raises(DataError, match="all training vectors are the same"):
        fitted(tmp_path, vectors=row.repeat(n, 1))


def test_vectors_that_are_small_are_not_the_same(tmp_path: Path) -> None:
    vectors = VECTORS * 1e-12
    _, history = fitted(tmp_path, vectors=vectors, heldout=vectors)
    assert 0 < history[-1]["heldout FVU"] < 1


def test_no_vectors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no training vectors") as caught:
        fitted(tmp_path, vectors=NOBODY)
    assert caught.value.hint == "lower --heldout-share"


def test_nobody_is_held_out(tmp_path: Path) -> None:
    reporter = Watcher()
    sae, history = fitted(tmp_path, heldout=NOBODY, reporter=reporter)
    quality = measure(sae, NOBODY)
    assert set(quality) == {"FVU", "L0", "dead"}
    assert all(math.isnan(value) for value in quality.values())
    assert all(math.isnan(row["heldout FVU"]) for row in history)
    assert all(row["FVU"] < 1 for row in history[1:])
    assert reporter.infos[-1] == f"FVU {history[-1]['FVU']:.3f}, held-out -"


def test_k_above_the_dictionary(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        fitted(tmp_path, SAEConfig(k=19, scale=3))
    assert caught.value.message == "--k is 19, but the dictionary has 18 latents"


@pytest.mark.parametrize("k", [1, 18])
def test_smallest_and_largest_k(k: int, tmp_path: Path) -> None:
    sae, history = fitted(tmp_path, CONFIG.with_options(k=k, epochs=20))
    assert history[-1]["FVU"] < history[0]["FVU"]
    assert measure(sae, VECTORS)["L0"] <= k


@pytest.mark.parametrize(("n", "batch_size"), [(65, 64), (129, 64), (5, 1), (3, 2)])
def test_a_last_batch_of_one_vector(n: int, batch_size: int, tmp_path: Path) -> None:
    """It has no variance of its own to be measured against."""
    config = CONFIG.with_options(batch_size=batch_size)
    _, history = fitted(tmp_path, config, vectors=VECTORS[:n])
    assert all(0 < row["FVU"] < 3 for row in history)


def test_a_batch_of_equal_vectors(tmp_path: Path) -> None:
    vectors = VECTORS[:2].repeat_interleave(50, dim=0)
    _, history = fitted(tmp_path, CONFIG.with_options(batch_size=2), vectors=vectors)
    assert all(0 <= row["FVU"] < 3 for row in history)


def factors(config: SAEConfig, steps_per_epoch: int = 10) -> list[float]:
    steps = range(steps_per_epoch * config.epochs)
    return [rate_factor(step, steps_per_epoch, config) for step in steps]


def test_rate_rises_stays_and_falls() -> None:
    config = SAEConfig(epochs=10, warm_up=0.2, decay=0.5)
    found = factors(config)
    assert found[:3] == pytest.approx([1 / 20, 2 / 20, 3 / 20])
    assert found[19:51] == [1.0] * 32
    assert found[51:53] == pytest.approx([49 / 50, 48 / 50])
    assert found[-1] == pytest.approx(1 / 50)
    assert rate_factor(100, 10, config) == 0.0
    assert rate_factor(1000, 10, config) == 0.0


@pytest.mark.parametrize(
    ("warm_up", "decay", "expected"),
    [
        (0, 0, [1, 1, 1, 1]),
        (0, 1, [1, 3 / 4, 2 / 4, 1 / 4]),
        (1, 0, [1 / 4, 2 / 4, 3 / 4, 1]),
        (1, 1, [1 / 4, 2 / 4, 2 / 4, 1 / 4]),
        (0.1, 0.1, [1, 1, 1, 1]),
    ],
)
def test_rate_at_the_edges(warm_up: float, decay: float, expected: list[float]) -> None:
    config = SAEConfig(epochs=2, warm_up=warm_up, decay=decay)
    assert factors(config, 2) == pytest.approx(expected)


@settings(deadline=None, max_examples=100)
@given(
    warm_up=st.floats(0, 1), decay=st.floats(0, 1), epochs=st.integers(1, 20), n=st.integers(1, 20)
)
def test_rate_never_leaves_its_range(warm_up: float, decay: float, epochs: int, n: int) -> None:
    found = factors(SAEConfig(epochs=epochs, warm_up=warm_up, decay=decay), n)
    assert all(0 < factor <= 1 for factor in found)
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_the_rate_of_every_step_follows_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real = train_step

    def spy(sae, x, spread, optimizer, *rest):  # type: ignore[no-untyped-def]
        rates.append(optimizer.param_groups[0]["lr"])
        return real(sae, x, spread, optimizer, *rest)

    monkeypatch.setattr(trainer, "train_step", spy)
    fitted(tmp_path)
    assert rates == pytest.approx([CONFIG.lr * factor for factor in factors(CONFIG, 5)])


def test_silent_counts_samples_since_a_value_above_zero() -> None:
    """Latents 2 and 3 are chosen by top-k with value zero, which is not firing."""
    sae = SAE(2, 4, 4)
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
        sae.W_dec.copy_(sae.W_enc)
    x = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 0.0]])
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-6)
    silent, dead = torch.tensor([5.0, 5.0, 5.0, 0.0]), torch.zeros(4, dtype=torch.bool)
    train_step(sae, x, 1.0, optimizer, dead, silent, 0.0)
    assert silent.tolist() == [0, 0, 8, 3]
    train_step(sae, x[2:], 1.0, optimizer, dead, silent, 0.0)
    assert silent.tolist() == [0, 1, 9, 4]


def test_dead_means_silent_for_that_part_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 300 vectors and half an epoch, that is more than 150 samples ago."""
    found: list[bool] = []
    real = train_step

    def spy(sae, x, spread, optimizer, dead, silent, *rest):  # type: ignore[no-untyped-def]
        assert torch.equal(dead, silent > 150)
        found.append(bool(dead.any()))
        return real(sae, x, spread, optimizer, dead, silent, *rest)

    monkeypatch.setattr(trainer, "train_step", spy)
    fitted(tmp_path, CONFIG.with_options(k=1, scale=10, epochs=2))
    assert found[:4] == [False, False, False, True]


@pytest.mark.parametrize("batch", [1, 7, 8192])
def test_measure_equals_a_plain_formula(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "ENCODE_BATCH", batch)
    sae, vectors = random_sae(6, 40, 3, scaled=True), VECTORS[:60]
    x = sae.normalise(vectors).double()
    weights = [p.detach().double() for p in (sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec)]
    encoder, encoder_bias, decoder, decoder_bias = weights
    values, indices = ((x - decoder_bias) @ encoder.T + encoder_bias).relu().topk(3, dim=1)
    z = torch.zeros(60, 40, dtype=torch.float64).scatter(1, indices, values)
    errors = (x - (z @ decoder + decoder_bias)).square().sum()
    expected = {
        "FVU": float(errors / (x - x.mean(0)).square().sum()),
        "L0": float((z > 0).double().sum(1).mean()),
        "dead": float((z.sum(0) == 0).double().mean()),
    }
    assert measure(sae, vectors) == pytest.approx(expected, rel=1e-4)


def test_measure_of_equal_vectors_has_no_fvu() -> None:
    quality = measure(random_sae(6, 10, 3), torch.ones(1, 6))
    assert quality["FVU"] != quality["FVU"]
    assert quality["L0"] <= 3


def test_few_vectors_train_in_small_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def spy(sae: SAE, x: Tensor, *rest: Any) -> Any:
        sizes.append(len(x))
        return train_step(sae, x, *rest)

    monkeypatch.setattr(trainer, "train_step", spy)
    fitted(tmp_path / "few", SAEConfig(k=2, scale=3, epochs=1))
    assert sizes == [32] * 9 + [12]
    sizes.clear()
    fitted(tmp_path / "own", SAEConfig(k=2, scale=3, epochs=1, batch_size=200))
    assert sizes == [200, 100]
