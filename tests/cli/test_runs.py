"""``recsae runs``: the listing, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Maker, Result


@pytest.fixture
def listed(filled: Path, make: Maker) -> Path:
    """Finished runs with metrics and fixed times, and one that is running."""
    with Warehouse.open(filled) as warehouse:
        rows = [("test", 0, "NDCG@10", 0.12345), ("test", 0, "HR@10", 0.2), ("dev", 1, "loss", 9.0)]
        schema = ["split", "epoch", "metric", "value"]
        warehouse.add_metrics("rec-1", pl.DataFrame(rows, schema=schema, orient="row"))
        fvu = [("heldout", 0, "FVU", 0.1)]
        warehouse.add_metrics("sae-1", pl.DataFrame(fvu, schema=schema, orient="row"))
        make.start(warehouse, "sae-2", "rec-1")
        for minute, run_id in enumerate(("rec-1", "rec-2", "sae-1", "sae-2")):
            warehouse.execute(
                "update raw.runs set started = make_timestamp(2001, 2, 3, 4, $m, 5.5) "
                "where run_id = $r",
                {"m": minute, "r": run_id},
            )
    return filled


def test_table(cli: Callable[..., Result], listed: Path) -> None:
    result = cli("runs", "--warehouse", listed)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "run    status   started (UTC)     seconds",
        "sae-2  running  2001-02-03 04:03",
        "  sae on toy of rec-1",
        "  done: nothing yet",
        "sae-1  done     2001-02-03 04:02      1.0",
        "  sae on toy of rec-1",
        "  FVU 0.1000  done: train encode",
        "rec-2  done     2001-02-03 04:01      2.5",
        "  bprmf on toy",
        "  done: train",
        "rec-1  done     2001-02-03 04:00      2.5",
        "  bprmf on toy",
        "  NDCG@10 0.1235, HR@10 0.2000  done: train",
    ]


def test_json(cli: Callable[..., Result], listed: Path) -> None:
    result = cli("runs", "--json", "--warehouse", listed)
    assert result.err == ""
    rows = {row["run_id"]: row for row in json.loads(result.out)}
    assert list(rows) == ["sae-2", "sae-1", "rec-2", "rec-1"]
    assert rows["rec-1"]["metrics"] == {"test": {"NDCG@10": 0.12345, "HR@10": 0.2}}
    assert rows["rec-1"]["started"] == "2001-02-03T04:00:05.500000"
    assert rows["sae-1"]["stages"] == ["train", "encode"]
    assert (rows["sae-2"]["seconds"], rows["sae-2"]["metrics"]) == (None, {})
    assert rows["sae-1"]["parent_run_id"] == "rec-1"


def test_no_runs(cli: Callable[..., Result], root: Path) -> None:
    empty = cli("runs", "--warehouse", root)
    assert (empty.code, empty.out) == (0, "")
    assert empty.err == "no runs yet; recsae run ml-100k makes some\n"
    assert cli("runs", "--json", "--warehouse", root).out == "[]\n"


def test_no_warehouse(cli: Callable[..., Result], tmp_path: Path) -> None:
    result = cli("runs", "--warehouse", tmp_path)
    assert (result.code, result.out) == (3, "")
    assert "there is no warehouse in" in result.err
