"""TiMiRec: its formulas against plain loops, what it looks at, and what its two stages learn."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from recommenders.toy_sequences import SMALL, Toy, random_toy, toy
from torch import Tensor

from recsae.config import TrainConfig
from recsae.progress import Reporter, Step
from recsae.recommenders import timirec
from recsae.recommenders.base import Sequences
from recsae.recommenders.presets import create
from recsae.recommenders.ranking import held_out_cases, target_ranks, top_items
from recsae.recommenders.sasrec import PrefixBatch
from recsae.recommenders.timirec import (
    DrawnBatch,
    TiMiRec,
    distilled,
    nearest,
    weighted,
)
from recsae.recommenders.trainer import CHECKPOINT, case_vectors, evaluate, fit

TINY = SMALL.with_options(K=3, attn_size=5, dropout=0.0)
PRETRAIN = TINY.with_options(stage="pretrain")
FORMS = [
    {"objective": objective, "add_pos": pos, "add_trm": trm}
    for objective in ("softmax", "bpr")
    for pos in (0, 1)
    for trm in (0, 1)
]
HISTORIES = torch.tensor([[3, 1, 4, 2], [5, 0, 0, 0], [2, 7, 0, 0]])
LENGTHS = [4, 1, 2]


def made(config: TrainConfig, data: Toy | None = None) -> TiMiRec:
    """A model with weights large enough for its softmaxes to be uneven."""
    model = create("TiMiRec", config, (data or random_toy()).sequences())
    assert isinstance(model, TiMiRec)
    with torch.no_grad():
        for weight in (model.extractor.inner.weight, model.extractor.outer.weight):
            weight.mul_(5)
    return model


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def plain_interests(model: TiMiRec, hidden: list[list[float]]) -> list[list[float]]:
    """K averages of the places of one history without padding."""
    inner, outer = model.extractor.inner, model.extractor.outer
    logits = []  # per place, K
    for place in hidden:
        units = [
            math.tanh(sum(w * x for w, x in zip(row, place, strict=True)) + bias)
            for row, bias in zip(inner.weight.tolist(), inner.bias.tolist(), strict=True)
        ]
        logits.append(
            [sum(w * u for w, u in zip(row, units, strict=True)) for row in outer.weight.tolist()]
        )
    interests = []
    for k in range(len(logits[0])):
        weights = softmax([place[k] for place in logits])
        interests.append(
            [
                sum(weight * place[i] for weight, place in zip(weights, hidden, strict=True))
                for i in range(len(hidden[0]))
            ]
        )
    return interests


@pytest.mark.parametrize("form", FORMS, ids=str)
@torch.no_grad()
def test_interests_equal_a_plain_loop(form: dict[str, object]) -> None:
    model = made(TINY.with_options(**form))
    together = model.extractor(HISTORIES, every_place=False)
    assert together.shape == (3, 1, 3, 8)
    for row, length in enumerate(LENGTHS):
        hidden = model.extractor.hidden(HISTORIES[row : row + 1, :length])[0].tolist()
        expected = torch.tensor(plain_interests(model, hidden))
        torch.testing.assert_close(together[row, 0], expected)


@torch.no_grad()
def test_places_are_items_and_positions_through_one_block() -> None:
    model = made(TINY.with_options(objective="bpr", position_from="recent"))
    extractor = model.extractor
    assert extractor.positions is not None
    assert extractor.block is not None
    x = extractor.items.weight[[2, 7]] + extractor.positions.weight[[2, 1]]
    expected = extractor.block(x[None], torch.ones(1, 2, dtype=torch.bool))[0]
    torch.testing.assert_close(extractor.hidden(HISTORIES[2:])[0, :2], expected)
    bare = made(TINY.with_options(add_pos=0, add_trm=0)).extractor
    assert torch.equal(bare.hidden(HISTORIES), bare.items.weight[HISTORIES])


@pytest.mark.parametrize("form", FORMS, ids=str)
@torch.no_grad()
def test_padding_is_not_looked_at(form: dict[str, object]) -> None:
    data = random_toy()
    model = made(TINY.with_options(**form), data)
    cases = held_out_cases(data.sequences(), "dev")
    before = case_vectors(model, data.sequences(), *cases)
    assert model.predictor is not None
    for table in (model.extractor.items, model.predictor.items):
        table.weight[0] = 50.0
    if model.extractor.positions is not None:
        model.extractor.positions.weight[0] = -50.0
    torch.testing.assert_close(case_vectors(model, data.sequences(), *cases), before)


@torch.no_grad()
def test_every_place_has_what_a_history_that_ends_there_has() -> None:
    model = made(TINY)
    assert model.predictor is not None
    interests = model.extractor(HISTORIES, every_place=True)
    logits = model.predictor(HISTORIES, every_place=True)
    for row, length in enumerate(LENGTHS):
        for place in range(length):
            ending = HISTORIES[row : row + 1].clone()
            ending[:, place + 1 :] = 0
            own = model.extractor(ending, every_place=False)[0, 0]
            torch.testing.assert_close(interests[row, place], own)
            torch.testing.assert_close(
                logits[row, place], model.predictor(ending, every_place=False)[0, 0]
            )


def test_the_vector_of_a_case() -> None:
    """After pretraining all interests; after finetuning their sum with the predicted weights."""
    data = random_toy()
    sequences, model = data.sequences(), made(TINY, data)
    users, positions = held_out_cases(sequences, "test")
    history = sequences.history(users, positions, TINY.history_max)
    assert model.predictor is not None
    with torch.no_grad():
        interests = model.extractor(history, every_place=False)[:, 0].tolist()
        logits = model.predictor(history, every_place=False)[:, 0].tolist()
    vectors = case_vectors(model, sequences, users, positions)
    for vector, parts, row in zip(vectors, interests, logits, strict=True):
        weights = softmax(row)
        plain = [sum(w * p[i] for w, p in zip(weights, parts, strict=True)) for i in range(8)]
        torch.testing.assert_close(vector, torch.tensor(plain))
    first = made(PRETRAIN, data)
    first.load_state_dict({k: v for k, v in model.state_dict().items() if "predictor" not in k})
    every = case_vectors(first, sequences, users, positions)
    torch.testing.assert_close(every, torch.tensor(interests))
    single = made(PRETRAIN.with_options(K=1), data)
    assert case_vectors(single, sequences, users, positions).shape == (len(users), 8)


def test_layers_of_the_predictor() -> None:
    for n_layers in (1, 3):
        predictor = made(TINY.with_options(n_layers=n_layers)).predictor
        assert predictor is not None
        widths = [p.shape[0] for p in predictor.projection.parameters() if p.ndim == 2]
        assert widths == [8] * (n_layers - 1) + [3]


def test_nearest_weighted_and_distilled_equal_plain_loops() -> None:
    torch.manual_seed(0)
    interests, targets = torch.randn(6, 3, 4, requires_grad=True), torch.randn(6, 4)
    logits, temp = torch.randn(6, 3, requires_grad=True), 0.7
    chosen, total = [], 0.0
    for parts, target, row in zip(
        interests.tolist(), targets.tolist(), logits.tolist(), strict=True
    ):
        products = [sum(a * b for a, b in zip(part, target, strict=True)) for part in parts]
        chosen.append(parts[products.index(max(products))])
        cosines = [
            product / math.hypot(*part) / math.hypot(*target)
            for product, part in zip(products, parts, strict=True)
        ]
        expected = softmax([cosine / temp for cosine in cosines])
        predicted = softmax([value / temp for value in row])
        total += sum(p * math.log(p / q) for p, q in zip(expected, predicted, strict=True))
    torch.testing.assert_close(nearest(interests, targets), torch.tensor(chosen))
    loss = distilled(interests, targets, logits, temp)
    assert float(loss.detach()) == pytest.approx(temp**2 * total / 6, rel=1e-5)
    loss.backward()
    assert interests.grad is None  # the target's interests teach, they do not learn
    assert logits.grad is not None
    even = weighted(interests, torch.zeros(6, 3))
    torch.testing.assert_close(even, interests.mean(1))


def test_losses_equal_their_formulas() -> None:
    """Of both stages with one negative, and of a softmax over items by their nearest interest."""
    model = made(PRETRAIN)
    items = model.extractor.items.weight.detach()
    positives, negatives = torch.tensor([6, 8, 9]), torch.tensor([1, 2, 3])
    with torch.no_grad():
        interests = model.extractor(HISTORIES, every_place=False)[:, 0]
        drawn = torch.arange(items.shape[0] - 1) + 1
        targets = torch.tensor([[1, 4, 2, 6], [8, 0, 0, 0], [7, 9, 0, 0]])
        asked = targets > 0
        places = model.extractor(HISTORIES, every_place=True)[asked]
        scores = (places @ items[1:].T).amax(1)
        every = model.loss(DrawnBatch(HISTORIES, targets, drawn))
        assert float(every) == pytest.approx(mean_surprise(scores, targets[asked]), rel=1e-5)
        # a target among the drawn counts once, and each of the others stands for several
        some = model.loss(DrawnBatch(HISTORIES, targets, torch.tensor([4, 11, 12])))
        assert float(some) == pytest.approx(
            mean_surprise(scores, targets[asked], [4, 11, 12]), rel=1e-5
        )
        own = nearest(interests, items[positives])
        margin = (own * (items[positives] - items[negatives])).sum(1)
        plain = sum(math.log1p(math.exp(-m)) for m in margin.tolist()) / 3
        batch = PrefixBatch(HISTORIES, positives, negatives)
        assert float(model.loss(batch)) == pytest.approx(plain, rel=1e-5)
        second = made(TINY)
        assert second.predictor is not None
        items = second.extractor.items.weight
        interests = second.extractor(HISTORIES, every_place=False)[:, 0]
        logits = second.predictor(HISTORIES, every_place=False)[:, 0]
        margin = (weighted(interests, logits) * (items[positives] - items[negatives])).sum(1)
        plain = sum(math.log1p(math.exp(-m)) for m in margin.tolist()) / 3
        plain += float(distilled(interests, items[positives], logits, 1.0))
        assert float(second.loss(batch)) == pytest.approx(plain, rel=1e-5)


def mean_surprise(scores: Tensor, targets: Tensor, drawn: list[int] | None = None) -> float:
    """Mean of -log of the target's share, with every item or the drawn ones for all others."""
    total = 0.0
    for row, target in zip(scores.tolist(), targets.tolist(), strict=True):
        others = [item for item in drawn or range(1, len(row) + 1) if item != target]
        own = math.exp(row[target - 1])
        rest = sum(math.exp(row[item - 1]) for item in others) * (len(row) - 1) / len(others)
        total -= math.log(own / (own + rest))
    return total / len(targets)


