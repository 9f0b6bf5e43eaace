"""Vectors in the order of the data, and what their scores are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from vectors.toy_vectors import Toy, per_position, toy

from recsae.errors import DataError
from recsae.recommenders.fixed import Fixed
from recsae.recommenders.trainer import case_vectors
from recsae.stages.import_vectors import _warnings, above, beaten
from recsae.stages.train import sequences_of
from recsae.vectors import VectorTable, match, table_of


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return toy(tmp_path_factory.mktemp("vectors"))


def tables(given: Toy, seed: int = 0) -> tuple[VectorTable, VectorTable]:
    """Users and items in an order of their own."""
    rng = np.random.default_rng(seed)
    pairs = []
    for name, ids, vectors in (
        ("u.npz", given.user_ids, given.users),
        ("i.npz", given.item_ids, given.items),
    ):
        order = rng.permutation(len(ids))
        pairs.append(table_of(name, vectors[order], [ids[row] for row in order]))
    return pairs[0], pairs[1]


def changed(table: VectorTable, rows: Sequence[int]) -> VectorTable:
    return table_of(table.name, table.vectors[list(rows)], [table.ids[row] for row in rows])


def refused(given: Toy, users: VectorTable, items: VectorTable, score: str = "dot") -> DataError:
    with pytest.raises(DataError) as caught:
        match(given.content, users, items, score)  # type: ignore[arg-type]
    return caught.value


def test_rows_follow_the_ids(given: Toy) -> None:
    for seed in range(3):
        matched = match(given.content, *tables(given, seed), "dot")
        assert np.array_equal(matched.users, given.users)
        assert np.array_equal(matched.items, given.items)
        assert (matched.is_sequential, matched.has_bias, matched.notes) == (False, False, ())


def centred(scores: np.ndarray) -> np.ndarray:
    """Scores (n, m) without what is added to all of a row."""
    return scores - scores.mean(1, keepdims=True)


def test_cosine(given: Toy) -> None:
    rng = np.random.default_rng(0)
    users = table_of("u", given.users * rng.uniform(1, 9, (60, 1)), given.user_ids)
    items = table_of("i", given.items * rng.uniform(1, 9, (80, 1)), given.item_ids)
    matched = match(given.content, users, items, "cosine")
    lengths = np.linalg.norm(given.users, axis=1, keepdims=True)
    # items are one-hot, so their columns add up to 1: that direction ranks nothing and is taken out
    assert matched.agreed is not None
    assert (matched.agreed.columns, len(matched.agreed.directions)) == ((), 1)
    assert "rankings stay" in matched.notes[0]
    np.testing.assert_allclose(
        centred(matched.users @ matched.items.T),
        centred(given.users @ given.items.T / lengths),
        atol=1e-6,
    )


@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_an_item_bias_is_added_to_the_score(given: Toy, score: str) -> None:
    bias = np.random.default_rng(1).normal(size=len(given.item_ids)).astype(np.float32)
    users, plain = tables(given)
    back = [plain.ids.index(one) for one in given.item_ids]
    items = table_of("i", given.items, given.item_ids, bias=bias)
    without = match(given.content, users, changed(plain, back), score)  # type: ignore[arg-type]
    matched = match(given.content, users, items, score)  # type: ignore[arg-type]
    assert matched.has_bias
    assert (matched.users[:, -1] == 1).all()
    expected = without.users @ without.items.T + bias
    found = matched.users @ matched.items.T
    np.testing.assert_allclose(centred(found), centred(expected), atol=1e-6)
    if score == "dot":  # with the cosine a direction is taken out
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_vectors_of_positions(given: Toy) -> None:
    ids, positions, vectors = per_position(given)
    order = np.random.default_rng(0).permutation(len(ids))
    users = table_of(
        "u.npz", vectors[order], [ids[r] for r in order], positions=np.array(positions)[order]
    )
    matched = match(given.content, users, tables(given)[1], "dot")
    assert matched.is_sequential
    assert np.array_equal(matched.users, vectors)
    sequences = sequences_of(given.content)
    model = Fixed(
        torch.from_numpy(matched.users), torch.from_numpy(matched.items), is_sequential=True
    )
    numbers = torch.tensor([given.user_ids.index(one) + 1 for one in ids])
    found = case_vectors(model, sequences, numbers, torch.tensor(positions))
    assert torch.equal(found, torch.from_numpy(vectors))


def test_a_position_that_is_missing(given: Toy) -> None:
    ids, positions, vectors = per_position(given)
    gone = next(r for r, key in enumerate(zip(ids, positions, strict=True)) if key[1] == 3)
    keep = [r for r in range(len(ids)) if r != gone]
    users = table_of(
        "u", vectors[keep], [ids[r] for r in keep], positions=np.array(positions)[keep]
    )
    error = refused(given, users, tables(given)[1])
    assert error.message == (
        f"u has no vector for user {ids[gone]!r} of planted at position 3 "
        f"(1 of {len(ids):,} without a vector)"
    )
    more = table_of(
        "u",
        np.vstack([vectors, vectors[:1]]),
        [*ids, ids[0]],
        positions=np.array([*positions, 0]),
    )
    notes = match(given.content, more, tables(given)[1], "dot").notes
    assert notes == ("u: 1 vectors of users and positions that planted does not have are not used",)


def test_ids_that_do_not_fit(given: Toy) -> None:
    users, items = tables(given)
    lost = sorted((users.ids[0], users.ids[5]), key=given.user_ids.index)
    few = changed(users, [row for row in range(60) if row not in (0, 5)])
    error = refused(given, few, items)
    assert error.message == (
        f"u.npz has no vector for user {lost[0]!r} of planted (2 users without a vector, of 60)"
    )
    assert error.hint == f"its ids are {', '.join(map(repr, few.ids[:3]))}, ..."
    one = refused(given, users, changed(items, range(79)))
    assert f"no vector for item {items.ids[79]!r} of planted (1 item without" in one.message
    rows = refused(given, table_of("u.npy", given.users), items)
    assert rows.hint == "it has no ids, so row r is user r; give --user-ids FILE"
    more = table_of("m", np.vstack([users.vectors, np.eye(4)]), [*users.ids, "w", "x", "y", "z"])
    notes = match(given.content, more, items, "dot").notes
    assert notes == ("m: 4 vectors of users that planted does not have are not used",)


def test_vectors_that_do_not_fit(given: Toy) -> None:
    users, items = tables(given)
    wide = table_of("w.npy", np.hstack([items.vectors, items.vectors]), items.ids)
    assert refused(given, users, wide).message == (
        "the vectors of users have 4 dimensions (u.npz), those of items 8 (w.npy)"
    )
    zero = items.vectors.copy()
    zero[7] = 0
    error = refused(given, users, table_of("z", zero, items.ids), "cosine")
    assert error.message.startswith(f"z: the vector of {items.ids[7]!r} is zero")
    assert error.hint == "use --score dot"
    placed = table_of("i", items.vectors, items.ids, positions=np.arange(80))
    assert "an item has one vector" in refused(given, users, placed).message
    long = table_of("u", users.vectors * 1e20, users.ids)
    far = table_of("i", items.vectors * 1e20, items.ids)
    error = refused(given, long, items)
    assert error.message == (
        "the vectors of u are too long to be computed with in 32 bits: their median length is 6e+19"
    )
    assert error.hint == (
        "divide them by 6e+19 and multiply those of the items by it, which leaves every score as "
        "it is"
    )
    assert "the vectors of i are too long" in refused(given, users, far).message
    match(given.content, long, far, "cosine")
    huge = table_of("i", items.vectors, items.ids, bias=np.full(80, 3e38))
    assert "that their scores may be infinite" in refused(given, users, huge).message
    biased = table_of("u", users.vectors, users.ids, bias=np.ones(60))
    assert "ranks nothing" in refused(given, biased, items).message


def warned(given: Toy, users: np.ndarray, items: np.ndarray) -> list[str]:
    model = Fixed(torch.from_numpy(users), torch.from_numpy(items), is_sequential=False)
    return _warnings(model, sequences_of(given.content))


def test_scores_that_say_nothing_are_noticed(given: Toy) -> None:
    rng = np.random.default_rng(0)
    assert warned(given, given.users, given.items) == []
    noise = rng.normal(size=(60, 4)).astype(np.float32)
    for users in (-given.users, np.zeros_like(noise) + 1):
        (line,) = warned(given, users, given.items)
        assert line.startswith("warning: the scores rank the users' test items above ")
        assert "no better than chance" in line
    last = given.content.interactions.filter(split="test")["item_id"].to_numpy()
    often = np.bincount(last - 1, minlength=80)[:, None].astype(np.float32)
    (line,) = warned(given, np.ones((60, 1), np.float32), often)  # the same order for everybody
    assert "the vectors of other users rank the users' test items as well" in line


def test_the_share_of_items_that_are_beaten(given: Toy) -> None:
    """By hand, with ties, items seen before left out."""
    sequences = sequences_of(given.content)
    users, positions = torch.tensor([1, 2]), torch.tensor([3, 5])
    scores = torch.randint(0, 5, (80,), generator=torch.Generator().manual_seed(0)).float()
    found = beaten(torch.ones(2, 1), scores[:, None], sequences, users, positions)
    for row, (user, position) in enumerate([(1, 3), (2, 5)]):
        own = given.content.interactions.filter(user_id=user).sort("position")["item_id"].to_list()
        target, seen = own[position], set(own[:position])
        others = [scores[i - 1] for i in range(1, 81) if i not in seen and i != target]
        mine = scores[target - 1]
        wins = sum(1.0 if mine > other else 0.5 if mine == other else 0 for other in others)
        assert float(found[row]) == pytest.approx(wins / len(others))


def test_above_chance_needs_two_standard_errors() -> None:
    values = torch.tensor([0.4, 0.6, 0.8])  # mean .6, standard error .1155
    assert above(values, 0.36)
    assert not above(values, 0.38)
