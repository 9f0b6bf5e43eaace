"""A canonical data set in the warehouse: loaded once, versioned by its content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsae.errors import DataError, UsageError
from recsae.warehouse import Run, Warehouse
from recsae.warehouse.gc import delete_runs, run_garbage


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


def test_content_without_runs_is_replaced_and_other_data_sets_stay(warehouse: Warehouse) -> None:
    warehouse.load_dataset(*frames(), info())
    warehouse.load_dataset(*frames(), info("other"))
    assert warehouse.load_dataset(*frames(3), info(fingerprint="f2"))
    counts = warehouse.sql("select dataset, count(*) from raw.users group by all order by all")
    assert counts.rows() == [("other", 2), ("toy", 3)]
    assert warehouse.sql("select count(*) from raw.datasets").item() == 2


def start(warehouse: Warehouse, run_id: str, fingerprint: str, dataset: str = "toy") -> Run:
    return warehouse.start_run(
        run_id,
        kind="recommender",
        dataset=dataset,
        model="BPRMF",
        params={},
        data_fingerprint=fingerprint,
        seed=0,
    )


def users_by_run(warehouse: Warehouse) -> dict[str, int]:
    """How many users every run joins, as a person would ask for them."""
    found = warehouse.sql(
        "select run_id, count(*) from raw.runs join raw.users using (dataset) group by all"
    )
    return dict(found.rows())


def test_a_run_joins_the_content_that_it_was_made_from(warehouse: Warehouse) -> None:
    sizes = {"first": 2, "second": 3, "third": 4}
    for run_id, n_users in sizes.items():
        warehouse.load_dataset(*frames(n_users), info(fingerprint=f"{run_id}-content"))
        start(warehouse, run_id, f"{run_id}-content")
    warehouse.load_dataset(*frames(9), info("other"))
    assert users_by_run(warehouse) == sizes
    assert warehouse.run("third").dataset == "toy"  # what was loaded last has the name
    assert warehouse.run("first").dataset == "toy@first-co"
    assert warehouse.run("first").dataset_name == "toy"


def test_content_that_is_loaded_again_takes_its_name_back(warehouse: Warehouse) -> None:
    for run_id, n_users in (("first", 2), ("second", 3), ("first", 2)):
        warehouse.load_dataset(*frames(n_users), info(fingerprint=f"{run_id}-content"))
        if not warehouse.sql("from raw.runs where run_id = $r", {"r": run_id}).height:
            start(warehouse, run_id, f"{run_id}-content")
    assert users_by_run(warehouse) == {"first": 2, "second": 3}
    assert warehouse.run("first").dataset == "toy"
    assert warehouse.run("second").dataset == "toy@second-c"
    stored = warehouse.sql("select dataset, fingerprint from raw.datasets order by all").rows()
    assert stored == [("toy", "first-content"), ("toy@second-c", "second-content")]


def test_content_goes_with_its_last_run(root: Path) -> None:
    with Warehouse.open(root) as warehouse:
        warehouse.load_dataset(*frames(), info(fingerprint="old-content"))
        for run_id in ("one", "two"):
            start(warehouse, run_id, "old-content")
        warehouse.load_dataset(*frames(3), info(fingerprint="new-content"))
    for run_id, left in (("one", ["toy", "toy@old-cont"]), ("two", ["toy"])):
        with Warehouse.open(root) as warehouse:
            garbage = run_garbage(warehouse, run_id)
        delete_runs(root, garbage)
        with Warehouse.open(root, read_only=True) as warehouse:
            for table in ("datasets", "users", "items", "item_tags", "interactions"):
                found = warehouse.sql(f"select distinct dataset from raw.{table} order by all")
                assert found["dataset"].to_list() == left, table


def test_a_run_that_starts_while_other_content_is_loaded(warehouse: Warehouse) -> None:
    """Its process has read the data set, and another one replaces it before the run is there."""
    warehouse.load_dataset(*frames(), info(fingerprint="old-content"))
    start(warehouse, "one", "old-content")
    warehouse.load_dataset(*frames(3), info(fingerprint="new-content"))
    assert start(warehouse, "two", "old-content").dataset == "toy@old-cont"
    with pytest.raises(DataError, match="'toy' was replaced by other content just now"):
        start(warehouse, "three", "lost-content")
    # an autoencoder says the version of its recommender, which may have changed its name since
    assert start(warehouse, "sae", "new-content", "toy@new-cont").dataset == "toy"


def test_a_broken_data_set_does_not_rename_the_old_one(warehouse: Warehouse) -> None:
    warehouse.load_dataset(*frames(), info())
    start(warehouse, "one", "f1")
    broken = frames(3)
    broken[0] = pl.concat([broken[0], broken[0]])
    with pytest.raises(DataError, match=r"raw.users: not one row per"):
        warehouse.load_dataset(*broken, info(fingerprint="f2"))
    assert warehouse.run("one").dataset == "toy"
    assert users_by_run(warehouse) == {"one": 2}


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