def test_one_negative_asks_for_every_training_item_once() -> None:
    data = random_toy()
    sequences, config = data.sequences(), TINY.with_options(objective="bpr")
    model = made(config, data)
    for seed in range(5):
        batches = list(model.batches(sequences, torch.Generator().manual_seed(seed)))
        assert len(batches) == model.n_batches(sequences)
        found, wanted = [], []
        for batch in batches:
            assert isinstance(batch, PrefixBatch)
            for history, positive, negative in zip(*(t.tolist() for t in batch), strict=True):
                seen = [item for item in history if item]
                user = next(
                    i
                    for i, items in enumerate(data.lists)
                    if any(items[max(p - 4, 0) : p + 1] == (*seen, positive) for p in range(12))
                )
                assert negative not in data.lists[user][: data.n_train[user]]
                found.append((tuple(seen), positive))
        for items, n in zip(data.lists, data.n_train, strict=True):
            wanted += [(items[max(p - 4, 0) : p], items[p]) for p in range(1, n)]
        assert sorted(found) == sorted(wanted)


def test_items_are_drawn_once_per_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timirec, "N_DRAWN", 5)
    data = random_toy()
    model = made(PRETRAIN, data)
    batches = list(model.batches(data.sequences(), torch.Generator().manual_seed(0)))
    drawn = [set(batch.drawn.tolist()) for batch in batches if isinstance(batch, DrawnBatch)]
    assert len(drawn) == len(batches) > 1
    assert all(len(items) == 5 and items <= set(range(1, 31)) for items in drawn)
    assert drawn[0] != drawn[1]


