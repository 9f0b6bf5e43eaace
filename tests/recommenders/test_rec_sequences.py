"""The flat arrays against plain loops, and negatives that are really negative."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recommenders.toy_sequences import Toy, random_toy, toys

from recsae.recommenders.bprmf import sample_negatives

many = settings(deadline=None, max_examples=60)


def cases_of(data: Toy) -> list[tuple[int, int]]:
    """Every user with every number of items seen, none and all included."""
    return [(user, p) for user, items in enumerate(data.lists, 1) for p in range(len(items) + 1)]


@many
@given(data=toys())
def test_from_frame_puts_rows_in_order(data: Toy) -> None:
    sequences = data.sequences()
    assert sequences.n_users == len(data.lists)
    assert sequences.n_train.tolist() == list(data.n_train)
    bounds = sequences.offsets.tolist()
    flat = sequences.items.tolist()
    assert [tuple(flat[a:b]) for a, b in pairwise(bounds)] == list(data.lists)
    assert {sequences.items.dtype, sequences.offsets.dtype} == {torch.int64}


@many
@given(data=toys())
def test_training_pairs(data: Toy) -> None:
    users, items = data.sequences().training_pairs()
    assert list(zip(users.tolist(), items.tolist(), strict=True)) == [
        (user, item)
        for user, (items, n) in enumerate(zip(data.lists, data.n_train, strict=True), 1)
        for item in items[:n]
    ]


@many
@given(data=toys(), length=st.integers(1, 10))
def test_history_is_left_aligned(data: Toy, length: int) -> None:
    users, positions = torch.tensor(cases_of(data)).T
    history = data.sequences().history(users, positions, length)
    assert history.shape == (len(users), length)
    for row, (user, position) in zip(history.tolist(), cases_of(data), strict=True):
        last = list(data.lists[user - 1][:position][-length:])
        assert row == last + [0] * (length - len(last))


@many
@given(data=toys())
def test_seen(data: Toy) -> None:
    users, positions = torch.tensor(cases_of(data)).T
    rows, items = data.sequences().seen(users, positions)
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [
        (row, item)
        for row, (user, position) in enumerate(cases_of(data))
        for item in data.lists[user - 1][:position]
    ]


def test_a_user_without_rows() -> None:
    data = Toy(((1, 2), (), (3,)), (1, 0, 1), 3)
    sequences = data.sequences()
    assert sequences.offsets.tolist() == [0, 2, 2, 3]
    assert sequences.training_pairs()[0].tolist() == [1, 3]


@many
@given(data=toys(), seed=st.integers(0, 2**32))
def test_no_negative_is_owned(data: Toy, seed: int) -> None:
    """A user who has every item gets some item; the order of pairs does not matter."""
    users, items = data.sequences().training_pairs()
    if not len(users):
        return
    order = torch.randperm(len(users), generator=torch.Generator().manual_seed(seed))
    users, items = users[order], items[order]
    for _ in range(5):
        generator = torch.Generator().manual_seed(seed)
        drawn = sample_negatives(users, items, data.n_items, generator)
        assert drawn.shape == users.shape
        for user, item in zip(users.tolist(), drawn.tolist(), strict=True):
            owned = data.lists[user - 1][: data.n_train[user - 1]]
            assert 1 <= item <= data.n_items
            assert item not in owned or len(owned) == data.n_items
        users, items = users.repeat(2), items.repeat(2)  # pairs may come more than once


def test_negatives_are_uniform() -> None:
    """User 2 lacks four of eight items: each comes a quarter of the time."""
    users = torch.tensor([1, 2, 2, 2, 2, 3]).repeat(2000)
    items = torch.tensor([1, 1, 3, 4, 8, 5]).repeat(2000)
    drawn = sample_negatives(users, items, 8, torch.Generator().manual_seed(0))
    counts = Counter(drawn[users == 2].tolist())
    assert set(counts) == {2, 5, 6, 7}
    assert all(abs(count - 2000) < 200 for count in counts.values())  # 5 standard deviations
    assert set(drawn[users == 1].tolist()) == set(range(2, 9))
    assert set(drawn[users == 3].tolist()) == {1, 2, 3, 4, 6, 7, 8}


def test_a_user_with_all_items_but_one_always_gets_that_one() -> None:
    n = 200
    items = torch.cat([torch.arange(1, 137), torch.arange(138, n + 1)])
    users = torch.full_like(items, 4)
    drawn = sample_negatives(users, items, n, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {137}


def test_a_user_with_every_item_gets_any() -> None:
    users, items = torch.ones(500, dtype=torch.int64), torch.arange(1, 6).repeat(100)
    drawn = sample_negatives(users, items, 5, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1, 2, 3, 4, 5}


def test_toys_are_what_they_say() -> None:
    data = random_toy()
    assert all(len(set(items)) == len(items) >= 3 for items in data.lists)
