"""Formulas of the models against dense matrices, plain loops and full forms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recommenders.toy_sequences import SMALL, Toy, random_toy, toys
from torch import Tensor, nn
from torch.nn import functional as F

from recsae.recommenders import sasrec
from recsae.recommenders.base import Recommender
from recsae.recommenders.bprmf import BPRMF, PairBatch
from recsae.recommenders.directau import DirectAU, PositiveBatch, uniformity, unit_rows
from recsae.recommenders.lightgcn import LightGCN, propagate, training_graph
from recsae.recommenders.presets import create
from recsae.recommenders.sasrec import (
    Block,
    DrawnBatch,
    PrefixBatch,
    SASRec,
    WindowBatch,
    prefix_batches,
)

few = settings(deadline=None, max_examples=40)
NO_DROPOUT = SMALL.with_options(dropout=0.0)


def gradients(model: Recommender) -> dict[str, Tensor]:
    """Gradients of a model's weights, zeros where there are none; they are cleared."""
    found = {}
    for name, weights in model.named_parameters():
        found[name] = torch.zeros_like(weights) if weights.grad is None else weights.grad
        weights.grad = None
    return found


def dense_adjacency(data: Toy) -> np.ndarray:
    """D^-1/2 A D^-1/2 of users and items, (n_users + n_items)^2."""
    n_users = len(data.lists)
    matrix = np.zeros((n_users + data.n_items,) * 2)
    for user, (items, n) in enumerate(zip(data.lists, data.n_train, strict=True)):
        for item in items[:n]:
            matrix[user, n_users + item - 1] = matrix[n_users + item - 1, user] = 1
    scale = np.array([1 / math.sqrt(degree) if degree else 0 for degree in matrix.sum(1)])
    return matrix * scale[:, None] * scale


@few
@given(data=toys(), n_layers=st.integers(1, 4), seed=st.integers(0, 99))
def test_propagation_equals_dense_powers(data: Toy, n_layers: int, seed: int) -> None:
    """Also for users without training items, and for items that nobody has."""
    adjacency = dense_adjacency(data)
    table = np.random.default_rng(seed).normal(size=(len(adjacency), 3))
    powers = [np.linalg.matrix_power(adjacency, layer) @ table for layer in range(n_layers + 1)]
    graph = training_graph(data.sequences())
    found = propagate(torch.from_numpy(table).float(), graph, n_layers)
    np.testing.assert_allclose(found.numpy(), sum(powers) / (n_layers + 1), rtol=1e-4, atol=1e-5)


def test_an_interaction_that_is_repeated_is_one_edge() -> None:
    graph = training_graph(Toy(((1, 2, 1, 1, 2, 2),), (4,), 2).sequences())
    assert graph.offsets.tolist() == [0, 2, 3, 4]
    assert graph.neighbours.tolist() == [1, 2, 0, 0]
    assert graph.weights.tolist() == pytest.approx([2**-0.5] * 4)


def test_gradient_through_propagation() -> None:
    """Against autograd through the dense matrix."""
    data = random_toy()
    model = create("LightGCN", SMALL.with_options(n_layers=3), data.sequences())
    assert isinstance(model, LightGCN)
    batch = next(iter(model.batches(data.sequences(), torch.Generator().manual_seed(0))))
    model.loss(batch).backward()
    found = gradients(model)
    dense = torch.from_numpy(dense_adjacency(data)).float()
    layers = [torch.cat([model.users.weight, model.items.weight])]
    for _ in range(3):
        layers.append(dense @ layers[-1])
    vectors = torch.stack(layers).mean(0)
    users, items = vectors[: len(data.lists)], vectors[len(data.lists) :]
    own = users[batch.users - 1]
    margin = (own * (items[batch.positives - 1] - items[batch.negatives - 1])).sum(1)
    (-F.logsigmoid(margin).mean()).backward()
    expected = gradients(model)
    torch.testing.assert_close(found, expected)
    assert all(gradient.abs().sum() > 0 for gradient in found.values())


