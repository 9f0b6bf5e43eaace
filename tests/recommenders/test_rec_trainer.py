"""Fitting: when it stops, which epoch it keeps, and going on after any kind of interruption."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from recommenders.toy_sequences import NAMES, SMALL, Toy, random_toy, toy

import recsae
from recsae.config import TrainConfig
from recsae.errors import DataError
from recsae.progress import Reporter, Step
from recsae.recommenders import trainer
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.presets import create
from recsae.recommenders.trainer import (
    CHECKPOINT,
    Progress,
    evaluate,
    fit,
    load_checkpoint,
    save_checkpoint,
)

DATA = random_toy(n_users=20, n_items=15)
CONFIG = SMALL.with_options(epochs=6)
PARTS = Path(recsae.__file__).parents[1], Path(__file__).parents[1]
Weights = dict[str, torch.Tensor]


class Watcher(Reporter):
    """Calls back with the number of the epoch that ended, and keeps the notes."""

    def __init__(self, after: Callable[[int], None] = lambda epoch: None) -> None:
        self.after, self.notes, self.infos, self.done = after, list[str](), list[str](), 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Step]:
        def step(n: int = 1, info: str = "") -> None:
            self.done += n
            if info:
                self.infos.append(info)
                self.after(self.done)

        yield step


class Interrupted(Exception):
    """Raised from a reporter, as Ctrl-C would be."""


def stop_after(number: int) -> Watcher:
    def after(epoch: int) -> None:
        if epoch == number:
            raise Interrupted

    return Watcher(after)


def made(name: str = "BPRMF", config: TrainConfig = CONFIG, data: Toy = DATA) -> Recommender:
    return create(name, config, data.sequences())


def fitted(
    folder: Path,
    name: str = "BPRMF",
    config: TrainConfig = CONFIG,
    reporter: Reporter | None = None,
    identity: str = "x",
) -> tuple[Weights, Progress]:
    folder.mkdir(exist_ok=True)
    model = made(name, config)
    state = fit(model, DATA.sequences(), config, folder, identity, reporter or Reporter())
    assert not model.training
    return model.state_dict(), state


def untimed(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def same(one: tuple[Weights, Progress], other: tuple[Weights, Progress]) -> bool:
    """Bit for bit, but for the seconds."""
    (weights, state), (weights2, state2) = one, other
    return (
        list(weights) == list(weights2)
        and all(torch.equal(weights[key], weights2[key]) for key in weights)
        and untimed(state.history) == untimed(state2.history)
        and (state.epoch, state.best_epoch, state.best_score)
        == (state2.epoch, state2.best_epoch, state2.best_score)
    )


def script_scores(monkeypatch: pytest.MonkeyPatch, scores: Sequence[float]) -> None:
    """Dev NDCG@5 of one epoch after the other."""
    left = iter(scores)

    def evaluate(
        model: Recommender, sequences: Sequences, split: str, hint: str | None = None
    ) -> dict[str, float]:
        assert split == "dev"
        return {"NDCG@5": next(left)}

    monkeypatch.setattr(trainer, "evaluate", evaluate)


@pytest.mark.parametrize(
    ("scores", "patience", "epochs", "best"),
    [
        ([0.1, 0.3, 0.2, 0.2, 0.2, 0.9], 3, 5, 2),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 3, 6, 6),
        ([0.3, 0.3, 0.3, 0.3, 0.3, 0.9], 4, 5, 1),  # as good is not better
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1, 2, 1),
        ([0.2, 0.1, 0.3, 0.1, 0.1, 0.9], 2, 5, 3),
    ],
)
def test_early_stop_keeps_the_best_epoch(
    scores: list[float],
    patience: int,
    epochs: int,
    best: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script_scores(monkeypatch, scores)
    config, seen = CONFIG.with_options(early_stop=patience), list[Weights]()
    model = made(config=config)
    reporter = Watcher(
        lambda epoch: seen.append({k: v.clone() for k, v in model.state_dict().items()})
    )
    state = fit(model, DATA.sequences(), config, tmp_path, "x", reporter)
    assert (state.epoch, state.best_epoch) == (len(seen), best) == (epochs, best)
    assert state.best_score == scores[best - 1]
    assert all(torch.equal(v, seen[best - 1][k]) for k, v in model.state_dict().items())
    if best != epochs:
        assert not torch.equal(model.item_vectors(), seen[-1]["items.weight"][1:])
    assert [row["NDCG@5"] for row in state.history] == scores[:epochs]


def test_history_and_what_is_said(tmp_path: Path) -> None:
    reporter = Watcher()
    _, state = fitted(tmp_path, reporter=reporter)
    assert [row["epoch"] for row in state.history] == [1, 2, 3, 4, 5, 6]
    metrics = {f"{name}@{k}" for name in ("HR", "NDCG") for k in (5, 10, 20, 50)}
    assert all(set(row) == {"epoch", "loss", "seconds", *metrics} for row in state.history)
    last = state.history[-1]
    assert reporter.infos[-1] == f"loss {last['loss']:.4f}  dev NDCG@5 {last['NDCG@5']:.4f}"
    assert (reporter.done, reporter.notes) == (6, [])


def test_the_best_score_is_that_of_the_weights(tmp_path: Path) -> None:
    model = made("SASRec")
    state = fit(model, DATA.sequences(), CONFIG, tmp_path, "x", Reporter())
    assert evaluate(model, DATA.sequences(), "dev")["NDCG@5"] == state.best_score
    assert state.best_score == max(row["NDCG@5"] for row in state.history)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("after", [1, 3, 6])
def test_going_on_after_an_interruption(name: str, after: int, tmp_path: Path) -> None:
    """The second call knows nothing of the first: fresh model, other state of global randomness."""
    whole = fitted(tmp_path / "whole", name)
    with pytest.raises(Interrupted):
        fitted(tmp_path / "cut", name, reporter=stop_after(after))
    torch.manual_seed(99)
    torch.rand(7)
    reporter = Watcher()
    assert same(fitted(tmp_path / "cut", name, reporter=reporter), whole)
    assert reporter.notes == [f"going on after epoch {after}, found in checkpoint.pt"]
    assert len(reporter.infos) == 6 - after


def test_an_interruption_between_checkpoints_loses_one_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(tmp_path / "whole", "SASRec")
    real, count = evaluate, [0]

    def evaluate_and_stop(*arguments: Any) -> dict[str, float]:
        count[0] += 1
        if count[0] == 3:
            raise Interrupted
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "evaluate", evaluate_and_stop)
        with pytest.raises(Interrupted):
            fitted(tmp_path / "cut", "SASRec")
    reporter = Watcher()
    assert same(fitted(tmp_path / "cut", "SASRec", reporter=reporter), whole)
    assert reporter.notes == ["going on after epoch 2, found in checkpoint.pt"]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads({threads})
from recommenders.test_rec_trainer import Watcher, fitted
from recsae.recommenders import trainer

def die(*ignored):
    os.kill(os.getpid(), signal.SIGKILL)

def die_in_the_middle_of_writing(content, file):
    real(content, file)
    if content["progress"]["epoch"] == 3:
        file.flush()
        file.truncate(file.tell() // 2)
        die()

real = torch.save
if sys.argv[2] == "writing":
    torch.save = die_in_the_middle_of_writing
    reporter = Watcher()
else:
    reporter = Watcher(lambda epoch: die() if epoch == 3 else None)
fitted(Path(sys.argv[1]), "SASRec", reporter=reporter)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(("moment", "done"), [("writing", 2), ("step", 3)])
def test_going_on_after_a_kill(moment: str, done: int, tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole", "SASRec")
    script = KILLED.format(threads=torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PARTS))}
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", script, str(folder), moment]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (folder / "checkpoint.partial").exists() is (moment == "writing")
    reporter = Watcher()
    assert same(fitted(folder, "SASRec", reporter=reporter), whole)
    assert reporter.notes == [f"going on after epoch {done}, found in checkpoint.pt"]
    assert not (folder / "checkpoint.partial").exists()


def test_a_checkpoint_of_another_identity_is_not_continued(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    with pytest.raises(Interrupted):
        fitted(tmp_path / "cut", reporter=stop_after(3), identity="another")
    reporter = Watcher()
    assert same(fitted(tmp_path / "cut", reporter=reporter), whole)
    assert reporter.notes == []


class Trap:
    """Unpickling it would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (os.environ["TRAP"],))


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "half":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "end":
        path.write_bytes(content[:-1])
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "list":
        torch.save(["identity"], path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"identity": "x", "model": Trap()}))
    elif kind == "torch pickle":
        torch.save({"identity": "x", "model": Trap()}, path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "text": b"epoch 3\n", "zip": b"PK\x03\x04" * 9}[kind])


