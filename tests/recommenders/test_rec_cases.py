"""The files that a recommender leaves behind: cases, vectors, items, recommendations."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recommenders.toy_sequences import NAMES, SMALL, Toy, random_toy, toy, toys

from recsae.errors import DataError
from recsae.progress import Reporter
from recsae.recommenders import cases as module
from recsae.recommenders.base import Recommender
from recsae.recommenders.cases import (
    CASES,
    ITEMS,
    RECOMMENDATIONS,
    VECTORS,
    list_cases,
    load_array,
    write_cases,
)
from recsae.recommenders.presets import create
from recsae.recommenders.trainer import case_vectors


class Written(NamedTuple):
    """What ``write_cases`` left, and the model it came from."""

    model: Recommender
    n: int
    vectors: npt.NDArray[np.float32]
    items: npt.NDArray[np.float32]
    cases: pl.DataFrame
    recommendations: pl.DataFrame
    folder: Path


def write(name: str, data: Toy, folder: Path) -> Written:
    model = create(name, SMALL, data.sequences())
    cases, best = folder / "cases", folder / "recommendations"
    for path in (cases, best):
        path.mkdir(parents=True)
    n = write_cases(model, data.sequences(), folder, cases, best, Reporter())
    return Written(
        model,
        n,
        load_array(folder / VECTORS, "hint"),
        load_array(folder / ITEMS, "hint"),
        pl.read_parquet(cases / "part-0.parquet"),
        pl.read_parquet(best / "part-0.parquet"),
        folder,
    )


def plain_cases(data: Toy, is_sequential: bool) -> list[tuple[int, int, str]]:
    """User, items seen, split of the item that follows."""
    found = []
    for user, (items, n_train) in enumerate(zip(data.lists, data.n_train, strict=True), 1):
        positions = list(range(1, len(items)))
        if not is_sequential:
            positions = [p for p in positions if p <= n_train + 1][-1:]
        for p in positions:
            split = "train" if p < n_train else "dev" if p == n_train else "test"
            found.append((user, p, split))
    return found


@settings(deadline=None, max_examples=60)
@given(data=toys(), is_sequential=st.booleans())
def test_list_cases_equals_a_plain_loop(data: Toy, is_sequential: bool) -> None:
    cases = list_cases(data.sequences(), is_sequential)
    rows = zip(cases.users.tolist(), cases.positions.tolist(), cases.splits.tolist(), strict=True)
    assert list(rows) == plain_cases(data, is_sequential)


def test_cases_of_a_sequence_and_of_a_table() -> None:
    sequences = toy([[1, 2, 3, 4], [4, 3, 2]]).sequences()
    every = list_cases(sequences, True)
    assert every.users.tolist() == [1, 1, 1, 2, 2]
    assert every.positions.tolist() == [1, 2, 3, 1, 2]
    assert every.splits.tolist() == ["train", "dev", "test", "dev", "test"]
    single = list_cases(sequences, False)
    assert single.users.tolist() == [1, 2]
    assert single.positions.tolist() == [3, 2]
    assert single.splits.tolist() == ["test", "test"]


@pytest.mark.parametrize("name", NAMES)
def test_cases_and_vectors(name: str, tmp_path: Path) -> None:
    data = random_toy()
    written = write(name, data, tmp_path)
    expected = plain_cases(data, written.model.is_sequential)
    columns = ["user_id", "position", "split"]
    assert written.cases.select(columns).rows() == expected
    assert written.cases["case_id"].to_list() == list(range(written.n)) == [*range(len(expected))]
    users, positions = torch.tensor([row[:2] for row in expected]).T
    vectors = case_vectors(written.model, data.sequences(), users, positions)
    assert np.array_equal(written.vectors, vectors.numpy())
    assert np.array_equal(written.items, written.model.item_vectors().detach().numpy())
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["cases", "items.npy", "recommendations", "vectors.npy"]


@pytest.mark.parametrize("name", NAMES)
def test_recommendations_are_the_best_ten_not_seen(name: str, tmp_path: Path) -> None:
    data = random_toy()
    written = write(name, data, tmp_path)
    scores = written.vectors.astype(np.float64) @ written.items.T.astype(np.float64)
    by_case = written.recommendations.partition_by("case_id", maintain_order=True)
    assert [frame["case_id"][0] for frame in by_case] == list(range(written.n))
    for frame, row, case in zip(by_case, scores, written.cases.iter_rows(named=True), strict=True):
        seen = data.lists[case["user_id"] - 1][: case["position"]]
        left = [item for item in range(1, data.n_items + 1) if item not in seen]
        best = sorted(left, key=lambda item: -row[item - 1])[:10]
        assert frame["item_id"].to_list() == best
        assert frame["rank"].to_list() == list(range(1, 11))
        np.testing.assert_allclose(frame["score"], [row[item - 1] for item in best], rtol=1e-4)


def test_schemas(tmp_path: Path) -> None:
    write("SASRec", random_toy(), tmp_path)
    for name, schema in (("cases", CASES), ("recommendations", RECOMMENDATIONS)):
        assert pq.read_schema(tmp_path / name / "part-0.parquet").equals(schema)
    assert (tmp_path / VECTORS).read_bytes()[:6] == b"\x93NUMPY"


@pytest.mark.parametrize("chunk", [1, 5, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_chunks_do_not_matter(
    name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_toy()
    whole = write(name, data, tmp_path / "whole")
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr("recsae.recommenders.ranking.CHUNK", 3)
    part = write(name, data, tmp_path / "part")
    keys = ["case_id", "rank", "item_id"]
    assert part.cases.equals(whole.cases)
    assert part.recommendations.select(keys).equals(whole.recommendations.select(keys))
    np.testing.assert_allclose(part.vectors, whole.vectors, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_rows_for_who_has_seen_nearly_everything(name: str, tmp_path: Path) -> None:
    """12 items: after 11 of them one is left, after 3 nine."""
    data = toy([list(range(1, 13)), [1, 2, 3, 4]], 12)
    written = write(name, data, tmp_path)
    counts = (
        written.recommendations.group_by("case_id")
        .agg(n=pl.len())
        .join(written.cases, on="case_id")
    )
    assert {row["n"] for row in counts.iter_rows(named=True)} >= {1, 9}
    for row in counts.iter_rows(named=True):
        assert row["n"] == min(10, 12 - row["position"])
    assert written.recommendations["score"].is_finite().all()


@pytest.mark.parametrize("name", NAMES)
def test_fewer_items_than_places(name: str, tmp_path: Path) -> None:
    written = write(name, toy([[1, 2, 3], [4, 3, 2]]), tmp_path)
    assert written.recommendations.group_by("case_id").len()["len"].max() <= 3
    assert written.recommendations.filter(pl.col("item_id") > 4).is_empty()


def test_nothing_is_left_over_when_writing_is_repeated(tmp_path: Path) -> None:
    (tmp_path / f"{VECTORS}.partial").write_bytes(b"half of it")
    written = write("SASRec", random_toy(), tmp_path)
    assert written.vectors.shape == (written.n, SMALL.emb_size)
    assert not list(tmp_path.glob("*.partial"))


def damaged(path: Path, kind: str) -> None:
    array = np.ones((5, 3), np.float32)
    if kind == "missing":
        return
    if kind == "folder":
        path.mkdir()
        return
    wrong = {
        "float64": array.astype(np.float64),
        "big-endian": array.astype(">f4"),
        "integers": array.astype(np.int32),
        "one dimension": array[0],
        "three dimensions": array[None],
    }
    with path.open("wb") as file:
        if kind == "archive":
            np.savez(file, array=array)
        elif kind == "objects":
            np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        else:
            np.save(file, wrong.get(kind, array))
    content = path.read_bytes()
    cut = {"half": len(content) // 2, "header": 20, "one byte less": len(content) - 1, "empty": 0}
    if kind in cut:
        path.write_bytes(content[: cut[kind]])


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "folder",
        "empty",
        "header",
        "half",
        "one byte less",
        "float64",
        "big-endian",
        "integers",
        "one dimension",
        "three dimensions",
        "archive",
        "objects",
    ],
)
def test_load_array_refuses(kind: str, tmp_path: Path) -> None:
    path = tmp_path / VECTORS
    damaged(path, kind)
    with pytest.raises(DataError) as caught:
        load_array(path, "recsae train SASRec toy --force")
    assert str(path) in caught.value.message
    assert caught.value.hint == "recsae train SASRec toy --force"


def test_load_array_survives_any_damage_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / VECTORS
    damaged(path, "sound")
    assert load_array(path, "hint").shape == (5, 3)
    content = path.read_bytes()
    for place in range(128):
        for flip in (0x01, 0x10, 0xFF):
            changed = bytes([content[place] ^ flip])
            path.write_bytes(content[:place] + changed + content[place + 1 :])
            with suppress(DataError):
                load_array(path, "hint")
