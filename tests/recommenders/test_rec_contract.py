"""What every recommender promises (recsae/recommenders/base.py), whatever it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from recommenders.toy_sequences import (
    KINDS,
    SMALL,
    Toy,
    checkerboard,
    random_toy,
    toy,
    trained_pairs,
)
from safetensors.torch import load_file

from recsae.config import TrainConfig
from recsae.errors import UsageError
from recsae.progress import Reporter
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.presets import create, model_name, preset
from recsae.recommenders.ranking import held_out_cases, top_items
from recsae.recommenders.trainer import case_vectors, evaluate, fit
from recsae.stages.train import WEIGHTS, save_weights

pytestmark = pytest.mark.parametrize("kind", KINDS)


def made(kind: str, data: Toy, config: TrainConfig = SMALL) -> Recommender:
    name, *objective = kind.split()
    config = config.with_options(objective=objective[0] if objective else None)
    return create(name, config, data.sequences())


def every_case(sequences: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = (sequences.offsets[1:] - sequences.offsets[:-1]).tolist()
    pairs = [(user, p) for user, length in enumerate(lengths, 1) for p in range(1, length)]
    users, positions = torch.tensor(pairs).T
    return users, positions


def scores(model: Recommender, sequences: Sequences) -> torch.Tensor:
    """Scores of all cases, (n, n_items)."""
    with torch.no_grad():
        return case_vectors(model, sequences, *every_case(sequences)) @ model.item_vectors().T


def test_shapes(kind: str) -> None:
    data = random_toy()
    sequences, model = data.sequences(), made(kind, data)
    users, positions = every_case(sequences)
    vectors = model.case_vectors(sequences, users, positions)
    assert vectors.shape == (len(users), SMALL.emb_size)
    assert model.item_vectors().shape == (data.n_items, SMALL.emb_size)
    assert vectors.dtype == model.item_vectors().dtype == torch.float32
    assert model.name == kind.split()[0]


def test_a_batch_of_cases_equals_one_at_a_time(kind: str) -> None:
    data = random_toy()
    sequences, model = data.sequences(), made(kind, data)
    users, positions = every_case(sequences)
    together = case_vectors(model, sequences, users, positions)
    for i in range(len(users)):
        alone = case_vectors(model, sequences, users[i : i + 1], positions[i : i + 1])
        torch.testing.assert_close(alone[0], together[i])


def test_an_epoch_trains_every_training_interaction_once(kind: str) -> None:
    """A sequence model cannot predict the first item; nothing after the training data is met."""
    data = random_toy()
    sequences, model = data.sequences(), made(kind, data)
    wanted: Counter[tuple[int, int]] = Counter()
    for user, (items, n) in enumerate(zip(data.lists, data.n_train, strict=True), 1):
        before = items if model.is_sequential else [user] * (n + 1)
        train = items[1:n] if model.is_sequential else items[:n]
        wanted.update(zip(before[: len(train)], train, strict=True))
    for seed in range(5):
        batches = model.batches(sequences, torch.Generator().manual_seed(seed))
        assert Counter(pair for batch in batches for pair in trained_pairs(batch)) == wanted


def test_users_without_training_data_are_passed_over(kind: str) -> None:
    data = Toy(((1, 2), (3, 4, 5, 6, 7), (8,)), (0, 3, 1), 8)
    model = made(kind, data, TrainConfig(emb_size=4, history_max=1, batch_size=2))
    for seed in range(5):
        batches = list(model.batches(data.sequences(), torch.Generator().manual_seed(seed)))
        assert {item for batch in batches for _, item in trained_pairs(batch)} <= {3, 4, 5, 8}
        assert all(torch.isfinite(model.loss(batch)) for batch in batches)


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_number_of_batches(kind: str, batch_size: int) -> None:
    """Exact for pairs; windows are cut at random places, so there it is the mean, rounded up."""
    data = random_toy(n_users=40)
    config = SMALL.with_options(batch_size=batch_size)
    sequences, model = data.sequences(), made(kind, data, config)
    counts = [
        len(list(model.batches(sequences, torch.Generator().manual_seed(seed))))
        for seed in range(50)
    ]
    expected = model.n_batches(sequences)
    if model.is_sequential:
        assert expected - 2 <= sum(counts) / len(counts) <= expected + 1
    else:
        assert set(counts) == {expected}


def test_the_same_generator_gives_the_same_epoch(kind: str) -> None:
    data = random_toy()
    sequences, model = data.sequences(), made(kind, data)

    def epoch(seed: int) -> list[torch.Tensor]:
        batches = model.batches(sequences, torch.Generator().manual_seed(seed))
        return [tensor for batch in batches for tensor in batch]  # type: ignore[attr-defined]

    assert all(map(torch.equal, epoch(1), epoch(1)))
    assert not all(map(torch.equal, epoch(1), epoch(2)))


def test_the_loss_reaches_every_weight(kind: str) -> None:
    data = random_toy()
    sequences, model = data.sequences(), made(kind, data)
    for batch in model.batches(sequences, torch.Generator().manual_seed(0)):
        loss = model.loss(batch)
        assert loss.shape == ()
        loss.backward()
    for weights_name, weights in model.named_parameters():
        if weights_name.endswith("key.bias"):
            continue  # softmax does not feel a shift that all keys share
        assert weights.grad is not None, weights_name
        assert weights.grad.abs().sum() > 0, weights_name


def test_weights_come_from_the_seed_alone(kind: str) -> None:
    data = random_toy()
    torch.manual_seed(123)
    first = made(kind, data)
    torch.manual_seed(456)
    before = torch.get_rng_state()
    second, other = made(kind, data), made(kind, data, SMALL.with_options(seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.item_vectors(), other.item_vectors())


def test_training_is_determined_by_the_seed(kind: str, tmp_path: Path) -> None:
    data = random_toy()
    sequences = data.sequences()

    def trained(seed: int, folder: str) -> torch.Tensor:
        torch.manual_seed(len(folder))
        config = SMALL.with_options(seed=seed)
        model = made(kind, data, config)
        (tmp_path / folder).mkdir()
        fit(model, sequences, config, tmp_path / folder, "x", Reporter())
        return scores(model, sequences)

    first = trained(0, "one")
    assert torch.equal(first, trained(0, "again"))
    assert not torch.equal(first, trained(1, "another"))


def indexed(loss: torch.Tensor) -> list[list[tuple[int, ...]]]:
    """The places that each look-up by index with a gradient asked for, in a graph of autograd."""
    found, ahead, seen = [], [loss.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        ahead += [following for following, _ in node.next_functions]
        if node.name() == "IndexBackward0":
            given = [index for index in node._saved_indices if index is not None]  # type: ignore[attr-defined]
            if given[0].dtype != torch.bool:  # which asks for no place twice
                found.append(list(zip(*(index.flatten().tolist() for index in given), strict=True)))
    return found


def test_no_gradient_is_added_up_by_index(kind: str) -> None:
    """With several threads that is done in the order in which they come, which is random."""
    data = random_toy(60, 20)
    model = made(kind, data, SMALL.with_options(batch_size=200))
    batch = next(iter(model.batches(data.sequences(), torch.Generator().manual_seed(0))))
    for places in indexed(model.loss(batch)):
        assert len(set(places)) == len(places)


def test_a_case_vector_does_not_look_ahead(kind: str) -> None:
    """Change all items at and after a position: the vectors up to there stay the same."""
    items = [3, 1, 4, 5, 9, 2, 6, 8, 7]
    model = made(kind, toy([items]))
    past = toy([items]).sequences()
    for position in range(1, len(items)):
        seen, ahead = items[:position], items[position:]
        future = toy([seen + ahead[::-1]], 9).sequences()
        user, at = torch.tensor([1]), torch.tensor([position])
        expected = case_vectors(model, past, user, at)
        assert torch.equal(case_vectors(model, future, user, at), expected)
        shorter = toy([seen], 9).sequences()
        assert torch.equal(case_vectors(model, shorter, user, at), expected)


def test_only_sequence_models_look_at_the_history(kind: str) -> None:
    data = random_toy()
    sequences, model = data.sequences(), made(kind, data)
    users, positions = every_case(sequences)
    at_start = case_vectors(model, sequences, users, torch.ones_like(positions))
    here = case_vectors(model, sequences, users, positions)
    assert torch.equal(here, at_start) is not model.is_sequential
    other_users = case_vectors(model, toy([[1, 2, 3], [1, 2, 3]]).sequences(), *PAIR)
    assert torch.equal(other_users[0], other_users[1]) is model.is_sequential


PAIR = (torch.tensor([1, 2]), torch.tensor([2, 2]))


def test_saved_weights_give_the_same_scores(kind: str, tmp_path: Path) -> None:
    data = random_toy()
    sequences, model = data.sequences(), made(kind, data)
    fit(model, sequences, SMALL, tmp_path, "x", Reporter())
    save_weights(model, tmp_path)
    other = made(kind, data, SMALL.with_options(seed=99))
    assert not torch.equal(scores(other, sequences), scores(model, sequences))
    other.load_state_dict(load_file(tmp_path / WEIGHTS))
    assert torch.equal(scores(other, sequences), scores(model, sequences))
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_learns_the_checkerboard(kind: str, tmp_path: Path) -> None:
    """The withheld diagonal is the only right recommendation that is left to each user.

    Users of a parity are alike, so uniformity may not push them apart as on real data.
    """
    data = checkerboard()
    sequences = data.sequences()
    config = preset(kind.split()[0], "toy").with_options(
        gamma=0.3, emb_size=16, history_max=8, batch_size=64, lr=1e-2, epochs=60, early_stop=60
    )
    model = made(kind, data, config)
    fit(model, sequences, config, tmp_path, "x", Reporter())
    metrics = evaluate(model, sequences, "test")
    users, positions = held_out_cases(sequences, "test")
    vectors = case_vectors(model, sequences, users, positions)
    (_, best, _), *_ = top_items(vectors, model.item_vectors(), sequences, users, positions, 1)
    assert (best[:, 0] == users).float().mean() >= 0.9
    assert metrics["HR@5"] == 1.0
    assert metrics["NDCG@5"] >= 0.95


def test_found_by_name_in_any_case(kind: str) -> None:
    name = kind.split()[0]
    assert model_name(name.upper()) == model_name(name.lower()) == name
    with pytest.raises(UsageError) as caught:
        model_name(name[:-1] + "x")
    assert caught.value.message == f"no model is called {name[:-1] + 'x'!r}"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"did you mean {name}? there is ")
