"""Stages of a run: what counts as done, and what a new start takes with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsae.errors import DataError, MissingStageError, UsageError
from recsae.warehouse import StageState, Warehouse

MAKE = "recsae sae encode sae-1"


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