def test_a_score_is_the_largest_over_the_vectors() -> None:
    data = random_toy()
    sequences, model = data.sequences(), made(PRETRAIN, data)
    users, positions = held_out_cases(sequences, "test")
    vectors = case_vectors(model, sequences, users, positions)
    items = model.item_vectors().detach()
    ranks = target_ranks(vectors, items, sequences, users, positions)
    (_, best, values), *_ = top_items(vectors, items, sequences, users, positions, 4)
    for row, (user, position) in enumerate(zip(users.tolist(), positions.tolist(), strict=True)):
        seen = data.lists[user - 1][:position]
        scores = {
            item: max(float(v @ items[item - 1]) for v in vectors[row])
            for item in range(1, 31)
            if item not in seen
        }
        order = sorted(scores, key=lambda item: -scores[item])
        assert ranks[row] == order.index(data.lists[user - 1][position]) + 1
        assert best[row].tolist() == order[:4]
        assert values[row].tolist() == pytest.approx([scores[item] for item in order[:4]])


# -- what is learnt ---------------------------------------------------------------------------

N_GROUP = 8
LEARNT = TrainConfig(
    emb_size=4, K=2, history_max=12, add_trm=0, add_pos=0, batch_size=32, lr=1e-2, epochs=20
)
"""Vectors too narrow for one of them to be near to two groups at once."""