@pytest.mark.parametrize(
    "kind",
    ["half", "end", "empty", "text", "zip", "tensor", "list", "pickle", "torch pickle", "folder"],
)
def test_a_damaged_checkpoint_counts_as_none(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    path = tmp_path / CHECKPOINT
    save_checkpoint(path, {"identity": "x", "model": made().state_dict()})
    assert load_checkpoint(path, "x") is not None
    damage(path, kind)
    assert load_checkpoint(path, "x") is None
    assert not (tmp_path / "sprung").exists()


def test_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / CHECKPOINT, "x") is None


def test_damage_anywhere_never_raises(tmp_path: Path) -> None:
    """Some damage goes unseen, in names of members for instance; none ends in a traceback."""
    path = tmp_path / CHECKPOINT
    save_checkpoint(path, {"identity": "x", "progress": {"epoch": 3}})
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        changed = bytes([content[place] ^ 0xFF])
        path.write_bytes(content[:place] + changed + content[place + 1 :])
        load_checkpoint(path, "x")


def test_training_goes_from_the_start_after_damage(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    with pytest.raises(Interrupted):
        fitted(tmp_path / "cut", reporter=stop_after(4))
    damage(tmp_path / "cut" / CHECKPOINT, "half")
    assert same(fitted(tmp_path / "cut"), whole)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(
    name: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(name)
    real = type(model).loss
    monkeypatch.setattr(type(model), "loss", lambda self, batch: real(self, batch) * value)
    with pytest.raises(DataError) as caught:
        fit(model, DATA.sequences(), CONFIG, tmp_path, "x", Reporter())
    assert caught.value.message == f"the loss of {name} is not finite in epoch 1, step 1"
    assert caught.value.hint == "lower --lr (it is 0.01)"
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [7, 1000])
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_learning_rate_that_is_far_too_high(
    name: str, batch_size: int, epochs: int, tmp_path: Path
) -> None:
    """Also when only the last step of an epoch, after its last loss, is what blows up."""
    config = CONFIG.with_options(lr=1e30, batch_size=batch_size, epochs=epochs)
    with pytest.raises(DataError, match="not finite") as caught:
        fitted(tmp_path, name, config)
    assert caught.value.hint is not None
    assert "--lr" in caught.value.hint
    assert not (tmp_path / CHECKPOINT).exists()


def test_sequences_too_short_for_a_sequence_model(tmp_path: Path) -> None:
    data = toy([[1, 2, 3], [2, 3, 1]])
    model = made("SASRec", data=data)
    with pytest.raises(DataError, match="the sequences are too short"):
        fit(model, data.sequences(), CONFIG, tmp_path, "x", Reporter())


@pytest.mark.parametrize("name", NAMES)
def test_nobody_to_rank(name: str) -> None:
    data = Toy(((1, 2, 3), (3, 1)), (3, 2), 3)
    with pytest.raises(DataError, match="no user has a dev item"):
        evaluate(made(name, data=data), data.sequences(), "dev")