def test_lightgcn_follows_its_weights() -> None:
    """Nothing is kept that a step, or loading, would make stale."""
    data = random_toy()
    model, other = (
        create("LightGCN", SMALL.with_options(seed=seed), data.sequences()) for seed in (0, 1)
    )
    with torch.no_grad():
        before = model.item_vectors()
        model.load_state_dict(other.state_dict())
        assert not torch.equal(model.item_vectors(), before)
        assert torch.equal(model.item_vectors(), other.item_vectors())


def test_its_graph_is_no_weight() -> None:
    model = create("LightGCN", SMALL, random_toy().sequences())
    assert set(model.state_dict()) == {"users.weight", "items.weight"}


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_lightgcn_on_threads_is_determined_by_its_seed() -> None:
    """Threads do not add up a gradient in the order in which they happen to come.

    The batch is large enough to be shared between them, and repeats users and items.
    """
    sequences = random_toy(300, 60).sequences()
    config = SMALL.with_options(emb_size=64, batch_size=1024)

    def trained() -> Tensor:
        model = create("LightGCN", config, sequences)
        adam = torch.optim.Adam(model.parameters(), lr=config.lr)
        batch = next(iter(model.batches(sequences, torch.Generator().manual_seed(0))))
        for _ in range(10):
            adam.zero_grad()
            model.loss(batch).backward()
            adam.step()
        return nn.utils.parameters_to_vector(model.parameters())

    first = trained()
    for _ in range(3):
        assert torch.equal(trained(), first)


def plain_uniformity(rows: list[list[float]]) -> float:
    """Log of the mean of exp(-2 |x - y|^2) over pairs of rows."""
    pairs = [(x, y) for i, x in enumerate(rows) for y in rows[:i]]
    powers = [math.exp(-2 * sum((a - b) ** 2 for a, b in zip(x, y, strict=True))) for x, y in pairs]
    return math.log(sum(powers) / len(powers))


def test_directau_equals_a_plain_loop() -> None:
    data = random_toy()
    model = create("DirectAU", SMALL.with_options(gamma=0.7), data.sequences())
    assert isinstance(model, DirectAU)
    users, items = torch.tensor([1, 2, 2, 5, 9]), torch.tensor([4, 4, 30, 1, 7])
    unit = [
        [[value / math.hypot(*row) for value in row] for row in table(ids).tolist()]
        for table, ids in ((model.users, users), (model.items, items))
    ]
    alignment = sum(math.dist(x, y) ** 2 for x, y in zip(*unit, strict=True)) / 5
    expected = alignment + 0.7 * sum(map(plain_uniformity, unit)) / 2
    loss = model.loss(PositiveBatch(users, items)).item()
    assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("n", "n_ids"), [(2, 9), (3, 9), (50, 900), (50, 20), (50, 2), (5, 1)])
def test_uniformity_equals_all_pairwise_distances(n: int, n_ids: int) -> None:
    """Value and gradient, also of rows that stand several times, or all alike."""
    generator = torch.Generator().manual_seed(n)
    rows = torch.randn(n_ids, 6, generator=generator, dtype=torch.float64)
    table = nn.Embedding.from_pretrained(rows, freeze=False)
    ids = torch.randint(0, n_ids, (n,), generator=generator)
    unit, row, counts = unit_rows(table, ids)
    assert len(unit) == len(set(ids.tolist()))
    every = F.normalize(table(ids), dim=1)
    torch.testing.assert_close(unit[row], every)
    value, plain = uniformity(unit, counts), torch.pdist(every).square().mul(-2).exp().mean().log()
    torch.testing.assert_close(value, plain)
    found, expected = (torch.autograd.grad(of, table.weight)[0] for of in (value, plain))
    assert found.any() == (len(unit) > 1)
    torch.testing.assert_close(found, expected)


