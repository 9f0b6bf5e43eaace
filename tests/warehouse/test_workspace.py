"""A workspace has what a run needs, leaves the warehouse free and nothing behind."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsae.errors import DataError
from recsae.warehouse import Warehouse
from recsae.warehouse.workspace import Workspace


@pytest.fixture
def root(filled: Path) -> Path:
    """Interactions of the run's data set and of another one."""
    with Warehouse.open(filled) as warehouse:
        dataset = warehouse.run("sae-1").dataset
        for name in (dataset, "else"):
            for position in (1, 2, 3):
                warehouse.execute(
                    "insert into raw.interactions values ($name, 1, $position, $item, 9, 'train')",
                    {"name": name, "position": position, "item": 10 + position},
                )
    return filled


def files(root: Path) -> set[str]:
    """What lies in the folder for temporary files, without the locks of runs."""
    found = (path.relative_to(root).as_posix() for path in (root / "tmp").rglob("*"))
    return {path for path in found if not path.startswith("tmp/locks")}


def open_workspace(root: Path) -> pl.DataFrame:
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run("sae-1")
    with Workspace.open(root, run) as workspace, Warehouse.open(root, wait=0) as warehouse:
        # what is written meanwhile is not seen, and nobody has to wait
        warehouse.execute("delete from raw.interactions")
        assert files(root)
        return workspace.frame("raw.interactions")


def test_it_holds_the_data_set_of_the_run_while_the_warehouse_is_free(root: Path) -> None:
    before = files(root)
    rows = open_workspace(root)
    assert rows["item_id"].to_list() == [11, 12, 13]
    assert rows["dataset"].unique().to_list() != ["else"]
    assert files(root) == before


def test_an_error_inside_leaves_nothing_behind(root: Path) -> None:
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run("sae-1")
    before = files(root)
    with pytest.raises(DataError, match="needs the parameter"), Workspace.open(root, run) as opened:
        opened.build("staging.cases", {})
    assert files(root) == before


def test_it_spills_into_its_own_folder(root: Path) -> None:
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run("sae-1")
    with Workspace.open(root, run) as workspace:
        workspace.execute("set memory_limit = '16MB'")
        workspace.execute("create table t as select i, hash(i) as h from range(3_000_000) as r(i)")
        spilled = [path for path in files(root) if "/spill/" in path]
        assert spilled
        assert all(path.startswith("tmp/sae-1.") for path in spilled)
    assert not [path for path in files(root) if "spill/" in path]
