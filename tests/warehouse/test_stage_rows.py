"""Stages of a run: what counts as done, and what a new start takes with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from recsae.errors import DataError, MissingStageError, UsageError
from recsae.warehouse import StageState, Warehouse

if TYPE_CHECKING:
    from conftest import Maker

MAKE = "recsae sae encode sae-1"
FVU = pl.DataFrame({"split": ["test"], "epoch": [0], "metric": ["FVU"], "value": [0.1]})


@pytest.fixture
def warehouse(filled: Path) -> Iterator[Warehouse]:
    with Warehouse.open(filled) as opened:
        yield opened


def finish(warehouse: Warehouse, *stages: Any) -> None:
    for stage in stages:
        warehouse.start_stage("sae-1", stage, {}, f"of {stage}")
        warehouse.finish_stage("sae-1", stage, seconds=1.0, peak_memory_mb=10.5)


def test_state(warehouse: Warehouse) -> None:
    assert warehouse.stage_state("sae-1", "concepts") is None
    warehouse.start_stage("sae-1", "concepts", {"tags": 5}, "h9")
    running = warehouse.stage_state("sae-1", "concepts")
    assert isinstance(running, StageState)
    assert (running.status, running.seconds, running.peak_memory_mb) == ("running", None, None)
    assert (running.params, running.input_hash) == ({"tags": 5}, "h9")
    warehouse.finish_stage("sae-1", "concepts", seconds=2.0, peak_memory_mb=100.5)
    finished = warehouse.stage_state("sae-1", "concepts")
    assert finished is not None
    assert (finished.status, finished.seconds, finished.peak_memory_mb) == ("done", 2.0, 100.5)


def test_start_forgets_the_stages_after_it(warehouse: Warehouse) -> None:
    finish(warehouse, "concepts", "confidence")
    warehouse.start_stage("sae-1", "concepts", {}, "new")
    assert warehouse.stage_done("sae-1", "encode")
    assert not warehouse.stage_done("sae-1", "concepts")
    assert warehouse.stage_state("sae-1", "confidence") is None


def test_start_of_encoding_hides_the_activations(warehouse: Warehouse) -> None:
    assert warehouse.sql("select count(*) from raw.activations").item() == 2
    warehouse.start_stage("sae-1", "encode", {}, "new")
    assert warehouse.sql("from raw.activations").is_empty()


def test_start_of_a_recommenders_training_hides_all_that_builds_on_it(
    warehouse: Warehouse,
) -> None:
    warehouse.start_stage("rec-1", "train", {}, "new")
    assert warehouse.sql("from raw.activations").is_empty()
    assert warehouse.sql("select distinct run_id from raw.cases").rows() == [("rec-2",)]
    assert warehouse.stage_state("sae-1", "train") is None


def test_done_depends_on_the_input(warehouse: Warehouse) -> None:
    assert warehouse.stage_done("sae-1", "encode")
    assert warehouse.stage_done("sae-1", "encode", "h3")
    assert not warehouse.stage_done("sae-1", "encode", "other")
    assert not warehouse.stage_done("sae-1", "concepts")
    assert not warehouse.stage_done("unknown", "train")


def test_done_depends_on_the_files(warehouse: Warehouse) -> None:
    folder = warehouse.root / "activations" / "run_id=sae-1"
    (folder / "part-0.parquet").unlink()
    assert not warehouse.stage_done("sae-1", "encode")
    shutil.rmtree(folder)
    assert not warehouse.stage_done("sae-1", "encode")
    assert warehouse.stage_done("sae-1", "train")


def test_require(warehouse: Warehouse) -> None:
    assert warehouse.require_stage("sae-1", "encode", MAKE).input_hash == "h3"


def refused(warehouse: Warehouse) -> str:
    with pytest.raises(MissingStageError) as caught:
        warehouse.require_stage("sae-1", "encode", MAKE)
    assert caught.value.hint == MAKE
    return caught.value.message


def test_require_says_what_is_wrong(warehouse: Warehouse) -> None:
    (warehouse.root / "activations" / "run_id=sae-1" / "part-0.parquet").unlink()
    assert refused(warehouse) == "stage encode of run 'sae-1' has lost its files"
    warehouse.start_stage("sae-1", "encode", {}, "h")
    assert refused(warehouse) == "stage encode of run 'sae-1' is running"
    warehouse.fail_stage("sae-1", "encode")
    assert refused(warehouse) == "stage encode of run 'sae-1' is failed"
    warehouse.start_stage("sae-1", "train", {}, "h")
    assert refused(warehouse) == "stage encode of run 'sae-1' has not run"


def test_a_stage_of_an_unknown_run(warehouse: Warehouse) -> None:
    with pytest.raises(UsageError, match="no run is called 'nothing'"):
        warehouse.start_stage("nothing", "train", {}, "h")


def test_finish_what_was_not_started(warehouse: Warehouse) -> None:
    with pytest.raises(DataError, match="stage concepts of run 'sae-1' was not started"):
        warehouse.finish_stage("sae-1", "concepts", seconds=1.0)


def test_all_that_builds_on_a_run_goes_with_it(warehouse: Warehouse, make: Maker) -> None:
    """A pretrained run, the finetuned one and its autoencoder: three generations."""
    make.start(warehouse, "first")
    warehouse.execute("update raw.runs set parent_run_id = 'first' where run_id = 'rec-1'")
    warehouse.add_metrics("sae-1", FVU)
    warehouse.start_stage("first", "train", {}, "new")
    for run_id in ("rec-1", "sae-1"):
        assert warehouse.run(run_id).status == "failed"
        assert warehouse.stage_state(run_id, "train") is None
    assert warehouse.metrics("sae-1").is_empty()
    assert warehouse.run("first").status == "running"
    assert warehouse.run("rec-2").status == "done"
    assert warehouse.find_run("latest").run_id == "rec-2"


def test_start_of_a_stage_takes_the_rows_it_made_and_those_after_it(
    warehouse: Warehouse,
) -> None:
    tables = ("staging.user_sides", "raw.decoder_items", "concepts.labels", "confidence.scores")
    for table in tables:
        warehouse.execute(f"drop table if exists {table}")
        warehouse.execute(f"create table {table} as from (values ('sae-1'), ('sae-2')) t (run_id)")

    def left() -> list[str]:
        return [
            table
            for table in tables
            if warehouse.sql(f"select 1 from {table} where run_id = 'sae-1'").height
        ]

    finish(warehouse, "concepts", "confidence")
    assert left() == ["staging.user_sides", "raw.decoder_items"]
    warehouse.execute("insert into confidence.scores values ('sae-1')")
    warehouse.start_stage("sae-1", "encode", {}, "new")
    assert left() == ["staging.user_sides"]
    warehouse.start_stage("sae-1", "train", {}, "new")
    assert left() == []
    assert all(warehouse.sql(f"from {table}").rows() == [("sae-2",)] for table in tables)


def test_require_a_stage_whose_data_is_gone(warehouse: Warehouse) -> None:
    warehouse.execute(
        "insert into raw.datasets select dataset, 'other', '{}', 1, 1, 1, 1, current_date "
        "from raw.runs where run_id = 'rec-1'"
    )
    for run_id, hint in (
        ("rec-1", "recsae train bprmf toy"),
        ("sae-1", "train its recommender rec-1 and the autoencoder again"),
    ):
        with pytest.raises(DataError, match="is no longer in the warehouse") as caught:
            warehouse.require_stage(run_id, "train", MAKE)
        assert caught.value.hint == hint
    warehouse.execute("update raw.datasets set fingerprint = $f", {"f": fingerprint(warehouse)})
    assert warehouse.require_stage("sae-1", "encode", MAKE).status == "done"


def fingerprint(warehouse: Warehouse) -> str:
    return warehouse.run("rec-1").data_fingerprint