def test_directau_equals_its_plain_form() -> None:
    """Loss and gradients of the tables, of a batch with repeated users and items."""
    data = random_toy()
    model = create("DirectAU", SMALL.with_options(batch_size=40), data.sequences())
    assert isinstance(model, DirectAU)
    batch = next(iter(model.batches(data.sequences(), torch.Generator().manual_seed(0))))
    assert all(len(set(ids.tolist())) < 35 for ids in batch)
    loss = model.loss(batch)
    loss.backward()
    found = gradients(model)
    users = F.normalize(model.users(batch.users), dim=1)
    items = F.normalize(model.items(batch.positives), dim=1)
    spread = sum(torch.pdist(x).square().mul(-2).exp().mean().log() for x in (users, items))
    plain = (users - items).norm(dim=1).square().mean() + model.gamma * spread / 2
    plain.backward()
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(found, gradients(model), rtol=1e-4, atol=1e-6)


def test_a_batch_of_one_has_no_pair() -> None:
    model = create("DirectAU", SMALL, random_toy().sequences())
    assert isinstance(model, DirectAU)
    loss = model.loss(PositiveBatch(torch.tensor([3]), torch.tensor([4])))
    own = F.normalize(model.users.weight[3], dim=0) - F.normalize(model.items.weight[4], dim=0)
    torch.testing.assert_close(loss, own.square().sum())
    loss.backward()


def test_bprmf_equals_a_plain_loop() -> None:
    model = create("BPRMF", SMALL, random_toy().sequences())
    assert isinstance(model, BPRMF)
    ids = [1, 2, 2], [3, 5, 4], [6, 3, 7]
    losses = []
    for user, positive, negative in zip(*ids, strict=True):
        own = model.users.weight.detach()[user]
        margin = float(own @ (model.items.weight[positive] - model.items.weight[negative]).detach())
        losses.append(math.log(1 + math.exp(-margin)))
    found = model.loss(PairBatch(*map(torch.tensor, ids))).item()
    assert found == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_the_last_place_of_a_block_equals_the_full_form(n_heads: int) -> None:
    generator = torch.Generator().manual_seed(n_heads)
    torch.manual_seed(n_heads)
    block = Block(8, n_heads, 0.0)
    x = torch.randn(6, 5, 8, generator=generator, requires_grad=True)
    lengths = torch.tensor([1, 2, 3, 4, 5, 5])
    valid = torch.arange(5) < lengths[:, None]
    full = block(x)[torch.arange(6), lengths - 1]
    alone = block.last(x, valid)
    torch.testing.assert_close(alone, full)
    for_x = [
        torch.autograd.grad(out.square().sum(), x, retain_graph=True)[0] for out in (full, alone)
    ]
    torch.testing.assert_close(*for_x)


def test_one_drawn_negative_starts_small() -> None:
    """Linear layers and tables, and as large as ever for a softmax."""
    config = SMALL.with_options(emb_size=64)
    small, large = (
        create("SASRec", config.with_options(objective=objective), random_toy().sequences())
        for objective in ("bpr", "softmax")
    )
    for name, weights in small.named_parameters():
        if "norm" not in name:
            assert weights.std().item() == pytest.approx(0.01, rel=0.3), name
    assert isinstance(small, SASRec)
    assert not small.items.weight[0].any()
    assert large.item_vectors().std().item() == pytest.approx(1 / 8, rel=0.1)


