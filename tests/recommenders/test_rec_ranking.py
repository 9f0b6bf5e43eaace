"""Full ranking against a plain loop; whole numbers as scores make sums exact and ties common."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recommenders.toy_sequences import Toy, random_toy, small_numbers, toy, toys
from torch import Tensor

from recsae.recommenders import ranking
from recsae.recommenders.ranking import (
    CUTOFFS,
    held_out_cases,
    masked_scores,
    ranking_metrics,
    target_ranks,
    top_items,
)

many = settings(deadline=None, max_examples=60)
D = 3


def followed_cases(data: Toy) -> tuple[Tensor, Tensor]:
    """Users and positions of all cases that an item follows, no item seen included."""
    pairs = [(user, p) for user, items in enumerate(data.lists, 1) for p in range(len(items))]
    users, positions = torch.tensor(pairs).T
    return users, positions


def plain_scores(vector: list[float], items: list[list[float]]) -> list[float]:
    return [sum(a * b for a, b in zip(vector, item, strict=True)) for item in items]


def plain_rank(own: list[float], seen: tuple[int, ...], target: int) -> int:
    """Place of the target among the items not seen, behind all that score as much."""
    candidates = [item for item in range(1, len(own) + 1) if item not in seen and item != target]
    return 1 + sum(own[item - 1] >= own[target - 1] for item in candidates)


def plain_ranks(data: Toy, vectors: Tensor, items: Tensor) -> list[int]:
    users, positions = followed_cases(data)
    ranks = []
    for vector, user, p in zip(vectors.tolist(), users.tolist(), positions.tolist(), strict=True):
        own, known = plain_scores(vector, items.tolist()), data.lists[user - 1]
        ranks.append(plain_rank(own, known[:p], known[p]))
    return ranks


@many
@given(data=toys(), seed=st.integers(0, 2**32), chunk=st.integers(1, 12))
def test_ranks_equal_a_plain_loop(data: Toy, seed: int, chunk: int) -> None:
    users, positions = followed_cases(data)
    vectors = small_numbers(len(users), D, seed)
    items = small_numbers(data.n_items, D, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "CHUNK", chunk)
        ranks = target_ranks(vectors, items, data.sequences(), users, positions)
    assert ranks.tolist() == plain_ranks(data, vectors, items)


@many
@given(data=toys(), seed=st.integers(0, 2**32), chunk=st.integers(1, 12), n=st.integers(1, 12))
def test_top_items_equal_a_plain_sort(data: Toy, seed: int, chunk: int, n: int) -> None:
    users, positions = followed_cases(data)
    vectors = small_numbers(len(users), D, seed)
    items = small_numbers(data.n_items, D, seed + 1)
    sequences = data.sequences()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "CHUNK", chunk)
        chunks = list(top_items(vectors, items, sequences, users, positions, n))
    assert [i for rows, _, _ in chunks for i in range(rows.start, rows.stop)] == [
        *range(len(users))
    ]
    best = torch.cat([ids for _, ids, _ in chunks]).tolist()
    values = torch.cat([scores for _, _, scores in chunks]).tolist()
    for i, (user, p) in enumerate(zip(users.tolist(), positions.tolist(), strict=True)):
        own, seen = plain_scores(vectors[i].tolist(), items.tolist()), data.lists[user - 1][:p]
        left = sorted((own[item] for item in range(len(own)) if item + 1 not in seen), reverse=True)
        finite = [value for value in values[i] if value > -math.inf]
        assert finite == left[:n]
        chosen = best[i][: len(finite)]
        assert [own[item - 1] for item in chosen] == finite
        assert not set(chosen) & set(seen)
        assert len(set(chosen)) == len(chosen)


def test_a_tie_counts_against_the_target() -> None:
    sequences = toy([[1, 2, 3]], 6).sequences()
    one = torch.tensor([1])
    ranks = target_ranks(torch.ones(1, 1), torch.ones(6, 1), sequences, one, one)
    assert ranks.tolist() == [5]  # item 1 is seen


def test_scores_that_are_not_numbers_count_against_the_target() -> None:
    sequences = toy([[1, 2, 3]], 6).sequences()
    one = torch.tensor([1])
    for bad in (math.nan, math.inf):
        vectors, items = torch.full((1, 1), bad), torch.zeros(6, 1)
        assert target_ranks(vectors, items, sequences, one, one).tolist() == [6]
    items = torch.tensor([[0.0], [1.0], [math.nan], [0.0], [2.0], [math.nan]])
    assert target_ranks(torch.ones(1, 1), items, sequences, one, one).tolist() == [4]


def test_the_dev_ranking_keeps_the_test_item_as_a_candidate() -> None:
    """The test item scores best, so the dev item is second."""
    sequences = toy([[1, 2, 3, 4]], 5).sequences()
    items = torch.tensor([[9.0], [9.0], [1.0], [2.0], [0.0]])
    users, positions = held_out_cases(sequences, "dev")
    assert target_ranks(torch.ones(1, 1), items, sequences, users, positions).tolist() == [2]
    users, positions = held_out_cases(sequences, "test")
    assert target_ranks(torch.ones(1, 1), items, sequences, users, positions).tolist() == [1]


def test_masked_scores_leave_the_others_alone() -> None:
    data = random_toy()
    users, positions = followed_cases(data)
    vectors, items = torch.randn(len(users), D), torch.randn(data.n_items, D)
    ((_, scores),) = masked_scores(vectors, items, data.sequences(), users, positions)
    for row, (user, p) in enumerate(zip(users.tolist(), positions.tolist(), strict=True)):
        seen = {item - 1 for item in data.lists[user - 1][:p]}
        assert {i for i in range(data.n_items) if scores[row, i] == -math.inf} == seen
        for i in set(range(data.n_items)) - seen:
            assert scores[row, i].item() == pytest.approx(float(vectors[row] @ items[i]), abs=1e-5)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_toy(40)
    users, positions = followed_cases(data)
    vectors, items = small_numbers(len(users), 8, 0), small_numbers(data.n_items, 8, 1)

    def ranks() -> Tensor:
        return target_ranks(vectors, items, data.sequences(), users, positions)

    whole = ranks()
    for chunk in (1, 7, len(users) - 1, len(users)):
        monkeypatch.setattr(ranking, "CHUNK", chunk)
        assert torch.equal(ranks(), whole)


def test_metrics_by_hand() -> None:
    """Ranks 1, 3, 7, 20, 60: gains 1, 1/2, 1/3, 1/log2(21), none."""
    metrics = ranking_metrics(torch.tensor([1, 3, 7, 20, 60]))
    tenth = 1 + 1 / 2 + 1 / 3
    twentieth = tenth + 1 / math.log2(21)
    assert metrics == pytest.approx(
        {
            "HR@5": 2 / 5,
            "NDCG@5": 1.5 / 5,
            "HR@10": 3 / 5,
            "NDCG@10": tenth / 5,
            "HR@20": 4 / 5,
            "NDCG@20": twentieth / 5,
            "HR@50": 4 / 5,
            "NDCG@50": twentieth / 5,
        },
        abs=1e-12,
    )
    assert CUTOFFS == (5, 10, 20, 50)


@many
@given(ranks=st.lists(st.integers(1, 100), min_size=1, max_size=30))
def test_metrics_equal_a_plain_loop(ranks: list[int]) -> None:
    metrics = ranking_metrics(torch.tensor(ranks))
    for k in CUTOFFS:
        gains = [1 / math.log2(rank + 1) for rank in ranks if rank <= k]
        assert metrics[f"HR@{k}"] == pytest.approx(len(gains) / len(ranks), abs=1e-12)
        assert metrics[f"NDCG@{k}"] == pytest.approx(sum(gains) / len(ranks), abs=1e-12)


@many
@given(data=toys())
def test_held_out_cases(data: Toy) -> None:
    sequences = data.sequences()
    for split, more in (("dev", 0), ("test", 1)):
        users, positions = held_out_cases(sequences, split)
        assert list(zip(users.tolist(), positions.tolist(), strict=True)) == [
            (user, n + more)
            for user, (items, n) in enumerate(zip(data.lists, data.n_train, strict=True), 1)
            if n + more < len(items)
        ]