def group(items: Tensor) -> Tensor:
    return (items - 1) // N_GROUP


def two_interests(n_groups: int, *, in_turn: bool) -> Sequences:
    """Every user likes seven items of each of two groups, in turn or in random order."""
    draw, lists = random.Random(0), []
    for _ in range(200):
        chosen = draw.sample(range(n_groups), 2)
        sides = [
            draw.sample(range(one * N_GROUP + 1, (one + 1) * N_GROUP + 1), 7) for one in chosen
        ]
        items = [item for pair in zip(*sides, strict=True) for item in pair]
        if not in_turn:
            draw.shuffle(items)
        lists.append(items)
    return toy(lists, n_groups * N_GROUP).sequences()


def fitted(config: TrainConfig, sequences: Sequences, folder: Path, *start: TiMiRec) -> TiMiRec:
    folder.mkdir()
    model = create("TiMiRec", config, sequences)
    for first in start:
        model.load_state_dict({**model.state_dict(), **first.state_dict()})
    fit(model, sequences, config, folder, "x", Reporter())
    assert isinstance(model, TiMiRec)
    return model


def test_two_interests_are_told_apart(tmp_path: Path) -> None:
    """Each interest points to one of the user's groups, which a single vector cannot."""
    sequences = two_interests(8, in_turn=False)
    config = LEARNT.with_options(stage="pretrain")
    model = fitted(config, sequences, tmp_path / "two")
    users, positions = held_out_cases(sequences, "test")
    vectors = case_vectors(model, sequences, users, positions)
    groups = group((vectors @ model.item_vectors().detach().T).argmax(-1) + 1)
    history = group(sequences.history(users, positions, 12))
    own = (groups[:, :, None] == history[:, None]).any(2)
    assert (own.all(1) & (groups[:, 0] != groups[:, 1])).float().mean() >= 0.9
    single = fitted(config.with_options(K=1), sequences, tmp_path / "one")
    assert evaluate(model, sequences, "test")["HR@5"] >= 0.95
    assert evaluate(single, sequences, "test")["HR@5"] <= 0.85


def test_the_predictor_learns_which_interest_is_next(tmp_path: Path) -> None:
    sequences = two_interests(4, in_turn=True)
    config = LEARNT.with_options(epochs=15)
    first = fitted(config.with_options(stage="pretrain"), sequences, tmp_path / "first")
    model = fitted(config, sequences, tmp_path / "second", first)
    users, positions = held_out_cases(sequences, "test")
    vectors = case_vectors(model, sequences, users, positions)
    items = model.item_vectors().detach()
    (_, best, _), *_ = top_items(vectors, items, sequences, users, positions, 1)
    answers = sequences.items[sequences.offsets[users - 1] + positions]
    assert (group(best[:, 0]) == group(answers)).float().mean() >= 0.95
    before, after = (evaluate(one, sequences, "test")["NDCG@5"] for one in (first, model))
    assert after > before + 0.05


class StopsAfter(Reporter):
    """Interrupts when an epoch with that number has ended."""

    def __init__(self, epoch: int) -> None:
        self.left = epoch

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Step]:
        def step(n: int = 1, info: str = "") -> None:
            self.left -= bool(info)
            if info and not self.left:
                raise KeyboardInterrupt

        yield step


@pytest.mark.parametrize("objective", ["softmax", "bpr"])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_going_on_gives_the_same(objective: str, stage: str, tmp_path: Path) -> None:
    config = SMALL.with_options(objective=objective, stage=stage, epochs=5)
    sequences = random_toy(n_users=20).sequences()
    whole, broken, again = (create("TiMiRec", config, sequences) for _ in range(3))
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    state = fit(whole, sequences, config, tmp_path / "whole", "x", Reporter())
    with pytest.raises(KeyboardInterrupt):
        fit(broken, sequences, config, tmp_path / "broken", "x", StopsAfter(3))
    assert (tmp_path / "broken" / CHECKPOINT).exists()
    continued = fit(again, sequences, config, tmp_path / "broken", "x", Reporter())
    assert continued.best_score == state.best_score
    assert [row["loss"] for row in continued.history] == [row["loss"] for row in state.history]
    weights = again.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in whole.state_dict().items())