@pytest.mark.parametrize("position_from", ["start", "recent"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_one_drawn_negative_equals_the_full_form(num_layers: int, position_from: str) -> None:
    """Loss and gradients of SASRec against all places of every sequence, of which one is taken."""
    data = random_toy()
    config = NO_DROPOUT.with_options(
        objective="bpr", num_layers=num_layers, num_heads=2, position_from=position_from
    )
    model = create("SASRec", config, data.sequences())
    assert isinstance(model, SASRec)
    for batch in model.batches(data.sequences(), torch.Generator().manual_seed(0)):
        assert isinstance(batch, PrefixBatch)
        loss = model.loss(batch)
        loss.backward()
        found = gradients(model)
        last = (batch.histories > 0).sum(1) - 1
        hidden = model.hidden(batch.histories)[torch.arange(len(last)), last]
        positive, negative = model.items(batch.positives), model.items(batch.negatives)
        margin = (hidden * positive).sum(1) - (hidden * negative).sum(1)
        plain = -torch.log(torch.sigmoid(margin)).mean()
        plain.backward()
        torch.testing.assert_close(loss, plain)
        torch.testing.assert_close(found, gradients(model), rtol=1e-4, atol=1e-6)


def test_a_softmax_over_drawn_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a catalogue that is larger than a softmax; against a plain loop over the places."""
    data = random_toy()
    monkeypatch.setattr(sasrec, "N_DRAWN", 9)
    model = create("SASRec", NO_DROPOUT, data.sequences())
    assert isinstance(model, SASRec)
    batches = list(model.batches(data.sequences(), torch.Generator().manual_seed(0)))
    assert len({tuple(batch.drawn.tolist()) for batch in batches}) == len(batches)  # type: ignore[attr-defined]
    for batch in batches:
        assert isinstance(batch, DrawnBatch)
        assert len(set(batch.drawn.tolist())) == 9
        scores = (model.hidden(batch.inputs) @ model.items.weight.T).detach()
        losses = []
        for row, place in (batch.targets > 0).nonzero().tolist():
            target, own = int(batch.targets[row, place]), scores[row, place].tolist()
            others = [math.exp(own[item]) for item in batch.drawn.tolist() if item != target]
            rest = 29 * sum(others) / len(others)
            losses.append(math.log(math.exp(own[target]) + rest) - own[target])
        assert model.loss(batch).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_a_softmax_over_all_items_drawn_is_the_full_one() -> None:
    data = random_toy()
    model = create("SASRec", NO_DROPOUT, data.sequences())
    every = torch.arange(1, data.n_items + 1)
    for batch in model.batches(data.sequences(), torch.Generator().manual_seed(0)):
        assert isinstance(batch, WindowBatch)
        losses = model.loss(batch), model.loss(DrawnBatch(*batch, every))
        torch.testing.assert_close(*losses)
        model.zero_grad()
        losses[0].backward()
        expected = gradients(model)
        losses[1].backward()
        torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-6)


@few
@given(data=toys(), length=st.integers(1, 5), batch_size=st.integers(1, 9))
def test_prefixes_equal_a_plain_loop(data: Toy, length: int, batch_size: int) -> None:
    wanted: Counter[tuple[tuple[int, ...], int]] = Counter()
    for items, n in zip(data.lists, data.n_train, strict=True):
        wanted.update((items[max(0, p - length) : p], items[p]) for p in range(1, n))
    generator = torch.Generator().manual_seed(0)
    batches = list(prefix_batches(data.sequences(), length, batch_size, generator))
    assert [len(batch.positives) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for batch in batches:
        for history, item in zip(batch.histories.tolist(), batch.positives.tolist(), strict=True):
            assert history == sorted(history, key=lambda item: item == 0)  # zeros come last
            found[tuple(filter(None, history)), item] += 1
    assert found == wanted


def test_negatives_of_prefixes_are_not_owned() -> None:
    """Lists do not overlap here, so that an item tells its user."""
    data = Toy(((1, 2, 3, 4, 5), (6, 7, 8, 9, 10)), (3, 3), 12)
    seen = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        for batch in prefix_batches(data.sequences(), 3, 2, generator):
            for item, drawn in zip(batch.positives.tolist(), batch.negatives.tolist(), strict=True):
                owned = {1, 2, 3} if item <= 5 else {6, 7, 8}
                assert drawn not in owned
                seen.add((item <= 5, drawn))
    assert len(seen) == 2 * (12 - 3)
