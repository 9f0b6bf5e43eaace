"""A model that RecBole itself trained and saved: the run scores as the library's model does."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from vectors.toy_vectors import Toy, toy

from recsae.warehouse import Warehouse, run_folder

if TYPE_CHECKING:
    from conftest import Result

pytestmark = [
    pytest.mark.recbole,
    pytest.mark.filterwarnings("default"),  # those of the libraries are not ours
]

REMOVED = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
"""Names that RecBole 1.2 uses and NumPy 2 does not have any more."""


def trained(given: Toy, folder: Path) -> tuple[Any, Any]:
    """RecBole's BPR on everything before the test items, saved in ``folder``; and its data."""
    config_of = importlib.import_module("recbole.config").Config
    data_of = importlib.import_module("recbole.data")
    model_of = importlib.import_module("recbole.model.general_recommender").BPR
    trainer_of = importlib.import_module("recbole.trainer").Trainer
    own = folder / "planted"
    own.mkdir()
    known = given.content.interactions.filter(pl.col("split") != "test").select(
        pl.col("user_id").alias("user_id:token"),
        pl.col("item_id").alias("item_id:token"),
        pl.col("position").alias("timestamp:float"),
    )
    known.write_csv(own / "planted.inter", separator="\t")
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "embedding_size": 8,
        "epochs": 20,
        "learning_rate": 0.01,
        "eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "mode": "full"},
        "use_gpu": False,
        "show_progress": False,
    }
    config = config_of(model="BPR", dataset="planted", config_dict=settings)
    importlib.import_module("recbole.utils").init_seed(config["seed"], True)
    data = data_of.create_dataset(config)
    train, dev, _ = data_of.data_preparation(config, data)
    model = model_of(config, train.dataset)
    trainer = trainer_of(config, model)
    trainer.fit(train, dev, saved=True, show_progress=False, verbose=False)
    checkpoint = torch.load(trainer.saved_model_file, weights_only=False)
    model.load_state_dict(checkpoint["state_dict"])
    return trainer.saved_model_file, (model, data)


def test_it_scores_the_same(
    cli: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, kind in REMOVED.items():
        monkeypatch.setattr(np, name, kind, raising=False)
    pytest.importorskip("recbole")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recbole"])
    given = toy(tmp_path / "data")
    with warnings.catch_warnings(action="ignore"):
        file, (model, data) = trained(given, tmp_path)
    for field in ("user_id", "item_id"):
        tokens = data.field2id_token[field]
        assert tokens[0] == "[PAD]"
        (tmp_path / f"{field}.txt").write_text("\n".join(tokens))
    result = cli(
        *("import", "recbole", file, "--dataset", "planted"),
        *("--user-ids", tmp_path / "user_id.txt", "--item-ids", tmp_path / "item_id.txt"),
        *("--data", given.data, "--warehouse", root),
    )
    assert result.code == 0, result.err
    assert result.out.startswith("bpr-planted-")
    assert "may not score with these tables" not in result.err
    folder = run_folder(root, result.out.strip())
    scores = np.load(folder / "vectors.npy") @ np.load(folder / "items.npy").T
    users = torch.from_numpy(data.token2id("user_id", given.user_ids))
    items = data.token2id("item_id", given.item_ids)
    with torch.no_grad():
        expected = model.full_sort_predict({"user_id": users}).reshape(60, -1)[:, items]
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.run(result.out.strip()).params["imported"] == Path(file).name
