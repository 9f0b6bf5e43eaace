"""Vectors folded in from parts of histories: what is learned, drawn and left out."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from torch import Tensor

from recsae.recommenders.base import Sequences
from recsae.sae.folding import MOST_FOLDED, FoldIn, default_fold_ins, with_parts

N_USERS, N_ITEMS, D = 300, 50, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def histories(lengths: list[int], seed: int = 0) -> Sequences:
    """Training histories of random items, each with a dev and a test item after it."""
    drawn = generator(seed)
    rows = [
        (user, position, int(torch.randint(1, N_ITEMS + 1, (1,), generator=drawn)), split)
        for user, length in enumerate(lengths, 1)
        for position, split in enumerate(["train"] * length + ["dev", "test"], 1)
    ]
    columns = ["user_id", "position", "item_id", "split"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return Sequences.from_frame(frame, len(lengths), N_ITEMS)


def item_vectors() -> Tensor:
    return torch.randn(N_ITEMS, D, generator=generator(1))


def means(sequences: Sequences, items: Tensor) -> Tensor:
    """(n_users, d) mean vector of each user's training items, one user at a time."""
    starts = sequences.offsets[:-1].tolist()
    ends = (sequences.offsets[:-1] + sequences.n_train).tolist()
    return torch.stack(
        [items[sequences.items[a:b] - 1].mean(0) for a, b in zip(starts, ends, strict=True)]
    )


USERS = torch.arange(1, N_USERS + 1)
LENGTHS = [5 + user % 20 for user in range(N_USERS)]


def test_a_linear_model_is_found_again() -> None:
    """Vectors that are a linear map of the mean item: whole histories give them back."""
    sequences, items = histories([1] * 5 + LENGTHS), item_vectors()
    users = torch.arange(1, sequences.n_users + 1)
    vectors = means(sequences, items) @ torch.randn(D, D, generator=generator(2)) + 3
    fold = FoldIn(sequences, users, vectors, items)
    assert fold.fit > 0.99
    parts = fold.draw(20, generator())
    # the only part of a history of one item is the whole, and each is drawn in time
    distances = torch.cdist(vectors[:5], parts).min(1).values
    assert distances.max() < 0.2 * torch.pdist(vectors[:5]).mean()
    assert parts.var(0).sum() > vectors[5:].var(0).sum(), "parts vary more than wholes"


def test_vectors_that_have_nothing_to_do_with_items_are_not_fitted() -> None:
    """The fit is that of users left out: a regression of 2 d numbers on n users explains none."""
    noise = torch.randn(N_USERS, D, generator=generator(3))
    assert FoldIn(histories(LENGTHS), USERS, noise, item_vectors()).fit < 0.05
    few = USERS[:10]
    assert FoldIn(histories(LENGTHS), few, noise[:10], item_vectors()).fit < 0.5


def test_the_fit_is_the_one_of_leaving_users_out() -> None:
    """The formula agrees with as many regressions as there are users."""
    n = 25
    sequences, items = histories(LENGTHS[:n]), item_vectors()
    noise = torch.randn(n, D, generator=generator(4))
    vectors = means(sequences, items) + 0.2 * noise
    users = torch.arange(1, n + 1)
    fold = FoldIn(sequences, users, vectors, items)
    features = fold._features(torch.ones(n), generator())[0]
    inputs = ((features - fold._mean) / fold._scale).double()
    error = torch.zeros(())
    for left_out in range(n):
        rest = [row for row in range(n) if row != left_out]
        centre, outputs = inputs[rest].mean(0), vectors[rest].double()
        x, y = inputs[rest] - centre, outputs - outputs.mean(0)
        weights = torch.linalg.solve(x.T @ x + n / 64 * torch.eye(2 * D).double(), x.T @ y)
        guess = (inputs[left_out] - centre) @ weights + outputs.mean(0)
        error += (vectors[left_out] - guess).square().sum()
    expected = 1 - error / (vectors - vectors.mean(0)).square().sum()
    assert abs(fold.fit - float(expected)) < 1e-4


def test_only_the_given_users_are_read() -> None:
    """What users have that do not train changes no folded vector."""
    items = item_vectors()
    one = histories(LENGTHS)
    other = Sequences(one.items.clone(), one.offsets, one.n_train, one.n_items)
    trains = USERS[: N_USERS // 2]
    end = int(one.offsets[len(trains)])
    other.items[end:] = 1
    vectors = means(one, items)[: len(trains)]
    drawn = [FoldIn(s, trains, vectors, items).draw(3, generator(5)) for s in (one, other)]
    assert torch.equal(*drawn)


def test_dev_and_test_items_are_not_read() -> None:
    items, one = item_vectors(), histories(LENGTHS)
    other = Sequences(one.items.clone(), one.offsets, one.n_train, one.n_items)
    other.items[one.offsets[1:] - 1] = 1
    other.items[one.offsets[1:] - 2] = 1
    vectors = means(one, items)
    drawn = [FoldIn(s, USERS, vectors, items).draw(2, generator(5)) for s in (one, other)]
    assert torch.equal(*drawn)


def test_users_without_a_history_and_parts_without_an_item_are_left_out() -> None:
    sequences = histories([0, 1, 0, *LENGTHS])
    users = torch.arange(1, N_USERS + 4)
    vectors = torch.randn(N_USERS + 3, D, generator=generator(6))
    fold = FoldIn(sequences, users, vectors, item_vectors())
    assert fold.users.tolist() == [2, *range(4, N_USERS + 4)]
    drawn = fold.draw(50, generator())
    assert 45 * (N_USERS + 1) < len(drawn) < 50 * (N_USERS + 1)
    assert torch.isfinite(drawn).all()


def test_nobody_with_a_history_is_no_fit() -> None:
    fold = FoldIn(histories([0, 0]), torch.tensor([1, 2]), torch.ones(2, D), item_vectors())
    assert fold.fit == 0
    same = FoldIn(histories(LENGTHS), USERS, torch.ones(N_USERS, D), item_vectors())
    assert same.fit == 0


def test_one_seed_gives_the_same_on_any_number_of_threads() -> None:
    sequences, items = histories(LENGTHS), item_vectors()
    before = torch.get_num_threads()
    drawn = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            fold = FoldIn(sequences, USERS, means(sequences, items), items)
            drawn.append(fold.draw(4, generator(7)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*drawn)
    again = FoldIn(sequences, USERS, means(sequences, items), items).draw(4, generator(8))
    assert not torch.equal(drawn[0][: len(again)], again[: len(drawn[0])])


def test_fewer_are_folded_in_where_vectors_are_many() -> None:
    assert default_fold_ins(750) == 24
    assert default_fold_ins(0) == 24
    for n in (10_000, 50_000, MOST_FOLDED):
        assert default_fold_ins(n) == MOST_FOLDED // n
    assert default_fold_ins(MOST_FOLDED + 1) == 0


@pytest.mark.parametrize(
    ("n_parts", "times"), [(0, 1), (1, 1), (30, 1), (31, 2), (239, 8), (240, 8), (241, 9)]
)
def test_own_vectors_count_at_least_a_third_of_the_parts(n_parts: int, times: int) -> None:
    own, parts = torch.randn(10, D), torch.randn(n_parts, D)
    trains = with_parts(own, parts)
    assert torch.equal(trains[: 10 * times], own.repeat(times, 1))
    assert torch.equal(trains[10 * times :], parts)


def test_nobody_who_trains_has_no_parts() -> None:
    assert with_parts(torch.empty(0, D), torch.empty(0, D)).shape == (0, D)
