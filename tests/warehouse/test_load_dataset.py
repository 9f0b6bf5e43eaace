"""A canonical data set in the warehouse: loaded once, replaced when its content changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsae.errors import DataError, UsageError
from recsae.warehouse import Warehouse


def frames(n_users: int = 2) -> list[pl.DataFrame]:
    ids = list(range(1, n_users + 1))
    return [
        pl.DataFrame(
            {"user_id": ids, "source_user_id": [f"u{n}" for n in ids]},
            schema_overrides={"user_id": pl.Int32},
        ),
        pl.DataFrame(
            {"item_id": [1], "source_item_id": ["i1"], "title": ["It's"], "popularity": [2]},
            schema_overrides={"item_id": pl.Int32, "popularity": pl.Int32},
        ),
        pl.DataFrame(
            {"item_id": [1], "tag": ["genre:Comedy"], "kind": ["genre"]},
            schema_overrides={"item_id": pl.Int32},
        ),
        pl.DataFrame(
            {
                "user_id": ids,
                "item_id": [1] * n_users,
                "position": [1] * n_users,
                "time": [9] * n_users,
                "split": ["train"] * n_users,
            },
            schema_overrides={"user_id": pl.Int32, "item_id": pl.Int32, "position": pl.Int32},
        ),
    ]


def info(name: str = "toy", fingerprint: str = "f1", **more: Any) -> dict[str, Any]:
    return {"name": name, "fingerprint": fingerprint, **more}


@pytest.fixture
def warehouse(root: Path) -> Iterator[Warehouse]:
    with Warehouse.open(root) as opened:
        yield opened


def test_loaded_with_its_counts(warehouse: Warehouse) -> None:
    assert warehouse.load_dataset(*frames(), info(options={"core": 5}, note="é 'quoted'"))
    row = warehouse.sql("from raw.datasets").row(0, named=True)
    assert (row["n_users"], row["n_items"]) == (2, 1)
    assert (row["n_interactions"], row["n_item_tags"]) == (2, 1)
    assert warehouse.dataset_info("toy") == info(options={"core": 5}, note="é 'quoted'")
    assert warehouse.sql("select dataset, title from raw.items").rows() == [("toy", "It's")]


def test_same_fingerprint_is_skipped_even_if_described_otherwise(warehouse: Warehouse) -> None:
    warehouse.load_dataset(*frames(), info())
    assert not warehouse.load_dataset(*frames(3), info(sources=["another"]))
    assert warehouse.sql("select count(*) from raw.users").item() == 2


def test_another_fingerprint_replaces_and_leaves_other_data_sets(warehouse: Warehouse) -> None:
    warehouse.load_dataset(*frames(), info())
    warehouse.load_dataset(*frames(), info("other"))
    assert warehouse.load_dataset(*frames(3), info(fingerprint="f2"))
    counts = warehouse.sql("select dataset, count(*) from raw.users group by all order by all")
    assert counts.rows() == [("other", 2), ("toy", 3)]
    assert warehouse.sql("select count(*) from raw.datasets").item() == 2


def test_a_broken_data_set_leaves_the_old_one(warehouse: Warehouse) -> None:
    warehouse.load_dataset(*frames(), info())
    broken = frames(3)
    broken[3] = pl.concat([broken[3], broken[3]])
    with pytest.raises(DataError, match=r"raw.interactions: not one row per \(dataset, user_id"):
        warehouse.load_dataset(*broken, info(fingerprint="f2"))
    assert warehouse.sql("select count(*) from raw.users").item() == 2
    assert warehouse.dataset_info("toy") == info()


def test_unknown_data_set(warehouse: Warehouse) -> None:
    assert warehouse.dataset_info("nothing") is None


def test_names_that_cannot_be_folders(warehouse: Warehouse) -> None:
    for name in ("", "a/b", "..", ".hidden", "a b", "é", "x" * 101):
        with pytest.raises(UsageError, match="cannot be used as a folder name"):
            warehouse.load_dataset(*frames(), info(name))
