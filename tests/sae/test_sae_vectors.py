"""Vectors from memory and from files: every vector once, in a uniformly random order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sae.toy_vectors import random_sae, random_vectors
from torch import Tensor

from recsae.errors import DataError
from recsae.sae import vectors as module
from recsae.sae.model import SAE
from recsae.sae.trainer import measure
from recsae.sae.vectors import FileVectors, MemoryVectors, Vectors, sample


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(n: int, d: int = 2) -> Tensor:
    """Vector i holds the number i."""
    return torch.arange(n, dtype=torch.float32)[:, None].repeat(1, d)


def in_file(vectors: Tensor, folder: Path, rows: Tensor | None = None) -> FileVectors:
    np.save(folder / "vectors.npy", vectors.numpy())
    return FileVectors(folder / "vectors.npy", folder, rows)


def order_of(source: Vectors, size: int, seed: int, skip: int = 0) -> list[list[int]]:
    return [batch[:, 0].int().tolist() for batch in source.batches(size, generator(seed), skip)]


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(n=st.integers(1, 60), size=st.integers(1, 70), block=st.integers(1, 70), data=st.data())
def test_every_vector_once(
    n: int, size: int, block: int, data: st.DataObject, tmp_path: Path
) -> None:
    """In batches of one size, also across buckets, and the same without the first ones."""
    rows = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    bucket, skip = data.draw(st.integers(40, 500)), data.draw(st.integers(0, 5))
    wanted = rows.nonzero()[:, 0].tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "BUCKET_BYTES", bucket)
        source = in_file(numbered(n), tmp_path, rows)
        assert source.n == len(wanted)
        for one in (source, MemoryVectors(numbered(n)[rows])):
            parts = order_of(one, size, 3)
            flat = [i for part in parts for i in part]
            assert sorted(flat) == wanted
            assert all(len(part) == size for part in parts[:-1])
            assert order_of(one, size, 3, skip) == parts[skip:]
            assert [i for b in one.blocks() for i in b[:, 0].int().tolist()] == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.npy"]


@pytest.mark.parametrize("is_file", [True, False])
def test_every_order_is_as_likely(
    is_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 24 orders of four vectors, from buckets of one vector on average."""
    monkeypatch.setattr(module, "BUCKET_BYTES", 8)
    source = in_file(numbered(4), tmp_path) if is_file else MemoryVectors(numbered(4))
    draws = 720
    counts = Counter(tuple(order_of(source, 4, seed)[0]) for seed in range(draws))
    assert len(counts) == 24
    expected = draws / 24
    statistic = sum((count - expected) ** 2 / expected for count in counts.values())
    assert statistic < 49.7, "above the 99.9% quantile of chi-square with 23 degrees of freedom"


def test_an_iterator_that_is_left_removes_its_files(tmp_path: Path) -> None:
    batches = in_file(numbered(100), tmp_path).batches(10, generator())
    next(batches)
    assert (tmp_path / "shuffled").exists()
    batches.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "shuffled").exists()


def test_measured_and_initialised_as_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = random_vectors(1000, 5) + 3
    expected = measure(random_sae(5, 30, 3, scaled=True), vectors)
    whole = SAE(5, 30, 3)
    spread = whole.initialise_(vectors, generator())
    x = whole.normalise(vectors)
    assert spread == pytest.approx(float((x - x.mean(0)).square().sum(1).mean()), rel=1e-5)
    monkeypatch.setattr(module, "BLOCK", 64)
    source = in_file(vectors, tmp_path)
    assert measure(random_sae(5, 30, 3, scaled=True), source) == pytest.approx(expected)
    parts = SAE(5, 30, 3)
    assert parts.initialise_(source, generator()) == pytest.approx(spread)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor)


def test_a_sample_is_drawn_without_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    source = in_file(numbered(100), tmp_path)
    drawn = sample(source, 30, generator())[:, 0].tolist()
    assert len(set(drawn)) == 30
    assert drawn == sorted(drawn)
    assert drawn != sample(source, 30, generator(1))[:, 0].tolist()
    assert torch.equal(sample(source, 100, generator()), numbered(100))
    assert sample(MemoryVectors(torch.zeros(0, 3)), 5, generator()).shape == (0, 3)


@pytest.mark.parametrize("kind", ["missing", "text", "float64", "three axes", "by columns"])
def test_a_file_of_another_kind(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    arrays = {
        "float64": np.zeros((3, 2)),
        "three axes": np.zeros((3, 2, 2), np.float32),
        "by columns": np.asfortranarray(np.zeros((3, 2), np.float32)),
    }
    if kind == "text":
        path.write_text("no numbers")
    elif kind != "missing":
        np.save(path, arrays[kind])
    with pytest.raises(DataError, match=r"vectors\.npy is (missing or damaged|not a matrix)"):
        FileVectors(path, tmp_path)


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    source = in_file(numbered(100), tmp_path)
    source.path.write_bytes(source.path.read_bytes()[:-1])
    with pytest.raises(DataError, match="is shorter than its header says"):
        list(source.blocks())


def test_rows_of_another_number_of_vectors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 100 vectors, but 99 were expected"):
        in_file(numbered(100), tmp_path, torch.ones(99, dtype=torch.bool))
