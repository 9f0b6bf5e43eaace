"""What an autoencoder leaves on disk: its folder, its activations, the items of its latents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from sae.toy_vectors import Watcher, random_sae, random_vectors
from safetensors.torch import load_file, save_file

import recsae
from recsae.errors import DataError, UsageError
from recsae.progress import Reporter
from recsae.sae import encode as module
from recsae.sae.encode import ACTIVATIONS, decoder_items, write_activations
from recsae.sae.export import export
from recsae.sae.model import SAE

WEIGHTS, SIZES = "model.safetensors", "config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved autoencoder with d = 5, h = 9, k = 3."""
    random_sae(5, 9, 3, scaled=True).save(tmp_path / "run" / "sae")
    return tmp_path / "run" / "sae"


def test_comes_back_as_it_was(folder: Path) -> None:
    sae, loaded = random_sae(5, 9, 3, scaled=True), SAE.load(folder)
    assert (loaded.d, loaded.h, loaded.k) == (5, 9, 3)
    for name, tensor in sae.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    x = random_vectors(20, 5)
    assert torch.equal(loaded(x), sae(x))


def test_the_folder_explains_itself(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [SIZES, WEIGHTS]
    assert json.loads((folder / SIZES).read_text()) == {
        "format_version": 1,
        "d": 5,
        "h": 9,
        "k": 3,
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(folder / WEIGHTS).items()}
    assert shapes == {
        "W_enc": (9, 5),
        "W_dec": (9, 5),
        "b_enc": (9,),
        "b_dec": (5,),
        "shift": (5,),
        "scale": (),
    }


def test_saved_over_another_one(folder: Path) -> None:
    random_sae(4, 6, 2).save(folder)
    assert (SAE.load(folder).d, SAE.load(folder).h) == (4, 6)


@pytest.mark.parametrize("name", [SIZES, WEIGHTS])
@pytest.mark.parametrize("kind", ["missing", "empty", "half", "text", "folder"])
def test_a_damaged_file_is_named(name: str, kind: str, folder: Path) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        damaged = {"empty": b"", "half": content[: len(content) // 2], "text": b"\xff not it"}
        path.write_bytes(damaged[kind])
    with pytest.raises(DataError) as caught:
        SAE.load(folder)
    assert caught.value.message.startswith(f"{path} is missing or damaged (")


@pytest.mark.parametrize(
    "config",
    [
        [],
        "sae",
        None,
        {},
        {"format_version": 2, "d": 5, "h": 9, "k": 3},
        {"format_version": 1, "d": 5, "h": 9},
        {"format_version": 1, "d": 5, "h": 9, "k": 10},
        {"format_version": 1, "d": 5, "h": 9, "k": 0},
        {"format_version": 1, "d": -5, "h": 9, "k": 3},
        {"format_version": 1, "d": "5", "h": 9, "k": 3},
        {"format_version": 1, "d": 5.0, "h": 9, "k": 3},
        {"format_version": 1, "d": 5, "h": 9, "k": True},
        {"format_version": 1, "d": None, "h": 9, "k": 3},
    ],
)
def test_sizes_that_make_no_autoencoder(config: Any, folder: Path) -> None:
    (folder / SIZES).write_text(json.dumps(config))
    with pytest.raises(DataError) as caught:
        SAE.load(folder)
    assert str(folder / SIZES) in caught.value.message


@pytest.mark.parametrize("change", [{"d": 6}, {"h": 10}, {"d": 9, "h": 5}, {"h": 10**12}])
def test_sizes_that_are_not_those_of_the_weights(change: dict[str, int], folder: Path) -> None:
    config = {"format_version": 1, "d": 5, "h": 9, "k": 3, **change}
    (folder / SIZES).write_text(json.dumps(config))
    with pytest.raises(DataError) as caught:
        SAE.load(folder)
    assert str(folder / WEIGHTS) in caught.value.message
    assert "(9, 5)" in caught.value.message


@pytest.mark.parametrize("name", ["W_enc", "b_dec", "shift"])
def test_a_weight_that_is_not_there(name: str, folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights[name]
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(DataError) as caught:
        SAE.load(folder)
    assert str(folder / WEIGHTS) in caught.value.message
    assert name in caught.value.message


def inputs(n: int, d: int = 5) -> tuple[Any, Any, Any]:
    vectors = random_vectors(n, d).numpy()
    return vectors, np.arange(100, 100 + n, dtype=np.int32), np.arange(n, 0, -1, dtype=np.int32)


def activations(sae: SAE, n: int, file: Path, reporter: Reporter | None = None) -> pl.DataFrame:
    written = write_activations(sae, *inputs(n), file, reporter or Reporter())
    frame = pl.read_parquet(file)
    assert len(frame) == written
    return frame


def test_activations_equal_encode(tmp_path: Path) -> None:
    """One row per value above zero, with the user and the first item of its case."""
    sae, reporter = random_sae(5, 40, 4, scaled=True), Watcher()
    with torch.no_grad():
        sae.b_enc -= 3.0
    frame = activations(sae, 60, tmp_path / "a.parquet", reporter)
    values, indices = sae.encode(torch.from_numpy(inputs(60)[0]))
    expected = {
        (case, int(indices[case, j])): float(values[case, j])
        for case in range(60)
        for j in range(4)
        if values[case, j] > 0
    }
    found = {(row["case_id"], row["latent_id"]): row for row in frame.iter_rows(named=True)}
    assert 0 < len(expected) < 60 * 4
    assert {key: row["value"] for key, row in found.items()} == expected
    assert len(found) == len(frame)
    for (case, _), row in found.items():
        assert (row["user_id"], row["item_id"]) == (100 + case, 60 - case)
    assert frame["case_id"].is_sorted()
    assert reporter.done == 60
    assert pq.read_schema(tmp_path / "a.parquet").equals(ACTIVATIONS)


@pytest.mark.parametrize("batch", [1, 7, 60])
def test_activations_do_not_depend_on_batches(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sae = random_sae(5, 40, 4, scaled=True)
    whole = activations(sae, 60, tmp_path / "whole.parquet")
    monkeypatch.setattr(module, "BATCH", batch)
    parts = activations(sae, 60, tmp_path / "parts.parquet")
    key = ["case_id", "latent_id"]
    whole, parts = whole.sort(key), parts.sort(key)
    assert parts.drop("value").equals(whole.drop("value"))
    np.testing.assert_allclose(parts["value"], whole["value"], rtol=1e-5, atol=1e-6)


def test_only_one_batch_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = SAE.encode

    def spy(self: SAE, vectors: torch.Tensor) -> Any:
        sizes.append(len(vectors))
        return real(self, vectors)

    monkeypatch.setattr(SAE, "encode", spy)
    monkeypatch.setattr(module, "BATCH", 25)
    activations(random_sae(5, 40, 4), 60, tmp_path / "a.parquet")
    assert sizes == [25, 25, 10]
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3


@pytest.mark.parametrize("n", [0, 5])
def test_nothing_is_active(n: int, tmp_path: Path) -> None:
    sae = random_sae(5, 9, 3)
    with torch.no_grad():
        sae.b_enc.fill_(-100.0)
    frame = activations(sae, n, tmp_path / "a.parquet")
    assert frame.is_empty()
    assert frame.columns == ACTIVATIONS.names


@pytest.mark.parametrize("n_items", [3, 10, 25])
def test_decoder_items_equal_brute_force(n_items: int) -> None:
    """The score is what one unit of the latent adds to the item's score."""
    sae, items = random_sae(5, 1100, 3, scaled=True), random_vectors(n_items, 5).numpy()
    frame = decoder_items(sae, items)
    n = min(10, n_items)
    assert frame.schema == pl.Schema(
        {"latent_id": pl.Int32, "rank": pl.Int32, "item_id": pl.Int32, "score": pl.Float32}
    )
    assert len(frame) == 1100 * n
    with torch.no_grad():
        one = torch.ones(1100, 1)
        added = sae.decode(one, torch.arange(1100)[:, None]) - sae.restore(sae.b_dec)
        scores = (added.double() @ torch.from_numpy(items).T.double()).numpy()
    order = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    assert frame["latent_id"].to_list() == np.repeat(np.arange(1100), n).tolist()
    assert frame["rank"].to_list() == [*range(1, n + 1)] * 1100
    assert frame["item_id"].to_list() == (order + 1).reshape(-1).tolist()
    expected = np.take_along_axis(scores, order, axis=1).reshape(-1)
    np.testing.assert_allclose(frame["score"], expected, rtol=1e-4, atol=1e-4)


def plain(weights: dict[str, Any], k: int, vectors: torch.Tensor) -> tuple[Any, Any]:
    """Dense latents and reconstruction by the formula that both libraries have."""
    pre = (vectors - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    values, indices = pre.relu().topk(k, dim=1)
    z = torch.zeros_like(pre).scatter(1, indices, values)
    return z, z @ weights["W_dec"] + weights["b_dec"]


@pytest.mark.parametrize("layout", ["sparsify", "sae-lens"])
def test_exported_to_another_library(layout: str, tmp_path: Path) -> None:
    """Read back by its names and computed by its formula: the same latents and vectors."""
    sae, vectors = random_sae(5, 40, 4, scaled=True), random_vectors(60, 5)
    export(sae, tmp_path / "new" / layout, layout)
    config = json.loads((tmp_path / "new" / layout / "cfg.json").read_text())
    if layout == "sparsify":
        weights = load_file(tmp_path / "new" / layout / "sae.safetensors")
        weights["W_enc"] = weights.pop("encoder.weight").T
        weights["b_enc"] = weights.pop("encoder.bias")
        assert (config["d_in"], config["num_latents"]) == (5, 40)
    else:
        weights = load_file(tmp_path / "new" / layout / "sae_weights.safetensors")
        assert (config["d_in"], config["d_sae"], config["architecture"]) == (5, 40, "topk")
    z, rebuilt = plain(weights, config["k"], vectors)
    values, indices = sae.encode(vectors)
    own = torch.zeros(60, 40).scatter(1, indices, values)
    torch.testing.assert_close(z, own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rebuilt, sae.decode(values, indices), rtol=1e-4, atol=1e-5)


def test_an_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="layout is 'onnx', but it must be sparsify or sae-lens"):
        export(random_sae(5, 9, 3), tmp_path, "onnx")


def test_the_package_has_it_by_name(folder: Path) -> None:
    assert recsae.SAE is SAE
    assert recsae.SAE.load(str(folder)).h == 9
    with pytest.raises(AttributeError, match="has no attribute 'SEA'"):
        recsae.SEA  # noqa: B018


def test_encoding_does_not_depend_on_how_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, vectors = random_sae(5, 40, 4, scaled=True), random_vectors(60, 5)
    whole = sae.encode(vectors)
    monkeypatch.setattr("recsae.sae.model.ENCODE_ROWS", 7)
    parts = sae.encode(vectors)
    assert torch.equal(parts.indices, whole.indices)
    torch.testing.assert_close(parts.values, whole.values)
