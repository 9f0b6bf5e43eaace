"""The k largest of each row: the same values and columns as torch.topk, whatever the sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae.toy_vectors import random_vectors

from recsae.sae import topk
from recsae.sae.topk import by_column, top_k


def assert_top(x: torch.Tensor, k: int) -> None:
    values, columns = top_k(x, k)
    assert torch.equal(values, x.topk(k, dim=1).values)
    # of equal values any may be chosen
    assert torch.equal(x.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())


@settings(deadline=None, max_examples=80)
@given(
    b=st.integers(1, 9),
    n=st.integers(1, 700) | st.sampled_from([1024, 1025, 2047, 4096, 4500]),
    data=st.data(),
)
def test_equals_torch(b: int, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n) | st.integers(1, min(n, 32)))
    seed = data.draw(st.integers(0, 10**6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "MIN_SIZE", 0)
        assert_top(random_vectors(b, n, seed) * 10.0 ** (seed % 60 - 30), k)


@pytest.mark.parametrize(
    ("b", "n", "k"), [(512, 1024, 8), (2, 16384, 32), (40, 1000, 1), (3, 9, 9)]
)
def test_equals_torch_at_the_sizes_it_is_for(b: int, n: int, k: int) -> None:
    assert_top(random_vectors(b, n), k)


def test_many_equal_values() -> None:
    """Any of them may be chosen, each once."""
    x = random_vectors(64, 1024).clamp(-0.1, 0.1)
    values, columns = top_k(x, 8)
    assert torch.equal(values, x.topk(8, dim=1).values)
    assert torch.equal(x.gather(1, columns), values)
    assert all(len(set(row)) == 8 for row in columns.tolist())


def test_zeros_of_both_signs_and_numbers_that_are_none() -> None:
    x = random_vectors(64, 1024)
    x[0], x[1], x[2] = 0.0, -0.0, float("nan")
    x[3, 700], x[4, 701] = float("inf"), float("nan")
    x[5] = 1e-42 * torch.arange(1024)
    values, columns = top_k(x, 8)
    torch.testing.assert_close(values, x.topk(8, dim=1).values, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(x.gather(1, columns), values, equal_nan=True, rtol=0, atol=0)
    assert (columns[3, 0], columns[4, 0]) == (700, 701)


def test_other_numbers_and_other_devices_take_torch() -> None:
    x = random_vectors(64, 1024)
    for same in (x.double(), x.bfloat16()):
        assert_top(same, 8)
    assert top_k(torch.empty(512, 1024, device="meta"), 8)[1].shape == (512, 8)


def test_rows_that_are_not_contiguous() -> None:
    x = random_vectors(1024, 300).T
    before = x.clone()
    assert_top(x, 5)
    assert torch.equal(x, before)


@pytest.mark.parametrize("n", [1, 7, 2**15, 2**15 + 1, 70_000])
def test_places_in_order_of_columns(n: int) -> None:
    columns = torch.randint(n, (40, 8), generator=torch.Generator().manual_seed(n))
    columns[0, 0] = n - 1
    order, starts = by_column(columns, n)
    pairs = sorted((column, place) for place, column in enumerate(columns.flatten().tolist()))
    assert order.tolist() == [place for _, place in pairs]
    ends = [*starts.tolist()[1:], columns.numel()]
    for column in columns.flatten().unique().tolist():
        own = order[starts[column] : ends[column]]
        assert (columns.flatten()[own] == column).all()
        assert len(own) == (columns == column).sum()
